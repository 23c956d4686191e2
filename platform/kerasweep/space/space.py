"""The space of a study: what it contains, how it is sampled, and its unit cube."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from kerasweep.errors import one_of
from kerasweep.records import Params, ParamValue
from kerasweep.space.axes import Axis, Continuous, axis_of, exact
from kerasweep.space.enumeration import Enumeration, Slot
from kerasweep.spec.parameters import Choice, Find, Parameter, Searchable, SpaceSpec

# Where an inactive parameter lies in the unit cube: the middle, where a model sees nothing remarkable.
INACTIVE = 0.5


@dataclass(frozen=True)
class Space:
    """All hyperparameters of a study. Frozen and picklable.

    A configuration (``Params``) maps the name of every *active* parameter to a native ``int``, ``float``, ``bool`` or
    ``str``, in the order of ``names``. A parameter is active if every parameter that its ``when`` names is active and
    has one of the values listed there.

    A parameter that every trial finds for itself is none of the space's: no configuration has to have it, and none is
    another one for it. Configurations of trials that have found it may hold it.

    Attributes:
        spec: what the user declared.
    """

    spec: SpaceSpec

    @classmethod
    def of(cls, **parameters: Parameter) -> Space:
        """A space written in Python: ``Space.of(n_hidden=Int(min=0, max=3), …)``.

        Raises:
            pydantic.ValidationError: (a ValueError) if a condition cannot be met.
        """
        return cls(SpaceSpec(parameters=parameters))

    def __reduce__(self) -> tuple[type[Space], tuple[SpaceSpec]]:
        return (Space, (self.spec,))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """All parameters as declared, except that each one waits for those that its condition names.

        What a trial finds for itself is not among them.
        """
        placed: dict[str, None] = {}

        def place(name: str) -> None:
            for switch in self.parameters[name].when:
                place(switch)
            placed.setdefault(name)

        for name in self.parameters:
            place(name)
        return tuple(placed)

    @cached_property
    def parameters(self) -> Mapping[str, Searchable]:
        """What is declared of each of ``names``, as it stands in the spec."""
        return {name: each for name, each in self.spec.parameters.items() if not isinstance(each, Find)}

    @cached_property
    def found(self) -> Mapping[str, Find]:
        """What trials find for themselves, by name."""
        return {name: each for name, each in self.spec.parameters.items() if isinstance(each, Find)}

    @cached_property
    def axes(self) -> Mapping[str, Axis]:
        """Each parameter's values, laid along the unit interval."""
        return {name: axis_of(self.parameters[name]) for name in self.names}

    @cached_property
    def dimensions(self) -> tuple[str, ...]:
        """The parameters that vary: the coordinates of the unit cube, in the order of ``names``."""
        return tuple(name for name, axis in self.axes.items() if isinstance(axis, Continuous) or axis.size > 1)

    def is_active(self, name: str, params: Params) -> bool:
        """Whether a parameter is active beside these values of the parameters that its condition names."""
        return all(
            switch in params and self.axes[switch].identity(params[switch]) in values
            for switch, values in self._conditions[name].items()
        )

    def active(self, params: Params) -> tuple[str, ...]:
        """The names of the active parameters, given the values of those that others depend on.

        Values of inactive parameters are overlooked. An active parameter's own value may be missing; then those that
        depend on it are inactive.
        """
        known: dict[str, ParamValue] = {}
        names: list[str] = []
        for name in self.names:
            if self.is_active(name, known):
                names.append(name)
                if name in params:
                    known[name] = params[name]
        return tuple(names)

    def contains(self, params: Params) -> bool:
        """Whether this is a configuration of the space: every active parameter, no other, each with a legal value."""
        return not self.problems(params)

    def problems(self, params: Params) -> list[str]:
        """What is wrong with a configuration, one message per parameter; empty if the space contains it."""
        found = [one_of("a parameter", name, self.names) for name in params if name not in self.spec.parameters]
        known: dict[str, ParamValue] = {}
        unclear: set[str] = set()
        for name in self.names:
            when = self._conditions[name]
            if unclear.intersection(when):  # its condition cannot be judged; the reason is among the messages already
                unclear.add(name)
            elif not self.is_active(name, known):
                if name in params:
                    declared = self.parameters[name].when
                    rule = " and ".join(f"{switch} in {values!r}" for switch, values in declared.items())
                    found.append(f"{name} may be set only when {rule}. Received: {name}={params[name]!r}")
            elif name not in params:
                unclear.add(name)
                found.append(f"{name} must be set. Received: {', '.join(params) or 'nothing'}")
            elif problem := self.axes[name].problem(params[name]):
                unclear.add(name)
                found.append(f"{name} {problem}. Received: {params[name]!r}")
            else:
                known[name] = params[name]
        return found

    def compose(self, choose: Callable[[str], ParamValue]) -> Params:
        """Builds a configuration.

        Args:
            choose: gives the value of an active parameter; it is called in the order of ``names``, and not for those
                with a single value.
        """
        params: dict[str, ParamValue] = {}
        for name in self.names:
            if self.is_active(name, params):
                axis = self.axes[name]
                fixed = not isinstance(axis, Continuous) and axis.size == 1
                params[name] = axis.at(0.0) if fixed else choose(name)
        return params

    def sample(self, rng: np.random.Generator) -> Params:
        """A random configuration: each active parameter uniform in its scale, all bounds included."""
        return self.from_unit(_closed_uniform(rng, len(self.dimensions)))

    def vary(self, params: Params, free: Collection[str], rng: np.random.Generator) -> Params:
        """A random configuration with these values, but for the parameters in ``free`` and what depends on them."""
        drawn = dict(zip(self.dimensions, _closed_uniform(rng, len(self.dimensions)), strict=True))
        held = {name: value for name, value in params.items() if name not in free}
        return self.compose(lambda name: held[name] if name in held else self.axes[name].at(float(drawn[name])))

    def completed(self, point: Params, rng: np.random.Generator) -> Params:
        """A configuration with these values; what they leave out is its prior, or drawn as ``sample`` does.

        Values of parameters that are then inactive are overlooked.
        """
        drawn = dict(zip(self.dimensions, _closed_uniform(rng, len(self.dimensions)), strict=True))

        def choose(name: str) -> ParamValue:
            if name in point:
                return exact(self.axes[name], point[name])
            return self._priors.get(name, self.axes[name].at(float(drawn[name])))

        return self.compose(choose)

    def typical(self, rng: np.random.Generator) -> Params | None:
        """A configuration of all priors, the rest drawn as ``sample`` does; None if no parameter has a prior."""
        if not self._priors:
            return None
        return self.completed({}, rng)

    def central(self) -> Params:
        """All priors, where there is none the middle of a range, and the first of several values; see ``buildable``."""

        def choose(name: str) -> ParamValue:
            middle = 0.0 if isinstance(self.parameters[name], Choice) else 0.5
            return self._priors.get(name, self.axes[name].at(middle))

        return self.buildable(self.compose(choose))

    def corner(self, coordinate: float) -> Params:
        """The configuration with one coordinate in all dimensions; see ``buildable``."""
        return self.buildable(self.from_unit(np.full(len(self.dimensions), coordinate)))

    def buildable(self, params: Params) -> Params:
        """A configuration from which a model can be built before its trial has found what it is to find.

        What is missing is the lowest value that the trial would test, which stands for no more than itself.
        """
        return {**{name: find.min for name, find in self.found.items() if find.applies(params)}, **params}

    def to_unit(self, params: Params) -> NDArray[np.float64]:
        """A configuration's point in the unit cube, ``(dimensions,)``.

        One coordinate for each of ``dimensions``, in its own scale; values that can be counted lie in the middle of
        their cells, inactive parameters at 0.5.

        Raises:
            ValueError: if the space does not contain the configuration.
        """
        if problems := self.problems(params):
            raise ValueError("\n".join(problems))
        return np.array(
            [self.axes[name].coordinate(params[name]) if name in params else INACTIVE for name in self.dimensions]
        )

    def from_unit(self, vector: NDArray[np.float64]) -> Params:
        """The configuration at a point of the unit cube, ``(dimensions,)``; coordinates of inactive ones are ignored.

        ``from_unit(to_unit(params))`` gives ``params`` back, real numbers up to rounding.

        Raises:
            ValueError: if the point is not in the closed unit cube.
        """
        if vector.shape != (len(self.dimensions),):
            raise ValueError(f"a point must have shape ({len(self.dimensions)},). Received: shape {vector.shape}")
        if not np.all((vector >= 0) & (vector <= 1)):
            raise ValueError(f"a point's coordinates must lie in [0, 1]. Received: {vector.tolist()}")
        point = dict(zip(self.dimensions, vector.tolist(), strict=True))
        return self.compose(lambda name: self.axes[name].at(point[name]))

    def key(self, params: Params) -> Hashable:
        """What two configurations of the space share exactly when they are the same."""
        return tuple(axis.identity(params[name]) if name in params else None for name, axis in self.axes.items())

    def size(self) -> int | None:
        """The number of distinct configurations, conditions counted in; None if there are infinitely many."""
        return self._enumeration.size

    def configuration(self, rank: int) -> Params:
        """The configuration of a rank in ``[0, size())``, in a fixed order.

        Raises:
            IndexError: if there are infinitely many configurations, or not that many.
        """
        positions = self._enumeration.positions(rank)
        params: dict[str, ParamValue] = {}
        for name in self.names:
            axis = self.axes[name]
            if name in positions and not isinstance(axis, Continuous):
                params[name] = axis.value(positions[name])
        return params

    def lattice(self, steps: int) -> Lattice:
        """The space reduced to a grid; see ``Lattice``."""
        return Lattice(self, steps)

    def grid(self, steps: int) -> Iterator[Params]:
        """All configurations of the grid, one after the other, each once; see ``Lattice``."""
        lattice = self.lattice(steps)
        return (lattice.configuration(rank) for rank in range(lattice.size))

    @cached_property
    def _conditions(self) -> Mapping[str, Mapping[str, frozenset[int | float]]]:
        """For every parameter, the identities of its switches' activating values."""
        return {
            name: {
                switch: frozenset(self.axes[switch].identity(exact(self.axes[switch], value)) for value in values)
                for switch, values in self.parameters[name].when.items()
            }
            for name in self.names
        }

    @cached_property
    def _priors(self) -> Mapping[str, ParamValue]:
        priors = {name: getattr(self.parameters[name], "prior", None) for name in self.names}
        return {name: exact(self.axes[name], prior) for name, prior in priors.items() if prior is not None}

    @cached_property
    def _enumeration(self) -> Enumeration:
        slots = []
        for name in self._by_switch:
            axis = self.axes[name]
            size = None if isinstance(axis, Continuous) else axis.size
            when = {
                # Positions are indices. A real number as a switch makes the space infinite before they matter.
                switch: frozenset(int(identity) for identity in values)
                for switch, values in self._conditions[name].items()
            }
            slots.append(Slot(name, size, when))
        return Enumeration(tuple(slots))

    @cached_property
    def _by_switch(self) -> tuple[str, ...]:
        """The parameters in an order that counts fast: those that depend on a switch follow it closely."""
        placed: dict[str, None] = {}

        def place(name: str) -> None:
            if name in placed or not placed.keys() >= self._conditions[name].keys():
                return
            placed[name] = None
            for other in self.names:
                if name in self._conditions[other]:
                    place(other)

        for name in self.names:
            place(name)
        return tuple(placed)


