"""One parameter's values laid along the unit interval ``[0, 1]``, in the parameter's own scale.

Three kinds. ``Continuous``: a real number. ``Steps``: evenly spaced numbers; each owns a cell of the interval. On the
linear scale all cells are equally wide, so that both ends are as likely as the others. On the logarithmic scale a
number owns what rounds to it, and an outer cell reaches as far beyond its end as within it. ``Options``: values
without an order, in equal cells. A parameter of a single value is always one of the last two.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property

from kerasweep.records import ParamValue
from kerasweep.spec.parameters import Choice, Fixed, Int, Searchable


@dataclass(frozen=True)
class Continuous:
    """A real number in ``[low, high]``, ``low < high``."""

    low: float
    high: float
    log: bool

    def at(self, unit: float) -> float:
        """The value at a coordinate in ``[0, 1]``; exactly ``low`` at 0 and exactly ``high`` at 1."""
        if unit in (0.0, 1.0):
            return self.high if unit else self.low
        if self.log:
            value = math.exp(math.log(self.low) + unit * (math.log(self.high) - math.log(self.low)))
        else:
            value = self.low + unit * (self.high - self.low)
        return min(max(value, self.low), self.high)

    def coordinate(self, value: ParamValue) -> float:
        """The coordinate of a value of this axis, in ``[0, 1]``."""
        number = float(value)
        if self.log:
            unit = (math.log(number) - math.log(self.low)) / (math.log(self.high) - math.log(self.low))
        else:
            unit = (number - self.low) / (self.high - self.low)
        return min(max(unit, 0.0), 1.0)

    def identity(self, value: ParamValue) -> float:
        """Equal for equal values."""
        return float(value)

    def problem(self, value: object) -> str | None:
        """The rule that a value breaks, or None."""
        if type(value) is not float:
            return "must be a float"
        return None if self.low <= value <= self.high else f"must lie in [{self.low:g}, {self.high:g}]"


class _Listed(ABC):
    """What axes with numbered values share; equal cells unless an axis says otherwise."""

    @property
    @abstractmethod
    def size(self) -> int:
        """How many values there are."""

    @abstractmethod
    def value(self, index: int) -> ParamValue:
        """The value of that index."""

    @abstractmethod
    def index(self, value: ParamValue) -> int:
        """The index of a value."""

    def cell(self, index: int) -> tuple[float, float]:
        """The part of ``[0, 1]`` that a value owns."""
        return index / self.size, (index + 1) / self.size

    def index_at(self, unit: float) -> int:
        """The index of the value that owns a coordinate."""
        return min(int(unit * self.size), self.size - 1)

    def at(self, unit: float) -> ParamValue:
        """The value that owns a coordinate in ``[0, 1]``."""
        return self.value(self.index_at(unit))

    def coordinate(self, value: ParamValue) -> float:
        """The middle of the value's cell; ``at`` gives the value back (up to 2**50 values)."""
        low, high = self.cell(self.index(value))
        return (low + high) / 2

    def identity(self, value: ParamValue) -> int:
        """Equal for equal values, and for nothing else: ``True`` and ``1`` differ."""
        return self.index(value)


