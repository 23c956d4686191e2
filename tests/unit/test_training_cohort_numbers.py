"""A member of a cohort gets the numbers of its own ``Model.fit``: weights and metrics, to a relative 1e-4."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from kerasweep.models import FamilyBuilder, Inputs, ModelBuilder, UserBuilder
from kerasweep.records import Decision, Direction, Objective, Params, ParamValue
from kerasweep.spec.families import ACTIVATIONS, INITIALIZERS, OPTIMIZER_TAKES
from kerasweep.spec.pipeline import EarlyStopping
from kerasweep.spec.vocabulary import Task
from kerasweep.training import (
    Cohort,
    CohortTrainer,
    EpochReport,
    KerasTrainer,
    Member,
    Outcome,
    Schedule,
    TrainingArrays,
)
from kerasweep.training.cohort.optimizers import KINDS

pytestmark = pytest.mark.slow

ROWS = 53  # with batches of 16 or 20, the last one is short
TASKS = {Task.REGRESSION: 2, Task.BINARY: 1, Task.MULTICLASS: 3, Task.MULTILABEL: 2}
SCHEDULE = Schedule(Objective("val_loss", Direction.MINIMIZE), 3, None, order_seed=11)


def arrays(task: Task, weights: bool = False, features: tuple[int, ...] = (6,)) -> TrainingArrays:
    rng = np.random.default_rng(7)
    x = rng.normal(size=(ROWS + 30, *features)).astype("float32")
    flat = x.reshape(len(x), -1)
    score = flat @ rng.normal(size=(flat.shape[1], TASKS[task])) + rng.normal(0, 0.3, (len(x), TASKS[task]))
    y = {
        Task.REGRESSION: score,
        Task.BINARY: score > 0,
        Task.MULTICLASS: score.argmax(axis=1),
        Task.MULTILABEL: score > 0,
    }[task].astype("int32" if task is Task.MULTICLASS else "float32")
    own = rng.uniform(0.2, 2, ROWS).astype("float32") if weights else None
    return TrainingArrays(x[:ROWS], y[:ROWS], (x[ROWS:], y[ROWS:]), own)


def drawn(rng: np.random.Generator) -> dict[str, ParamValue]:
    """A configuration of the family, anything that it knows."""
    optimizer = str(rng.choice(sorted(KINDS)))
    takes = OPTIMIZER_TAKES[optimizer]
    params: dict[str, ParamValue] = {
        "n_hidden": int(rng.integers(0, 4)),
        "n_neurons": int(rng.integers(1, 12)),
        "initializer": str(rng.choice(INITIALIZERS)),
        "optimizer": optimizer,
        "learning_rate": float(10 ** rng.uniform(-3, -1.7)),
        "dropout": float(rng.choice([0.0, 0.2, 0.45])),
        "l2": float(rng.choice([0.0, 1e-3, 1e-2])),
    }
    chances: dict[str, Callable[[], ParamValue]] = {
        "momentum": lambda: float(rng.uniform(0, 0.95)),
        "nesterov": lambda: bool(rng.integers(2)),
        "rho": lambda: float(rng.uniform(0.8, 0.99)),
        "beta_1": lambda: float(rng.uniform(0.8, 0.99)),
        "beta_2": lambda: float(rng.uniform(0.9, 0.9999)),
        "epsilon": lambda: float(10 ** rng.uniform(-7, -3)),
        "weight_decay": lambda: float(10 ** rng.uniform(-3, -1)),
        "clipnorm": lambda: float(rng.uniform(0.05, 2)),
    }
    return params | {name: draw() for name, draw in chances.items() if name in takes and rng.random() < 0.5}


def cohort(configurations: Sequence[Params]) -> Cohort:
    return Cohort(tuple(Member(10 + i, params, seed=i) for i, params in enumerate(configurations)))


def quiet(report: EpochReport) -> Decision:
    return Decision()


def together(
    models: ModelBuilder, members: Cohort, data: TrainingArrays, schedule: Schedule = SCHEDULE
) -> tuple[tuple[Outcome, ...], list[str]]:
    notes: list[str] = []

    def report(epoch: EpochReport) -> Decision:
        notes.extend(epoch.notes)
        return Decision()

    return CohortTrainer(models, schedule, threads=2).train(members, data, report), notes


def alone(models: ModelBuilder, member: Member, data: TrainingArrays, schedule: Schedule = SCHEDULE) -> Outcome:
    (outcome,) = KerasTrainer(models, schedule).train(Cohort((member,)), data, quiet)
    return outcome


def agree(one: Outcome, other: Outcome) -> None:
    assert (one.status, one.epoch, len(one.history)) == (other.status, other.epoch, len(other.history))
    for ours, theirs in zip(one.history, other.history, strict=True):
        assert dict(ours) == pytest.approx(dict(theirs), rel=1e-4, abs=1e-5)
    if one.weights:  # only the best members' are kept
        for ours, theirs in zip(one.weights, other.weights, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("seed", range(4))
def test_members_of_the_family_get_the_numbers_of_fit_whatever_their_size_and_optimizer(seed: int) -> None:
    rng = np.random.default_rng(seed)
    task = list(TASKS)[seed % len(TASKS)]
    common: Params = {
        "activation": str(rng.choice(ACTIVATIONS)),
        "batch_norm": bool(rng.integers(2)),
        "batch_size": int(rng.choice([16, 20])),
    }
    shape = (2, 3) if seed % 2 else (6,)
    models = FamilyBuilder("mlp", Inputs(shape, task, TASKS[task]))
    members = cohort([{**drawn(rng), **common} for _ in range(6)])
    data = arrays(task, weights=seed % 3 == 0, features=shape)
    outcomes, notes = together(models, members, data)
    assert notes == []  # all of them were stacked
    for member, outcome in zip(members.members, outcomes, strict=True):
        agree(outcome, alone(models, member, data))


@pytest.mark.parametrize("family", ["mlp", "wide_deep"])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_a_masked_narrow_shallow_member_equals_its_own_network(family: str, dropout: float) -> None:
    """All of one stack: one program, as deep and wide as the largest, with an auxiliary output if any has one."""
    columns = ((0, 1, 2, 3), (5, 2, 3)) if family == "wide_deep" else ()
    models = FamilyBuilder(family, Inputs((6,), Task.REGRESSION, 2, *columns))
    sizes: list[dict[str, ParamValue]] = [
        {"n_hidden": 1, "n_neurons": 3, "aux_weight": 0.5},
        {"n_hidden": 3, "n_neurons": 9, "aux_weight": 0.0},
        {"n_hidden": 2, "n_neurons": 5, "aux_weight": 0.1},
    ]
    common = {"activation": "sigmoid", "dropout": dropout, "batch_norm": True, "learning_rate": 0.01, "batch_size": 16}
    members = cohort([{**common, **size} for size in sizes])
    data = arrays(Task.REGRESSION)
    outcomes, notes = together(models, members, data)
    assert notes == []
    for member, outcome in zip(members.members, outcomes, strict=True):
        agree(outcome, alone(models, member, data))
        assert outcome.weights[0].shape == (3 if columns else 6, member.params["n_neurons"])


@pytest.mark.parametrize("seed", range(4))
def test_wide_and_deep_members_get_the_numbers_of_fit_with_and_without_an_auxiliary_output(seed: int) -> None:
    rng = np.random.default_rng(100 + seed)
    task = list(TASKS)[seed]
    common: Params = {"activation": "tanh", "batch_norm": bool(seed % 2), "batch_size": 16}
    inputs = Inputs((2, 3), task, TASKS[task], wide=(0, 1, 2, 3), deep=(5, 3, 2) if seed else None)
    models = FamilyBuilder("wide_deep", inputs)
    own = [drawn(rng) for _ in range(4)]
    members = cohort(
        [
            {**each, **common, "n_hidden": max(1, int(each["n_hidden"])), "aux_weight": weight}
            for each, weight in zip(own, (0.0, 0.1, 0.5, 0.9), strict=True)
        ]
    )
    data = arrays(task, weights=seed == 3, features=(2, 3))
    outcomes, notes = together(models, members, data)
    assert notes == []
    for member, outcome in zip(members.members, outcomes, strict=True):
        agree(outcome, alone(models, member, data))


def test_linear_members_get_the_numbers_of_fit_whatever_their_penalties() -> None:
    models = FamilyBuilder("linear", Inputs((2, 3), Task.MULTICLASS, 3))
    penalties: list[Params] = [
        {},
        {"l1": 0.02},
        {"l2": 0.01, "optimizer": "sgd", "momentum": 0.9},
        {"l1": 0.1, "l2": 0.1},
    ]
    members = cohort([{"learning_rate": 0.03, "batch_size": 16, **each} for each in penalties])
    data = arrays(Task.MULTICLASS, features=(2, 3))
    outcomes, notes = together(models, members, data)
    assert notes == []
    for member, outcome in zip(members.members, outcomes, strict=True):
        agree(outcome, alone(models, member, data))


def test_early_stopping_picks_the_same_epoch_for_every_member() -> None:
    models = FamilyBuilder("mlp", Inputs((6,), Task.REGRESSION, 2))
    schedule = Schedule(SCHEDULE.objective, 25, EarlyStopping(patience=2, min_delta=0.01), order_seed=3)
    members = cohort([{"learning_rate": rate, "n_neurons": 8, "batch_size": 16} for rate in (3e-3, 0.03, 0.1, 0.3)])
    outcomes, _ = together(models, members, arrays(Task.REGRESSION), schedule)
    ends = [len(outcome.history) for outcome in outcomes]
    assert len(set(ends)) > 1
    assert min(ends) < 25
    for member, outcome in zip(members.members, outcomes, strict=True):
        own = alone(models, member, arrays(Task.REGRESSION), schedule)
        assert (outcome.epoch, len(outcome.history)) == (own.epoch, len(own.history))
        for ours, theirs in zip(outcome.history[:3], own.history[:3], strict=True):
            assert dict(ours) == pytest.approx(dict(theirs), rel=1e-4)


# --- models that a user builds ---------------------------------------------------------------------------------------


def wide_and_deep(learning_rate: float, dropout: float = 0.2, l2: float = 1e-3, decay: bool = False) -> keras.Model:
    inputs = keras.Input((6,))
    wide, deep = inputs[:, :4], inputs[:, 2:]
    hidden = layers.Dense(9, "relu", kernel_regularizer=keras.regularizers.L1L2(1e-4, l2))(deep)
    hidden = layers.Dropout(dropout)(hidden)
    hidden = layers.Dense(5, use_bias=False)(hidden)
    hidden = layers.Activation("tanh")(layers.BatchNormalization()(hidden))
    model = keras.Model(inputs, layers.Dense(2)(layers.Concatenate()([wide, hidden])))
    schedule = keras.optimizers.schedules.ExponentialDecay(learning_rate, 5, 0.9)
    optimizer = keras.optimizers.Adam(schedule if decay else learning_rate)
    model.compile(optimizer, "huber", metrics=["mae", keras.metrics.RootMeanSquaredError(name="rmse")])
    return model


def convolutional(learning_rate: float, padding: str = "same") -> keras.Model:
    model = keras.Sequential(
        [
            keras.Input((6, 5, 1)),
            layers.Conv2D(4, (3, 2), padding=padding, activation="relu"),
            layers.MaxPooling2D((2, 1), padding=padding),
            layers.MaxPooling2D(2, strides=1, padding="same"),
            layers.DepthwiseConv2D(2, padding=padding, depth_multiplier=2),
            layers.Conv2D(3, 2, strides=(1, 2), padding="same", use_bias=False),
            layers.Conv2D(3, 2, strides=(2, 1), padding="same"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3, "softmax"),
        ]
    )
    model.compile(keras.optimizers.RMSprop(learning_rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


class Scaled(keras.Model):
    """Subclassed, with a number that no configuration tells of."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.hidden, self.out = layers.Dense(5, "relu"), layers.Dense(2)

    def call(self, x: Any, training: bool = False) -> Any:
        return self.out(self.hidden(x) * self.scale)


