"""A cohort in training, one epoch at a time, with a trainer and a scheduler of our own that follow a script."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from kerasweep.data.base import Facts, SearchData, Split
from kerasweep.data.preprocessing import fit
from kerasweep.dispatch.standings import Standings, epochs_of
from kerasweep.dispatch.worker import CohortRun, Step, arrays_of
from kerasweep.records import Change, Copy, Decision, Standing, Status
from kerasweep.scheduling import Scheduler
from kerasweep.spec.vocabulary import Task
from kerasweep.training import Cohort, EpochReport, Member, Outcome, Report, Snapshot, TrainingArrays, snapshots

ARRAYS = TrainingArrays(np.zeros((2, 1), "float32"), np.zeros((2, 1), "float32"), None)


def cohort(size: int = 1) -> Cohort:
    return Cohort(tuple(Member(number, {"rate": number / 10, "units": 3}, number) for number in range(size)))


@dataclass
class Script:
    """A trainer whose members report their number plus one over the epoch; notes what happens in which order.

    Attributes:
        epochs: of a member at most.
        raise_at: an exception breaks training there.
        fails: member -> epoch in which it fails.
    """

    epochs: int = 3
    raise_at: int | None = None
    fails: Mapping[int, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)

    def train(
        self, cohort: Cohort, data: TrainingArrays, report: Report, resume: Snapshot | None = None
    ) -> tuple[Outcome, ...]:
        numbers = [member.number for member in cohort.members]
        done, living, ended = 0, set(numbers), dict[int, Outcome]()
        if resume is not None:
            done, living = int(resume.state["epoch"]), set(resume.state["living"])
            ended = {n: Outcome(n, Status.FINISHED) for n in numbers if n not in living}
            self._obey(resume.decision, living, ended)
        self.notes.append(f"begin after {done}")
        try:
            for epoch in range(done + 1, self.epochs + 1):
                if not living:
                    break
                if epoch == self.raise_at:
                    raise MemoryError("the card is full")
                self.notes.append(f"train {epoch}")
                failed = tuple(Outcome(n, Status.FAILED, "nan") for n in sorted(living) if self.fails.get(n) == epoch)
                living -= {outcome.number for outcome in failed}
                metrics = {n: {"loss": 9.0, "val_loss": n + 1 / epoch} for n in sorted(living)}
                state = {"epoch": epoch, "living": sorted(living)}
                last = epoch == self.epochs or not living
                finished = tuple(Outcome(n, Status.FINISHED) for n in sorted(living)) if epoch == self.epochs else ()
                ended |= {outcome.number: outcome for outcome in (*failed, *finished)}
                snapshot = Snapshot({"a": np.ones(2)}, state)
                made = EpochReport(epoch, metrics, lambda snapshot=snapshot: snapshot, last, (*failed, *finished))
                self.decisions.append(report(made))
                self._obey(self.decisions[-1], living, ended)
        finally:
            self.notes.append("end")
        return tuple(ended.get(n, Outcome(n, Status.FINISHED)) for n in numbers)

    def _obey(self, decision: Decision, living: set[int], ended: dict[int, Outcome]) -> None:
        living -= decision.stop
        ended |= {number: Outcome(number, Status.STOPPED) for number in decision.stop}


@dataclass
class Plan:
    """A scheduler that decides what was written down, and keeps what it was asked."""

    decisions: Mapping[int, Decision] = field(default_factory=dict)
    asked: list[tuple[int, dict[int, Standing], frozenset[int]]] = field(default_factory=list)

    def decide(self, epoch: int, members: Mapping[int, Standing], living: frozenset[int]) -> Decision:
        self.asked.append((epoch, dict(members), living))
        return self.decisions.get(epoch, Decision())


def run(
    trainer: Script, resume: Snapshot | None = None, size: int = 1, scheduler: Scheduler | None = None
) -> CohortRun:
    members = cohort(size)
    return CohortRun(trainer, members, ARRAYS, Standings(members, scheduler or Plan(), "val_loss"), resume)


def test_a_step_is_an_epoch_and_the_last_one_ends_the_cohort() -> None:
    trainer = Script(3)
    training = run(trainer)
    assert trainer.notes == []  # nothing happens before the first step
    for epoch in (1, 2):
        step = training.step()
        assert step.report is not None
        assert (step.report.epoch, step.over, step.ended) == (epoch, False, {})
        assert trainer.notes[-1] == f"train {epoch}"  # the next epoch has not begun
    step = training.step()
    assert step.report is not None
    assert (step.report.epoch, step.over, step.ended) == (3, True, {0: (Status.FINISHED, "")})
    assert trainer.notes == ["begin after 0", "train 1", "train 2", "train 3", "end"]
    assert trainer.decisions == [Decision()] * 3


def test_the_snapshot_is_that_of_the_last_finished_epoch() -> None:
    training = run(Script(2))
    assert training.snapshot() is None
    for epoch in (1, 2):
        training.step()
        snapshot = training.snapshot()
        assert snapshot is not None
        assert snapshot.state["epoch"] == epoch
        assert epochs_of(snapshot, 0) == epoch


def test_a_resumed_cohort_goes_on_and_can_be_saved_before_its_first_epoch() -> None:
    before = run(Script(3))
    before.step()
    before.step()
    resume = before.snapshot()
    assert resume is not None
    trainer = Script(3)
    training = run(trainer, resume)
    assert training.snapshot() is resume
    step = training.step()
    assert step.report is not None
    assert (step.report.epoch, step.over) == (3, True)
    assert trainer.notes[0] == "begin after 2"


def test_a_cohort_with_nothing_left_to_train_is_over_without_a_report() -> None:
    before = run(Script(1))
    before.step()
    assert run(Script(1), before.snapshot()).step().report is None
    failing = run(Script(3, fails={0: 1}))
    step = failing.step()
    assert (step.over, step.ended) == (True, {0: (Status.FAILED, "nan")})


@pytest.mark.parametrize("steps", [0, 1, 2, 3])
def test_abandoning_ends_training_where_it_is(steps: int) -> None:
    before = threading.active_count()
    trainer = Script(3)
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
    trainer = Script(3, raise_at=2)
    training = run(trainer)
    training.step()
    with pytest.raises(MemoryError, match="the card is full"):
        training.step()
    training.abandon()
    assert trainer.notes[-1] == "end"


def test_a_trainer_that_goes_on_after_its_last_report_is_told_off() -> None:
    class Endless(Script):
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


# Cohorts of several, and the scheduler that decides within them.


def test_the_scheduler_sees_all_members_as_they_stand_and_is_obeyed() -> None:
    scheduler = Plan({1: Decision(stop=frozenset({3})), 2: Decision(stop=frozenset({0}))})
    trainer = Script(4, fails={2: 2})
    training = run(trainer, size=4, scheduler=scheduler)
    steps = [training.step() for _ in range(4)]
    assert [step.ended for step in steps] == [
        {3: (Status.STOPPED, "")},
        {2: (Status.FAILED, "nan"), 0: (Status.STOPPED, "")},
        {},
        {1: (Status.FINISHED, "")},
    ]
    assert [step.over for step in steps] == [False, False, False, True]
    assert [(epoch, living) for epoch, _, living in scheduler.asked] == [
        (1, frozenset({0, 1, 2, 3})),
        (2, frozenset({0, 1})),
        (3, frozenset({1})),  # at the last epoch there is nothing to decide
    ]
    _, members, _ = scheduler.asked[-1]
    assert {number: standing.values for number, standing in members.items()} == {
        0: (1.0, 0.5),
        1: (2.0, 1.5, 1 + 1 / 3),
        2: (3.0,),
        3: (4.0,),
    }
    assert members[3].params == {"rate": 0.3, "units": 3}
    assert trainer.decisions[:2] == [scheduler.decisions[1], scheduler.decisions[2]]


def test_a_cohort_that_is_stopped_as_a_whole_is_over_with_that_step_and_keeps_its_snapshot() -> None:
    trainer = Script(9)
    training = run(trainer, size=2, scheduler=Plan({2: Decision(stop=frozenset({0, 1}))}))
    training.step()
    step = training.step()
    assert step.over
    assert step.ended == {0: (Status.STOPPED, ""), 1: (Status.STOPPED, "")}
    assert trainer.notes[-1] == "end"
    snapshot = training.snapshot()
    assert snapshot is not None
    assert (snapshot.state["epoch"], snapshot.decision.stop) == (2, {0, 1})


def copies(**sources: Copy) -> Decision:
    return Decision(copies={int(name[1:]): copy for name, copy in sources.items()})


def test_copies_change_parameters_and_what_led_to_them_is_told() -> None:
    scheduler = Plan(
        {
            1: copies(_1=Copy(0, {"rate": 0.5})),
            2: copies(_2=Copy(1, {"rate": 0.6}), _1=Copy(2, {})),  # each from the other's state before
            3: copies(_0=Copy(1, {"rate": 0.7})),
        }
    )
    training = run(Script(5), size=3, scheduler=scheduler)
    told = [training.step().changes for _ in range(4)]
    assert told == [
        {1: (Change(0, {"rate": 0.0}), Change(1, {"rate": 0.5}))},
        {
            2: (Change(0, {"rate": 0.0}), Change(1, {"rate": 0.5}), Change(2, {"rate": 0.6})),
            1: (Change(0, {"rate": 0.2}),),  # all that member 2 ever had
        },
        {0: (Change(0, {"rate": 0.2}), Change(3, {"rate": 0.7}))},
        {},
    ]
    _, members, _ = scheduler.asked[-1]
    assert {number: standing.params["rate"] for number, standing in members.items()} == {0: 0.7, 1: 0.2, 2: 0.6}


def test_a_member_that_gets_its_own_state_back_differs_by_what_came_later_only() -> None:
    scheduler = Plan({1: copies(_1=Copy(0, {"rate": 0.5})), 2: copies(_0=Copy(1, {"rate": 0.6}))})
    training = run(Script(4), size=2, scheduler=scheduler)
    training.step()
    assert training.step().changes == {0: (Change(1, {"rate": 0.5}), Change(2, {"rate": 0.6}))}


def plan() -> Plan:
    return Plan(
        {
            1: Decision(stop=frozenset({3}), copies={2: Copy(0, {"rate": 0.5})}),
            2: copies(_1=Copy(2, {"rate": 0.25})),
            4: Decision(stop=frozenset({0})),
        }
    )


def told(steps: Sequence[Step]) -> list[object]:
    return [(step.report and dict(step.report.metrics), step.ended, step.changes, step.over) for step in steps]


@pytest.mark.parametrize("dies_after", [1, 2, 3, 4])
def test_a_restored_cohort_goes_on_as_if_it_had_never_died(dies_after: int, tmp_path: Path) -> None:
    calm = run(Script(5), size=4, scheduler=(asked := plan()))
    undisturbed = [calm.step() for _ in range(5)]
    first = run(Script(5), size=4, scheduler=plan())
    before = [first.step() for _ in range(dies_after)]
    snapshot = first.snapshot()
    assert snapshot is not None
    snapshots.save(snapshot, tmp_path)
    first.abandon()
    second = run(Script(5), snapshots.load(tmp_path), size=4, scheduler=(again := plan()))
    after = [second.step() for _ in range(dies_after, 5)]
    assert told([*before, *after]) == told(undisturbed)
    assert again.asked == asked.asked[dies_after:]


def test_a_standing_is_plain_json() -> None:
    training = run(Script(5), size=4, scheduler=plan())
    training.step()
    snapshot = training.snapshot()
    assert snapshot is not None
    assert json.loads(json.dumps(snapshot.state)) == snapshot.state
    assert (epochs_of(snapshot, 3), epochs_of(snapshot, 0)) == (1, 1)
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


def test_tensorflow_comes_ahead_without_what_only_its_extras_need() -> None:
    program = """
import sys, threading
from kerasweep.dispatch.worker import import_ahead
import_ahead()
import matplotlib  # beside it, as a user's module may
import tensorflow as tf
for thread in threading.enumerate():
    if thread.name == "tensorflow":
        thread.join()
assert "sklearn" not in sys.modules
import keras, sklearn
model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
model.compile("sgd", "mse")
assert model.fit(tf.zeros((4, 2)), tf.zeros((4, 1)), verbose=0).history["loss"] == [0.0]
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
