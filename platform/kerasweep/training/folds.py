"""Cross-validation: every member trains once on each fold, side by side, and stands for the means over the folds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from kerasweep.records import Decision, Metrics, Status
from kerasweep.training.base import (
    Array,
    Cohort,
    EpochReport,
    Outcome,
    Report,
    Schedule,
    Snapshot,
    Trainer,
    TrainingArrays,
)
from kerasweep.training.failures import reason
from kerasweep.training.progress import MemberProgress
from kerasweep.training.snapshots import under
from kerasweep.training.stepwise import Stepwise


@dataclass(frozen=True)
class FoldsTrainer:
    """The ``Trainer`` of a cross-validation.

    A member's metrics are the means over its folds, and its early stopping and every decision follow from those. Of the
    objective there are also each fold's value, ``val_loss_fold_1`` and so on, and their standard deviation,
    ``val_loss_std``. A member that fails in one fold has failed. There are as many models as folds, so an outcome has
    no weights: a member is trained again, on all rows, for the epochs that were best on average.

    Attributes:
        trainer: of one fold; its schedule has no early stopping, for that is decided here.
        schedule: of the members.
        threads: folds that train side by side.
    """

    trainer: Trainer
    schedule: Schedule
    threads: int = 1

    def train(
        self, cohort: Cohort, data: TrainingArrays, report: Report, resume: Snapshot | None = None
    ) -> tuple[Outcome, ...]:
        """See ``Trainer``."""
        if not data.folds:
            raise ValueError("a cross-validation needs folds. Received: data without any")
        with ThreadPoolExecutor(self.threads, thread_name_prefix="fold") as pool:
            training = _Training(self, cohort, data.folds, pool, resume)
            try:
                return training.run(report)
            finally:
                training.abandon()


class _Training:
    """A cohort on its way through all folds, in step."""

    def __init__(
        self,
        trainer: FoldsTrainer,
        cohort: Cohort,
        folds: Sequence[TrainingArrays],
        pool: ThreadPoolExecutor,
        resume: Snapshot | None,
    ) -> None:
        self._schedule = trainer.schedule
        self._objective = trainer.schedule.objective.metric
        self._pool = pool
        self._progress = {member.number: MemberProgress(self._schedule, True) for member in cohort.members}
        self._outcomes: dict[int, Outcome] = {}
        self._epoch = 0
        self._reports: list[EpochReport] = []
        if resume is not None:
            self._restore(resume)
        starts = [_of_fold(i, resume, frozenset(self._outcomes)) for i in range(len(folds))]
        self._runs = [Stepwise(trainer.trainer, cohort, *each) for each in zip(folds, starts, strict=True)]

    def run(self, report: Report) -> tuple[Outcome, ...]:
        """Trains to the end."""
        decision = Decision()
        ended: list[Outcome] = []
        while self._living and self._epoch < self._schedule.epochs:
            metrics, failures = self._trained(decision)
            self._epoch += 1
            ended += self._taken(metrics, failures)
            last = self._epoch >= self._schedule.epochs or not self._living
            if self._epoch >= self._schedule.epochs:
                ended += [self._end(number, Status.FINISHED) for number in sorted(self._living)]
            if metrics:
                notes = tuple(dict.fromkeys(note for each in self._reports for note in each.notes))
                told = report(EpochReport(self._epoch, metrics, self._snapshot, last, tuple(ended), notes))
                ended = []
                self._obey(told)
                decision = Decision(frozenset(self._outcomes), told.copies)
        return tuple(self._outcomes[number] for number in self._progress)

    def abandon(self) -> None:
        """Ends what is still in training."""
        for run in self._runs:
            run.abandon()

    @property
    def _living(self) -> set[int]:
        return self._progress.keys() - self._outcomes.keys()

    def _trained(self, decision: Decision) -> tuple[dict[int, Metrics], dict[int, str]]:
        """One epoch of all folds: the metrics of the members that came through, and why the others did not."""
        events = list(self._pool.map(lambda run: run.step(decision), self._runs))
        self._reports = [event for event in events if isinstance(event, EpochReport)]
        failures: dict[int, str] = {}
        for i, event in enumerate(events, 1):
            outcomes = event.ended if isinstance(event, EpochReport) else event
            for outcome in outcomes:
                if outcome.status is Status.FAILED and outcome.number in self._living:
                    failures.setdefault(outcome.number, f"{outcome.reason} (fold {i})")
        through = sorted(self._living - failures.keys())
        return {number: self._joined([each.metrics[number] for each in self._reports]) for number in through}, failures

    def _joined(self, folds: Sequence[Metrics]) -> Metrics:
        """A member's metrics over its folds."""
        joined = {name: float(np.mean([metrics[name] for metrics in folds])) for name in folds[0]}
        if self._objective in joined:
            values = [metrics[self._objective] for metrics in folds]
            joined |= {f"{self._objective}_fold_{i}": value for i, value in enumerate(values, 1)}
            joined[f"{self._objective}_std"] = float(np.std(values))
        return joined

    def _taken(self, metrics: dict[int, Metrics], failures: Mapping[int, str]) -> list[Outcome]:
        """Notes an epoch; members that fail in it are taken out of its metrics.

        Returns:
            The outcomes of those that have ended.
        """
        failed = dict(failures)
        for number in list(metrics):
            try:
                self._progress[number].add(metrics[number])
            except (FloatingPointError, KeyError) as error:
                del metrics[number]
                failed[number] = reason(error)
        stopped = [number for number in metrics if self._progress[number].stopped_early]
        return [
            *(self._end(number, Status.FAILED, why) for number, why in sorted(failed.items())),
            *(self._end(number, Status.FINISHED) for number in stopped),
        ]

    def _obey(self, decision: Decision) -> None:
        for number in sorted(decision.stop & self._living):
            self._end(number, Status.STOPPED)
        for target, copy in decision.copies.items():
            self._progress[target].follow(self._progress[copy.source])

    def _end(self, number: int, status: Status, why: str = "") -> Outcome:
        outcome = self._progress[number].outcome(number, status, why)
        self._outcomes[number] = outcome
        return outcome

    def _snapshot(self) -> Snapshot:
        taken = [each.snapshot() for each in self._reports]
        arrays: dict[str, Array] = {}
        for i, snapshot in enumerate(taken):
            arrays |= {f"fold_{i}_{name}": array for name, array in snapshot.arrays.items()}
        state = {
            "epoch": self._epoch,
            "progress": [[number, progress.to_state()] for number, progress in self._progress.items()],
            "ended": [[number, outcome.status, outcome.reason] for number, outcome in self._outcomes.items()],
            "folds": [dict(snapshot.state) for snapshot in taken],
        }
        return Snapshot(arrays, state)

    def _restore(self, snapshot: Snapshot) -> None:
        """Takes over what ``_snapshot`` gave, and obeys what was decided then."""
        self._epoch = int(snapshot.state["epoch"])
        for number, progress in snapshot.state["progress"]:
            self._progress[number].restore(progress)
        for number, status, why in snapshot.state["ended"]:
            self._end(number, Status(status), why)
        self._obey(snapshot.decision)


def _of_fold(i: int, resume: Snapshot | None, ended: frozenset[int]) -> Snapshot | None:
    """What one fold goes on from."""
    if resume is None:
        return None
    decision = Decision(ended, resume.decision.copies)
    return Snapshot(under(f"fold_{i}_", resume.arrays), resume.state["folds"][i], decision)
