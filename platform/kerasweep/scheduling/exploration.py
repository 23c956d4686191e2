"""What population-based training may change, and how it explores."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from kerasweep.records import Params, ParamValue
from kerasweep.space import Space
from kerasweep.space.axes import Axis, Continuous, Steps
from kerasweep.spec.families import GATING_PARAMETERS, explorable, steerable


@dataclass(frozen=True)
class Scope:
    """What may change while a trial trains, and so who may copy whom.

    A dropout or a penalty of 0 leaves its part out of the model. So whether there is one belongs to the program, and
    no change leads from 0 to more or back.

    Attributes:
        space: of the study.
        mutable: names that may change (``spec.families.mutable_parameters``).
    """

    space: Space
    mutable: tuple[str, ...]

    def program(self, params: Params) -> Mapping[str, object]:
        """What two members must share for one to go on from the other's state: all that cannot change."""
        traits: dict[str, object] = {}
        for name, value in params.items():
            if name not in self._steerable:
                traits[name] = type(value), value  # 1 and True differ
            else:
                traits[name] = name in GATING_PARAMETERS and bool(value)
        return traits

    def steered(self, params: Params) -> Params:
        """The values that may change, of ``params`` that may hold others."""
        return {name: params[name] for name in self.space.names if name in params and name in self._steerable}

    def ranges(self, params: Params) -> tuple[str, ...]:
        """The names of those that may change within a range."""
        return tuple(name for name in self.steered(params) if name in self._explorable)

    def admitted(self, name: str, value: ParamValue, new: ParamValue) -> ParamValue:
        """The new value of a parameter, or the old one if the new one needs another program."""
        return value if name in GATING_PARAMETERS and bool(new) != bool(value) else new

    @cached_property
    def _steerable(self) -> frozenset[str]:
        return frozenset(steerable(self.space.spec.parameters, self.mutable))

    @cached_property
    def _explorable(self) -> frozenset[str]:
        return frozenset(explorable(self.space.spec.parameters, self.mutable))


@dataclass(frozen=True)
class Exploration(Scope):
    """Perturbs or redraws what may change.

    Attributes:
        factors: one is drawn for each parameter that is perturbed.
        resample: how likely a parameter is drawn from the space instead.
    """

    factors: tuple[float, ...]
    resample: float

    def explored(self, params: Params, rng: random.Random) -> Params:
        """Values for all parameters of the space that may change, near those of ``params`` or anew.

        Args:
            params: active parameters of the space, and any others, which are passed over.
            rng: of all draws.
        """
        steered = self.steered(params)
        return {**steered, **{name: self._explored(name, steered[name], rng) for name in self.ranges(params)}}

    def _explored(self, name: str, value: ParamValue, rng: random.Random) -> ParamValue:
        axis = self.space.axes[name]
        if rng.random() < self.resample:
            new = axis.at(rng.randint(0, 2**53) / 2**53)
        else:
            new = _perturbed(axis, value, rng.choice(self.factors))
        return self.admitted(name, value, new)


def _perturbed(axis: Axis, value: ParamValue, factor: float) -> ParamValue:
    """The value times the factor, within the closed range; by at least one step where there are steps."""
    scaled = float(value) * factor
    if isinstance(axis, Steps):
        before, after = axis.index(value), axis.index(scaled)
        if before == after and factor != 1:
            after += 1 if factor > 1 else -1
        return axis.value(min(max(after, 0), axis.size - 1))
    if isinstance(axis, Continuous):
        return min(max(scaled, axis.low), axis.high)
    return value
