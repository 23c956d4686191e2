"""Learning rates that trials find for themselves: a range test of every member, then its training with that rate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from kerasweep.models.base import ModelBuilder
from kerasweep.records import Decision, Params, Status
from kerasweep.spec.parameters import FOUND_PARAMETER, Find
from kerasweep.training.base import (
    Cohort,
    EpochReport,
    Member,
    Outcome,
    Report,
    Schedule,
    Snapshot,
    Trainer,
    TrainingArrays,
)
from kerasweep.training.cohort.shapes import Programs
from kerasweep.training.rate_finder import Sweep, range_tests

# Where a snapshot's state keeps what was found; all else in it is the wrapped trainer's.
_FOUND = "found"


@dataclass(frozen=True)
class FindingTrainer:
    """The ``Trainer`` of members that have yet to find their learning rates.

    They are tested together, as far as their models can train together, each with all its other hyperparameters and
    its own initial weights. Then they train from the same initial weights, with the rates that were found. A member
    whose test finds none fails, and says why. Of a cross-validation the first fold's training rows are tested on: all
    folds train with one rate, and each on as many rows.

    Attributes:
        trainer: trains them afterwards.
        models: builds their models.
        schedule: of the trainer.
        find: what to find, and when.
    """

    trainer: Trainer
    models: ModelBuilder
    schedule: Schedule
    find: Find
    _programs: Programs = field(default_factory=Programs, repr=False, compare=False)

    def train(
        self, cohort: Cohort, data: TrainingArrays, report: Report, resume: Snapshot | None = None
    ) -> tuple[Outcome, ...]:
        """See ``Trainer``."""
        results = self._tested(cohort, data) if resume is None else dict(resume.state[_FOUND])
        found = {number: {FOUND_PARAMETER: rate} for number, rate in results.items() if not isinstance(rate, str)}
        failed = {
            number: Outcome(number, Status.FAILED, reason)
            for number, reason in results.items()
            if isinstance(reason, str)
        }
        members = tuple(_with(member, found) for member in cohort.members if member.number not in failed)
        untold: tuple[tuple[Outcome, ...], Mapping[int, Params]]
        untold = (() if resume is not None else tuple(failed.values()), found)

        def tell(event: EpochReport) -> Decision:
            nonlocal untold
            (ended, news), untold = untold, ((), {})
            taken = event.snapshot
            more = replace(event, snapshot=lambda: _noted(taken(), results), ended=(*ended, *event.ended), found=news)
            return report(more)

        outcomes = {}
        if members:
            trained = self.trainer.train(Cohort(members), data, tell, resume)
            outcomes = {each.number: replace(each, found=found.get(each.number, {})) for each in trained}
        return tuple(outcomes.get(each.number) or failed[each.number] for each in cohort.members)

    def __reduce__(self) -> tuple[type[FindingTrainer], tuple[Trainer, ModelBuilder, Schedule, Find]]:
        return FindingTrainer, (self.trainer, self.models, self.schedule, self.find)  # programs stay in their process

    def _tested(self, cohort: Cohort, data: TrainingArrays) -> dict[int, float | str]:
        """The rate of every member that is to find one, or why there is none."""
        lowest = {FOUND_PARAMETER: self.find.min}  # a builder may not do without
        members = [
            replace(member, params={**member.params, **lowest})
            for member in cohort.members
            if self.find.applies(member.params)
        ]
        if not members:
            return {}
        rows = data.folds[0] if data.folds else data
        sweep = Sweep(self.find.min, self.find.max, self.find.steps)
        tests = range_tests(self.models, members, rows, self.schedule, sweep, self._programs)
        return {
            number: f"no learning rate was found: {test.reason}" if test.suggestion is None else test.suggestion
            for number, test in tests.items()
        }


def _with(member: Member, found: Mapping[int, Params]) -> Member:
    """A member with what it has found."""
    return replace(member, params={**member.params, **found.get(member.number, {})})


def _noted(snapshot: Snapshot, results: Mapping[int, float | str]) -> Snapshot:
    """A snapshot that also says what was found, so that nobody looks for it again."""
    state = {**snapshot.state, _FOUND: [[number, result] for number, result in results.items()]}
    return replace(snapshot, state=state)
