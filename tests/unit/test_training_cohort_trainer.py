"""What a cohort of many does beyond training: decisions, copies, failures, and going on from a snapshot."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from kerasweep.models import FamilyBuilder, Inputs, UserBuilder
from kerasweep.records import Change, Copy, Decision, Direction, Objective, Params, Status
from kerasweep.spec.pipeline import EarlyStopping
from kerasweep.spec.vocabulary import Task
from kerasweep.training import (
    KEPT_MEMBERS,
    Cohort,
    CohortTrainer,
    EpochReport,
    Member,
    Outcome,
    Schedule,
    Snapshot,
    TrainingArrays,
    snapshots,
)
from kerasweep.training.cohort.crew import muster
from kerasweep.training.cohort.shapes import Programs

INPUTS = Inputs((4,), Task.REGRESSION, 1)
FAMILY = FamilyBuilder("mlp", INPUTS)
LOSS = Objective("val_loss", Direction.MINIMIZE)
EPOCHS = 5


def arrays() -> TrainingArrays:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(70, 4)).astype("float32")
    y = (x @ np.array([[1.0], [-2.0], [0.5], [0.0]]) + rng.normal(0, 0.3, (70, 1))).astype("float32")
    return TrainingArrays(x[:50], y[:50], (x[50:], y[50:]))


# Two programs for twelve members: of eight the sizes differ, four have another batch size.
MEMBERS = tuple(
    Member(
        i,
        {
            "n_hidden": 1 + i % 2,
            "n_neurons": 3 + i,
            "optimizer": ("adam", "sgd")[i % 2],
            "learning_rate": 0.003 * (i + 1),
            "dropout": 0.1 * (i % 3),
            "batch_size": 16 if i < 8 else 25,
        },
        seed=100 + i,
    )
    for i in range(12)
)


def trainer(epochs: int = EPOCHS, stopping: EarlyStopping | None = None) -> CohortTrainer:
    return CohortTrainer(FAMILY, Schedule(LOSS, epochs, stopping, order_seed=4), threads=2)


# One trainer for all tests that can share it: its programs are compiled once.
SHARED = trainer()


class Book:
    """Notes every report, answers it, and saves what it is offered."""

    def __init__(self, answers: Mapping[int, Decision] | None = None, folder: Path | None = None) -> None:
        self.reports: list[EpochReport] = []
        self._answers, self._folder = answers or {}, folder

    def __call__(self, report: EpochReport) -> Decision:
        self.reports.append(report)
        decision = self._answers.get(report.epoch, Decision())
        if self._folder is not None:
            taken = report.snapshot()
            folder = self._folder / str(report.epoch)
            folder.mkdir()
            snapshots.save(Snapshot(taken.arrays, taken.state, decision), folder)
        return decision


def same(one: tuple[Outcome, ...], other: tuple[Outcome, ...]) -> None:
    """Bit by bit."""
    for a, b in zip(one, other, strict=True):
        assert (a.number, a.status, a.reason, a.history, a.epoch, a.value) == (
            b.number,
            b.status,
            b.reason,
            b.history,
            b.epoch,
            b.value,
        )
        assert len(a.weights) == len(b.weights)
        assert all((x == y).all() for x, y in zip(a.weights, b.weights, strict=True))


HALVING = {
    1: Decision(stop=frozenset({0, 1, 8, 9, 10})),
    2: Decision(stop=frozenset({2, 3, 4, 5})),
    3: Decision(stop=frozenset({11})),
}
# A population: all of one size, so that one can go on from another's state. It is more than one stack holds.
POPULATION = tuple(
    Member(
        i,
        {"n_neurons": 4, "optimizer": "sgd", "learning_rate": 2e-4 * (i + 1), "dropout": 0.2, "batch_size": 16},
        seed=200 + i,
    )
    for i in range(66)
)
COPYING = {
    2: Decision(copies={0: Copy(60, {"learning_rate": 0.05, "momentum": 0.5}), 65: Copy(50, {"dropout": 0.3})}),
    3: Decision(stop=frozenset({60}), copies={2: Copy(0, {"learning_rate": 0.02}), 0: Copy(65)}),
}

# The same with a schedule: what is copied goes on where its own stood, and a new learning rate is multiplied, too.
SCHEDULED = tuple(
    replace(member, params={**member.params, "schedule": "one_cycle", "start_factor": 0.3}) for member in POPULATION
)

# So many leave that the others are gathered from several stacks.
THINNING = {
    1: Decision(stop=frozenset(i for i in range(66) if i % 3)),
    3: Decision(stop=frozenset(i for i in range(66) if i % 21)),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("members", "answers"),
    [(MEMBERS, {}), (MEMBERS, HALVING), (POPULATION, COPYING), (POPULATION, THINNING), (SCHEDULED, COPYING)],
    ids=["none", "halving", "copying", "thinning", "schedule"],
)
def test_a_cohort_repeats_itself_and_goes_on_from_any_epoch_bit_by_bit(
    members: tuple[Member, ...], answers: Mapping[int, Decision], tmp_path: Path
) -> None:
    book = Book(answers, tmp_path)
    whole = SHARED.train(Cohort(members), arrays(), book)
    assert [report.epoch for report in book.reports] == list(range(1, EPOCHS + 1))
    same(SHARED.train(Cohort(members), arrays(), Book(answers)), whole)
    for epoch in range(1, EPOCHS + 1):
        rest = Book(answers)
        same(SHARED.train(Cohort(members), arrays(), rest, snapshots.load(tmp_path / str(epoch))), whole)
        assert [report.epoch for report in rest.reports] == list(range(epoch + 1, EPOCHS + 1))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("members", "answers", "left"),
    [(MEMBERS, HALVING, [12, 7, 3, 2, 2]), (POPULATION, THINNING, [66, 22, 22, 4, 4])],
    ids=["halving", "thinning"],
)
def test_those_who_are_stopped_leave_and_do_not_change_the_others(
    members: tuple[Member, ...], answers: Mapping[int, Decision], left: list[int]
) -> None:
    free = SHARED.train(Cohort(members), arrays(), Book())
    book = Book(answers)
    fewer = SHARED.train(Cohort(members), arrays(), book)
    assert [len(report.metrics) for report in book.reports] == left
    for outcome, undisturbed in zip(fewer, free, strict=True):
        ends = [epoch for epoch, decision in answers.items() if outcome.number in decision.stop][:1]
        length = ends[0] if ends else EPOCHS
        assert outcome.status is (Status.STOPPED if ends else Status.FINISHED)
        assert len(outcome.history) == length
        for ours, theirs in zip(outcome.history, undisturbed.history, strict=False):
            assert dict(ours) == pytest.approx(dict(theirs), rel=1e-5)


def test_members_are_gathered_into_as_few_stacks_as_hold_them_and_smaller_ones_where_that_pays() -> None:
    (squad,) = muster(FAMILY, POPULATION, arrays(), Schedule(LOSS, EPOCHS), Programs()).squads
    before = {
        number: weights
        for stack in squad.stacks
        for number, weights in zip(stack.numbers, stack.arrays()["weights_0"], strict=False)
    }
    size = squad.stacks[0].size
    assert len(squad.stacks) > 2
    squad.leave({number for number in before if number not in (0, 64, 65)}, steps=0)
    (stack,) = squad.stacks
    assert (stack.size, stack.numbers) == (size, [0, 64, 65])
    squad.leave({0}, steps=1e9)
    (stack,) = squad.stacks
    assert (stack.size, stack.numbers) == (2, [64, 65])
    assert all((now == before[n]).all() for n, now in zip([64, 65], stack.arrays()["weights_0"], strict=True))
    squad.leave({64, 65}, steps=1e9)
    assert not squad.stacks


def test_a_member_is_expected_to_train_as_long_again_as_it_came_through() -> None:
    assert [Schedule(LOSS, 30).ahead(epoch) for epoch in (0, 1, 20)] == [30, 29, 10]
    assert [Schedule(LOSS, 30, expected_epochs=4.5).ahead(epoch) for epoch in (0, 1, 9, 27)] == [4.5, 3.5, 9, 3]


@pytest.mark.slow
def test_the_weights_of_the_best_are_kept_and_those_of_the_living_are_in_every_snapshot(tmp_path: Path) -> None:
    outcomes = SHARED.train(Cohort(MEMBERS), arrays(), Book(HALVING, tmp_path))
    kept = {outcome.number for outcome in outcomes if outcome.weights}
    best = sorted(outcomes, key=lambda outcome: outcome.value or 0.0)[:KEPT_MEMBERS]
    assert kept == {outcome.number for outcome in best}
    for outcome in best:
        params = MEMBERS[outcome.number].params
        model = FAMILY.build(params, 0)
        model.set_weights(list(outcome.weights))
        validation = arrays().validation
        assert validation is not None
        loss = model.evaluate(*validation, verbose=0, return_dict=True)["loss"]
        assert loss == pytest.approx(outcome.value, rel=1e-4)
    second = snapshots.load(tmp_path / "2")
    for number in (2, 6, 7, 11):
        assert snapshots.best_weights(second, number)


@pytest.mark.slow
@pytest.mark.parametrize("source", [40, 65], ids=["of the same stack", "of another stack"])
def test_a_copy_goes_on_as_its_source_would_with_its_own_hyperparameters(source: int) -> None:
    members = tuple(Member(m.number, {**m.params, "dropout": 0.0}, m.seed) for m in POPULATION)
    copies = {2: Decision(copies={0: Copy(source), 4: Copy(source, {"learning_rate": 1e-9})})}
    outcomes = SHARED.train(Cohort(members), arrays(), Book(copies))
    original, copy, still = outcomes[source], outcomes[0], outcomes[4]
    assert copy.history[1]["val_loss"] != pytest.approx(original.history[1]["val_loss"], rel=1e-3)
    for ours, theirs in zip(copy.history[2:], original.history[2:], strict=True):
        assert ours["val_loss"] == pytest.approx(theirs["val_loss"], rel=1e-5)
    for metrics in still.history[2:]:  # without a learning rate it stands where its source stood
        assert metrics["val_loss"] == pytest.approx(original.history[1]["val_loss"], rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("schedule", [{}, {"schedule": "cosine", "warmup_epochs": 2}], ids=["constant", "cosine"])
def test_changes_are_replayed_at_their_epochs(schedule: Params) -> None:
    """A member that copies itself at epochs 2 and 3 with other rates, and one that has these changes from the start."""
    first, second = {"learning_rate": 0.05}, {"learning_rate": 0.001}
    lone = Member(0, {**MEMBERS[0].params, "dropout": 0.2, **schedule}, seed=3)
    copies = {2: Decision(copies={0: Copy(0, first)}), 3: Decision(copies={0: Copy(0, second)})}
    live = SHARED.train(Cohort((lone,)), arrays(), Book(copies))
    replay = Member(0, lone.params, 3, (Change(2, first), Change(3, second)))
    same(SHARED.train(Cohort((replay,)), arrays(), Book()), live)
    at_once = Member(0, {**lone.params, "learning_rate": 0.5}, 3, (Change(0, {"learning_rate": 0.003}),))
    plain = SHARED.train(Cohort((Member(0, {**lone.params, "learning_rate": 0.003}, 3),)), arrays(), Book())
    same(SHARED.train(Cohort((at_once,)), arrays(), Book()), plain)


# --- failures --------------------------------------------------------------------------------------------------------


def moody(mood: str, units: int = 3) -> keras.Model:
    if mood == "bad":
        raise ValueError("in a bad mood")
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(units), keras.layers.Dense(1)])
    steps_of_two_epochs = 2 * 4
    late = keras.optimizers.schedules.PiecewiseConstantDecay([steps_of_two_epochs], [0.01, 1e30])
    model.compile(keras.optimizers.SGD({"wild": late, "still": 0.0}.get(mood, 0.02)), "mse")
    return model


def by(function: Callable[..., keras.Model], schedule: Schedule) -> CohortTrainer:
    return CohortTrainer(UserBuilder(function, Path(), INPUTS), schedule)


def test_a_members_failure_is_its_own() -> None:
    moods = ["good", "bad", "wild", "still", "good"]
    members = tuple(Member(i, {"mood": mood, "batch_size": 16}, i) for i, mood in enumerate(moods))
    book = Book()
    schedule = Schedule(LOSS, EPOCHS, EarlyStopping(patience=2), order_seed=4)
    good, bad, wild, still, other = by(moody, schedule).train(Cohort(members), arrays(), book)
    assert (bad.status, bad.history) == (Status.FAILED, ())
    assert bad.reason.startswith("ValueError: in a bad mood (test_training_cohort_trainer.py:")
    assert wild.status is Status.FAILED
    assert wild.reason.startswith("FloatingPointError: loss is ")
    assert (len(wild.history), wild.weights) == (2, ())
    assert (still.status, len(still.history)) == (Status.FINISHED, 3)
    assert len(good.history) == len(other.history) == EPOCHS
    ended = [{outcome.number for outcome in report.ended} for report in book.reports]
    assert ended == [{1}, set(), {2, 3}, set(), {0, 4}]
    assert [report.last for report in book.reports] == [False, False, False, False, True]


def test_nobody_left_is_the_end() -> None:
    members = tuple(Member(i, {"mood": "bad"}, i) for i in range(3))
    book = Book()
    outcomes = by(moody, Schedule(LOSS, EPOCHS)).train(Cohort(members), arrays(), book)
    assert [outcome.status for outcome in outcomes] == [Status.FAILED] * 3
    assert book.reports == []


def test_a_decision_can_end_everybody() -> None:
    members = tuple(Member(i, {"mood": "good"}, i) for i in range(2))
    book = Book({2: Decision(stop=frozenset({0, 1}))})
    outcomes = by(moody, Schedule(LOSS, EPOCHS)).train(Cohort(members), arrays(), book)
    assert [(outcome.status, len(outcome.history)) for outcome in outcomes] == [(Status.STOPPED, 2)] * 2
    assert len(book.reports) == 2


def no_metric(units: int) -> Any:
    return moody("good", units)


def test_a_missing_objective_fails_every_member_and_lists_what_there_is() -> None:
    members = tuple(Member(i, {"units": 2 + i}, i) for i in range(2))
    schedule = Schedule(Objective("val_f1", Direction.MAXIMIZE), EPOCHS)
    for outcome in by(no_metric, schedule).train(Cohort(members), arrays(), Book()):
        assert outcome.status is Status.FAILED
        assert "must be a metric of the model (loss, val_loss). Received: val_f1" in outcome.reason
