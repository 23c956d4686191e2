"""kerasweep's own searchers and schedulers as methods: the one place that knows kerasweep's interfaces.

The study's book is the real one (``kerasweep.study.ledger``), so portions, cohorts, what is told when, and how a trial
ends are what a user gets. What is simulated is the training alone.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from kerasweep.dispatch.base import Ended, Next, Reported
from kerasweep.records import Direction, Objective, Standing, Status
from kerasweep.scheduling import (
    Overlap,
    asha_rungs,
    auto_rungs,
    expected_epochs,
    generations,
    hyperband_brackets,
    last_epochs,
    make_scheduler,
    overlap,
)
from kerasweep.search import make_searcher
from kerasweep.seeds import derive
from kerasweep.spec.schedulers import (
    AshaScheduler,
    AutoScheduler,
    HyperbandScheduler,
    MedianScheduler,
    NoScheduler,
    SchedulerSpec,
)
from kerasweep.spec.searchers import SearcherSpec
from kerasweep.study.budget import Budget
from kerasweep.study.events import Silent
from kerasweep.study.ledger import Ledger, Watchers
from kerasweep.tracking import Untracked
from kerasweep.training.base import Cohort
from quality.benchmark import Benchmark
from quality.simulation import Step

OBJECTIVE = Objective("val_accuracy", Direction.MAXIMIZE)

# Members of a cohort where the scheduler does not say how many are compared.
_COMPARED = 27

# Members of a cohort of the scheduler auto, as of a study of some 50 trials on one worker.
_PACED = 12


@dataclass(frozen=True)
class Setting:
    """A searcher and a scheduler.

    Attributes:
        searcher: its spec.
        scheduler: its spec.
        cohort: members of a cohort at most; None for ``cohort_of``'s.
    """

    searcher: SearcherSpec
    scheduler: SchedulerSpec = field(default_factory=NoScheduler)
    cohort: int | None = None


def cohort_of(scheduler: SchedulerSpec, max_epochs: int) -> int:
    """How many trials are compared with each other.

    Trials that nobody compares are asked for one by one; a bracket of Hyperband comes together.
    """
    if isinstance(scheduler, NoScheduler):
        return 1
    if isinstance(scheduler, HyperbandScheduler):
        return max(bracket.trials for bracket in hyperband_brackets(max_epochs, scheduler.eta, cohort=2))
    return _PACED if isinstance(scheduler, AutoScheduler) else _COMPARED


def stages(scheduler: SchedulerSpec, max_epochs: int) -> frozenset[int]:
    """The epochs after which a scheduler may decide; members need not wait for each other at any other."""
    if isinstance(scheduler, NoScheduler):
        return frozenset()
    if isinstance(scheduler, HyperbandScheduler):
        brackets = hyperband_brackets(max_epochs, scheduler.eta, cohort=2)
        return frozenset(rung for bracket in brackets for rung in bracket.rungs)
    if isinstance(scheduler, AshaScheduler):
        ladders = asha_rungs(scheduler.grace, scheduler.eta, max_epochs, scheduler.brackets)
        return frozenset(rung for ladder in ladders for rung in ladder)
    if isinstance(scheduler, AutoScheduler):
        return frozenset(auto_rungs(max_epochs, scheduler.eta))
    if isinstance(scheduler, MedianScheduler):
        return frozenset(range(scheduler.grace, max_epochs))
    return frozenset(range(1, max_epochs))


def _overlap(scheduler: SchedulerSpec, max_epochs: int, workers: int, cohort: int) -> Overlap:
    """A study's, but that members leave their workers one by one, so that it takes more cohorts to keep all busy."""
    if workers == 1 or cohort == 1:
        return overlap(scheduler, max_epochs, workers, cohort)
    usual = overlap(scheduler, max_epochs, max(2, math.ceil(workers / cohort)), cohort)
    if not isinstance(scheduler, AutoScheduler):
        return usual
    expected, _ = expected_epochs(scheduler, cohort, max_epochs, cohort)
    return replace(usual, lag=math.ceil(workers * max_epochs / expected))