@dataclass(frozen=True)
class Steps(_Listed):
    """The numbers ``low, low + step, …, high``.

    Attributes:
        low: the first number.
        high: the last number.
        step: the distance between neighbours.
        count: how many there are.
        log: whether cells are those of the logarithmic scale.
        whole: whether the numbers are integers.
    """

    low: float
    high: float
    step: float
    count: int
    log: bool
    whole: bool

    @property
    def size(self) -> int:
        return self.count

    def value(self, index: int) -> ParamValue:
        """The number of that index; floats as a person would write them (0.3, not 0.30000000000000004)."""
        if self.whole:
            return int(self.low) + index * int(self.step)
        if index in (0, self.size - 1):
            return float(self.high if index else self.low)
        number = float(Decimal(repr(self.low)) + index * Decimal(repr(self.step)))
        return min(max(number, self.low), self.high)

    def index(self, value: ParamValue) -> int:
        """The index of the nearest number."""
        if self.whole and isinstance(value, int):
            step = int(self.step)  # in integers: 64-bit numbers do not fit into a float
            return min(max((value - int(self.low) + step // 2) // step, 0), self.size - 1)
        return self._nearest(float(value))

    def cell(self, index: int) -> tuple[float, float]:
        if not self.log or self.size == 1:
            return super().cell(index)
        start, end = self._ends
        low = 0.0 if index == 0 else (math.log(self.low + (index - 0.5) * self.step) - start) / (end - start)
        last = index == self.size - 1
        high = 1.0 if last else (math.log(self.low + (index + 0.5) * self.step) - start) / (end - start)
        return low, high

    def index_at(self, unit: float) -> int:
        if not self.log or self.size == 1:
            return super().index_at(unit)
        start, end = self._ends
        return self._nearest(math.exp(start + unit * (end - start)))

    def problem(self, value: object) -> str | None:
        """The rule that a value breaks, or None."""
        kind = int if self.whole else float
        if type(value) is not kind:
            return "must be an int" if self.whole else "must be a float"
        if not self.low <= value <= self.high:
            return f"must lie in [{self.low:g}, {self.high:g}]"
        near = self.value(self.index(value))
        # A float may be off by what the spec tolerates in conditions: a millionth of a step.
        if value != near and (self.whole or abs(value - float(near)) > 1e-6 * self.step):
            return f"must be a multiple of {self.step:g} above {self.low:g}"
        return None

    def _nearest(self, number: float) -> int:
        return min(max(math.floor((number - self.low) / self.step + 0.5), 0), self.size - 1)

    @cached_property
    def _ends(self) -> tuple[float, float]:
        """Logarithms of the outer cells' outer edges: the inner edges, mirrored at the ends."""
        first, last = math.log(self.low + 0.5 * self.step), math.log(self.high - 0.5 * self.step)
        return 2 * math.log(self.low) - first, 2 * math.log(self.high) - last


@dataclass(frozen=True)
class Options(_Listed):
    """Values without an order."""

    values: tuple[ParamValue, ...]

    @property
    def size(self) -> int:
        return len(self.values)

    def value(self, index: int) -> ParamValue:
        return self.values[index]

    def index(self, value: ParamValue) -> int:
        """The index of a value: of the one of its own type if there is one, else of the one that is equal to it."""
        equal = [i for i, own in enumerate(self.values) if own == value and _is_bool(own) == _is_bool(value)]
        if not equal:
            raise ValueError(f"a value must be one of {', '.join(map(repr, self.values))}. Received: {value!r}")
        return next((i for i in equal if type(self.values[i]) is type(value)), equal[0])

    def problem(self, value: object) -> str | None:
        """The rule that a value breaks, or None."""
        if any(own == value and type(own) is type(value) for own in self.values):
            return None
        return f"must be one of {', '.join(map(repr, self.values))}"


Listed = Steps | Options
Axis = Continuous | Listed


def axis_of(parameter: Searchable) -> Axis:
    """The axis of a declared parameter (its condition aside)."""
    if isinstance(parameter, Fixed):
        return Options((parameter.value,))
    if isinstance(parameter, Choice):
        return Options(tuple(parameter.values))
    if isinstance(parameter, Int):
        step = parameter.step or 1
        size = (parameter.max - parameter.min) // step + 1
        return Steps(parameter.min, parameter.max, step, size, parameter.log, whole=True)
    if parameter.min == parameter.max:
        return Options((parameter.min,))
    if parameter.step is None:
        return Continuous(parameter.min, parameter.max, parameter.log)
    size = round((parameter.max - parameter.min) / parameter.step) + 1
    return Steps(parameter.min, parameter.max, parameter.step, size, parameter.log, whole=False)


def exact(axis: Axis, value: ParamValue) -> ParamValue:
    """A value that the spec admits, as the axis has it: ``1`` as ``1.0``, a step without rounding noise."""
    return float(value) if isinstance(axis, Continuous) else axis.value(axis.index(value))


def _is_bool(value: ParamValue) -> bool:
    return isinstance(value, bool)
