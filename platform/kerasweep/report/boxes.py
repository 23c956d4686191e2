"""A random forest as a sum of boxes, and its exact means over all parameters but a few.

Every leaf of a tree is a box in the unit cube, so the mean of a forest over what is drawn uniformly is a sum of boxes'
volumes (Hutter, Hoos, Leyton-Brown: An Efficient Approach for Assessing Hyperparameter Importance, ICML 2014,
section 4). Where parameters are conditional, what is drawn is no product of intervals: which of them are active
depends on others. So the space is taken apart into regimes, in each of which the same parameters are active; within one
the law is a product again, with what is inactive at the one point where the forest has seen it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerasweep.records import ParamValue
from kerasweep.space import Space
from kerasweep.space.axes import Axis, Continuous, exact
from kerasweep.space.space import INACTIVE

Array = NDArray[np.float64]

# Numbers that can be counted, but of which there are more, are taken for real ones.
_LISTED = 256

# Pairs of a point and a leaf that are looked at together, for the memory's sake.
_TOGETHER = 2**22

_NONE: frozenset[int] = frozenset()

# Of more regimes than these, the most likely ones stand for all.
_REGIMES = 48


@dataclass(frozen=True)
class Regime:
    """A part of the space in which the same parameters are active.

    Attributes:
        probability: that a configuration drawn from the space lies in it.
        active: the parameters that are.
        groups: of each of them, the indices of the values that lead here; none if it is no switch, so that all do.
    """

    probability: float
    active: frozenset[str] = frozenset()
    groups: Mapping[str, frozenset[int]] = field(default_factory=dict)


def regimes(space: Space) -> tuple[Regime, ...]:
    """The regimes of a space, the most likely first; their probabilities add up to 1."""
    conditions = _conditions(space)
    switches = {switch: _groups(space.axes[switch], switch, conditions) for switch in _switches(conditions)}
    found = [Regime(1.0)]
    for name in space.names:
        after: list[Regime] = []
        for regime in found:
            if not all(regime.groups.get(switch, _NONE) & allowed for switch, allowed in conditions[name].items()):
                after.append(regime)
                continue
            active = replace(regime, active=regime.active | {name})
            for group in switches.get(name, [_NONE]):
                share = 1.0 if name not in switches else _mass(space.axes[name], group)
                after.append(
                    replace(active, probability=regime.probability * share, groups={**regime.groups, name: group})
                )
        found = sorted(after, key=lambda regime: -regime.probability)[:_REGIMES]
    total = sum(regime.probability for regime in found)
    return tuple(replace(regime, probability=regime.probability / total) for regime in found)


class Boxes:
    """The leaves of a forest over a space's unit cube.

    Args:
        forest: of scikit-learn, fitted to points of the cube.
        space: whose cube it is.
        parts: its regimes.
    """

    def __init__(self, forest: Any, space: Space, parts: Sequence[Regime]) -> None:
        bounds = [_leaves(tree.tree_, len(space.dimensions)) for tree in forest.estimators_]
        self._low, self._high, values = (np.concatenate(each) for each in zip(*bounds, strict=True))
        self._values = values / len(bounds)
        self._space = space
        self._parts = parts
        # Of each regime, how much of its law lies in each leaf along each dimension: (leaves, dimensions).
        self._masses = [self._mass_of(part) for part in parts]

    def interaction(self, first: int, second: int, at: Array) -> Array:
        """What two parameters do to the prediction together, beyond what each does alone, ``(n,)``.

        It is ``f(u, v) - f(u) - f(v) + f``, with means over all other parameters, among the configurations in which
        both are active; NaN where they never are.

        Args:
            first: a dimension.
            second: another one.
            at: their coordinates, ``(n, 2)``.
        """
        return (
            self._means(first, second, at, (True, True))
            - self._means(first, second, at, (True, False))
            - (self._means(first, second, at, (False, True)) - self._means(first, second, at, (False, False)))
        )

    def surface(self, first: int, second: int, at: Array) -> Array:
        """The mean prediction at values of two parameters, ``(n,)``; see ``interaction``."""
        return self._means(first, second, at, (True, True))

    def _means(self, first: int, second: int, at: Array, given: tuple[bool, bool]) -> Array:
        """The mean over all but those of the two dimensions that are given."""
        pieces = np.array_split(at, math.ceil(len(at) * len(self._values) / _TOGETHER))
        return np.concatenate([self._means_of(first, second, piece, given) for piece in pieces])

    def _means_of(self, first: int, second: int, at: Array, given: tuple[bool, bool]) -> Array:
        """Those of a few points."""
        names = self._space.dimensions[first], self._space.dimensions[second]
        total, weights = np.zeros(len(at)), np.zeros(len(at))
        held = np.ones((len(at), len(self._values)))
        for column, dimension, wanted in zip(at.T, (first, second), given, strict=True):
            if wanted:
                held *= (self._low[:, dimension] < column[:, None]) & (column[:, None] <= self._high[:, dimension])
        free = [i for i in range(len(self._space.dimensions)) if i not in self._given(first, second, given)]
        for part, masses in zip(self._parts, self._masses, strict=True):
            if not part.active.issuperset(names):
                continue
            weight = np.full(len(at), part.probability)
            for column, name, wanted in zip(at.T, names, given, strict=True):
                if wanted and part.groups[name]:
                    weight *= self._leads(name, column, part)
            total += weight * (held @ (self._values * masses[:, free].prod(axis=1)))
            weights += weight
        means: Array = np.divide(total, weights, out=np.full(len(at), np.nan), where=weights > 0)
        return means

    @staticmethod
    def _given(first: int, second: int, given: tuple[bool, bool]) -> list[int]:
        return [dimension for dimension, wanted in zip((first, second), given, strict=True) if wanted]

    def _leads(self, name: str, column: Array, part: Regime) -> NDArray[np.bool_]:
        """Which coordinates of a switch lead to a regime."""
        axis = self._space.axes[name]
        if isinstance(axis, Continuous):
            return np.ones(len(column), dtype=bool)
        return np.array([axis.index_at(float(unit)) in part.groups[name] for unit in column])

    def _mass_of(self, part: Regime) -> Array:
        columns = []
        for dimension, name in enumerate(self._space.dimensions):
            low, high = self._low[:, dimension], self._high[:, dimension]
            axis = self._space.axes[name]
            if name not in part.active:
                mass = ((low < INACTIVE) & (high >= INACTIVE)).astype(float)
            elif isinstance(axis, Continuous) or axis.size > _LISTED:
                mass = np.minimum(high, 1.0) - np.maximum(low, 0.0)
            else:
                group = sorted(part.groups[name]) or list(range(axis.size))
                cells = np.array([axis.cell(index) for index in group])
                centres, widths = cells.mean(axis=1), np.diff(cells).ravel()
                inside = (low[:, None] < centres) & (centres <= high[:, None])
                mass = inside @ (widths / widths.sum())
            columns.append(mass)
        return np.stack(columns, axis=1)


def _leaves(tree: Any, dimensions: int) -> tuple[Array, Array, Array]:
    """The boxes of a tree's leaves ``(leaves, dimensions)``, open below and closed above, and their values."""
    low = np.full((tree.node_count, dimensions), -np.inf)
    high = np.full((tree.node_count, dimensions), np.inf)
    for node in range(tree.node_count):  # children come after their parents
        left, right = tree.children_left[node], tree.children_right[node]
        if left >= 0:
            low[[left, right]], high[[left, right]] = low[node], high[node]
            feature, threshold = tree.feature[node], tree.threshold[node]
            high[left, feature] = threshold
            low[right, feature] = threshold
    leaves = tree.children_left < 0
    return low[leaves], high[leaves], tree.value[leaves, 0, 0]


