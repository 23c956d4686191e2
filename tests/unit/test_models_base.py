"""What the task decides for every model, and the optimisers."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from kerasweep.models.base import Inputs, compile_for, make_optimizer, seed_everything
from kerasweep.records import ParamValue
from kerasweep.spec.families import OPTIMIZER_PARAMETERS, OPTIMIZER_TAKES, OPTIMIZERS
from kerasweep.spec.vocabulary import METRICS, Task

# A legal value other than Keras's default for each of the optimisers' parameters.
VALUES: dict[str, ParamValue] = {
    "learning_rate": 0.0123,
    "momentum": 0.5,
    "nesterov": True,
    "rho": 0.7,
    "beta_1": 0.8,
    "beta_2": 0.95,
    "epsilon": 1e-4,
    "weight_decay": 0.02,
    "clipnorm": 3.0,
}


def test_every_optimizer_parameter_is_tried_here() -> None:
    assert {*VALUES, "optimizer"} == OPTIMIZER_PARAMETERS.keys()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_gets_every_parameter_it_takes(name: str) -> None:
    params = {parameter: VALUES[parameter] for parameter in OPTIMIZER_TAKES[name]}
    optimizer = make_optimizer({"optimizer": name, "n_neurons": 3, "batch_size": 8, **params})
    assert type(optimizer).__name__.lower() == name
    config = optimizer.get_config()
    assert {parameter: config[parameter] for parameter in params} == pytest.approx(params)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_what_is_left_out_keeps_the_default_of_keras(name: str) -> None:
    made, plain = make_optimizer({"optimizer": name}).get_config(), keras.optimizers.get(name).get_config()
    del made["name"], plain["name"]  # Keras counts them
    assert made == plain


def test_adam_is_the_optimizer_nobody_named() -> None:
    assert isinstance(make_optimizer({"learning_rate": 0.1}), keras.optimizers.Adam)


@pytest.mark.parametrize(
    ("task", "outputs", "activation", "loss"),
    [
        (Task.REGRESSION, 2, "linear", "mse"),
        (Task.BINARY, 1, "sigmoid", "binary_crossentropy"),
        (Task.MULTILABEL, 3, "sigmoid", "binary_crossentropy"),
        (Task.MULTICLASS, 4, "softmax", "sparse_categorical_crossentropy"),
    ],
)
def test_the_task_decides_output_loss_and_metrics(task: Task, outputs: int, activation: str, loss: str) -> None:
    inputs = Inputs((5,), task, outputs)
    assert inputs.output_activation == activation
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(outputs, activation=activation)])
    compile_for(model, {}, inputs)
    assert model.loss == loss
    rng = np.random.default_rng(0)
    x = rng.normal(size=(12, 5)).astype("float32")
    y = {
        Task.REGRESSION: rng.normal(size=(12, outputs)).astype("float32"),
        Task.BINARY: rng.integers(0, 2, (12, 1)).astype("float32"),
        Task.MULTILABEL: rng.integers(0, 2, (12, outputs)).astype("float32"),
        Task.MULTICLASS: rng.integers(0, outputs, 12).astype("int32"),
    }[task]
    history = model.fit(x, y, validation_data=(x, y), verbose=0).history
    names = ("loss", *METRICS[task])  # what a pipeline file may name as its objective, before any model is built
    assert set(history) == {*names, *(f"val_{name}" for name in names)}


def test_a_seed_covers_python_numpy_and_tensorflow() -> None:
    import random

    import tensorflow as tf

    def draws() -> tuple[float, float, float]:
        seed_everything(5)
        return random.random(), float(np.random.random()), float(tf.random.uniform(()))

    assert draws() == draws()
