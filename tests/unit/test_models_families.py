"""The built-in multilayer perceptron: every parameter has its effect, and every legal value builds."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasweep.models import FamilyBuilder, Inputs
from kerasweep.models.base import Frame
from kerasweep.records import ParamValue
from kerasweep.spec.families import ACTIVATIONS, AUTO, FAMILIES, INITIALIZERS, OPTIMIZERS
from kerasweep.spec.vocabulary import Task

REGRESSION = Inputs((6,), Task.REGRESSION, 1)
BUILDER = FamilyBuilder("mlp", REGRESSION)


def widths(model: keras.Model) -> list[int]:
    return [layer.units for layer in model.layers if isinstance(layer, keras.layers.Dense)]


def kinds(model: keras.Model) -> list[str]:
    return [type(layer).__name__ for layer in model.layers]


def test_every_family_of_the_vocabulary_builds() -> None:
    for family in FAMILIES:
        params: dict[str, ParamValue] = {"architecture": "residual"} if family == AUTO else {}
        assert FamilyBuilder(family, REGRESSION).build(params, 0).compiled


@pytest.mark.parametrize("n_hidden", range(4))
def test_hidden_layers(n_hidden: int) -> None:
    model = BUILDER.build({"n_hidden": n_hidden, "n_neurons": 7}, 0)
    assert widths(model) == [7] * n_hidden + [1]
    assert model(np.zeros((3, 6), "float32")).shape == (3, 1)


def test_without_hidden_layers_it_is_a_linear_model() -> None:
    model = BUILDER.build({"n_hidden": 0, "activation": "relu", "dropout": 0.5, "batch_norm": True}, 1)
    assert kinds(model) == ["Dense"]
    kernel, bias = model.get_weights()
    x = np.random.default_rng(0).normal(size=(4, 6)).astype("float32")
    np.testing.assert_allclose(model.predict(x, verbose=0), x @ kernel + bias, rtol=1e-5, atol=1e-6)


def test_each_layer_may_have_its_own_width() -> None:
    params: dict[str, ParamValue] = {"n_hidden": 3, "n_neurons": 9, "n_neurons_1": 4, "n_neurons_3": 2}
    assert widths(BUILDER.build(params, 0)) == [4, 9, 2, 1]


def test_a_frame_is_as_large_as_its_members_and_a_roomy_one_fits_others_as_well() -> None:
    def frame(*neurons: int, roomy: bool) -> Frame:
        return BUILDER.stackable.frame([{"n_hidden": 2, "n_neurons": each} for each in neurons], roomy=roomy)

    def width(found: Frame) -> ParamValue:
        return found.params["n_neurons_2"]

    alone = frame(37, roomy=False)
    assert (width(alone), alone.units) == (37, {})
    assert frame(37, 12, roomy=False).units == {"activation_1": [37, 12], "activation_2": [37, 12]}
    roomy = [frame(37, 12, roomy=True), frame(33, roomy=True), frame(40, roomy=True)]
    assert {(width(each), tuple(each.units)) for each in roomy} == {(40, ("activation_1", "activation_2"))}


def test_defaults_are_those_of_the_vocabulary() -> None:
    model = BUILDER.build({}, 0)
    assert widths(model) == [FAMILIES["mlp"]["n_neurons"].default] * int(FAMILIES["mlp"]["n_hidden"].default or 0) + [1]
    assert kinds(model) == ["Dense", "Activation", "Dense"]
    assert isinstance(model.optimizer, keras.optimizers.Adam)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation(activation: str) -> None:
    model = BUILDER.build({"activation": activation}, 0)
    x = np.linspace(-2, 2, 30, dtype="float32").reshape(5, 6)
    first, layer, last = model.layers
    expected = last(keras.activations.get(activation)(first(x)))
    np.testing.assert_allclose(model(x), expected, rtol=1e-6)
    assert last.activation is keras.activations.linear
    assert isinstance(layer, keras.layers.Activation)


@pytest.mark.parametrize("initializer", INITIALIZERS)
def test_every_initializer(initializer: str) -> None:
    model = BUILDER.build({"initializer": initializer}, 0)
    wanted = type(keras.initializers.get(initializer))
    assert isinstance(model.layers[0].kernel_initializer, wanted)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_trains(optimizer: str) -> None:
    model = BUILDER.build({"optimizer": optimizer, "learning_rate": 0.01, "clipnorm": 1.0}, 0)
    before = model.get_weights()
    rng = np.random.default_rng(0)
    model.train_on_batch(rng.normal(size=(8, 6)), rng.normal(size=(8, 1)))
    assert any((a != b).any() for a, b in zip(before, model.get_weights(), strict=True))


def test_batch_normalisation_stands_before_the_activation_and_dropout_after_it() -> None:
    model = BUILDER.build({"n_hidden": 2, "batch_norm": True, "dropout": 0.3}, 0)
    assert kinds(model) == ["Dense", "BatchNormalization", "Activation", "Dropout"] * 2 + ["Dense"]
    assert {layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)} == {0.3}


def test_l2_is_on_every_kernel_and_in_the_loss() -> None:
    model = BUILDER.build({"n_hidden": 2, "l2": 0.25}, 0)
    kernels = [layer.kernel for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    assert len(model.losses) == len(kernels) == 3
    expected = sum(0.25 * float(np.sum(np.square(kernel.numpy()))) for kernel in kernels)
    assert float(sum(model.losses)) == pytest.approx(expected, rel=1e-5)
    assert BUILDER.build({"n_hidden": 2}, 0).losses == []


def test_images_are_flattened_first() -> None:
    model = FamilyBuilder("mlp", Inputs((4, 5), Task.MULTICLASS, 3)).build({}, 0)
    assert kinds(model)[0] == "Flatten"
    predictions = model(np.random.default_rng(0).random((2, 4, 5), "float32"))
    np.testing.assert_allclose(np.sum(predictions, axis=1), 1, rtol=1e-5)  # softmax


@pytest.mark.parametrize(
    ("task", "outputs", "loss"),
    [
        (Task.REGRESSION, 2, "mse"),
        (Task.BINARY, 1, "binary_crossentropy"),
        (Task.MULTILABEL, 3, "binary_crossentropy"),
        (Task.MULTICLASS, 4, "sparse_categorical_crossentropy"),
    ],
)
def test_the_output_layer_and_the_loss_follow_the_task(task: Task, outputs: int, loss: str) -> None:
    inputs = Inputs((6,), task, outputs)
    model = FamilyBuilder("mlp", inputs).build({"activation": "tanh"}, 0)
    assert model.layers[-1].activation is keras.activations.get(inputs.output_activation)
    assert model.output_shape == (None, outputs)
    assert model.loss == loss


@settings(max_examples=15, deadline=None)
@given(
    n_hidden=st.integers(0, 3),
    n_neurons=st.integers(1, 20),
    dropout=st.floats(0, 0.99),
    batch_norm=st.booleans(),
    seed=st.integers(0, 2**31 - 1),
)
def test_the_same_seed_gives_the_same_initial_weights(seed: int, **params: ParamValue) -> None:
    one, two = BUILDER.build(params, seed), BUILDER.build(params, seed)
    for a, b in zip(one.get_weights(), two.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_another_seed_gives_other_weights() -> None:
    one, two = BUILDER.build({}, 1), BUILDER.build({}, 2)
    assert (one.get_weights()[0] != two.get_weights()[0]).any()
