"""The user's own builder: what it is called with, and what is said when it does not fit."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from kerasweep.errors import ModelError
from kerasweep.models import Inputs, UserBuilder
from kerasweep.records import ParamValue
from kerasweep.spec.vocabulary import Task

INPUTS = Inputs((4,), Task.MULTICLASS, 3)


def network(units: int = 5, activation: str = "softmax", shape: tuple[int, ...] = (4,)) -> keras.Model:
    layers = keras.layers
    return keras.Sequential([keras.Input(shape), layers.Dense(units), layers.Dense(3, activation=activation)])


def built(function: Callable[..., Any] | str, params: dict[str, ParamValue], directory: Path = Path()) -> keras.Model:
    return UserBuilder(function, directory, INPUTS).build(params, 3)


def test_parameters_are_passed_by_name_and_the_model_is_compiled_with_the_rest() -> None:
    model = built(network, {"units": 7, "optimizer": "sgd", "learning_rate": 0.25, "momentum": 0.5, "batch_size": 8})
    assert model.layers[0].units == 7
    assert model.loss == "sparse_categorical_crossentropy"
    config = model.optimizer.get_config()
    assert isinstance(model.optimizer, keras.optimizers.SGD)
    assert config["momentum"] == 0.5
    assert config["learning_rate"] == pytest.approx(0.25)


def test_a_builder_may_ask_for_what_the_data_decides() -> None:
    seen = {}

    def build(input_shape: object, n_outputs: object, output_activation: object, units: int = 2) -> keras.Model:
        seen.update(shape=input_shape, outputs=n_outputs, activation=output_activation, units=units)
        return network(units)

    built(build, {})
    assert seen == {"shape": (4,), "outputs": 3, "activation": "softmax", "units": 2}


def test_a_parameter_of_the_space_outranks_the_fact_of_the_same_name() -> None:
    assert built(lambda output_activation: network(4, output_activation), {"output_activation": "sigmoid"})


def test_open_ended_arguments_take_every_parameter_but_our_own() -> None:
    seen: dict[str, object] = {}

    def build(**kwargs: object) -> keras.Model:
        seen.update(kwargs)
        return network()

    model = built(build, {"units": 7, "depth": 2, "learning_rate": 0.5, "batch_size": 4})
    assert seen == {"units": 7, "depth": 2}
    assert float(model.optimizer.learning_rate) == 0.5


def test_a_builder_with_positional_extras_needs_nothing_for_them() -> None:
    def build(*args: object, units: int) -> keras.Model:
        assert args == ()
        return network(units)

    assert built(build, {"units": 2}).layers[0].units == 2


def test_a_callable_object_is_a_builder_too() -> None:
    class Builder:
        def __call__(self, units: int) -> keras.Model:
            return network(units)

    assert built(Builder(), {"units": 6}).layers[0].units == 6


def compiled(units: int = 5, learning_rate: float = 0.1) -> keras.Model:
    model = network(units)
    model.compile(keras.optimizers.SGD(learning_rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def test_a_compiled_model_stays_as_it_is() -> None:
    model = built(compiled, {"units": 5, "learning_rate": 0.75, "batch_size": 8})
    assert isinstance(model.optimizer, keras.optimizers.SGD)
    assert float(model.optimizer.learning_rate) == 0.75


def test_a_compiled_model_whose_builder_ignores_an_optimizer_parameter_is_an_error() -> None:
    def build(units: int) -> keras.Model:
        return compiled(units)

    message = r"must take learning_rate itself\. Received: a compiled model from a function without it$"
    with pytest.raises(ModelError, match=message):
        built(build, {"units": 5, "learning_rate": 0.75})
    with pytest.raises(ModelError, match=r"must take learning_rate, optimizer itself\..*without them$"):
        built(build, {"units": 5, "learning_rate": 0.75, "optimizer": "sgd"})


@keras.saving.register_keras_serializable("kerasweep_tests")
class Subclassed(keras.Model):
    def __init__(self, units: int) -> None:
        super().__init__()
        self.hidden = keras.layers.Dense(units, "relu")
        self.out = keras.layers.Dense(3, "softmax")

    def call(self, x: Any) -> Any:
        return self.out(self.hidden(x))


@pytest.mark.parametrize("compile_it", [False, True])
def test_a_subclassed_model_is_built_here(compile_it: bool) -> None:
    def build(units: int) -> keras.Model:
        model = Subclassed(units)
        if compile_it:
            model.compile("sgd", "sparse_categorical_crossentropy")
        return model

    model = built(build, {"units": 5})
    assert model.built
    assert [weight.shape for weight in model.get_weights()] == [(4, 5), (5,), (5, 3), (3,)]
    again = built(build, {"units": 5})
    for a, b in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_unbuilt_sequential_model_is_built_here() -> None:
    model = built(lambda: keras.Sequential([keras.layers.Dense(3, activation="softmax")]), {})
    assert model.built
    assert model.get_weights()[0].shape == (4, 3)


@pytest.mark.parametrize(("value", "name"), [(None, "NoneType"), ((network, 1), "tuple"), (network, "function")])
def test_a_builder_that_returns_no_model_is_an_error(value: object, name: str) -> None:
    with pytest.raises(ModelError, match=f"must return a keras.Model. Received: {name}"):
        built(lambda: value, {})


def test_a_parameter_that_the_builder_does_not_take_is_an_error() -> None:
    def build(units: int) -> keras.Model:
        return network(units)

    with pytest.raises(ModelError, match=r"must be an argument of the builder\. Received: depth, not among units"):
        built(build, {"units": 5, "depth": 3})


def test_an_argument_that_nothing_fills_is_an_error() -> None:
    def build(units: int, depth: int, rate: float = 0.1) -> keras.Model:
        return network(units)

    with pytest.raises(ModelError, match=r"must be in the space or fixed\. Received: none for units, depth"):
        built(build, {"rate": 0.5})


def test_what_a_builder_raises_is_left_to_the_trainer() -> None:
    def build(units: int) -> keras.Model:
        raise RuntimeError("no such thing")

    with pytest.raises(RuntimeError, match="no such thing"):
        built(build, {"units": 5})


MODULE = """
import keras
from kerasweep_test_sizes import WIDTH