def subclassed(learning_rate: float, scale: float = 1.0) -> keras.Model:
    model = Scaled(scale)
    model.compile(keras.optimizers.SGD(learning_rate, momentum=0.9), "mse", metrics=["mae"])
    return model


class Plain(keras.Model):
    """Subclassed as in books: its ``call`` takes the rows and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.out = layers.Dense(5, "relu"), layers.Dense(2)

    def call(self, x: Any) -> Any:
        return self.out(self.hidden(x))


def subclassed_plainly(learning_rate: float) -> keras.Model:
    model = Plain()
    model.compile(keras.optimizers.SGD(learning_rate, momentum=0.9), "mse", metrics=["mae"])
    return model


def recurrent(learning_rate: float) -> keras.Model:
    model = keras.Sequential([keras.Input((6,)), layers.Reshape((3, 2)), layers.GRU(3), layers.LayerNormalization()])
    model.add(layers.Dense(2))
    model.compile(keras.optimizers.Nadam(learning_rate), "mse")
    return model


def smoothed(learning_rate: float) -> keras.Model:
    """Label smoothing, a constraint, a cosine schedule, and a weighted metric."""
    model = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(5, "relu", kernel_constraint=keras.constraints.MaxNorm(0.8)),
            layers.Dense(1, "sigmoid"),
        ]
    )
    schedule = keras.optimizers.schedules.CosineDecay(0.0, 8, warmup_target=learning_rate, warmup_steps=3)
    model.compile(
        keras.optimizers.AdamW(schedule, weight_decay=0.01),
        keras.losses.BinaryCrossentropy(label_smoothing=0.1),
        metrics=["accuracy", keras.metrics.AUC(name="auc")],
        weighted_metrics=[keras.metrics.BinaryAccuracy(name="weighted")],
    )
    return model


BUILT: dict[str, tuple[Callable[..., keras.Model], Task, tuple[int, ...], list[dict[str, ParamValue]]]] = {
    "wide and deep": (
        wide_and_deep,
        Task.REGRESSION,
        (6,),
        [{"dropout": 0.3}, {"dropout": 0.1, "l2": 0.05}, {"decay": True}],
    ),
    "convolutions": (convolutional, Task.MULTICLASS, (6, 5, 1), [{}, {"padding": "valid"}, {"padding": "valid"}]),
    "subclassed": (subclassed, Task.REGRESSION, (6,), [{}, {"scale": 0.5}, {}]),
    "subclassed plainly": (subclassed_plainly, Task.REGRESSION, (6,), [{}, {}]),
    "recurrent": (recurrent, Task.REGRESSION, (6,), [{}, {}]),
    "smoothed labels": (smoothed, Task.BINARY, (6,), [{}, {}]),
}


@pytest.mark.parametrize("kind", BUILT)
def test_models_of_a_users_builder_get_the_numbers_of_fit(kind: str) -> None:
    function, task, shape, settings = BUILT[kind]
    models = UserBuilder(function, Path(), Inputs(shape, task, TASKS[task]))
    members = cohort([{"batch_size": 16, "learning_rate": 0.02 / (i + 1), **own} for i, own in enumerate(settings)])
    data = arrays(task, weights=kind == "smoothed labels", features=shape)
    outcomes, notes = together(models, members, data)
    assert notes == []
    for member, outcome in zip(members.members, outcomes, strict=True):
        agree(outcome, alone(models, member, data))


def noisy(learning_rate: float) -> keras.Model:
    model = keras.Sequential([keras.Input((6,)), layers.GaussianNoise(0.1), layers.Dense(2)])
    model.compile(keras.optimizers.SGD(learning_rate), "mse")
    return model


class Stepping(keras.Sequential):
    def train_step(self, data: Any) -> Any:
        return super().train_step(data)


def own_step(learning_rate: float) -> keras.Model:
    model = Stepping([keras.Input((6,)), layers.Dense(2)])
    model.compile(keras.optimizers.SGD(learning_rate), "mse")
    return model


def adadelta(learning_rate: float) -> keras.Model:
    model = keras.Sequential([keras.Input((6,)), layers.Dense(2)])
    model.compile(keras.optimizers.Adadelta(learning_rate), "mse")
    return model


@pytest.mark.parametrize(
    ("function", "named"),
    [
        (noisy, "layer gaussian_noise (GaussianNoise), which draws random numbers"),
        (own_step, "Stepping.train_step, which is the model's own"),
        (adadelta, "optimizer Adadelta"),
    ],
)
def test_what_cannot_be_stacked_trains_alone_and_one_line_says_why(function: Any, named: str) -> None:
    models = UserBuilder(function, Path(), Inputs((6,), Task.REGRESSION, 2))
    members = cohort([{"batch_size": 16, "learning_rate": rate} for rate in (0.01, 0.02)])
    outcomes, notes = together(models, members, arrays(Task.REGRESSION))
    assert len(notes) == 1
    assert notes[0].endswith(f"train with Model.fit: {named}")
    for member, outcome in zip(members.members, outcomes, strict=True):
        assert all(math.isfinite(metrics["val_loss"]) for metrics in outcome.history)
        agree(outcome, alone(models, member, arrays(Task.REGRESSION)))
