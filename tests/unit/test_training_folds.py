from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kerasweep.models import FamilyBuilder, Inputs, UserBuilder
from kerasweep.records import Copy, Decision, Direction, Objective, Status
from kerasweep.spec.pipeline import EarlyStopping
from kerasweep.spec.vocabulary import Task
from kerasweep.training import (
    Cohort,
    CohortTrainer,
    EpochReport,
    FoldsTrainer,
    KerasTrainer,
    Member,
    Schedule,
    Snapshot,
    TrainingArrays,
    snapshots,
)

INPUTS = Inputs((4,), Task.REGRESSION, 1)
FAMILY = FamilyBuilder("mlp", INPUTS)
LOSS = Objective("val_loss", Direction.MINIMIZE)
FOLDS, EACH = 3, 20


def folded() -> TrainingArrays:
    """Three folds of 60 rows; the target of the last is noisier."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(FOLDS * EACH, 4)).astype("float32")
    y = (x @ np.array([[1.0], [-2.0], [0.5], [0.0]]) + rng.normal(0, 0.3, (FOLDS * EACH, 1))).astype("float32")
    y[2 * EACH :] += rng.normal(0, 2.0, (EACH, 1)).astype("float32")
    numbers = np.arange(FOLDS * EACH)
    held = [numbers // EACH == fold for fold in range(FOLDS)]
    return TrainingArrays(x[:0], y[:0], None, folds=tuple(TrainingArrays(x[~o], y[~o], (x[o], y[o])) for o in held))


def schedule(epochs: int = 4, stopping: EarlyStopping | None = None) -> Schedule:
    return Schedule(LOSS, epochs, stopping, order_seed=11)


def trainer(plan: Schedule, kind: Any = CohortTrainer, models: Any = FAMILY) -> FoldsTrainer:
    return FoldsTrainer(kind(models, replace(plan, early_stopping=None)), plan, threads=2)


def members(*rates: float) -> Cohort:
    return Cohort(
        tuple(
            Member(i, {"learning_rate": rate, "n_neurons": 5, "batch_size": 16}, seed=5 + i)
            for i, rate in enumerate(rates)
        )
    )


class Book:
    """Notes every report, answers what it was told to answer at an epoch, and keeps the snapshot of epoch 2."""

    def __init__(self, answers: dict[int, Decision] | None = None, folder: Path | None = None) -> None:
        self.reports: list[EpochReport] = []
        self._answers, self._folder = answers or {}, folder

    def __call__(self, report: EpochReport) -> Decision:
        self.reports.append(report)
        answer = self._answers.get(report.epoch, Decision())
        if self._folder and report.epoch == 2:
            taken = report.snapshot()
            snapshots.save(Snapshot(taken.arrays, taken.state, answer), self._folder)
        return answer


def test_metrics_are_the_means_of_what_fit_gives_on_each_fold() -> None:
    data, plan, cohort = folded(), schedule(), members(0.02, 0.05)
    outcomes = trainer(plan).train(cohort, data, Book())
    for member, outcome in zip(cohort.members, outcomes, strict=True):
        alone = [
            KerasTrainer(FAMILY, plan).train(Cohort((member,)), fold, lambda report: Decision())[0].history
            for fold in data.folds
        ]
        assert outcome.status is Status.FINISHED
        assert outcome.weights == ()
        for epoch, metrics in enumerate(outcome.history):
            for name in ("loss", "val_loss", "val_rmse"):
                assert metrics[name] == pytest.approx(np.mean([each[epoch][name] for each in alone]), rel=1e-4)
            values = [each[epoch]["val_loss"] for each in alone]
            assert [metrics[f"val_loss_fold_{i}"] for i in (1, 2, 3)] == pytest.approx(values, rel=1e-4)
            assert metrics["val_loss_std"] == pytest.approx(np.std(values), rel=1e-3)
        means = [metrics["val_loss"] for metrics in outcome.history]
        assert (outcome.value, outcome.epoch) == (min(means), 1 + int(np.argmin(means)))


def test_a_cohort_of_one_trains_with_fit_too() -> None:
    plan = schedule(2)
    (by_fit,) = trainer(plan, KerasTrainer).train(members(0.02), folded(), Book())
    (stacked,) = trainer(plan).train(members(0.02), folded(), Book())
    assert by_fit.value == pytest.approx(stacked.value, rel=1e-4)


def test_early_stopping_looks_at_the_mean() -> None:
    plan = schedule(epochs=60, stopping=EarlyStopping(patience=2))
    book = Book()
    (outcome,) = trainer(plan).train(members(0.1), folded(), book)
    means = [metrics["val_loss"] for metrics in outcome.history]
    assert outcome.status is Status.FINISHED
    assert len(means) < 60
    assert len(means) == outcome.epoch + 2
    assert min(means) == means[-3]
    assert book.reports[-1].last
    assert [ended.number for ended in book.reports[-1].ended] == [0]


def test_decisions_hold_in_all_folds() -> None:
    stop = Decision(stop=frozenset({1}))
    copied = Decision(copies={2: Copy(0, {"learning_rate": 0.001})})
    book = Book({1: stop, 2: copied})
    first, stopped, second = trainer(schedule()).train(members(0.02, 0.05, 0.03), folded(), book)
    assert (stopped.status, len(stopped.history)) == (Status.STOPPED, 1)
    assert [set(report.metrics) for report in book.reports] == [{0, 1, 2}, {0, 2}, {0, 2}, {0, 2}]
    assert second.history[2]["val_loss"] != pytest.approx(first.history[2]["val_loss"], rel=1e-6)
    undisturbed = trainer(schedule()).train(members(0.02, 0.05, 0.03), folded(), Book())[2]
    assert second.history[:2] == undisturbed.history[:2]
    assert abs(second.history[2]["val_loss"] - first.history[1]["val_loss"]) < 0.1 * first.history[1]["val_loss"]


def fragile(rate: float, input_shape: tuple[int, ...]) -> Any:
    import keras

    model = keras.Sequential([keras.Input(input_shape), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(rate), "mse")
    return model


def test_a_member_that_fails_in_one_fold_has_failed() -> None:
    data = folded()
    spoilt = data.folds[1].y.copy()
    spoilt[0] = 1e30
    folds = (data.folds[0], replace(data.folds[1], y=spoilt), data.folds[2])
    (outcome,) = trainer(schedule()).train(members(0.02), replace(data, folds=folds), Book())
    assert outcome.status is Status.FAILED
    assert outcome.reason.startswith("FloatingPointError")
    assert outcome.reason.endswith("(fold 2)")


def test_the_others_go_on_without_one_that_failed() -> None:
    models = UserBuilder(fragile, Path(), INPUTS)
    cohort = Cohort(tuple(Member(i, {"rate": rate, "batch_size": 16}, seed=i) for i, rate in enumerate((0.01, 1e20))))
    good, bad = trainer(schedule(), models=models).train(cohort, folded(), Book())
    assert (good.status, bad.status) == (Status.FINISHED, Status.FAILED)
    assert len(good.history) == 4


@pytest.mark.parametrize("kind", [CohortTrainer, KerasTrainer])
def test_it_goes_on_from_a_snapshot_with_the_same_numbers(kind: Any, tmp_path: Path) -> None:
    rates = (0.02, 0.05, 0.03) if kind is CohortTrainer else (0.02,)
    answers = {2: Decision(stop=frozenset({1}))} if kind is CohortTrainer else {}
    plan = schedule(5, EarlyStopping(patience=4))
    whole = trainer(plan, kind).train(members(*rates), folded(), Book(answers, tmp_path))
    again = Book()
    resumed = trainer(plan, kind).train(members(*rates), folded(), again, snapshots.load(tmp_path))
    assert [report.epoch for report in again.reports] == [3, 4, 5]
    for now, before in zip(resumed, whole, strict=True):
        assert (now.number, now.status, now.epoch) == (before.number, before.status, before.epoch)
        for metrics, expected in zip(now.history, before.history, strict=True):
            assert metrics == pytest.approx(expected, rel=1e-5)


def test_without_folds_it_refuses() -> None:
    with pytest.raises(ValueError, match="needs folds"):
        trainer(schedule()).train(members(0.02), replace(folded(), folds=()), Book())
