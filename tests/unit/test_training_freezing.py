"""Layers that are frozen at first: they stay as they are bit by bit, and all else has Keras's own numbers."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from kerasweep.errors import ModelError
from kerasweep.models import FamilyBuilder, InitialWeights, Inputs, ModelBuilder, UserBuilder
from kerasweep.records import Decision, Direction, Objective, Params, Status
from kerasweep.spec import pipeline_from_mapping
from kerasweep.spec.pipeline import InitialWeightsSpec
from kerasweep.spec.vocabulary import Task
from kerasweep.study.initial import check_initial
from kerasweep.training import Cohort, CohortTrainer, Freeze, KerasTrainer, Schedule, TrainingArrays, snapshots
from kerasweep.training.base import EpochReport, Member, Outcome, Snapshot, Trainer
from kerasweep.training.freezing import FrozenLayers
from kerasweep.training.order import epoch_order
from kerasweep.training.rate_finder import Sweep, range_tests

INPUTS = Inputs((6,), Task.MULTICLASS, 3)
EPOCHS, FROZEN = 4, 2
ROWS, BATCH = 53, 16  # the last mini-batch is short
Make = Callable[[ModelBuilder, Schedule], Trainer]


def plan(layers: int, epochs: int | None = FROZEN) -> Schedule:
    freeze = Freeze(layers, epochs)
    return Schedule(Objective("val_loss", Direction.MINIMIZE), EPOCHS, None, order_seed=11, freeze=freeze)


def arrays() -> TrainingArrays:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(ROWS + 22, 6)).astype("float32"), rng.integers(0, 3, ROWS + 22)
    return TrainingArrays(x[:ROWS], y[:ROWS], (x[ROWS:], y[ROWS:]))


def source(layers: int, **params: Any) -> InitialWeights:
    """Of a network of the family with weights that no initialiser gives."""
    model = FamilyBuilder("mlp", INPUTS).build({"n_hidden": 2, "n_neurons": 5, **params}, 1)
    rng = np.random.default_rng(5)
    model.set_weights([rng.uniform(0.1, 0.5, each.shape) for each in model.get_weights()])
    return InitialWeights.of(model, layers)


class Book:
    """Notes all weights after every epoch, and snapshots."""

    def __init__(self) -> None:
        self.snapshots: list[Snapshot] = []
        self.notes: list[str] = []

    def __call__(self, report: EpochReport) -> Decision:
        taken = report.snapshot()
        arrays = {name: np.copy(each) for name, each in taken.arrays.items()}
        self.snapshots.append(Snapshot(arrays, json.loads(json.dumps(taken.state))))
        self.notes += report.notes
        return Decision()


def train(
    trainer: Trainer, members: tuple[Member, ...], resume: Snapshot | None = None, *, validated: bool = True
) -> tuple[Book, list[Outcome]]:
    book, data = Book(), arrays()
    if not validated:
        data = replace(data, validation=None)
    return book, list(trainer.train(Cohort(members), data, book, resume))


def member(params: Params, number: int = 3) -> Member:
    return Member(number, {"batch_size": BATCH, "learning_rate": 0.01, **params}, seed=50 + number)


@pytest.fixture(params=[KerasTrainer, CohortTrainer], ids=["keras", "cohort"])
def make(request: pytest.FixtureRequest) -> Make:
    chosen: Make = request.param
    return chosen


def by_hand(models: ModelBuilder, one: Member, names: list[str]) -> tuple[list[list[np.ndarray]], list[float]]:
    """Weights and validation losses after each epoch of a loop with Keras's own ``trainable``, of named layers."""
    data = arrays()
    assert data.validation is not None
    model = models.build(one.params, one.seed)
    model.optimizer.build(model.trainable_variables)
    layers = [each for each in model._flatten_layers() if each.name in names]
    assert len(layers) == len(names)
    for layer in layers:
        layer.trainable = False
    weights, losses = [], []
    for epoch in range(EPOCHS):
        if epoch == FROZEN:
            for layer in layers:
                layer.trainable = True
            model.make_train_function(force=True)
        order = epoch_order(11, epoch, ROWS)
        for start in range(0, ROWS, BATCH):
            model.train_on_batch(data.x[order[start : start + BATCH]], data.y[order[start : start + BATCH]])
        weights.append(model.get_weights())
        penalties = sum(float(each.regularizer(each.value)) for each in model.weights if each.regularizer)
        likely = np.array(model(data.validation[0], training=False))[np.arange(22), data.validation[1]]
        losses.append(float(-np.log(likely).mean()) + penalties)
    return weights, losses