class Lattice:
    """A space reduced to a grid: the distinct configurations of a few values per parameter, numbered.

    A choice keeps all its values, and so does a number with at most ``steps`` of them. Other numbers keep ``steps``
    values, evenly spaced in their scale from one bound to the other (the middle one if ``steps`` is 1), and besides
    them their prior and every value that a condition names, so that no parameter is left out for want of its switch.

    Args:
        space: what to reduce.
        steps: at least 1.
    """

    def __init__(self, space: Space, steps: int) -> None:
        if steps < 1:
            raise ValueError(f"steps must be >= 1. Received: {steps}")
        self._space = space
        self._values = {name: self._picked(name, steps) for name in space.names}
        slots = []
        for name in space._by_switch:
            when = {
                switch: frozenset(
                    position
                    for position, value in enumerate(self._values[switch])
                    if space.axes[switch].identity(value) in identities
                )
                for switch, identities in space._conditions[name].items()
            }
            slots.append(Slot(name, len(self._values[name]), when))
        self._enumeration = Enumeration(tuple(slots))

    @property
    def size(self) -> int:
        """How many distinct configurations the grid has."""
        return self._enumeration.size or 0

    def configuration(self, rank: int) -> Params:
        """The configuration of a rank in ``[0, size)``, in a fixed order."""
        positions = self._enumeration.positions(rank)
        return {name: self._values[name][positions[name]] for name in self._space.names if name in positions}

    def _picked(self, name: str, steps: int) -> tuple[ParamValue, ...]:
        axis = self._space.axes[name]
        if not isinstance(axis, Continuous) and (not self._has_order(name) or axis.size <= steps):
            return tuple(axis.value(index) for index in range(axis.size))
        picked = [axis.at(step / (steps - 1) if steps > 1 else 0.5) for step in range(steps)]
        if name in self._space._priors:
            picked.append(self._space._priors[name])
        for parameter in self._space.parameters.values():
            picked.extend(exact(axis, value) for value in parameter.when.get(name, ()))
        by_identity = {axis.identity(value): value for value in picked}
        return tuple(by_identity[identity] for identity in sorted(by_identity))

    def _has_order(self, name: str) -> bool:
        return self._space.parameters[name].type in ("int", "float")


def _closed_uniform(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    """``n`` numbers, uniform in the closed interval ``[0, 1]``."""
    return rng.integers(0, 2**53, size=n, endpoint=True) / 2.0**53