def build(units):
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(units * WIDTH), keras.layers.Dense(3)])
"""


def test_a_builder_is_imported_from_the_directory_of_the_pipeline(tmp_path: Path) -> None:
    (tmp_path / "kerasweep_test_sizes.py").write_text("WIDTH = 2\n")
    (tmp_path / "kerasweep_test_builder.py").write_text(MODULE)
    model = built("kerasweep_test_builder:build", {"units": 3}, tmp_path)
    assert model.layers[0].units == 6


@pytest.mark.parametrize(
    ("content", "reference", "message"),
    [
        (None, "kerasweep_test_nowhere:build", "ModuleNotFoundError: No module named 'kerasweep_test_nowhere'"),
        ("def build(:\n", "kerasweep_test_syntax:build", "SyntaxError"),
        ("1 / 0\n", "kerasweep_test_zero:build", "ZeroDivisionError: division by zero"),
        ("def build(): ...\n", "kerasweep_test_name:bulid", "Did you mean 'build'"),
    ],
)
def test_a_module_that_cannot_be_imported(tmp_path: Path, content: str | None, reference: str, message: str) -> None:
    if content is not None:
        (tmp_path / f"{reference.partition(':')[0]}.py").write_text(content)
    with pytest.raises(ModelError, match=message) as raised:
        built(reference, {}, tmp_path)
    assert reference in str(raised.value)


def test_threads_that_build_at_once_get_the_weights_of_their_seeds(tmp_path: Path) -> None:
    def unseeded() -> keras.Model:
        hidden = [keras.layers.Dense(7) for _ in range(4)]
        return keras.Sequential([keras.Input((3,)), *hidden, keras.layers.Dense(1)])

    builder = UserBuilder(unseeded, tmp_path, Inputs((3,), Task.REGRESSION, 1))
    alone = [builder.build({}, seed).get_weights() for seed in range(6)]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda seed: builder.build({}, seed).get_weights(), range(6)))
    for one, other in zip(alone, together, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