def nested(learning_rate: float = 0.01) -> keras.Model:
    """A convolution and a normalisation within an inner model; a penalty, a constraint, and momentum that decays."""
    inner = keras.Sequential(
        [
            keras.Input((3, 2, 1)),
            keras.layers.Conv2D(4, 2, kernel_regularizer="l2", kernel_constraint="max_norm", name="a"),
            keras.layers.BatchNormalization(name="b"),
            keras.layers.Activation("relu"),
            keras.layers.Flatten(),
        ],
        name="inner",
    )
    rows = keras.Input((6,))
    x = inner(keras.layers.Reshape((3, 2, 1))(rows))
    x = keras.layers.Dropout(0.2, seed=3)(keras.layers.Dense(6, "tanh", name="c")(x))
    model = keras.Model(rows, keras.layers.Dense(3, "softmax", kernel_regularizer="l1", name="d")(x))
    optimizer = keras.optimizers.SGD(learning_rate, momentum=0.9, weight_decay=0.1, clipnorm=0.5)
    model.compile(optimizer, "sparse_categorical_crossentropy")
    return model


def by_user(function: Callable[..., keras.Model]) -> UserBuilder:
    return UserBuilder(function, Path(), INPUTS)


# Name -> builder, hyperparameters, layers that are frozen.
CASES: dict[str, tuple[ModelBuilder, Params, list[str]]] = {
    "adamw": (
        FamilyBuilder("mlp", INPUTS, source(1)),
        {"n_hidden": 2, "n_neurons": 5, "optimizer": "adamw", "weight_decay": 0.05, "l2": 0.01},
        ["hidden_1"],
    ),
    "batch normalisation": (
        FamilyBuilder("mlp", INPUTS, source(2, batch_norm=True)),
        {"n_hidden": 2, "n_neurons": 5, "batch_norm": True, "optimizer": "sgd", "momentum": 0.9, "dropout": 0.2},
        ["hidden_1", "norm_1"],
    ),
    "nested": (by_user(nested), {}, ["a", "b"]),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_frozen_layers_stay_bit_by_bit_and_all_numbers_are_keras_s_own(make: Make, name: str) -> None:
    models, params, frozen = CASES[name]
    one, trainer = member(params), make(models, plan(len(frozen)))
    weights, losses = by_hand(models, one, frozen)
    begun = models.build(one.params, one.seed)
    held = sum(len(each.weights) for each in begun._flatten_layers() if each.name in frozen)
    book, _ = train(trainer, (one,), validated=False)  # so that the last weights are the best
    for epoch, taken in enumerate(book.snapshots):
        now = snapshots.best_weights(taken, one.number)
        for i, (ours, theirs, before) in enumerate(zip(now, weights[epoch], begun.get_weights(), strict=True)):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=2e-6)
            assert np.array_equal(ours, before) == (i < held and epoch < FROZEN)

    book, (whole,) = train(trainer, (one,))
    assert [metrics["val_loss"] for metrics in whole.history] == pytest.approx(losses, rel=1e-4)
    for taken in book.snapshots[:FROZEN]:  # and one that goes on is frozen for as long
        _, (again,) = train(trainer, (one,), taken)
        assert again.history == whole.history
        for ours, theirs in zip(again.weights, whole.weights, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_all_freezes_them_for_good(make: Make) -> None:
    initial = source(1)
    models = FamilyBuilder("mlp", INPUTS, initial)
    book, (outcome,) = train(make(models, plan(1, None)), (member({"n_hidden": 1, "n_neurons": 5, "l2": 0.01}),))
    for taken in (*(snapshots.best_weights(each, 3) for each in book.snapshots), outcome.weights):
        for ours, given in zip(taken[:2], initial.layers[0].trainable, strict=True):
            np.testing.assert_array_equal(ours, given)
    assert len({taken["val_loss"] for taken in outcome.history}) == EPOCHS  # the output layer learns


@pytest.mark.slow
@pytest.mark.parametrize("norm", [False, True])
def test_members_of_every_optimizer_depth_and_width_get_the_numbers_of_their_own_fit(norm: bool) -> None:
    models = FamilyBuilder("mlp", INPUTS, source(2 if norm else 1, batch_norm=norm))
    schedule = plan(2 if norm else 1)
    optimizers: list[Params] = [
        {"optimizer": "sgd", "momentum": 0.8, "nesterov": True, "weight_decay": 0.02},
        {"optimizer": "rmsprop", "momentum": 0.5, "epsilon": 1e-3},
        {"optimizer": "adam", "clipnorm": 0.1, "epsilon": 1e-3},
        {"optimizer": "adamw", "weight_decay": 0.1, "epsilon": 1e-3},
        {"optimizer": "nadam", "epsilon": 1e-3},
        {"optimizer": "adagrad", "epsilon": 1e-3},
        {"optimizer": "adamax", "epsilon": 1e-3},  # has no form for training together
    ]
    common: Params = {"batch_norm": norm, "n_neurons_1": 5}
    members = tuple(
        member({**common, **optimizer, "n_hidden": i % 3 + 1, "n_neurons": 3 + i, "dropout": 0.1 * (i % 2)}, i)
        for i, optimizer in enumerate(optimizers[norm::2])
    )
    _, together = train(CohortTrainer(models, schedule), members)
    for one, ours in zip(members, together, strict=True):
        _, (alone,) = train(KerasTrainer(models, schedule), (one,))
        assert ours.status is Status.FINISHED, ours.reason
        for mine, fit in zip(ours.history, alone.history, strict=True):
            assert mine == pytest.approx(fit, rel=1e-4, abs=1e-5)
        for a, b in zip(ours.weights, alone.weights, strict=False):  # only the best members' are kept
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-5)


