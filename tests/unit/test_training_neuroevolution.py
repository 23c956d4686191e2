"""Neuroevolution: the paper's algorithm by its numbers, what it solves, and what it refuses."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from kerasweep.data.playground import playground
from kerasweep.models import FamilyBuilder, Inputs, UserBuilder
from kerasweep.records import Change, Copy, Decision, Direction, Objective, Params, Status
from kerasweep.spec.methods import Neuroevolution
from kerasweep.spec.pipeline import EarlyStopping
from kerasweep.spec.vocabulary import Task
from kerasweep.training import (
    KEPT_MEMBERS,
    Cohort,
    EpochReport,
    Evolution,
    FoldsTrainer,
    Member,
    NeuroevolutionTrainer,
    Outcome,
    Schedule,
    Snapshot,
    TrainingArrays,
)
from kerasweep.training.cohort import philox
from kerasweep.training.order import epoch_order

LOSS = Objective("val_loss", Direction.MINIMIZE)
PLANE = FamilyBuilder("mlp", Inputs((2,), Task.BINARY, 1))
METHOD = Neuroevolution(population=12, parents=4, sigma=0.1, elites=2)
NETWORK: Params = {"n_neurons": 4, "activation": "tanh"}


def xor(weights: bool = False) -> TrainingArrays:
    columns, classes = playground("playground_xor")
    x = np.stack([columns["x1"], columns["x2"]], axis=1).astype("float32") / 3
    y = classes.astype("float32")[:, None]
    weighing = np.linspace(0.5, 1.5, 600, dtype="float32") if weights else None
    return TrainingArrays(x[:600], y[:600], (x[600:], y[600:]), weighing)


def evolving(
    method: Neuroevolution = METHOD, epochs: int = 3, models: Any = PLANE, stopping: EarlyStopping | None = None
) -> NeuroevolutionTrainer:
    return NeuroevolutionTrainer(models, Schedule(LOSS, epochs, stopping, order_seed=7), Evolution(method), threads=2)


class Book:
    """Keeps a snapshot of every epoch."""

    def __init__(self, stop: dict[int, set[int]] | None = None) -> None:
        self.snapshots: list[Snapshot] = []
        self.metrics: list[dict[int, dict[str, float]]] = []
        self.ended: list[Outcome] = []
        self._stop = stop or {}

    def __call__(self, report: EpochReport) -> Decision:
        self.snapshots.append(report.snapshot())
        self.metrics.append({number: dict(metrics) for number, metrics in report.metrics.items()})
        self.ended += report.ended
        return Decision(frozenset(self._stop.get(report.epoch, ())))


def weights_of(snapshot: Snapshot, number: int = 0) -> np.ndarray:
    """``(population, weights)``."""
    names = [name for name in snapshot.arrays if name.startswith(f"population_{number}_weights_")]
    arrays = [snapshot.arrays[f"population_{number}_weights_{i}"] for i in range(len(names))]
    return np.concatenate([array.reshape(len(array), -1) for array in arrays], axis=1)


def loss_of(model: keras.Model, flat: np.ndarray, x: np.ndarray, y: np.ndarray, w: np.ndarray | None = None) -> float:
    start, weights = 0, []
    for variable in model.trainable_variables:
        size = int(np.prod(variable.shape))
        weights.append(flat[start : start + size].reshape(variable.shape))
        start += size
    model.set_weights(weights)
    return float(model.evaluate(x, y, sample_weight=w, batch_size=len(x), verbose=0, return_dict=True)["loss"])


@pytest.mark.parametrize("batch", [None, 100])
def test_a_generation_is_bred_from_the_best_and_judged_as_evaluate_would(batch: int | None) -> None:
    data, book, params = xor(weights=True), Book(), {**NETWORK, "l2": 0.01}
    trainer = evolving(METHOD.model_copy(update={"batch": batch}), epochs=4)
    (outcome,) = trainer.train(Cohort((Member(0, params, 5),)), data, book)
    model = PLANE.build(params, 5)
    first = weights_of(book.snapshots[0])
    start = np.concatenate([np.ravel(value) for value in model.get_weights()])
    np.testing.assert_array_equal(first[0], start)  # as training by gradients begins
    assert len(np.unique(first, axis=0)) == METHOD.population

    for epoch, snapshot in enumerate(book.snapshots[:-1]):  # the last one has no population any more
        individuals, fitness = weights_of(snapshot), snapshot.arrays["population_0_fitness"]
        rows = slice(None) if batch is None else epoch_order(7, epoch, 600)[:batch]
        assert data.weights is not None
        judged = [loss_of(model, each, data.x[rows], data.y[rows], data.weights[rows]) for each in individuals]
        np.testing.assert_allclose(fitness, judged, rtol=1e-5)
        metrics, best = book.metrics[epoch][0], individuals[fitness.argmin()]
        assert metrics["loss"] == pytest.approx(fitness.min(), rel=1e-5)
        assert data.validation is not None
        assert metrics["val_loss"] == pytest.approx(loss_of(model, best, *data.validation), rel=1e-5)
        if epoch:
            before = weights_of(book.snapshots[epoch - 1])
            ranks = np.argsort(book.snapshots[epoch - 1].arrays["population_0_fitness"])
            np.testing.assert_array_equal(individuals[:2], before[ranks[:2]])
            away = individuals[2:, None] - before[ranks[:4]][None]  # from each of the parents
            nearest = away[np.arange(10), np.abs(away).sum(axis=2).argmin(axis=1)]
            spread = nearest.std() / METHOD.sigma
            assert abs(spread - 1) < 4 / np.sqrt(2 * nearest.size)  # four standard errors
            assert abs(nearest.mean()) < 4 * METHOD.sigma / np.sqrt(nearest.size)
    assert outcome.status is Status.FINISHED
    assert outcome.epoch is not None
    assert outcome.value == min(metrics[0]["val_loss"] for metrics in book.metrics)
    model.set_weights(list(outcome.weights))
    again = model.evaluate(*data.validation, verbose=0, return_dict=True)["loss"]
    assert again == pytest.approx(outcome.value, rel=1e-5)


def test_with_all_rows_and_an_elite_the_loss_never_rises() -> None:
    (outcome,) = evolving(epochs=10).train(Cohort((Member(0, NETWORK, 5),)), xor(), Book())
    losses = [metrics["loss"] for metrics in outcome.history]
    assert all(after <= before * (1 + 1e-6) for before, after in itertools.pairwise(losses))
    assert losses[-1] < losses[0]


def test_it_solves_xor() -> None:
    trainer = evolving(Neuroevolution(), epochs=60)
    (outcome,) = trainer.train(Cohort((Member(0, {"n_neurons": 8, "activation": "tanh"}, 1),)), xor(), Book())
    assert max(metrics["val_accuracy"] for metrics in outcome.history) > 0.95
    assert outcome.history[0]["val_accuracy"] < 0.85


def test_members_do_not_depend_on_each_other_and_go_by_decision_and_patience() -> None:
    members = tuple(Member(number, {**NETWORK, "sigma": sigma}, 3 + number) for number, sigma in ((0, 0.1), (4, 0.3)))
    trainer, book = evolving(epochs=4), Book({2: {4}})
    first, second = trainer.train(Cohort(members), xor(), book)
    assert (first.status, len(first.history)) == (Status.FINISHED, 4)
    assert (second.status, len(second.history)) == (Status.STOPPED, 2)
    for outcome, member in zip((first, second), members, strict=True):
        (alone,) = trainer.train(Cohort((member,)), xor(), Book())
        assert alone.history[: len(outcome.history)] == outcome.history
    assert first.history[1] != second.history[1]
    for at in (1, 2, 3):  # from any snapshot on
        rest = trainer.train(Cohort(members), xor(), Book({2: {4}}), _decided(book, at))
        assert [each.history for each in rest] == [first.history, second.history]

    patient = evolving(epochs=20, stopping=EarlyStopping(patience=1, min_delta=10.0))
    (outcome,) = patient.train(Cohort(members[:1]), xor(), Book())
    assert (outcome.status, len(outcome.history)) == (Status.FINISHED, 2)


def _decided(book: Book, epoch: int) -> Snapshot:
    decision = Decision(frozenset({4})) if epoch == 2 else Decision()
    return replace(book.snapshots[epoch - 1], decision=decision)


def test_weights_are_kept_of_the_best_that_have_ended() -> None:
    members = tuple(Member(number, NETWORK, number) for number in range(KEPT_MEMBERS + 2))
    outcomes = evolving(epochs=1).train(Cohort(members), xor(), Book())
    ranked = sorted(outcomes, key=lambda outcome: outcome.value or 0.0)
    assert [bool(outcome.weights) for outcome in ranked] == [True] * KEPT_MEMBERS + [False] * 2


def unstable(share: float = 0.5) -> keras.Model:
    """Part of the networks that it builds predict NaN."""
    broken = np.random.random() < share
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, "tanh"), keras.layers.Dense(1, "sigmoid")])
    model.layers[0].bias.assign(np.full(3, np.nan if broken else 0.0))
    return model


def test_individuals_without_a_finite_loss_have_no_offspring_and_a_whole_population_of_them_fails() -> None:
    models = UserBuilder(unstable, Path(), PLANE.inputs)
    book, failing = Book(), Book()
    (outcome,) = evolving(models=models).train(Cohort((Member(0, {}, 1),)), xor(), book)
    assert outcome.status is Status.FINISHED
    first, second = (snapshot.arrays["population_0_fitness"] for snapshot in book.snapshots[:2])
    assert 0 < np.isfinite(first).sum() < METHOD.population
    assert np.isfinite(second).all()
    members = Cohort((Member(0, {"share": 1.0}, 1), Member(1, {"share": 0.0}, 1)))
    failed, fine = evolving(models=models).train(members, xor(), failing)
    assert (failed.status, failed.reason) == (Status.FAILED, "FloatingPointError: loss is nan at epoch 1")
    assert fine.status is Status.FINISHED
    assert [outcome.number for outcome in failing.ended] == [0, 1]


def noisy() -> keras.Model:
    layers = [keras.layers.GaussianNoise(0.1), keras.layers.Dense(1, "sigmoid")]
    return keras.Sequential([keras.Input((2,)), *layers])


def test_what_cannot_evolve_says_why() -> None:
    trainer = evolving(models=UserBuilder(noisy, Path(), PLANE.inputs))
    (outcome,) = trainer.train(Cohort((Member(0, {}, 1),)), xor(), Book())
    assert outcome.status is Status.FAILED
    assert outcome.reason.startswith("ModelError: neuroevolution judges a population as one program, so a model must")
    assert "which draws random numbers" in outcome.reason
    (outcome,) = evolving().train(Cohort((Member(0, {**NETWORK, "parents": 20}, 1),)), xor(), Book())
    assert outcome.reason == (
        "ValueError: elites <= parents <= population must hold. Received: elites=2, parents=20, population=12"
    )
    changing = Member(0, NETWORK, 1, changes=(Change(1, {"l2": 0.1}),))
    with pytest.raises(ValueError, match=r"in training by gradients only\. Received: trial 0, evolving"):
        evolving().train(Cohort((changing,)), xor(), Book())
    with pytest.raises(ValueError, match="populations are not copied"):
        evolving().train(Cohort((Member(0, NETWORK, 1),)), xor(), lambda _: Decision(copies={0: Copy(0, {})}))


def test_hyperparameters_go_before_the_study_s_options_unless_the_builder_takes_them() -> None:
    assert Evolution(METHOD).of({"sigma": 0.5, "population": 30, "l2": 0.1}) == METHOD.model_copy(
        update={"sigma": 0.5, "population": 30}
    )
    assert Evolution(METHOD, ("population",)).of({"sigma": 0.5}) == METHOD


def test_folds_evolve_each_and_stand_for_their_means() -> None:
    data = xor()
    held = [np.arange(600) % 2 == fold for fold in range(2)]
    folds = tuple(TrainingArrays(data.x[~o], data.y[~o], (data.x[o], data.y[o])) for o in held)
    trainer, member = evolving(epochs=2), Member(0, NETWORK, 5)
    whole = TrainingArrays(data.x[:0], data.y[:0], None, folds=folds)
    (outcome,) = FoldsTrainer(trainer, trainer.schedule, threads=2).train(Cohort((member,)), whole, Book())
    apart = [trainer.train(Cohort((member,)), fold, Book())[0].history for fold in folds]
    for epoch, metrics in enumerate(outcome.history):
        assert metrics["val_loss"] == pytest.approx(np.mean([each[epoch]["val_loss"] for each in apart]))
        assert metrics["val_loss_fold_2"] == apart[1][epoch]["val_loss"]


def test_noise_is_standard_normal() -> None:
    count = 50_001
    keys = philox.keys(np.array([3, 3, 4]), np.array([0, 1, 0]))
    drawn = np.asarray(philox.normal(keras.ops.convert_to_tensor(keys), count), np.float64)
    assert drawn.shape == (3, count)
    for moment, expected, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        error = np.sqrt(variance / count)
        assert np.abs((drawn**moment).mean(axis=1) - expected).max() < 4.5 * error
    within = (np.abs(drawn) < 1).mean(axis=1)
    assert np.abs(within - 0.682689).max() < 4.5 * np.sqrt(0.2166 / count)
    assert np.abs(np.corrcoef(drawn) - np.eye(3)).max() < 4.5 / np.sqrt(count)
