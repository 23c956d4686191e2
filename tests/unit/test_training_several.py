"""Models of several inputs and outputs: a member of a cohort gets the numbers of its own ``Model.fit``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

from kerasweep.models import Head, Inputs, UserBuilder
from kerasweep.records import Decision, Direction, Objective, ParamValue, Status
from kerasweep.spec.methods import Neuroevolution
from kerasweep.spec.vocabulary import Task
from kerasweep.training import (
    Cohort,
    CohortTrainer,
    EpochReport,
    Evolution,
    KerasTrainer,
    Member,
    NeuroevolutionTrainer,
    Outcome,
    Schedule,
    Trainer,
    TrainingArrays,
)
from kerasweep.training.order import VALIDATION_BATCH
from kerasweep.training.rate_finder import Sweep, range_tests

INPUTS = Inputs(
    (8,),
    Task.REGRESSION,
    1,
    shapes={"wide": (5,), "deep": (6,)},
    heads={"main": Head(Task.REGRESSION, 1), "aux": Head(Task.MULTICLASS, 3)},
)
SCHEDULE = Schedule(Objective("val_main_loss", Direction.MINIMIZE), 3, None, order_seed=11)
LOSSES = {"main": "mse", "aux": "sparse_categorical_crossentropy"}


def arrays(rows: int = 53, held: int = 30, weights: bool = False) -> TrainingArrays:
    rng = np.random.default_rng(7)
    x = rng.normal(size=(rows + held, 8)).astype("float32")
    y = (x[:, :1] * x[:, 3:4] + x[:, 5:6]).astype("float32")

    def named(part: slice) -> tuple[dict[str, Any], dict[str, Any]]:
        inputs = {"wide": x[part, :5], "deep": x[part, 2:]}
        return inputs, {"main": y[part], "aux": np.digitize(y[part, 0], [-1, 1]).astype("int32")}

    own = rng.uniform(0.2, 2, rows).astype("float32") if weights else None
    return TrainingArrays(*named(slice(rows)), named(slice(rows, None)), own)


def graph(n_neurons: int = 4) -> tuple[list[Any], list[Any]]:
    """Its inputs and outputs; one part of it is a model of two inputs."""
    wide, deep = keras.Input((5,), name="wide"), keras.Input((6,), name="deep")
    hidden = layers.Dropout(0.2)(layers.Dense(n_neurons, "relu", kernel_regularizer="l2")(deep))
    one, other = keras.Input((5,), name="x"), keras.Input((n_neurons,), name="a")
    joined = keras.Model({"x": one, "a": other}, layers.Concatenate()([one, other]))({"a": hidden, "x": wide})
    return [wide, deep], [layers.Dense(1, name="main")(joined), layers.Dense(3, "softmax", name="aux")(hidden)]


def listed(learning_rate: float, weight: float = 0.1, n_neurons: int = 4) -> keras.Model:
    model = keras.Model(*graph(n_neurons))
    metrics = [["mae"], ["accuracy", keras.metrics.SparseTopKCategoricalAccuracy(2, name="top")]]
    model.compile(keras.optimizers.Adam(learning_rate), list(LOSSES.values()), [1 - weight, weight], metrics)
    return model


def named(learning_rate: float) -> keras.Model:
    (wide, deep), (main, aux) = graph()
    model = keras.Model({"wide": wide, "deep": deep}, {"main": main, "aux": aux})
    weighted = {"main": [keras.metrics.RootMeanSquaredError(name="rmse")]}
    model.compile(keras.optimizers.SGD(learning_rate), LOSSES, {"main": 0.9, "aux": 0.1}, weighted_metrics=weighted)
    return model


def half_compiled(learning_rate: float) -> keras.Model:
    """Only its main output is trained, and so it has no loss of its own; the other one is only looked at."""
    (wide, deep), (main, aux) = graph()
    model = keras.Model({"wide": wide, "deep": deep}, {"main": main, "aux": aux})
    model.compile(keras.optimizers.SGD(learning_rate), {"main": "mse", "aux": None}, metrics={"aux": ["accuracy"]})
    return model


def uncompiled() -> keras.Model:
    return keras.Model(*graph())


@keras.saving.register_keras_serializable("kerasweep_several")
class Subclassed(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.hidden = layers.Dense(4, "relu")
        self.main, self.aux = layers.Dense(1), layers.Dense(3, "softmax")

    def call(self, inputs: Any) -> dict[str, Any]:
        hidden = self.hidden(inputs["deep"])
        return {"main": self.main(ops.concatenate([inputs["wide"], hidden], axis=1)), "aux": self.aux(hidden)}


def subclassed() -> keras.Model:
    return Subclassed()


Settings = list[dict[str, ParamValue]]
BUILT: dict[str, tuple[Callable[..., keras.Model], Settings, str]] = {
    "listed": (listed, [{"weight": 0.0}, {"weight": 0.3}, {"n_neurons": 7}], "val_main_loss"),
    "named": (named, [{}, {}], "val_main_loss"),
    "half compiled": (half_compiled, [{}], "val_loss"),
    "uncompiled": (uncompiled, [{"optimizer": "adam"}, {"optimizer": "sgd"}], "val_main_rmse"),
    "subclassed": (subclassed, [{}, {}], "val_aux_accuracy"),
}


def train(trainer: Trainer, members: tuple[Member, ...], data: TrainingArrays) -> tuple[tuple[Outcome, ...], list[str]]:
    notes: list[str] = []

    def report(epoch: EpochReport) -> Decision:
        notes.extend(epoch.notes)
        return Decision()

    return trainer.train(Cohort(members), data, report), notes


def agree(one: Outcome, other: Outcome) -> None:
    assert (one.status, one.reason, one.epoch) == (other.status, other.reason, other.epoch)
    for ours, theirs in zip(one.history, other.history, strict=True):
        assert dict(ours) == pytest.approx(dict(theirs), rel=1e-4, abs=1e-5)
    for ours, theirs in zip(one.weights, other.weights, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize("kind", BUILT)
def test_members_get_the_numbers_of_fit_output_by_output(kind: str, weights: bool) -> None:
    function, settings, metric = BUILT[kind]
    models = UserBuilder(function, Path(), INPUTS)
    objective = Objective(metric, Direction.MAXIMIZE if metric.endswith("accuracy") else Direction.MINIMIZE)
    schedule = Schedule(objective, 3, None, order_seed=11)
    members = tuple(
        Member(i, {"batch_size": 16, "learning_rate": 0.02 / (i + 1), **own}, seed=100 + i)
        for i, own in enumerate(settings)
    )
    # Keras means the loss of each output over the batches of a validation, of which one is short here.
    data = arrays(held=VALIDATION_BATCH + 20 if weights else 30, weights=weights)
    outcomes, notes = train(CohortTrainer(models, schedule), members, data)
    assert notes == []
    for member, outcome in zip(members, outcomes, strict=True):
        assert outcome.status is Status.FINISHED
        ((alone,), _) = train(KerasTrainer(models, schedule), (member,), data)
        agree(outcome, alone)


def test_metrics_are_called_as_keras_calls_them() -> None:
    ((outcome,), _) = train(CohortTrainer(UserBuilder(listed, Path(), INPUTS), SCHEDULE), (one_member(),), arrays())
    own = {"loss", "main_loss", "aux_loss", "main_mae", "aux_accuracy", "aux_top"}
    assert set(outcome.history[0]) == own | {f"val_{name}" for name in own}
    for prefix in ("", "val_"):  # without dropout the parts add up to the whole, and its penalty
        parts = 0.9 * outcome.history[2][f"{prefix}main_loss"] + 0.1 * outcome.history[2][f"{prefix}aux_loss"]
        assert outcome.history[2][f"{prefix}loss"] > parts * 0.98


def one_member() -> Member:
    return Member(0, {"batch_size": 16, "learning_rate": 0.02}, seed=3)


def eager(learning_rate: float) -> keras.Model:
    model = keras.Model(*graph())
    model.compile(keras.optimizers.SGD(learning_rate), LOSSES, run_eagerly=True)
    return model


def test_what_cannot_be_stacked_trains_alone_and_one_line_says_why() -> None:
    models = UserBuilder(eager, Path(), INPUTS)
    ((outcome,), notes) = train(CohortTrainer(models, SCHEDULE), (one_member(),), arrays())
    assert [note.rpartition(": ")[2] for note in notes] == ["run_eagerly=True"]
    ((alone,), _) = train(KerasTrainer(models, SCHEDULE), (one_member(),), arrays())
    agree(outcome, alone)


def test_populations_evolve_with_several_inputs_and_outputs() -> None:
    evolution = Evolution(Neuroevolution(population=6, parents=2, batch=40))
    trainer = NeuroevolutionTrainer(UserBuilder(uncompiled, Path(), INPUTS), SCHEDULE, evolution)
    ((outcome,), _) = train(trainer, (Member(0, {}, seed=3),), arrays())
    assert outcome.status is Status.FINISHED
    model = uncompiled()
    model.set_weights(list(outcome.weights))
    model.compile(loss=LOSSES)
    validation = arrays().validation
    assert validation is not None
    found = model.evaluate(*validation, verbose=0, return_dict=True)
    assert outcome.value == pytest.approx(found["main_loss"], rel=1e-5)


def test_a_range_test_takes_them_too() -> None:
    members = [Member(i, {"batch_size": 16, "learning_rate": 1e-5}, seed=3) for i in range(2)]
    models = UserBuilder(listed, Path(), INPUTS)
    tests = range_tests(models, members, arrays(), SCHEDULE, Sweep(1e-4, 10.0, 60))
    assert tests[0].suggestion == tests[1].suggestion
    assert tests[0].suggestion is not None
