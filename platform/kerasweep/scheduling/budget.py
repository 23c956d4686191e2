"""What a search will cost in epochs, and in which portions its candidates are asked for."""

from __future__ import annotations

import math
import random
from bisect import insort
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

from kerasweep.scheduling.rungs import (
    asha_rungs,
    auto_rungs,
    best_share,
    bracket_weights,
    epochs_of,
    hyperband_brackets,
    ladder_of,
)
from kerasweep.spec.schedulers import (
    AshaScheduler,
    AutoScheduler,
    HyperbandScheduler,
    MedianScheduler,
    PopulationScheduler,
    SchedulerSpec,
)

# Several workers would wait for each other in smaller portions than this.
_SMALLEST = 4

# Trials that an estimate for ASHA simulates; they take under a tenth of a second and leave an error of a few percent.
_SIMULATED = 20_000


@dataclass(frozen=True)
class Overlap:
    """What need not be known when the next portion of candidates is asked for.

    Attributes:
        lag: portions that may still be in training.
        unseen: of these, how many may not have come to ``glimpse`` yet. Trials of the others are shown to a searcher
            that watches (``search.base.Watching``) as they stood there.
        glimpse: an epoch; 0 if trials are told at their end only.
    """

    lag: int = 1
    unseen: int = 1
    glimpse: int = 0


def generations(
    scheduler: SchedulerSpec, trials: int, max_epochs: int, concurrency: int, cohort: int = 1
) -> Iterator[int]:
    """The sizes of the portions in which candidates are asked for; they add up to ``trials``.

    Trials that are compared with each other come in one portion: those of a bracket of Hyperband, and the population
    of population-based training. It is as large as a cohort can be; a study of more trials has several, equally large
    up to one. A cohort of ``auto`` is a portion, so that the next one knows more. Other schedulers compare as results
    come; their portions keep all workers busy.

    Args:
        scheduler: of the study.
        trials: in all.
        max_epochs: of a trial.
        concurrency: cohorts at a time.
        cohort: members of a cohort at most; with 1 Ray decides across trials.
    """
    if isinstance(scheduler, HyperbandScheduler):
        sizes = cycle(bracket.trials for bracket in hyperband_brackets(max_epochs, scheduler.eta, cohort))
    elif isinstance(scheduler, PopulationScheduler):
        populations = math.ceil(trials / cohort)
        sizes = cycle([math.ceil((trials - index) / populations) for index in range(populations)])
    elif isinstance(scheduler, AutoScheduler) and cohort > 1:
        sizes = cycle([cohort])
    else:
        sizes = cycle([max(_SMALLEST if concurrency > 1 else 1, concurrency * cohort)])
    left = trials
    while left > 0:
        size = min(left, next(sizes))
        yield size
        left -= size


def overlap(scheduler: SchedulerSpec, max_epochs: int, concurrency: int, cohort: int = 1) -> Overlap:
    """How far the portions of ``generations`` overlap.

    One worker may as well wait for the searcher to learn from all trials. Several have another portion to train while
    one ends. ``auto`` stops most trials early, so that it takes more than one to keep them busy; half of the cohorts
    that train at a time must have come to the first rung.

    Args:
        scheduler: of the study.
        max_epochs: of a trial.
        concurrency: cohorts at a time.
        cohort: members of a cohort at most; with 1 Ray decides across trials.
    """
    if concurrency == 1:
        return Overlap(lag=0, unseen=0)
    if not isinstance(scheduler, AutoScheduler):
        return Overlap()
    glimpse = min(auto_rungs(max_epochs, scheduler.eta), default=0)
    if cohort > 1:
        return Overlap(lag=concurrency, unseen=math.ceil(concurrency / 2), glimpse=glimpse)
    portion = max(_SMALLEST, concurrency)
    expected, bound = expected_epochs(scheduler, 100 * portion, max_epochs)
    return Overlap(lag=math.ceil(bound / expected), unseen=1, glimpse=glimpse)


def expected_epochs(scheduler: SchedulerSpec, trials: int, max_epochs: int, cohort: int = 1) -> tuple[float, float]:
    """What all trials together will train: an estimate, and a bound that they cannot exceed.

    Early stopping and failures are not foreseen; they only save.

    - none, pbt, pb2: every trial trains to its end; both numbers are the same.
    - hyperband: what the brackets say, the last one as far as it is filled; both numbers are the same.
    - asha across trials: if trials come in random order and their curves do not cross, by simulation. A trial is
      compared only with those before it, so the first ones pass easily and more than 1/eta go on at each rung. Better
      trials later (a searcher that learns) cost more, at most every trial's full length.
    - asha within cohorts: what the rungs say; both numbers are the same, except that several brackets are filled by
      chance.
    - auto: as asha, with its own rungs; what falls behind its pace only saves.
    - median: if half of the trials end at their first chance; at most every trial's full length.

    Within cohorts the numbers of hyperband and asha are those of full ones (and one that takes the rest). Trials that
    cannot share a cohort make smaller ones, which train a little more: at least one member of each goes on.

    Args:
        scheduler: of the study.
        trials: in all.
        max_epochs: of a trial.
        cohort: members of a cohort; with 1 Ray decides across trials.

    Returns:
        ``(expected, bound)``, in epochs.
    """
    return _COSTS[scheduler.name](scheduler, trials, max_epochs, cohort)


