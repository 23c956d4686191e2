"""Many points of a space's unit cube at once: what the acquisition function of a model is maximised over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

from kerasweep.space import Space
from kerasweep.space.axes import Axis, Continuous, Options, Steps, exact
from kerasweep.space.space import INACTIVE

Array = NDArray[np.float64]

# Steps above which they are so fine that a model may take them for a real number.
_LISTED = 20_000

# A climb: how many times all points move, how many neighbours each tries, and how far away these lie at first, as a
# standard deviation in the unit cube. They come nearer where none is higher, and move off a little where one is.
_ROUNDS = 12
_NEIGHBOURS = 10
_SCALE = 0.1
_NEARER = 0.5
_FURTHER = 1.3

# How likely a neighbour differs in a number; in a choice, it is one in the dimensions.
_MOVED = 0.5


class Cube:
    """The unit cube of a space; points are the rows of arrays, ``(n, dimensions)``.

    A point is *settled* if it is that of its own configuration (``Space.to_unit``): values that can be counted lie in
    the middle of their cells, inactive parameters at 0.5. Models see settled points only, so that they are never
    asked about a difference that no training would feel.

    Source: Garrido-Merchán, Hernández-Lobato: Dealing with Categorical and Integer-valued Variables in Bayesian
    Optimization with Gaussian Processes, Neurocomputing 380 (2020).

    Args:
        space: whose cube it is.

    Attributes:
        dimensions: how many coordinates a point has.
        owners: the coordinate that each feature comes from, ``(features,)``.
    """

    def __init__(self, space: Space) -> None:
        self._names = space.names
        self._coordinates = {name: _coordinate(space.axes[name]) for name in space.dimensions}
        self._conditions = {
            name: {
                switch: [space.axes[switch].coordinate(exact(space.axes[switch], value)) for value in values]
                for switch, values in space.spec.parameters[name].when.items()
            }
            for name in space.names
        }
        self.dimensions = len(self._coordinates)
        widths = [coordinate.width for coordinate in self._coordinates.values()]
        self.owners = np.repeat(np.arange(self.dimensions), widths)

    def spread(self, power: int, rng: np.random.Generator) -> Array:
        """``2**power`` points of a scrambled Sobol sequence, settled."""
        return self.settled(qmc.Sobol(self.dimensions, rng=rng).random_base2(power))

    def near(self, points: Array, scale: float | Array, rng: np.random.Generator) -> Array:
        """A settled neighbour of each point.

        Half of its numbers move by a normal step of standard deviation ``scale``, or of a cell's width where that is
        more; about one of its choices is drawn anew.

        Args:
            points: settled, ``(n, dimensions)``.
            scale: in the unit cube, of all points or of each, ``(n,)``.
            rng: of the steps.
        """
        moved = points.copy()
        scales = np.broadcast_to(scale, len(points))
        for column, coordinate in zip(moved.T, self._coordinates.values(), strict=True):
            chosen = rng.random(len(points)) < (1 / self.dimensions if coordinate.options else _MOVED)
            column[chosen] = coordinate.moved(column[chosen], scales[chosen], rng)
        return self.settled(moved)

    def settled(self, points: Array) -> Array:
        """Every point's configuration's own point."""
        settled = np.full_like(points, INACTIVE)
        columns = dict(zip(self._coordinates, settled.T, strict=True))
        given = dict(zip(self._coordinates, points.T, strict=True))
        only = np.full(len(points), 0.5)  # where the one value of a parameter lies that does not vary
        active: dict[str, NDArray[np.bool_]] = {}
        for name in self._names:
            active[name] = np.ones(len(points), dtype=bool)
            for switch, values in self._conditions[name].items():
                active[name] &= active[switch] & np.isin(columns.get(switch, only), values)
            if name in columns:
                columns[name][active[name]] = self._coordinates[name].snapped(given[name][active[name]])
        return settled

    def features(self, points: Array) -> Array:
        """What a model sees of settled points, ``(n, features)``.

        A number is its coordinate, one of two options 0 or 1; each of more options has a feature of its own, so that
        any two are equally far apart, at a distance of 1.
        """
        parts = [
            coordinate.features(column) for column, coordinate in zip(points.T, self._coordinates.values(), strict=True)
        ]
        return np.hstack([np.empty((len(points), 0)), *parts])  # a space may have no dimension

    def climb(
        self, points: Array, heights: Array, height: Callable[[Array], Array], rng: np.random.Generator
    ) -> tuple[Array, Array]:
        """Looks for higher points around each of a few.

        Each point tries neighbours and moves to the highest of them if that is higher than itself; how far away the
        next ones lie adapts to whether it was, as in evolution strategies (Rechenberg 1973).

        Args:
            points: where to begin, settled, ``(k, dimensions)``.
            heights: of these, ``(k,)``.
            height: of any settled points, ``(n, dimensions) -> (n,)``.
            rng: of the steps.

        Returns:
            Settled points, none lower than where it began, and their heights.
        """
        tops, heights = points.copy(), heights.copy()
        scales = np.full(len(points), _SCALE)
        every = np.arange(len(points))
        for _ in range(_ROUNDS):
            tried = self.near(np.repeat(tops, _NEIGHBOURS, axis=0), np.repeat(scales, _NEIGHBOURS), rng)
            reached = height(tried).reshape(-1, _NEIGHBOURS)
            best = np.argmax(reached, axis=1)
            higher = reached[every, best] > heights
            tops[higher] = tried.reshape(-1, _NEIGHBOURS, self.dimensions)[every, best][higher]
            heights[higher] = reached[every, best][higher]
            scales *= np.where(higher, _FURTHER, _NEARER)
        return tops, heights


@dataclass(frozen=True, eq=False)
class _Coordinate:
    """One dimension: the middles and the inner edges of its cells (none for a real number), and its options if any."""

    centres: Array
    edges: Array
    options: int

    @property
    def width(self) -> int:
        return self.options if self.options > 2 else 1

    def snapped(self, units: Array) -> Array:
        return self.centres[np.searchsorted(self.edges, units, side="right")] if len(self.centres) else units

    def moved(self, units: Array, scales: Array, rng: np.random.Generator) -> Array:
        if self.options:
            return rng.random(len(units))
        steps = np.maximum(scales, 1 / len(self.centres) if len(self.centres) else 0.0)
        return np.clip(units + steps * rng.standard_normal(len(units)), 0.0, 1.0)

    def features(self, units: Array) -> Array:
        if not self.options:
            return units[:, None]
        index = np.searchsorted(self.edges, units, side="right")
        return index[:, None].astype(float) if self.options == 2 else np.eye(self.options)[index] / np.sqrt(2)


def _coordinate(axis: Axis) -> _Coordinate:
    if isinstance(axis, Continuous) or (isinstance(axis, Steps) and axis.size > _LISTED):
        return _Coordinate(np.empty(0), np.empty(0), 0)
    cells = np.array([axis.cell(index) for index in range(axis.size)])
    options = axis.size if isinstance(axis, Options) else 0
    return _Coordinate(np.mean(cells, axis=1), cells[:-1, 1], options)
