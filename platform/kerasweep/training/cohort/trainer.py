"""Trains a cohort of any models: in stacks as far as that goes, and the others with ``Model.fit``, epoch by epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from kerasweep.models.base import ModelBuilder
from kerasweep.records import Decision, Metrics, Status
from kerasweep.training.base import (
    Array,
    Cohort,
    EpochReport,
    Member,
    Outcome,
    Report,
    Schedule,
    Snapshot,
    TrainingArrays,
)
from kerasweep.training.cohort.crew import Squad, muster
from kerasweep.training.cohort.program import Rows, rows_of
from kerasweep.training.cohort.shapes import Programs
from kerasweep.training.cohort.stack import Stack, copy_members
from kerasweep.training.failures import reason
from kerasweep.training.keeping import forget_worst
from kerasweep.training.keras_trainer import KerasTrainer
from kerasweep.training.order import epoch_order
from kerasweep.training.progress import MemberProgress
from kerasweep.training.snapshots import best_weights, named_best, under
from kerasweep.training.stepwise import Stepwise


@dataclass(frozen=True)
class CohortTrainer:
    """The ``Trainer`` of many members.

    Attributes:
        models: builds their models.
        schedule: for all of them.
        threads: stacks that train side by side.
    """

    models: ModelBuilder
    schedule: Schedule
    threads: int = 1
    _programs: Programs = field(default_factory=Programs, repr=False, compare=False)

    def train(
        self, cohort: Cohort, data: TrainingArrays, report: Report, resume: Snapshot | None = None
    ) -> tuple[Outcome, ...]:
        """See ``Trainer``."""
        with ThreadPoolExecutor(self.threads, thread_name_prefix="stack") as pool:
            training = _Training(self, cohort, data, pool)
            try:
                return training.run(report, resume)
            finally:
                training.abandon()

    def __reduce__(self) -> tuple[type[CohortTrainer], tuple[ModelBuilder, Schedule, int]]:
        return CohortTrainer, (self.models, self.schedule, self.threads)  # programs stay in their process


class _Solo:
    """A member that trains with ``Model.fit``, one epoch at a time, in a thread that takes turns with the others."""

    def __init__(self, trainer: KerasTrainer, member: Member, data: TrainingArrays, resume: Snapshot | None) -> None:
        self._number = member.number
        self._stepwise = Stepwise(trainer, Cohort((member,)), data, resume)
        self._taken = (lambda: resume) if resume is not None else None

    def epoch(self) -> Metrics | str:
        """The metrics of one more epoch, or why there are none."""
        event = self._stepwise.step(Decision())
        if not isinstance(event, EpochReport):
            return event[0].reason
        self._taken = event.snapshot
        return event.metrics[self._number]

    def snapshot(self) -> Snapshot:
        """Its state after the last epoch."""
        if self._taken is None:
            raise RuntimeError("a snapshot is of a finished epoch. Received: a member before its first")
        return self._taken()

    def best(self) -> tuple[Array, ...]:
        return best_weights(self.snapshot(), self._number)

    def abandon(self) -> None:
        self._stepwise.abandon()


class _Training:
    """A cohort on its way."""

    def __init__(self, trainer: CohortTrainer, cohort: Cohort, data: TrainingArrays, pool: ThreadPoolExecutor) -> None:
        self._trainer = trainer
        self._schedule = trainer.schedule
        self._data = data
        self._pool = pool
        self._members = {member.number: member for member in cohort.members}
        validated = data.validation is not None
        self._progress = {number: MemberProgress(self._schedule, validated) for number in self._members}
        self._outcomes: dict[int, Outcome] = {}
        self._squads: dict[int, Squad] = {}
        self._solos: dict[int, _Solo] = {}
        self._notes: list[str] = []
        self._epoch = 0

    def run(self, report: Report, resume: Snapshot | None) -> tuple[Outcome, ...]:
        """Trains to the end."""
        rows = rows_of(self._data)
        failed = self._muster(resume)
        if resume is not None:
            self._restore(resume)
            self._obey(resume.decision)
        ended = [self._end(number, Status.FAILED, why) for number, why in failed.items() if resume is None]
        self._change()
        while self._living and self._epoch < self._schedule.epochs:
            metrics, failures = self._trained(rows)
            self._epoch += 1
            ended += self._taken(metrics, failures)
            last = self._epoch >= self._schedule.epochs or not self._living
            if self._epoch >= self._schedule.epochs:
                ended += [self._end(number, Status.FINISHED) for number in sorted(self._living)]
            if metrics:
                decision = report(
                    EpochReport(self._epoch, metrics, self._snapshot, last, tuple(ended), tuple(self._notes))
                )
                ended, self._notes = [], []
                self._obey(decision)
            self._change()
        return tuple(self._outcomes[number] for number in self._members)

    def abandon(self) -> None:
        """Ends the members that train alone, whatever comes of them."""
        for solo in self._solos.values():
            solo.abandon()

    @property
    def _living(self) -> set[int]:
        return self._members.keys() - self._outcomes.keys()

    @property
    def _stacks(self) -> list[Stack]:
        return [stack for squad in self._squads.values() for stack in squad.stacks]

    def _muster(self, resume: Snapshot | None) -> Mapping[int, str]:
        """Takes the cohort apart; returns why some members' models could not be built."""
        members = list(self._members.values())
        crew = muster(self._trainer.models, members, self._data, self._schedule, self._trainer._programs)
        self._squads = dict(enumerate(crew.squads))
        if resume is None:
            self._send_alone(crew.alone)
        return crew.failed

    def _send_alone(self, why: Mapping[int, str]) -> None:
        """Members that cannot be stacked; told once for each cause."""
        for cause in dict.fromkeys(why.values()):
            numbers = [number for number, each in why.items() if each == cause]
            self._notes.append(
                f"{len(numbers)} trial(s) from trial {numbers[0]} on have no form for training together, "
                f"and train with Model.fit: {cause}"
            )
        for number in why:
            self._solos[number] = self._solo(number, None)

    def _solo(self, number: int, resume: Snapshot | None) -> _Solo:
        trainer = KerasTrainer(self._trainer.models, self._schedule)
        return _Solo(trainer, self._members[number], self._data, resume)

    def _trained(self, rows: Rows) -> tuple[dict[int, Metrics], dict[int, str]]:
        """One epoch of everybody: metrics of those that came through, and why the others did not."""
        order = epoch_order(self._schedule.order_seed, self._epoch, len(self._data))
        metrics: dict[int, Metrics] = {}
        failures: dict[int, str] = {}
        # The largest first, but one of each program before the others: they would only wait for it to be compiled.
        turns = sorted(
            ((place, i, stack) for i, squad in self._squads.items() for place, stack in enumerate(squad.stacks)),
            key=lambda turn: (turn[0], -turn[1]),
        )
        frozen = self._schedule.frozen(self._epoch)
        running = [
            (i, stack, self._pool.submit(stack.epoch, rows, order, self._squads[i].batch, frozen=frozen))
            for _, i, stack in turns
        ]
        for i, stack, future in running:
            error = future.exception()
            if error is None:
                metrics |= future.result()
            elif not isinstance(error, Exception):
                raise error
            else:
                self._squads[i].stacks.remove(stack)
                if self._epoch == 0:  # what a stack cannot do, fit may
                    layers = f"layer {', '.join(stack.mapped)}: " if stack.mapped else ""
                    self._send_alone(dict.fromkeys(stack.numbers, layers + reason(error)))
                else:
                    failures |= dict.fromkeys(stack.numbers, reason(error))
        self._squads = {i: squad for i, squad in self._squads.items() if squad.stacks}
        for number, solo in self._solos.items():
            result = solo.epoch()
            if isinstance(result, str):
                failures[number] = result
            else:
                metrics[number] = result
        return {number: metrics[number] for number in sorted(metrics)}, failures

    def _taken(self, metrics: dict[int, Metrics], failures: Mapping[int, str]) -> list[Outcome]:
        """Notes an epoch; members that fail in it are taken out of its metrics.

        Returns:
            The outcomes of those that have ended.
        """
        failures = dict(failures)
        improved: set[int] = set()
        for number in list(metrics):
            try:
                if self._progress[number].add(metrics[number]):
                    improved.add(number)
            except (FloatingPointError, KeyError) as error:
                del metrics[number]
                failures[number] = reason(error)
        for stack in self._stacks:
            stack.keep_best(improved)
        stopped = [number for number in metrics if self._progress[number].stopped_early]
        return [
            *(self._end(number, Status.FAILED, why) for number, why in sorted(failures.items())),
            *(self._end(number, Status.FINISHED) for number in stopped),
        ]

    def _obey(self, decision: Decision) -> None:
        """Carries a decision out, and lets go of those who have ended."""
        for number in sorted(decision.stop & self._living):
            self._end(number, Status.STOPPED)
        copy_members(self._stacks, decision.copies)
        for target, copy in decision.copies.items():
            self._progress[target].follow(self._progress[copy.source])
        for squad in self._squads.values():
            steps = self._schedule.ahead(self._epoch) * math.ceil(len(self._data) / squad.batch)
            squad.leave(self._outcomes.keys(), steps)
        self._squads = {i: squad for i, squad in self._squads.items() if squad.stacks}
        for number in self._solos.keys() & self._outcomes.keys():
            self._solos.pop(number).abandon()

    def _change(self) -> None:
        """Replays the changes of hyperparameters that are due."""
        for stack in self._stacks:
            for number in stack.numbers:
                for change in self._members[number].changes:
                    if change.epoch == self._epoch:
                        stack.change(number, change.params)

    def _end(self, number: int, status: Status, why: str = "") -> Outcome:
        """A member ends."""
        weights = () if status is Status.FAILED else self._best(number)
        outcome = self._progress[number].outcome(number, status, why, weights)
        self._outcomes[number] = outcome
        self._forget()
        return outcome

    def _best(self, number: int) -> tuple[Array, ...]:
        if number in self._solos:
            return self._solos[number].best()
        return next(stack.best(number) for stack in self._stacks if number in stack.numbers)

    def _forget(self) -> None:
        """Of many members, the weights of the best ones are kept once they have ended."""
        if self._data.validation is not None:
            forget_worst(self._outcomes, self._schedule.objective)

    def _snapshot(self) -> Snapshot:
        arrays: dict[str, Array] = {}
        for i, squad in self._squads.items():
            for place, stack in enumerate(squad.stacks):
                arrays |= {f"squad_{i}_{place}_{name}": array for name, array in stack.arrays().items()}
        solos = {number: solo.snapshot() for number, solo in self._solos.items() if number in self._living}
        for number, snapshot in solos.items():
            arrays |= {f"solo_{number}_{name}": array for name, array in snapshot.arrays.items()}
        for number in self._members:
            outcome = self._outcomes.get(number)
            arrays |= named_best(number, self._best(number) if outcome is None else outcome.weights)
        state = {
            "epoch": self._epoch,
            "progress": [[number, progress.to_state()] for number, progress in self._progress.items()],
            "ended": [[number, outcome.status, outcome.reason] for number, outcome in self._outcomes.items()],
            "squads": [[i, [stack.host() for stack in squad.stacks]] for i, squad in self._squads.items()],
            "solos": [[number, snapshot.state] for number, snapshot in solos.items()],
        }
        return Snapshot(arrays, state)

    def _restore(self, snapshot: Snapshot) -> None:
        """Takes over what ``_snapshot`` gave."""
        state = snapshot.state
        self._epoch = int(state["epoch"])
        for number, progress in state["progress"]:
            self._progress[number].restore(progress)
        for number, status, why in state["ended"]:
            weights = best_weights(snapshot, number)
            self._outcomes[number] = self._progress[number].outcome(number, Status(status), why, weights)
        hosts = dict(state["squads"])
        self._squads = {i: squad for i, squad in self._squads.items() if i in hosts}
        for i, squad in self._squads.items():
            squad.restore(
                [(under(f"squad_{i}_{place}_", snapshot.arrays), host) for place, host in enumerate(hosts[i])]
            )
        for number, own in state["solos"]:
            self._solos[number] = self._solo(number, Snapshot(under(f"solo_{number}_", snapshot.arrays), own))