def _cohorts(trials: int, cohort: int) -> Iterator[int]:
    """The sizes of the cohorts that a portion is cut into."""
    yield from [cohort] * (trials // cohort)
    if rest := trials % cohort:
        yield rest


def _full(scheduler: SchedulerSpec, trials: int, max_epochs: int, cohort: int) -> tuple[float, float]:
    return float(trials * max_epochs), float(trials * max_epochs)


def _hyperband(scheduler: HyperbandScheduler, trials: int, max_epochs: int, cohort: int) -> tuple[float, float]:
    brackets = hyperband_brackets(max_epochs, scheduler.eta, cohort)
    portions = generations(scheduler, trials, max_epochs, 1, cohort)
    total = 0.0
    for bracket, started in zip(cycle(brackets), portions, strict=False):
        if cohort == 1:
            total += epochs_of(bracket.rungs, bracket.capped(started))
        else:
            total += sum(epochs_of(bracket.rungs, bracket.scaled(size)) for size in _cohorts(started, cohort))
    return total, total


def _asha(scheduler: AshaScheduler, trials: int, max_epochs: int, cohort: int) -> tuple[float, float]:
    bound = float(trials * max_epochs)
    ladders = asha_rungs(scheduler.grace, scheduler.eta, max_epochs, scheduler.brackets)
    if cohort == 1:
        return _simulated(ladders, scheduler.eta, trials, max_epochs), bound
    weights = bracket_weights(ladders)
    total = 0.0
    for size in _cohorts(trials, cohort):
        for ladder, weight in zip(ladders, weights, strict=True):
            total += _halved(ladder, scheduler.eta, size * weight / sum(weights), max_epochs)
    return total, total if len(ladders) == 1 else bound


def _halved(ladder: Sequence[int], eta: float, started: float, max_epochs: int) -> float:
    """The epochs of one cohort's share of a bracket, which is a fraction where chance decides."""
    rungs = [*sorted({rung for rung in ladder if rung < max_epochs}), max_epochs]
    survivors = [started]
    for _ in rungs[1:]:
        survivors.append(min(survivors[-1], best_share(survivors[-1], eta)))
    return epochs_of(rungs, survivors)


def _simulated(ladders: Sequence[Sequence[int]], eta: float, trials: int, max_epochs: int) -> float:
    """The epochs of one study, on average over many whose trials Ray judges as they come."""
    weights = bracket_weights(ladders)
    rng = random.Random(0)
    simulated = min(trials, _SIMULATED)  # what a trial costs hardly changes after so many
    studies = _SIMULATED // simulated
    total = 0
    for _ in range(studies):
        recorded: list[list[list[float]]] = [[[] for _ in ladder] for ladder in ladders]
        for index in rng.choices(range(len(ladders)), weights, k=simulated):
            rung = _stopping_rung(rng.random(), recorded[index], eta)
            total += max_epochs if rung is None else ladders[index][rung]
    return total / studies * (trials / simulated)


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


def _median(scheduler: MedianScheduler, trials: int, max_epochs: int, cohort: int) -> tuple[float, float]:
    bound = float(trials * max_epochs)
    safe = min(trials, scheduler.min_trials)
    judged = trials - safe
    short = min(scheduler.grace, max_epochs)
    return float(safe * max_epochs) + judged * (short + max_epochs) / 2, bound


def _auto(scheduler: AutoScheduler, trials: int, max_epochs: int, cohort: int) -> tuple[float, float]:
    ladder = auto_rungs(max_epochs, scheduler.eta)
    if cohort == 1:
        return _simulated((ladder,), scheduler.eta, trials, max_epochs), float(trials * max_epochs)
    total, first = 0.0, 0
    for size in _cohorts(trials, cohort):
        total += _halved(ladder_of(ladder, first, size), scheduler.eta, size, max_epochs)
        first += size
    return total, total


_COSTS: dict[str, Callable[[Any, int, int, int], tuple[float, float]]] = {
    "none": _full,
    "asha": _asha,
    "hyperband": _hyperband,
    "median": _median,
    "pbt": _full,
    "pb2": _full,
    "auto": _auto,
}
