"""Builders of models with several inputs and outputs: what they are told, and whether names fit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from kerasweep.data.preprocessing import fit
from kerasweep.delivery import assemble
from kerasweep.errors import ModelError
from kerasweep.models import Head, Inputs, UserBuilder
from kerasweep.spec.vocabulary import Task

INPUTS = Inputs(
    (5,),
    Task.REGRESSION,
    1,
    shapes={"wide": (2,), "deep": (3,)},
    heads={"main": Head(Task.REGRESSION, 1), "aux": Head(Task.MULTICLASS, 3)},
)


def network(inputs: tuple[str, str] = ("wide", "deep"), outputs: tuple[str, str] = ("main", "aux")) -> keras.Model:
    wide, deep = keras.Input((2,), name=inputs[0]), keras.Input((3,), name=inputs[1])
    main = layers.Dense(1, name=outputs[0])(layers.Concatenate()([wide, deep]))
    return keras.Model([wide, deep], [main, layers.Dense(3, "softmax", name=outputs[1])(deep)])


def built(function: Callable[..., Any], inputs: Inputs = INPUTS) -> keras.Model:
    return UserBuilder(function, Path(), inputs).build({}, 3)


def test_a_builder_is_told_of_each_input_and_output_and_compiled_for_each() -> None:
    seen = {}

    def build(input_shape: object, n_outputs: object, output_activation: object) -> keras.Model:
        seen.update(shape=input_shape, outputs=n_outputs, activation=output_activation)
        return network()

    model = built(build)
    assert seen == {
        "shape": {"wide": (2,), "deep": (3,)},
        "outputs": {"main": 1, "aux": 3},
        "activation": {"main": "linear", "aux": "softmax"},
    }
    assert model.loss == {"main": "mse", "aux": "sparse_categorical_crossentropy"}
    x = {"wide": np.zeros((4, 2)), "deep": np.zeros((4, 3))}
    found = model.evaluate(x, {"main": np.ones(4), "aux": np.zeros(4)}, verbose=0, return_dict=True)
    assert set(found) == {"loss", "main_loss", "aux_loss", "main_mae", "main_rmse", "aux_accuracy"}


class Unnamed(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.main, self.aux = layers.Dense(1), layers.Dense(3)

    def call(self, inputs: Any) -> Any:
        return self.main(inputs["wide"]), self.aux(inputs["deep"])


def sequential() -> keras.Model:
    return keras.Sequential([keras.Input((5,), name="wide"), layers.Dense(1)])


def one_output() -> keras.Model:
    model = network()
    return keras.Model(model.inputs, model.outputs[0])


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (
            lambda: network(("wide", "deeps")),
            "inputs must be called as the data's, wide, deep, .* Received: wide, deeps",
        ),
        (sequential, r"inputs must be called .* as in keras.Input\(name=…\)\. Received: wide$"),
        (lambda: network(outputs=("main", "other")), "outputs must be called as the data's, main, aux, .* main, other"),
        (one_output, "outputs must be called as the data's, main, aux, .* Received: main$"),
        (Unnamed, "Received: outputs without names, of a class with a call of its own, which must return a dict"),
    ],
)
def test_names_that_are_not_the_data_s_are_an_error(function: Callable[..., Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        built(function)


def test_a_model_of_several_needs_data_that_name_them() -> None:
    rule = r"several inputs needs data that name them \(data.inputs, or arrays by name\). Received: wide, deep$"
    with pytest.raises(ModelError, match=rule):
        built(network, Inputs((5,), Task.REGRESSION, 1, heads=INPUTS.heads))
    with pytest.raises(ModelError, match=r"several outputs needs data that name them .* Received: main, aux$"):
        built(network, Inputs((5,), Task.REGRESSION, 1, shapes=INPUTS.shapes))


def test_only_what_the_data_name_must_have_a_name() -> None:
    inputs = Inputs((5,), Task.REGRESSION, 1, shapes=INPUTS.shapes)
    assert built(one_output, inputs).output_names == ["main"]
    built(lambda: keras.Sequential([keras.Input((5,)), layers.Dense(1)]), Inputs((5,), Task.REGRESSION, 1))


def test_the_assembled_model_takes_arrays_by_name_and_gives_outputs_by_name() -> None:
    rng = np.random.default_rng(0)
    rows = {"wide": rng.normal(3, 2, (20, 2)), "deep": rng.integers(0, 255, (20, 3)).astype("uint8")}
    body = built(network)
    model = assemble(fit(rows), body, INPUTS.heads)
    predicted = model.predict({name: array.astype("float32") for name, array in rows.items()}, verbose=0)
    assert {name: array.shape for name, array in predicted.items()} == {"main": (20, 1), "aux": (20, 3)}
    scaled = {name: (array - array.mean(0)) / array.std(0) for name, array in rows.items()}
    main, aux = body.predict(scaled, verbose=0)
    np.testing.assert_allclose(predicted["main"], main, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(predicted["aux"], aux, rtol=1e-4, atol=1e-5)
