"""What all libraries have in common that are asked for a trial when a worker is free."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from kerasweep.records import ParamValue
from kerasweep.space import Space
from kerasweep.space.axes import Axis, Continuous, Steps
from quality.simulation import Step


class Asking(ABC):
    """A method whose trials go on with the worker that they have until the library says otherwise."""

    def __init__(self) -> None:
        self._going: deque[Step] = deque()
        self._steps: dict[int, Step] = {}

    @abstractmethod
    def ask(self) -> Step | None:
        """A new trial, or one that was paused; None if there is none before another one ends."""

    @abstractmethod
    def goes_on(self, number: int, epoch: int, value: float) -> bool:
        """Tells the library of an epoch, and asks whether the trial trains the next one at once."""

    def next(self) -> Step | None:
        if self._going:
            return self._going.popleft()
        step = self.ask()
        if step is not None:
            self._steps[step.number] = step
        return step

    def report(self, number: int, epoch: int, value: float) -> None:
        if self.goes_on(number, epoch, value):
            self._going.append(self._steps[number])


@dataclass(frozen=True)
class Dimension:
    """One parameter as other libraries know them, all bounds included.

    Attributes:
        name: of the parameter.
        kind: ``category`` counts the values from 0; their order means nothing.
        low: the smallest number.
        high: the largest number.
        log: whether the scale is logarithmic.
        axis: of the parameter.
    """

    name: str
    kind: Literal["float", "int", "category"]
    low: float
    high: float
    log: bool
    axis: Axis

    def value(self, number: float) -> ParamValue:
        """The parameter's value for a number of the library's."""
        if isinstance(self.axis, Continuous):
            return min(max(float(number), self.low), self.high)
        if self.kind == "float":
            return self.axis.at(min(max(float(number), 0.0), 1.0))
        plain = isinstance(self.axis, Steps) and (self.low, self.high) == (self.axis.low, self.axis.high)
        return int(number) if plain else self.axis.value(int(number))


def dimensions(space: Space) -> Iterator[Dimension]:
    """The parameters that vary.

    Numbers with a step are counted on the linear scale; on the logarithmic one they are their coordinate in
    ``[0, 1]``. Conditions are not known here: who cannot express them searches the flat space of all parameters, and
    ``Space.compose`` drops those that are not active.
    """
    for name in space.dimensions:
        axis = space.axes[name]
        if isinstance(axis, Continuous):
            yield Dimension(name, "float", axis.low, axis.high, axis.log, axis)
        elif not isinstance(axis, Steps):
            yield Dimension(name, "category", 0, axis.size - 1, False, axis)
        elif axis.whole and axis.step == 1:
            yield Dimension(name, "int", axis.low, axis.high, axis.log, axis)
        elif axis.log:
            yield Dimension(name, "float", 0.0, 1.0, False, axis)
        else:
            yield Dimension(name, "int", 0, axis.size - 1, False, axis)