def _conditions(space: Space) -> dict[str, dict[str, frozenset[int]]]:
    """Of each parameter, the indices of its switches' values under which it is active."""
    conditions: dict[str, dict[str, frozenset[int]]] = {}
    for name in space.names:
        conditions[name] = {}
        for switch, values in space.spec.parameters[name].when.items():
            axis = space.axes[switch]
            indices = () if isinstance(axis, Continuous) else (axis.index(exact(axis, value)) for value in values)
            conditions[name][switch] = frozenset(indices)
    return conditions


def _switches(conditions: Mapping[str, Mapping[str, frozenset[int]]]) -> set[str]:
    return {switch for when in conditions.values() for switch in when}


def _groups(axis: Axis, switch: str, conditions: Mapping[str, Mapping[str, frozenset[int]]]) -> list[frozenset[int]]:
    """A switch's values, those together that make the same parameters active."""
    if isinstance(axis, Continuous) or axis.size > _LISTED:
        return [_NONE]  # to draw one of the values that are named has no probability worth speaking of
    alike: dict[tuple[bool, ...], set[int]] = {}
    wanted = [when[switch] for when in conditions.values() if switch in when]
    for index in range(axis.size):
        alike.setdefault(tuple(index in indices for indices in wanted), set()).add(index)
    return [frozenset(group) for group in alike.values()]


def _mass(axis: Axis, group: frozenset[int]) -> float:
    """The probability of a group of values; of no group, of all of them."""
    if isinstance(axis, Continuous) or not group:
        return 1.0
    return float(sum(high - low for low, high in map(axis.cell, group)))


def levels(axis: Axis, most: int) -> tuple[Array, tuple[ParamValue, ...]]:
    """Coordinates along an axis at which to look, at most so many, and the values there."""
    if not isinstance(axis, Continuous) and axis.size <= most:
        values = tuple(axis.value(index) for index in range(axis.size))
        return np.array([axis.coordinate(value) for value in values]), values
    units = (np.arange(most) + 0.5) / most
    return units, tuple(axis.at(float(unit)) for unit in units)
