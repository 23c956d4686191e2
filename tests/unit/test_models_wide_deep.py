"""The wide and deep network and the linear one, against models written out by hand."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from kerasweep.models import FamilyBuilder, Inputs
from kerasweep.models.supervised import Supervised, delivered
from kerasweep.records import Params
from kerasweep.spec.vocabulary import Task
from kerasweep.training.cohort import blueprint

BOOK = Inputs((8,), Task.REGRESSION, 1, wide=(0, 1, 2, 3, 4), deep=(2, 3, 4, 5, 6, 7))
WIDE_DEEP = FamilyBuilder("wide_deep", BOOK)
TWO_LAYERS: Params = {"n_hidden": 2, "n_neurons": 30, "optimizer": "sgd", "learning_rate": 0.05}


def rows(count: int = 40, features: int = 8, outputs: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(count, features)).astype("float32"), rng.normal(size=(count, outputs)).astype("float32")


def by_hand(aux_weight: float) -> keras.Model:
    """The book's network, with slices in the place of two inputs, and losses weighted by Keras itself."""
    inputs = keras.Input((8,))
    hidden = layers.Dense(30, "relu")(inputs[:, 2:])
    hidden = layers.Dense(30, "relu")(hidden)
    output = layers.Dense(1)(layers.Concatenate()([inputs[:, :5], hidden]))
    model = keras.Model(inputs, [output, layers.Dense(1)(hidden)])
    model.compile(keras.optimizers.SGD(0.05), ["mse", "mse"], loss_weights=[1 - aux_weight, aux_weight])
    return model


def test_it_is_the_books_network() -> None:
    model, hand = WIDE_DEEP.build(TWO_LAYERS, 3), by_hand(0.1)
    hand.set_weights([*model.get_weights(), np.zeros((30, 1)), np.zeros(1)])
    x, _ = rows()
    np.testing.assert_allclose(model(x), hand(x)[0], rtol=1e-5, atol=1e-6)
    assert model.count_params() == 6 * 30 + 30 + 30 * 30 + 30 + 35 + 1


@pytest.mark.parametrize("aux_weight", [0.1, 0.5])
def test_an_auxiliary_output_trains_as_keras_weighs_losses_and_only_the_main_one_is_reported(aux_weight: float) -> None:
    model, hand = WIDE_DEEP.build({**TWO_LAYERS, "aux_weight": aux_weight}, 3), by_hand(aux_weight)
    hand.set_weights(model.get_weights())
    x, y = rows()
    before = model.get_weights()
    for start in (0, 16, 32):
        own = model.train_on_batch(x[start : start + 16], y[start : start + 16], return_dict=True)
        its = hand.train_on_batch(x[start : start + 16], [y[start : start + 16]] * 2, return_dict=True)
        assert sorted(own) == ["loss", "mae", "rmse"]
        model.reset_metrics()
        hand.reset_metrics()
        # Keras names the outputs' own losses after their layers; the first one is the main output's.
        main = its[f"{hand.output_names[0]}_loss"]
        assert own["loss"] == pytest.approx(float(main), rel=1e-5)
        assert its["loss"] != pytest.approx(float(main), rel=1e-3)
    for ours, theirs, old in zip(model.get_weights(), hand.get_weights(), before, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)
        assert (ours != old).any()
    checked = model.evaluate(x, y, verbose=0, return_dict=True)
    expected = float(np.mean((np.asarray(hand(x)[0]) - y) ** 2))
    assert checked["loss"] == pytest.approx(expected, rel=1e-4)
    assert checked["rmse"] ** 2 == pytest.approx(expected, rel=1e-4)


def test_penalties_are_on_every_kernel_and_in_what_is_reported() -> None:
    params: Params = {**TWO_LAYERS, "aux_weight": 0.2, "l2": 0.1}
    model = WIDE_DEEP.build(params, 0)
    x, y = rows()
    kernels = [weight for weight in model.get_weights() if weight.ndim == 2]
    assert len(kernels) == 4
    penalty = sum(0.1 * float(np.sum(kernel**2)) for kernel in kernels)
    error = float(np.mean((np.asarray(model(x)[0]) - y) ** 2))
    for loss in (
        model.evaluate(x, y, verbose=0, return_dict=True)["loss"],
        model.train_on_batch(x, y, return_dict=True)["loss"],
    ):
        assert loss == pytest.approx(error + penalty, rel=1e-4)
        model.reset_metrics()


def test_an_auxiliary_output_changes_no_initial_weight_of_the_others() -> None:
    plain, more = WIDE_DEEP.build(TWO_LAYERS, 5), WIDE_DEEP.build({**TWO_LAYERS, "aux_weight": 0.1}, 5)
    assert len(more.get_weights()) == len(plain.get_weights()) + 2
    for one, other in zip(plain.get_weights(), more.get_weights(), strict=False):
        np.testing.assert_array_equal(one, other)


