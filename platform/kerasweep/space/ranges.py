"""Parts of a parameter's axis, and how they narrow around values that turned out well.

Of each part, ``share`` is how much of its axis it is, in the axis's scale; ``drawn`` gives a value of it, uniform in
that scale; ``around`` is the part that holds these values of the axis, and ``margin`` of this part's width on either
side. As text, a part is for people.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from kerasweep.records import ParamValue
from kerasweep.space.axes import Axis, Continuous, Options, Steps


@dataclass(frozen=True)
class Interval:
    """Real numbers between two coordinates of the unit interval."""

    axis: Continuous
    low: float = 0.0
    high: float = 1.0

    @property
    def share(self) -> float:
        return self.high - self.low

    def drawn(self, rng: np.random.Generator) -> ParamValue:
        return self.axis.at(float(rng.uniform(self.low, self.high)))

    def around(self, values: Sequence[ParamValue], margin: float) -> Interval:
        places = [self.axis.coordinate(value) for value in values]
        beyond = margin * (self.high - self.low)
        return Interval(self.axis, max(min(places) - beyond, 0.0), min(max(places) + beyond, 1.0))

    def __str__(self) -> str:
        return _span(self.axis.at(self.low), self.axis.at(self.high), self.axis.log)


@dataclass(frozen=True)
class Run:
    """Evenly spaced numbers from one index to another, both included."""

    axis: Steps
    first: int
    last: int

    @property
    def edges(self) -> tuple[float, float]:
        """The coordinates at which the cells of its values begin and end."""
        return self.axis.cell(self.first)[0], self.axis.cell(self.last)[1]

    @property
    def share(self) -> float:
        low, high = self.edges
        return high - low

    def drawn(self, rng: np.random.Generator) -> ParamValue:
        index = self.axis.index_at(float(rng.uniform(*self.edges)))
        return self.axis.value(min(max(index, self.first), self.last))  # an edge may round into the next cell

    def around(self, values: Sequence[ParamValue], margin: float) -> Run:
        places = [self.axis.coordinate(value) for value in values]
        low, high = self.edges
        beyond = margin * (high - low)
        first = self.axis.index_at(max(min(places) - beyond, 0.0))
        return Run(self.axis, first, self.axis.index_at(min(max(places) + beyond, 1.0)))

    def beside(self, value: ParamValue) -> Run:
        """The same with both neighbours of a value, as far as the axis has them."""
        index = self.axis.index(value)
        first, last = max(index - 1, 0), min(index + 1, self.axis.size - 1)
        return replace(self, first=min(self.first, first), last=max(self.last, last))

    def __str__(self) -> str:
        return _span(self.axis.value(self.first), self.axis.value(self.last), self.axis.log)


@dataclass(frozen=True)
class Some:
    """Some of the values without an order, by index."""

    axis: Options
    indices: tuple[int, ...]

    @property
    def share(self) -> float:
        return len(self.indices) / self.axis.size

    def drawn(self, rng: np.random.Generator) -> ParamValue:
        return self.axis.value(int(rng.choice(self.indices)))

    def around(self, values: Sequence[ParamValue], margin: float) -> Some:
        return Some(self.axis, tuple(sorted({self.axis.index(value) for value in values})))

    def __str__(self) -> str:
        return " or ".join(str(self.axis.value(index)) for index in self.indices)


Range = Interval | Run | Some


def whole(axis: Axis) -> Range:
    """All of an axis."""
    if isinstance(axis, Continuous):
        return Interval(axis)
    if isinstance(axis, Steps):
        return Run(axis, 0, axis.size - 1)
    return Some(axis, tuple(range(axis.size)))


def _span(low: ParamValue, high: ParamValue, log: bool) -> str:
    if low == high:
        return _number(low)
    return f"{_number(low)} to {_number(high)}{' (logarithmic)' if log else ''}"


def _number(value: ParamValue) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
