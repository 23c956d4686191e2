"""Learning rates that members find for themselves: those of their own range tests, and found once."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from kerasweep.models import FamilyBuilder, Inputs, ModelBuilder, UserBuilder
from kerasweep.records import Decision, Direction, Objective, Params, Status
from kerasweep.spec.parameters import Find
from kerasweep.spec.vocabulary import Task
from kerasweep.training import (
    Cohort,
    CohortTrainer,
    EpochReport,
    FindingTrainer,
    FoldsTrainer,
    KerasTrainer,
    Member,
    Outcome,
    Schedule,
    Snapshot,
    TrainingArrays,
    snapshots,
)
from kerasweep.training.rate_finder import Sweep, range_tests

INPUTS = Inputs((4,), Task.REGRESSION, 1)
FAMILY = FamilyBuilder("mlp", INPUTS)
PLAN = Schedule(Objective("val_loss", Direction.MINIMIZE), 3, order_seed=4)
FIND = Find(min=1e-4, max=100.0, steps=60)
SWEEP = Sweep(1e-4, 100.0, 60)
CONFIGURATIONS: tuple[Params, ...] = (
    {"optimizer": "sgd", "n_neurons": 6, "batch_size": 16},
    {"optimizer": "adam", "n_neurons": 6, "batch_size": 16},
    {"optimizer": "sgd", "n_neurons": 9, "batch_size": 32},
    {"optimizer": "adam", "n_neurons": 9, "batch_size": 16},
)


def arrays(rows: int = 80) -> TrainingArrays:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 4)).astype("float32")
    y = (x @ np.array([[1.0], [-2.0], [0.5], [0.0]]) + rng.normal(0, 0.3, (rows, 1))).astype("float32")
    return TrainingArrays(x, y, (x[:20], y[:20]))


def members(*configurations: Params) -> Cohort:
    return Cohort(tuple(Member(i, params, seed=5 + i) for i, params in enumerate(configurations or CONFIGURATIONS)))


def trainer(find: Find = FIND, kind: Any = CohortTrainer, models: ModelBuilder = FAMILY) -> FindingTrainer:
    return FindingTrainer(kind(models, PLAN), models, PLAN, find)


class Book:
    """Notes every report, and keeps the snapshot of epoch 1."""

    def __init__(self, folder: Path | None = None) -> None:
        self.reports: list[EpochReport] = []
        self._folder = folder

    def __call__(self, report: EpochReport) -> Decision:
        self.reports.append(report)
        if self._folder and report.epoch == 1:
            taken = report.snapshot()
            snapshots.save(Snapshot(taken.arrays, taken.state, Decision()), self._folder)
        return Decision()


def rates(outcomes: tuple[Outcome, ...]) -> list[float]:
    return [float(outcome.found["learning_rate"]) for outcome in outcomes]


def test_each_member_finds_what_a_range_test_of_it_alone_gives_and_trains_with_that_from_the_start() -> None:
    data, cohort, book = arrays(), members(), Book()
    outcomes = trainer().train(cohort, data, book)
    found = rates(outcomes)
    for member, outcome, rate in zip(cohort.members, outcomes, found, strict=True):
        alone = range_tests(FAMILY, [member], data, PLAN, SWEEP)[member.number].suggestion
        assert rate == pytest.approx(alone, rel=1e-6)
        told = replace(member, params={**member.params, "learning_rate": rate})
        (by_fit,) = KerasTrainer(FAMILY, PLAN).train(Cohort((told,)), data, Book())
        for metrics, expected in zip(outcome.history, by_fit.history, strict=True):
            assert metrics == pytest.approx(expected, rel=1e-3)
    assert len(set(found)) > 1
    assert [report.found for report in book.reports] == [
        {i: {"learning_rate": rate} for i, rate in enumerate(found)},
        {},
        {},
    ]


def test_a_member_by_itself_finds_the_same() -> None:
    together = rates(trainer().train(members(), arrays(), Book()))
    for member, rate in zip(members().members[:2], together, strict=False):
        (alone,) = trainer(kind=KerasTrainer).train(Cohort((member,)), arrays(), Book())
        assert alone.found["learning_rate"] == pytest.approx(rate, rel=1e-6)


def test_optimisers_find_rates_of_their_own() -> None:
    pairs: list[Params] = [
        {"optimizer": optimizer, "n_neurons": 8, "n_hidden": 2, "batch_size": 16} for optimizer in ("sgd", "adam")
    ]
    cohort = Cohort(tuple(Member(i, pairs[i % 2], seed=7 + i // 2) for i in range(8)))
    plan = replace(PLAN, epochs=1)
    find = Find(min=1e-4, max=100.0, steps=200)
    found = rates(FindingTrainer(CohortTrainer(FAMILY, plan), FAMILY, plan, find).train(cohort, arrays(400), Book()))
    sgd, adam = np.array(found[::2]), np.array(found[1::2])
    assert np.median(sgd) != pytest.approx(np.median(adam), rel=0.2)


def test_it_goes_on_from_a_snapshot_with_the_rates_that_were_found(tmp_path: Path) -> None:
    whole = trainer().train(members(), arrays(), Book(tmp_path))
    again = Book()
    # Another test would find nothing at all.
    resumed = trainer(Find(min=1e-9, max=1e-8)).train(members(), arrays(), again, snapshots.load(tmp_path))
    assert [report.epoch for report in again.reports] == [2, 3]
    assert rates(resumed) == rates(whole)
    assert again.reports[0].found == {i: {"learning_rate": rate} for i, rate in enumerate(rates(whole))}
    for now, before in zip(resumed, whole, strict=True):
        assert now.status is Status.FINISHED
        for metrics, expected in zip(now.history, before.history, strict=True):
            assert metrics == pytest.approx(expected, rel=1e-5)


def test_only_members_that_meet_its_condition_are_tested() -> None:
    some = trainer(FIND.model_copy(update={"when": {"optimizer": ["sgd"]}})).train(members(), arrays(), Book())
    everyone = trainer().train(members(), arrays(), Book())
    assert [set(outcome.found) for outcome in some] == [{"learning_rate"}, set(), {"learning_rate"}, set()]
    assert some[0].found == everyone[0].found
    (plain,) = CohortTrainer(FAMILY, PLAN).train(Cohort(members().members[1:2]), arrays(), Book())
    assert some[1].history[-1] == pytest.approx(plain.history[-1], rel=1e-4)


def test_a_member_that_finds_none_fails_and_the_others_go_on(tmp_path: Path) -> None:
    find = Find(min=1e-9, max=1e-8, steps=40, when={"optimizer": ["sgd"]})
    book = Book(tmp_path)
    outcomes = trainer(find).train(members(), arrays(), book)
    assert [outcome.number for outcome in outcomes] == [0, 1, 2, 3]
    assert [outcome.status for outcome in outcomes] == [Status.FAILED, Status.FINISHED] * 2
    why = "no learning rate was found: the loss did not fall by 2% at any rate: begin lower, or take more steps"
    assert outcomes[0].reason == why
    assert outcomes[0].history == ()
    assert [(ended.number, ended.reason) for ended in book.reports[0].ended] == [(0, why), (2, why)]
    assert set(book.reports[0].metrics) == {1, 3}
    again = Book()
    resumed = trainer(find).train(members(), arrays(), again, snapshots.load(tmp_path))
    assert again.reports[0].ended == ()  # it was told before
    assert [outcome.status for outcome in resumed] == [outcome.status for outcome in outcomes]


def test_if_none_finds_any_there_is_no_report() -> None:
    book = Book()
    outcomes = trainer(Find(min=1e-9, max=1e-8, steps=40)).train(members(), arrays(), book)
    assert {outcome.status for outcome in outcomes} == {Status.FAILED}
    assert book.reports == []


def test_of_a_cross_validation_the_first_folds_training_rows_are_tested_on() -> None:
    data = arrays(120)
    held = [np.arange(120) // 40 == fold for fold in range(3)]
    folds = tuple(TrainingArrays(data.x[~o], data.y[~o], (data.x[o], data.y[o])) for o in held)
    folded = TrainingArrays(data.x[:0], data.y[:0], None, folds=folds)
    inner = FoldsTrainer(CohortTrainer(FAMILY, PLAN), PLAN, threads=1)
    cohort = members(*CONFIGURATIONS[:2])
    outcomes = FindingTrainer(inner, FAMILY, PLAN, FIND).train(cohort, folded, Book())
    first = range_tests(FAMILY, cohort.members, folds[0], PLAN, SWEEP)
    assert rates(outcomes) == pytest.approx([first[i].suggestion for i in range(2)], rel=1e-6)
    assert all("val_loss_fold_3" in outcome.history[-1] for outcome in outcomes)


def compiled(learning_rate: float, n_neurons: int) -> keras.Model:
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(n_neurons, "tanh"), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(learning_rate), "mse")
    return model


@pytest.mark.parametrize("kind", [CohortTrainer, KerasTrainer])
def test_a_builder_that_cannot_do_without_a_rate_gets_the_one_that_was_found(kind: Any) -> None:
    models = UserBuilder(compiled, Path(), INPUTS)
    cohort = members({"n_neurons": 4, "batch_size": 16})
    (outcome,) = trainer(kind=kind, models=models).train(cohort, arrays(), Book())
    (rate,) = rates((outcome,))
    assert 1e-4 < rate < 10
    told = members({"n_neurons": 4, "batch_size": 16, "learning_rate": rate})
    (plain,) = kind(models, PLAN).train(told, arrays(), Book())
    assert outcome.history[-1] == pytest.approx(plain.history[-1], rel=1e-5)


def test_it_survives_pickling() -> None:
    here, there = trainer(), pickle.loads(pickle.dumps(trainer()))
    assert there == here
    cohort = members(*CONFIGURATIONS[:1])
    assert rates(there.train(cohort, arrays(), Book())) == rates(here.train(cohort, arrays(), Book()))