class _Group:
    """A cohort in training."""

    def __init__(self, cohort: Cohort) -> None:
        self.members = {member.number: member for member in cohort.members}
        self.values: dict[int, list[float]] = {number: [] for number in self.members}
        self.living = set(self.members)
        self.waiting: set[int] = set()  # at the epoch of the next decision

    def standings(self) -> dict[int, Standing]:
        return {
            number: Standing(tuple(self.values[number]), member.params, pace=member.pace)
            for number, member in self.members.items()
        }


class Ours:
    """A study of kerasweep.

    Members of a cohort are trained by whoever is free. A cohort decides at an epoch when all its living members have
    come to it. A free worker goes on with the oldest cohort that has something to do; if none has, it asks for another.

    Args:
        setting: what searches.
        benchmark: what is searched.
        workers: of the simulation.
        budget: epochs in all; a bound on the number of trials.
        seed: of the study.
    """

    def __init__(self, setting: Setting, benchmark: Benchmark, workers: int, budget: int, seed: int) -> None:
        epochs = benchmark.max_epochs
        cohort = setting.cohort or cohort_of(setting.scheduler, epochs)
        searcher_seed = derive(seed, "searcher")
        trials = min(budget, benchmark.space.size() or budget)
        self._scheduler = make_scheduler(setting.scheduler, epochs, OBJECTIVE, seed, benchmark.space)
        self._stages = stages(setting.scheduler, epochs)
        self._max_epochs = epochs
        self._ledger = Ledger(
            searcher=make_searcher(setting.searcher, benchmark.space, OBJECTIVE, searcher_seed, max_epochs=epochs),
            generations=generations(setting.scheduler, trials, epochs, -(-workers // cohort), cohort),
            objective=OBJECTIVE,
            budget=Budget(
                trials=trials,
                epochs=epochs,
                seconds=None,
                cohort=cohort,
                overlap=_overlap(setting.scheduler, epochs, workers, cohort),
                last_epochs=last_epochs(setting.scheduler, epochs, cohort),
            ),
            seed=seed,
            watchers=Watchers(Untracked(), Silent()),
            fixed={},
        )
        self._groups: dict[int, _Group] = {}  # by the numbers of living members
        self._ready: deque[int] = deque()

    def next(self) -> Step | None:
        if not self._ready:
            cohort = self._ledger.next_cohort()
            if isinstance(cohort, Next):
                return None
            group = _Group(cohort)
            self._groups.update(dict.fromkeys(group.living, group))
            self._ledger.started(sorted(group.living))
            self._ready.extend(sorted(group.living))
        number = self._ready.popleft()
        return Step(number, self._groups[number].members[number].params)

    def report(self, number: int, epoch: int, value: float) -> None:
        group = self._groups[number]
        group.values[number].append(value)
        self._ledger.reported(Reported(epoch, {number: {OBJECTIVE.metric: value}}))
        if epoch == self._max_epochs:
            self._end(group, [number], Status.FINISHED)
        elif epoch in self._stages:
            group.waiting.add(number)
        else:
            self._ready.appendleft(number)
        if group.living and group.waiting == group.living:
            self._decide(group, epoch)

    def _decide(self, group: _Group, epoch: int) -> None:
        decision = self._scheduler.decide(epoch, group.standings(), frozenset(group.living))
        if decision.copies:
            raise ValueError("a surrogate has no weights to copy: population-based schedulers cannot be measured here")
        self._end(group, sorted(decision.stop), Status.STOPPED)
        group.waiting.clear()
        self._ready.extend(sorted(group.living))

    def _end(self, group: _Group, numbers: Iterable[int], status: Status) -> None:
        ends = [Ended(number, status) for number in numbers]
        for end in ends:
            group.living.remove(end.number)
            del self._groups[end.number]
        self._ledger.ended(ends)
