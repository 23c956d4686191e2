"""Many workers, a simulated clock, and what a search knows at each moment of it."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from kerasweep.records import Params
from quality.benchmark import Array, Benchmark

# Epochs of a curve are evaluated in portions: most trials end early, and batches are cheaper than single ones.
_PORTIONS = (0, 2, 6, 18, 54)


@dataclass(frozen=True)
class Step:
    """One epoch of work: the next one of a trial."""

    number: int
    params: Params


class Method(Protocol):
    """A search: what a free worker does next, and what comes of it.

    ``next`` gives a trial that is to be trained for one more epoch, a new one or one that waits or was paused; None if
    there is nothing to do before another step ends. A trial is in one worker's hands at a time. ``report`` says that a
    step ended: the trial was trained to ``epoch``, where it has ``value``, the greater the better.
    """

    def next(self) -> Step | None: ...

    def report(self, number: int, epoch: int, value: float) -> None: ...


@dataclass(frozen=True)
class Change:
    """From here on, another trial is the best known.

    Attributes:
        epochs: that all trials together have trained.
        seconds: on the clock.
        regret: of the new best trial, if it is trained fully.
    """

    epochs: int
    seconds: float
    regret: float


@dataclass(frozen=True)
class Run:
    """One search, as it went.

    Attributes:
        changes: of the incumbent, by time.
        epochs: trained in all.
        seconds: on the clock at the end.
        trials: begun.
        full: trials that were trained fully.
    """

    changes: tuple[Change, ...]
    epochs: int
    seconds: float
    trials: int
    full: int


class _Curve:
    """A trial's values and durations, evaluated as far as they are needed."""

    def __init__(self, benchmark: Benchmark, params: Params) -> None:
        self.params = params
        self.epochs = 0  # trained
        self._benchmark = benchmark
        self._values: list[float] = []
        self._seconds: list[float] = [0.0]

    def value(self, epoch: int) -> float:
        while len(self._values) < epoch:
            self._extend()
        return self._values[epoch - 1]

    def duration(self, epoch: int) -> float:
        """Of one epoch alone."""
        self.value(epoch)
        return max(0.0, self._seconds[epoch] - self._seconds[epoch - 1])

    def final(self) -> float:
        last = self._benchmark.max_epochs
        if len(self._values) == last:
            return self._values[-1]
        return float(self._benchmark.evaluate(self.params, [last])[0][0])

    def _extend(self) -> None:
        known = len(self._values)
        portion = next((end for end in _PORTIONS if end > known), known * 2)
        epochs = range(known + 1, min(portion, self._benchmark.max_epochs) + 1)
        values, seconds = self._benchmark.evaluate(self.params, epochs)
        self._values += values.tolist()
        self._seconds += seconds.tolist()


class _Incumbent:
    """The trial with the best value at the epoch that it was trained to."""

    def __init__(self) -> None:
        self._values: dict[int, float] = {}
        self._best: int | None = None

    def update(self, number: int, value: float) -> int:
        """Takes in where a trial stands now; returns the best one, the first of equal ones."""
        before = self._values.get(number)
        self._values[number] = value
        if number == self._best and before is not None and value < before:
            self._best = max(self._values, key=lambda other: (self._values[other], -other))
        elif self._best is None or (value, -number) > (self._values[self._best], -self._best):
            self._best = number
        return self._best


def simulate(method: Method, benchmark: Benchmark, workers: int, budget: int) -> Run:
    """Runs a search until its trials have trained ``budget`` epochs together.

    A free worker takes a step at once if there is one; its epoch counts when it ends, and takes the time that the
    benchmark says. What waits or was paused costs nothing, and goes on where it was. Steps that end at the same time
    are reported in the order in which they began.

    Args:
        method: the search.
        benchmark: what it searches.
        workers: steps at a time.
        budget: epochs in all; no step begins beyond it.

    Raises:
        RuntimeError: the method gives a trial that it must not, or has nothing for a free worker although no step runs
            and the space has no end.
    """
    curves: dict[int, _Curve] = {}
    running: list[tuple[float, int, int]] = []  # (end, order, trial), a heap
    busy: set[int] = set()
    incumbent = _Incumbent()
    best: list[tuple[int, float, int]] = []  # (epochs, seconds, trial) at each change
    clock, begun, ended = 0.0, 0, 0
    while True:
        while begun < budget and len(running) < workers and (step := method.next()) is not None:
            if step.number not in curves:
                curves[step.number] = _Curve(benchmark, step.params)
            curve = curves[step.number]
            if step.number in busy or curve.epochs == benchmark.max_epochs:
                raise RuntimeError(f"a step must be of a free trial that is not trained fully. Received: {step}")
            busy.add(step.number)
            heapq.heappush(running, (clock + curve.duration(curve.epochs + 1), begun, step.number))
            begun += 1
        if not running:
            if begun < budget and benchmark.space.size() is None:
                raise RuntimeError(
                    f"a method must go on until {budget} epochs are trained. Received: nothing at {begun}"
                )
            break
        clock, _, number = heapq.heappop(running)
        busy.remove(number)
        curve = curves[number]
        curve.epochs += 1
        ended += 1
        value = curve.value(curve.epochs)
        top = incumbent.update(number, value)
        if not best or best[-1][2] != top:
            best.append((ended, clock, top))
        method.report(number, curve.epochs, value)
    finals = {top: curves[top].final() for _, _, top in best}
    changes = tuple(Change(epochs, at, benchmark.facts.best - finals[top]) for epochs, at, top in best)
    full = sum(curve.epochs == benchmark.max_epochs for curve in curves.values())
    return Run(changes, ended, clock, len(curves), full)


def sampled(changes: Sequence[Change], places: Array, axis: str) -> Array:
    """The regret at each of these places on one axis, ``epochs`` or ``seconds``; before the first change, the first.

    Args:
        changes: of a run.
        places: ascending, ``(n,)``.
        axis: which.

    Returns:
        ``(n,)``
    """
    at = [getattr(change, axis) for change in changes]
    index = np.maximum(np.searchsorted(at, places, side="right") - 1, 0)
    return np.array([change.regret for change in changes])[index]
