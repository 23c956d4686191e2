"""The book of a search: which trials there are, how they stand, and what the searcher may learn when."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from kerasweep.dispatch.base import Ended, Next
from kerasweep.records import Candidate, Metrics, Objective, Params, Status, Trial, winner
from kerasweep.search.base import Searcher
from kerasweep.seeds import derive
from kerasweep.study.events import Observer, Progress
from kerasweep.tracking.base import Tracker
from kerasweep.training.base import Cohort, Member

# If the first trials all fail in the same way, the fault is not in their parameters.
_HOPELESS = 5

# Share of the expected epochs after which the time left is estimated; before, the workers' start counts too much.
_FIRST_ESTIMATE = 0.05


@dataclass(frozen=True)
class Budget:
    """How much a search may spend.

    Attributes:
        trials: at most.
        epochs: at most, of each trial.
        seconds: of the whole search; None for no limit.
        last_epochs: the epoch at which a trial's scheduler ends it even if it is the best, by trial number; trials
            beyond the end go round again. Empty when that is ``epochs`` for all.
        expected_epochs: an estimate of the sum over all trials.
    """

    trials: int
    epochs: int
    seconds: float | None
    last_epochs: Sequence[int] = ()
    expected_epochs: float = 0.0

    def last_epoch(self, number: int) -> int:
        return self.last_epochs[number % len(self.last_epochs)] if self.last_epochs else self.epochs


@dataclass(frozen=True)
class Watchers:
    """Who is told what happens."""

    tracker: Tracker
    observer: Observer


class Ledger:
    """The study's side of ``dispatch.Feed``.

    Candidates are asked for in generations. A generation is asked for when the one before the last has ended, and the
    searcher then knows exactly the trials of all generations but the last, told in their own order. So what it proposes
    depends on the seed alone, never on which trial happened to end first, and workers have a generation's worth of
    trials to train meanwhile.
    """

    def __init__(
        self,
        searcher: Searcher,
        generations: Iterator[int],
        objective: Objective,
        budget: Budget,
        seed: int,
        watchers: Watchers,
        fixed: Params,
    ) -> None:
        self._searcher = searcher
        self._sizes = generations
        self._objective = objective
        self._budget = budget
        self._seed = seed
        self._watchers = watchers
        self._fixed = fixed
        self._trials: dict[int, Trial] = {}
        self._waiting: deque[Candidate] = deque()
        self._generations: list[list[int]] = []
        self._told = 0
        self._exhausted = False
        self._begun = time.monotonic()
        self._epochs = 0
        self._counts = Counter[Status]()
        self._best: Trial | None = None
        self.stop_reason = ""

    @property
    def trials(self) -> tuple[Trial, ...]:
        """All trials that have begun, by number."""
        return tuple(self._trials[number] for number in sorted(self._trials) if self._trials[number].started)

    def stop(self, reason: str) -> None:
        """Asks for an end: no trial begins any more, and running ones end after their epoch."""
        self.stop_reason = self.stop_reason or reason

    # What dispatch calls.

    def next_cohort(self) -> Cohort | Next:
        if self.should_stop():
            return Next.FINISHED
        if not self._waiting and not self._ask():
            return Next.FINISHED if self._exhausted else Next.WAIT
        candidate = self._waiting.popleft()
        seed = derive(self._seed, "trial", candidate.number)
        self._trials[candidate.number] = Trial(candidate.number, candidate.params, seed)
        return Cohort((Member(candidate.number, {**self._fixed, **candidate.params}, seed),))

    def started(self, number: int) -> None:
        trial = self._trials[number]
        if trial.started:
            return  # resumed after a pause or a restart
        self._trials[number] = trial = replace(trial, started=time.time())
        self._counts[Status.RUNNING] += 1
        self._watchers.tracker.begin_trial(trial)

    def reported(self, number: int, epoch: int, metrics: Metrics) -> None:
        trial = self._trials[number]
        if epoch <= len(trial.history):
            return  # trained again after a restart, with the same numbers
        history = (*trial.history, metrics)
        value = metrics.get(self._objective.metric)
        if value is not None and (trial.value is None or self._objective.direction.better(value, trial.value)):
            trial = replace(trial, value=value, epoch=epoch)
        self._trials[number] = trial = replace(trial, history=history)
        self._epochs += 1
        self._best = self._better(trial)
        self._watchers.tracker.log_epochs(number, epoch, [metrics])
        self._watchers.observer.progress(self.progress())

    def ended(self, end: Ended) -> None:
        if not self._trials[end.number].started:
            if end.status is Status.STOPPED:  # the end of the search came before its turn
                del self._trials[end.number]
                return
            self.started(end.number)  # its worker failed to start
        trial = self._trials[end.number]
        status, reason = end.status, end.reason
        if status is Status.STOPPED and len(trial.history) >= self._budget.last_epoch(end.number):
            status = Status.FINISHED
        elif status is Status.STOPPED:
            reason = self.stop_reason or "scheduler"
        trial = replace(trial, status=status, reason=reason, seconds=end.seconds)
        self._trials[end.number] = trial
        self._counts[Status.RUNNING] -= 1
        self._counts[status] += 1
        if status is Status.FAILED:
            self._best = winner(self._trials, self._objective)
            self._check_hope()
        self._watchers.tracker.end_trial(trial)
        self._watchers.observer.trial_ended(trial)
        self._watchers.observer.progress(self.progress())

    def restarted(self, number: int, reason: str) -> None:
        self._watchers.observer.note(
            f"trial {number}: its worker died and it starts again from its checkpoint ({reason})"
        )

    def should_stop(self) -> bool:
        if self._budget.seconds is not None and time.monotonic() - self._begun > self._budget.seconds:
            self.stop("time limit")
        return bool(self.stop_reason)

    def progress(self) -> Progress:
        counts = self._counts
        seconds = time.monotonic() - self._begun
        left = None
        if self._epochs > _FIRST_ESTIMATE * self._budget.expected_epochs:
            left = max(0.0, seconds / self._epochs * (self._budget.expected_epochs - self._epochs))
            if self._budget.seconds is not None:
                left = min(left, max(0.0, self._budget.seconds - seconds))
        return Progress(
            total=self._budget.trials,
            finished=counts[Status.FINISHED],
            stopped=counts[Status.STOPPED],
            failed=counts[Status.FAILED],
            running=counts[Status.RUNNING],
            best=self._best,
            seconds=seconds,
            seconds_left=left,
        )

    def _ask(self) -> bool:
        """Fills the queue with the next generation, if its time has come."""
        if self._exhausted:
            return False
        known = len(self._generations) - 1
        if known > 0 and any(self._trial_runs(number) for number in self._generations[known - 1]):
            return False
        while self._told < known:
            self._searcher.tell([self._trials[number] for number in self._generations[self._told]])
            self._told += 1
        size = next(self._sizes)
        candidates = self._searcher.ask(size)
        self._generations.append([candidate.number for candidate in candidates])
        asked = sum(map(len, self._generations))
        self._exhausted = len(candidates) < size or asked >= self._budget.trials
        self._waiting.extend(candidates)
        return bool(candidates)

    def _trial_runs(self, number: int) -> bool:
        return number not in self._trials or self._trials[number].status is Status.RUNNING

    def _better(self, trial: Trial) -> Trial | None:
        """The better of the best so far and a trial that has just reported."""
        if trial.value is None:
            return self._best
        if self._best is None or self._best.number == trial.number or self._best.value is None:
            return trial
        return trial if self._objective.direction.better(trial.value, self._best.value) else self._best

    def _check_hope(self) -> None:
        ended = [trial for trial in self.trials if trial.status is not Status.RUNNING]
        kinds = {trial.reason.partition(":")[0] for trial in ended}
        if len(ended) == _HOPELESS and all(t.status is Status.FAILED for t in ended) and len(kinds) == 1:
            self.stop(f"the first {_HOPELESS} trials all failed in the same way: {ended[-1].reason}")