@keras.saving.register_keras_serializable("kerasweep_freezing")
class Subclassed(keras.Model):
    """Not a graph: its normalisation is called by code of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = keras.layers.BatchNormalization(name="norm")
        self.hidden = keras.layers.Dense(5, "relu", name="hidden")
        self.out = keras.layers.Dense(3, "softmax", name="out")

    def call(self, x: Any, training: bool = False) -> Any:
        return self.out(self.hidden(self.norm(x, training=training)))


def test_what_has_no_frozen_form_trains_alone_and_says_why() -> None:
    models = by_user(Subclassed)
    book, (ours,) = train(CohortTrainer(models, plan(1)), (member({}),))
    assert any("train with Model.fit: layer norm (BatchNormalization), frozen" in note for note in book.notes)
    _, (alone,) = train(KerasTrainer(models, plan(1)), (member({}),))
    assert ours.history == alone.history


def test_a_model_of_frozen_layers_alone_fails(make: Make) -> None:
    models = FamilyBuilder("mlp", INPUTS, source(3))
    _, (outcome,) = train(make(models, plan(3)), (member({"n_hidden": 2, "n_neurons": 5}),))
    assert outcome.status is Status.FAILED
    assert outcome.reason == (
        "ModelError: initial_weights.freeze must leave layers to train. "
        "Received: a model of hidden_1, hidden_2, output alone"
    )


@pytest.mark.parametrize("freeze", [0, 2, "all"])
def test_a_space_of_frozen_layers_alone_is_told_before_anything_trains(freeze: int | str) -> None:
    space = {"parameters": {"learning_rate": {"type": "float", "min": 0.1, "max": 0.2}}}
    model = {"family": "mlp", "initial_weights": {"from": "a", "layers": 3, "freeze": freeze}}
    fixed = {"n_hidden": 2, "n_neurons": 5}
    mapping = {"name": "a", "data": {"name": "wine"}, "model": model, "space": space, "training": {"fixed": fixed}}
    spec = pipeline_from_mapping(mapping, Path()).spec
    models = FamilyBuilder("mlp", INPUTS, source(3))
    if freeze == 0:
        check_initial(spec, models)
    else:
        with pytest.raises(ModelError, match=r"freeze must leave layers to train\. Received: a model of hidden_1"):
            check_initial(spec, models)


def test_what_a_pipeline_says() -> None:
    def freeze(**said: Any) -> Freeze | None:
        return Freeze.of(InitialWeightsSpec(**{"from": "a", "layers": 2, **said}))

    assert Freeze.of(None) is freeze() is freeze(freeze=0) is None
    assert freeze(freeze="all") == Freeze(2, None)
    three = freeze(freeze=3)
    assert three == Freeze(2, 3)
    assert [three.holds(epoch) for epoch in (0, 2, 3, 9)] == [True, True, False, False]


@keras.saving.register_keras_serializable("kerasweep_freezing")
class Scaled(keras.layers.Layer):
    """A weight of its own around layers with weights."""

    def __init__(self, **named: Any) -> None:
        super().__init__(**named)
        self.inside = [keras.layers.Dense(4, name="first"), keras.layers.Dense(4, name="second", trainable=False)]

    def build(self, shape: Any) -> None:
        self.factor = self.add_weight(shape=(), initializer="ones", name="factor")
        for layer in self.inside:
            layer.build(shape)
            shape = (*shape[:-1], 4)

    def call(self, x: Any) -> Any:
        for layer in self.inside:
            x = layer(x)
        return self.factor * x


def test_only_chosen_layers_are_frozen_and_what_the_user_froze_stays_so() -> None:
    model = keras.Sequential([keras.Input((6,)), Scaled(name="scaled"), keras.layers.Dense(3, name="out")])
    model.layers[-1].bias.trainable = False
    model.compile("sgd", "mse")

    def trained() -> list[str]:
        return ["/".join(variable.path.split("/")[-2:]) for variable in model.trainable_variables]

    before = trained()
    assert before == ["scaled/factor", "first/kernel", "first/bias", "out/kernel"]
    frozen = FrozenLayers(model, Freeze(1))
    assert trained() == before[1:]
    frozen.thaw()
    assert trained() == before
    FrozenLayers(model, Freeze(2)).thaw()  # the second one is inside of the first
    assert trained() == before
    FrozenLayers(model, Freeze(3))
    assert trained() == ["out/kernel"]
    assert len(model.optimizer._trainable_variables) == len(before)


def test_a_range_test_freezes_what_the_first_epoch_does() -> None:
    models = FamilyBuilder("mlp", INPUTS, source(1))
    members = [
        member({"n_hidden": 1, "n_neurons": 5, "optimizer": kind}, i) for i, kind in enumerate(("sgd", "adamax"))
    ]
    sweep = Sweep(1e-3, 5.0, 40)

    def losses(schedule: Schedule) -> list[np.ndarray]:
        tests = range_tests(models, members, arrays(), schedule, sweep)
        return [tests[each.number].losses for each in members]

    frozen, free = losses(plan(1)), losses(replace(plan(1), freeze=None))
    for ours, others, each in zip(frozen, free, members, strict=True):
        assert not np.allclose(ours[:20], others[:20], rtol=1e-5)
        model = models.build(each.params, each.seed)
        model.layers[0].trainable = False
        expected = []
        data = arrays()
        order = np.concatenate([epoch_order(11, epoch, ROWS) for epoch in range(20)])
        for rate, start in zip(sweep.rates[:20], range(0, len(order), BATCH), strict=False):
            model.optimizer.learning_rate = rate
            rows = order[start : start + BATCH]
            model.reset_metrics()
            expected.append(float(model.train_on_batch(data.x[rows], data.y[rows], return_dict=True)["loss"]))
        np.testing.assert_allclose(ours[:20], expected, rtol=1e-4)
