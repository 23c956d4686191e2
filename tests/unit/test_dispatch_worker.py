"""A cohort in training, one epoch at a time, with a trainer of our own protocol that counts."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from kerasweep.data.base import Facts, SearchData, Split
from kerasweep.data.preprocessing import fit
from kerasweep.dispatch.worker import CohortRun, arrays_of
from kerasweep.records import Status
from kerasweep.spec.vocabulary import Task
from kerasweep.training import Cohort, Decision, EpochReport, Member, Outcome, Report, Snapshot, TrainingArrays

COHORT = Cohort((Member(0, {}, 1),))
ARRAYS = TrainingArrays(np.zeros((2, 1), "float32"), np.zeros((2, 1), "float32"), None)


@dataclass
class Counter:
    """Counts epochs, and notes what happens in which order; ``raise_at`` breaks it there."""

    epochs: int = 3
    raise_at: int | None = None
    notes: list[str] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)

    def train(
        self, cohort: Cohort, data: TrainingArrays, report: Report, resume: Snapshot | None = None
    ) -> tuple[Outcome, ...]:
        done = int(resume.state["epoch"]) if resume else 0
        self.notes.append(f"begin after {done}")
        try:
            for epoch in range(done + 1, self.epochs + 1):
                if epoch == self.raise_at:
                    raise MemoryError("the card is full")
                self.notes.append(f"train {epoch}")
                snapshot: Callable[[], Snapshot] = lambda epoch=epoch: Snapshot({}, {"epoch": epoch})  # noqa: E731
                self.decisions.append(
                    report(EpochReport(epoch, {0: {"loss": 1.0 / epoch}}, snapshot, epoch == self.epochs))
                )
        finally:
            self.notes.append("end")
        return (Outcome(0, Status.FINISHED, history=({},) * self.epochs),)


def run(trainer: Counter, resume: Snapshot | None = None) -> CohortRun:
    return CohortRun(trainer, COHORT, ARRAYS, resume)


def test_a_step_is_an_epoch_and_the_last_one_brings_the_outcomes() -> None:
    trainer = Counter(3)
    training = run(trainer)
    assert trainer.notes == []  # nothing happens before the first step
    for epoch in (1, 2):
        report, outcomes = training.step()
        assert report is not None
        assert (report.epoch, outcomes) == (epoch, None)
        assert trainer.notes[-1] == f"train {epoch}"  # the next epoch has not begun
    report, outcomes = training.step()
    assert report is not None
    assert (report.epoch, report.last) == (3, True)
    assert outcomes is not None
    assert outcomes[0].status is Status.FINISHED
    assert trainer.notes == ["begin after 0", "train 1", "train 2", "train 3", "end"]
    assert trainer.decisions == [Decision()] * 3


def test_the_snapshot_is_that_of_the_last_finished_epoch() -> None:
    training = run(Counter(2))
    assert training.snapshot() is None
    for epoch in (1, 2):
        training.step()
        snapshot = training.snapshot()
        assert snapshot is not None
        assert snapshot.state == {"epoch": epoch}


def test_a_resumed_cohort_goes_on_and_can_be_saved_before_its_first_epoch() -> None:
    trainer = Counter(3)
    resume = Snapshot({}, {"epoch": 2})
    training = run(trainer, resume)
    assert training.snapshot() is resume
    report, outcomes = training.step()
    assert report is not None
    assert report.epoch == 3
    assert outcomes is not None
    assert trainer.notes[0] == "begin after 2"


def test_a_cohort_with_nothing_left_to_train_has_outcomes_without_a_report() -> None:
    report, outcomes = run(Counter(3), Snapshot({}, {"epoch": 3})).step()
    assert report is None
    assert outcomes is not None


@pytest.mark.parametrize("steps", [0, 1, 2, 3])
def test_abandoning_ends_training_where_it_is(steps: int) -> None:
    before = threading.active_count()
    trainer = Counter(3)
    training = run(trainer)
    for _ in range(steps):
        training.step()
    training.abandon()
    training.abandon()  # Ray may clean up twice
    assert threading.active_count() == before
    assert trainer.notes == (
        ["begin after 0", *(f"train {epoch}" for epoch in range(1, steps + 1)), "end"] * bool(steps)
    )


def test_what_a_trainer_raises_reaches_the_caller() -> None:
    trainer = Counter(3, raise_at=2)
    training = run(trainer)
    training.step()
    with pytest.raises(MemoryError, match="the card is full"):
        training.step()
    training.abandon()
    assert trainer.notes[-1] == "end"


def test_a_trainer_that_goes_on_after_its_last_report_is_told_off() -> None:
    class Endless(Counter):
        def train(
            self, cohort: Cohort, data: TrainingArrays, report: Report, resume: Snapshot | None = None
        ) -> tuple[Outcome, ...]:
            for epoch in (1, 2):
                report(EpochReport(epoch, {}, lambda: Snapshot({}, {}), last=True))
            return ()

    training = run(Endless())
    with pytest.raises(RuntimeError, match=r"must end after its last report\. Received: epoch 2"):
        training.step()
    training.abandon()


def test_arrays_are_preprocessed_and_can_be_merged() -> None:
    rng = np.random.default_rng(0)
    splits = [Split(rng.normal(5, 3, (rows, 2)).astype("float32"), rng.random((rows, 1))) for rows in (40, 10)]
    data = SearchData(*splits, fit(splits[0].x), Facts(Task.REGRESSION, 1), "f", "test")
    apart = arrays_of(data)
    assert apart.validation is not None
    np.testing.assert_allclose(apart.x.mean(axis=0), 0, atol=1e-5)  # standardised by the training rows
    assert [len(apart.x), len(apart.y), len(apart.validation[0]), len(apart.validation[1])] == [40, 40, 10, 10]
    merged = arrays_of(data, merge=True)
    assert merged.validation is None
    np.testing.assert_array_equal(merged.x, np.concatenate([apart.x, apart.validation[0]]))
    np.testing.assert_array_equal(merged.y, np.concatenate([splits[0].y, splits[1].y]))