def test_what_is_delivered_has_one_input_and_the_main_output() -> None:
    model = WIDE_DEEP.build({**TWO_LAYERS, "aux_weight": 0.1}, 0)
    assert isinstance(model, Supervised)
    whole = delivered(model)
    x, _ = rows()
    assert (whole.input_shape, whole.output_shape) == ((None, 8), (None, 1))
    np.testing.assert_array_equal(whole(x), model(x)[0])
    assert whole.count_params() == model.count_params() - 31
    assert "aux" not in [layer.name for layer in whole.layers]
    assert delivered(whole) is whole


def test_columns_left_out_are_all_and_their_order_is_kept() -> None:
    everything = FamilyBuilder("wide_deep", Inputs((2, 3), Task.REGRESSION, 2)).build({"n_neurons": 4}, 0)
    assert [weight.shape for weight in everything.get_weights()] == [(6, 4), (4,), (10, 2), (2,)]
    inputs = Inputs((6,), Task.REGRESSION, 1, wide=(5, 0), deep=(3,))
    model = FamilyBuilder("wide_deep", inputs).build({"n_neurons": 1, "activation": "linear"}, 0)
    model.set_weights([np.array([[2.0]]), np.zeros(1), np.array([[1.0], [10.0], [100.0]]), np.zeros(1)])
    x = np.arange(6, dtype="float32")[None]
    assert float(model(x)[0, 0]) == 5 * 1 + 0 * 10 + 2 * 3 * 100


@pytest.mark.parametrize("family", ["linear", "mlp", "wide_deep"])
@pytest.mark.parametrize("params", [{}, {"n_hidden": 3, "n_neurons": 7, "batch_norm": True}, {"aux_weight": 0.1}])
def test_sizes_are_those_of_the_networks(family: str, params: dict[str, Any]) -> None:
    inputs = Inputs((2, 3), Task.MULTICLASS, 3, *(((0, 4), (1, 2, 3)) if family == "wide_deep" else ()))
    builder = FamilyBuilder(family, inputs)
    assert builder.stackable.size(params).parameters == builder.build(params, 0).count_params()


def test_the_stacked_form_knows_every_operation_of_it() -> None:
    """Else a short last batch would need a program of its own, and columns would be gathered for each member."""
    x, y = rows()
    for params in (TWO_LAYERS, {**TWO_LAYERS, "aux_weight": 0.1, "batch_norm": True, "dropout": 0.1}):
        model = blueprint.examine(WIDE_DEEP.build(params, 0), x, y)
        assert (model.exact, model.mapped, model.auxiliary) == (False, (), "aux_weight" in params)


def test_frames_fill_up_widths_and_depths_and_one_auxiliary_output_serves_all() -> None:
    frame = WIDE_DEEP.stackable.frame(
        [{"n_hidden": 1, "n_neurons": 3}, {"n_hidden": 2, "n_neurons": 5, "aux_weight": 0.2}], roomy=False
    )
    assert (frame.params["n_hidden"], frame.params["aux_weight"]) == (2, 0.2)
    assert frame.units == {"activation_1": [3, 5], "activation_2": [0, 5]}
    assert frame.active == {"activation_2": [False, True]}
    trainable, _ = WIDE_DEEP.stackable.weights({"n_hidden": 1, "n_neurons": 3}, 0, frame)
    shapes = [None if each is None else each.shape for each in trainable]
    assert shapes == [(6, 3), (3,), None, None, (8, 1), (1,), None, None]
    assert WIDE_DEEP.stackable.knobs({}, frame) == {"aux/loss_weight": 0.0}


# --- linear ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("task", "outputs"), [(Task.REGRESSION, 2), (Task.BINARY, 1), (Task.MULTICLASS, 3)])
def test_linear_has_the_numbers_of_an_mlp_without_hidden_layers(task: Task, outputs: int) -> None:
    inputs = Inputs((2, 3), task, outputs)
    x = np.random.default_rng(1).normal(size=(40, 2, 3)).astype("float32")
    y = np.arange(40) % outputs if task is Task.MULTICLASS else (x.sum(axis=2) > 0)[:, :outputs].astype("float32")
    params: Params = {"l2": 0.01, "learning_rate": 0.03}
    one = FamilyBuilder("linear", inputs).build(params, 7)
    other = FamilyBuilder("mlp", inputs).build({**params, "n_hidden": 0}, 7)
    logs = [model.fit(x, y, epochs=3, shuffle=False, verbose=0).history for model in (one, other)]
    assert logs[0].keys() == logs[1].keys()
    for name, curve in logs[0].items():
        assert curve == pytest.approx(logs[1][name], rel=1e-6)
    for ours, theirs in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_linear_penalties_and_initializer() -> None:
    builder = FamilyBuilder("linear", Inputs((6,), Task.REGRESSION, 1))
    model = builder.build({"l1": 0.5, "l2": 0.25, "initializer": "he_normal"}, 0)
    kernel, _ = model.get_weights()
    expected = 0.5 * np.abs(kernel).sum() + 0.25 * (kernel**2).sum()
    assert float(sum(model.losses)) == pytest.approx(float(expected), rel=1e-5)
    assert isinstance(model.layers[-1].kernel_initializer, keras.initializers.HeNormal)
    assert builder.build({}, 0).losses == []
