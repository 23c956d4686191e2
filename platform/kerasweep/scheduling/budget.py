"""What a search will cost in epochs, and in which portions its candidates are asked for."""

from __future__ import annotations

import math
import random
from bisect import insort
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle
from typing import Any

from kerasweep.scheduling.rungs import asha_rungs, hyperband_brackets
from kerasweep.spec.pipeline import AshaScheduler, HyperbandScheduler, MedianScheduler, NoScheduler, SchedulerSpec

# Smaller portions than this would let a searcher chase single trials.
_SMALLEST = 4

# Trials that an estimate for ASHA simulates; they take under a tenth of a second and leave an error of a few percent.
_SIMULATED = 20_000


def generations(scheduler: SchedulerSpec, trials: int, max_epochs: int, concurrency: int) -> Iterator[int]:
    """The sizes of the portions in which candidates are asked for; they add up to ``trials``.

    Hyperband's trials of one bracket are compared with each other, so each bracket is one portion. Other schedulers
    compare as results come; their portions keep all workers busy.

    Args:
        scheduler: of the study.
        trials: in all.
        max_epochs: of a trial.
        concurrency: trials at a time.
    """
    if isinstance(scheduler, HyperbandScheduler):
        sizes = cycle(bracket.trials for bracket in hyperband_brackets(max_epochs, scheduler.eta))
    else:
        sizes = cycle([max(_SMALLEST, concurrency)])
    left = trials
    while left > 0:
        size = min(left, next(sizes))
        yield size
        left -= size


def expected_epochs(scheduler: SchedulerSpec, trials: int, max_epochs: int) -> tuple[float, float]:
    """What all trials together will train: an estimate, and a bound that they cannot exceed.

    Early stopping and failures are not foreseen; they only save.

    - none: every trial trains to its end; both numbers are the same.
    - hyperband: what the brackets say, the last one as far as it is filled; both numbers are the same.
    - asha: if trials come in random order and their curves do not cross, by simulation. A trial is compared only with
      those before it, so the first ones pass easily and more than 1/eta go on at each rung. Better trials later (a
      searcher that learns) cost more, at most every trial's full length.
    - median: if half of the trials end at their first chance; at most every trial's full length.

    Args:
        scheduler: of the study.
        trials: in all.
        max_epochs: of a trial.

    Returns:
        ``(expected, bound)``, in epochs.
    """
    return _COSTS[scheduler.name](scheduler, trials, max_epochs)


def _full(scheduler: NoScheduler, trials: int, max_epochs: int) -> tuple[float, float]:
    return float(trials * max_epochs), float(trials * max_epochs)


def _hyperband(scheduler: HyperbandScheduler, trials: int, max_epochs: int) -> tuple[float, float]:
    brackets = hyperband_brackets(max_epochs, scheduler.eta)
    total = 0
    for bracket, started in zip(cycle(brackets), generations(scheduler, trials, max_epochs, 1), strict=False):
        total += bracket.epochs(started)
    return float(total), float(total)


def _asha(scheduler: AshaScheduler, trials: int, max_epochs: int) -> tuple[float, float]:
    bound = float(trials * max_epochs)
    ladders = asha_rungs(scheduler.grace, scheduler.eta, max_epochs, scheduler.brackets)
    weights = [math.exp(len(ladder)) for ladder in ladders]  # Ray draws a trial's bracket with these
    rng = random.Random(0)
    studies = max(1, _SIMULATED // trials)
    total = 0
    for _ in range(studies):
        recorded: list[list[list[float]]] = [[[] for _ in ladder] for ladder in ladders]
        for index in rng.choices(range(len(ladders)), weights, k=trials):
            rung = _stopping_rung(rng.random(), recorded[index], scheduler.eta)
            total += max_epochs if rung is None else ladders[index][rung]
    return total / studies, bound


def _stopping_rung(reward: float, recorded: Sequence[list[float]], eta: float) -> int | None:
    """The index of the rung that stops a trial, None if it passes them all; its reward is recorded on its way.

    A rung stops what is worse than the quantile 1 - 1/eta of those that came before, linear between two of them.
    """
    for rung, before in enumerate(recorded):
        place = (1 - 1 / eta) * (len(before) - 1)
        stops = False
        if before:
            low, high = before[math.floor(place)], before[math.ceil(place)]
            stops = reward < low + (place - math.floor(place)) * (high - low)
        insort(before, reward)
        if stops:
            return rung
    return None


def _median(scheduler: MedianScheduler, trials: int, max_epochs: int) -> tuple[float, float]:
    bound = float(trials * max_epochs)
    safe = min(trials, scheduler.min_trials)
    judged = trials - safe
    short = min(scheduler.grace, max_epochs)
    return float(safe * max_epochs) + judged * (short + max_epochs) / 2, bound


_COSTS: dict[str, Callable[[Any, int, int], tuple[float, float]]] = {
    "none": _full,
    "asha": _asha,
    "hyperband": _hyperband,
    "median": _median,
}
