"""The family that chooses among architectures: each against a model written by hand, alone and in a cohort."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from kerasweep.errors import ModelError
from kerasweep.models import FamilyBuilder, Inputs
from kerasweep.records import Decision, Direction, Objective, Params, ParamValue
from kerasweep.spec.families import ARCHITECTURES
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
from kerasweep.training.cohort import blueprint

SCHEDULE = Schedule(Objective("val_loss", Direction.MINIMIZE), 2, None, order_seed=11)
ROWS = 53  # with batches of 16, the last one is short


def rows(shape: tuple[int, ...], outputs: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS + 30, *shape)).astype("float32")
    flat = x.reshape(len(x), -1)
    return x, (flat @ rng.normal(size=(flat.shape[1], outputs)) / 3).astype("float32")


def residual_by_hand(width: int, blocks: int, norm: bool) -> keras.Model:
    """Gorishniy et al. 2021, equation by equation."""
    inputs = keras.Input((6,))
    x = layers.Dense(width, use_bias=not norm)(inputs)
    for _ in range(blocks):
        inner = layers.BatchNormalization()(x) if norm else x
        x = x + layers.Dense(width, use_bias=not norm)(layers.Dense(2 * width, "tanh")(inner))
    x = layers.BatchNormalization()(x) if norm else x
    return keras.Model(inputs, layers.Dense(2)(keras.ops.tanh(x)))


def cnn_by_hand(channels: int, norm: bool) -> keras.Model:
    """Two blocks of 3 and 6 filters, by Keras's functions rather than its layers where there are any."""
    shape = (9, 7) if channels == 0 else (9, 7, channels)
    inputs = keras.Input(shape)
    x = keras.ops.expand_dims(inputs, -1) if channels == 0 else inputs
    for filters in (3, 6):
        x = layers.Conv2D(filters, 3, padding="same", use_bias=not norm)(x)
        x = layers.BatchNormalization()(x) if norm else x
        x = keras.ops.max_pool(keras.ops.tanh(x), 2, padding="same")
    x = layers.Dense(5, use_bias=not norm)(keras.ops.reshape(x, (-1, 3 * 2 * 6)))
    x = layers.BatchNormalization()(x) if norm else x
    return keras.Model(inputs, layers.Dense(2)(keras.ops.tanh(x)))


def equal_training(model: keras.Model, hand: keras.Model, x: np.ndarray, y: np.ndarray) -> None:
    """The same weights give the same curves and the same weights afterwards."""
    hand.compile(keras.optimizers.SGD(0.02), "mse")
    hand.set_weights(model.get_weights())
    np.testing.assert_allclose(model(x), hand(x), rtol=1e-5, atol=1e-5)
    logs = [each.fit(x, y, batch_size=16, epochs=2, shuffle=False, verbose=0).history["loss"] for each in (model, hand)]
    assert logs[0] == pytest.approx(logs[1], rel=1e-4)
    for ours, theirs in zip(model.get_weights(), hand.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("norm", [False, True])
def test_residual_is_the_papers_network(norm: bool) -> None:
    params: Params = {
        "architecture": "residual", "n_blocks": 2, "n_neurons": 4, "activation": "tanh", "batch_norm": norm,
        "optimizer": "sgd", "learning_rate": 0.02,
    }  # fmt: skip
    model = FamilyBuilder("auto", Inputs((6,), Task.REGRESSION, 2)).build(params, 3)
    assert model.count_params() == 6 * 4 + 2 * (4 * 8 + 8 + 8 * 4) + 4 * 2 + 2 + 3 * (4 * 4 if norm else 4)
    equal_training(model, residual_by_hand(4, 2, norm), *rows((6,), 2))


@pytest.mark.parametrize(("channels", "norm"), [(0, False), (3, True)])
def test_cnn_is_convolutions_with_twice_the_filters_each(channels: int, norm: bool) -> None:
    params: Params = {
        "architecture": "cnn", "n_conv": 2, "filters": 3, "n_neurons": 5, "activation": "tanh", "batch_norm": norm,
        "optimizer": "sgd", "learning_rate": 0.02,
    }  # fmt: skip
    shape = (9, 7) if channels == 0 else (9, 7, channels)
    model = FamilyBuilder("auto", Inputs(shape, Task.REGRESSION, 2)).build(params, 3)
    equal_training(model, cnn_by_hand(channels, norm), *rows(shape, 2))


def test_the_other_architectures_are_the_families_of_their_names() -> None:
    inputs = Inputs((6,), Task.BINARY, 1)
    for name in ("linear", "mlp", "wide_deep"):
        own: Params = {"l2": 0.01} | ({} if name == "linear" else {"n_hidden": 2, "n_neurons": 7, "dropout": 0.1})
        model = FamilyBuilder("auto", inputs).build({"architecture": name, **own}, 5)
        family = FamilyBuilder(name, inputs).build(own, 5)
        for ours, theirs in zip(model.get_weights(), family.get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_penalties_and_dropout_are_in_every_block() -> None:
    builder = FamilyBuilder("auto", Inputs((6, 6), Task.REGRESSION, 1))
    for name, kernels in (("residual", 1 + 2 * 3 + 1), ("cnn", 3 + 1 + 1)):
        params: Params = {"architecture": name, "n_blocks": 3, "n_conv": 3, "n_neurons": 4, "l2": 0.1, "dropout": 0.2}
        model = builder.build(params, 0)
        own = [weight for weight in model.get_weights() if weight.ndim > 1]
        assert len(own) == kernels
        penalty = sum(0.1 * float(np.sum(kernel**2)) for kernel in own)
        assert float(sum(model.losses)) == pytest.approx(penalty, rel=1e-5)
        drops = [layer.rate for layer in model.layers if isinstance(layer, layers.Dropout)]
        assert drops == [0.2] * (3 if name == "residual" else 1)


def test_a_cnn_needs_images() -> None:
    with pytest.raises(ModelError, match=r"needs rows of 2 or 3 axes: images\. Received: rows of \(6,\)"):
        FamilyBuilder("auto", Inputs((6,), Task.REGRESSION, 1)).build({"architecture": "cnn"}, 0)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(
    "params", [{}, {"n_hidden": 3, "n_blocks": 3, "n_conv": 3, "n_neurons": 7, "batch_norm": True}]
)
def test_sizes_are_those_of_the_networks(architecture: str, params: dict[str, Any]) -> None:
    builder = FamilyBuilder("auto", Inputs((5, 3), Task.MULTICLASS, 3))
    whole: Params = {"architecture": architecture, **params}
    assert builder.stackable.size(whole).parameters == builder.build(whole, 0).count_params()
    model = blueprint.examine(builder.build(whole, 0), *rows((5, 3)))
    assert (model.exact, model.mapped) == (False, ())  # the stacked form knows every operation of it


def test_the_size_of_a_cnn_counts_a_kernel_once_for_each_place() -> None:
    size = FamilyBuilder("auto", Inputs((9, 7), Task.REGRESSION, 1)).stackable.size(
        {"architecture": "cnn", "n_conv": 2, "filters": 3, "n_neurons": 5}
    )
    assert size.products == 9 * 7 * 9 * 3 + 5 * 4 * 9 * 3 * 6 + 3 * 2 * 6 * 5 + 5


# --- cohorts ---------------------------------------------------------------------------------------------------------


def agree(
    builder: FamilyBuilder, configurations: Sequence[dict[str, ParamValue]], data: TrainingArrays
) -> list[Outcome]:
    """All train in stacks, and each gets the numbers of its own ``Model.fit``."""
    members = tuple(
        Member(10 + i, {"batch_size": 16, "learning_rate": 0.01, **params}, seed=i)
        for i, params in enumerate(configurations)
    )
    notes: list[str] = []

    def report(epoch: EpochReport) -> Decision:
        notes.extend(epoch.notes)
        return Decision()

    outcomes = CohortTrainer(builder, SCHEDULE, threads=2).train(Cohort(members), data, report)
    assert notes == []
    for member, outcome in zip(members, outcomes, strict=True):
        (own,) = KerasTrainer(builder, SCHEDULE).train(Cohort((member,)), data, lambda epoch: Decision())
        assert (outcome.status, outcome.epoch) == (own.status, own.epoch)
        for ours, theirs in zip(outcome.history, own.history, strict=True):
            assert dict(ours) == pytest.approx(dict(theirs), rel=1e-4, abs=1e-5)
        for ours, theirs in zip(outcome.weights, own.weights, strict=bool(outcome.weights)):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=2e-5)
    return list(outcomes)


@pytest.mark.slow
@pytest.mark.parametrize(("norm", "dropout"), [(False, 0.3), (True, 0.0)])
def test_residual_members_of_any_width_and_depth_share_a_stack(norm: bool, dropout: float) -> None:
    """Sigmoid, so that units which only fill up would show."""
    x, y = rows((6,), 2)
    builder = FamilyBuilder("auto", Inputs((6,), Task.REGRESSION, 2))
    common: dict[str, ParamValue] = {
        "architecture": "residual", "activation": "sigmoid", "batch_norm": norm, "dropout": dropout, "l2": 1e-3
    }  # fmt: skip
    sizes = [{"n_blocks": 1, "n_neurons": 3}, {"n_blocks": 3, "n_neurons": 5}, {"n_blocks": 2, "n_neurons": 2}]
    outcomes = agree(
        builder, [{**common, **size} for size in sizes], TrainingArrays(x[:ROWS], y[:ROWS], (x[ROWS:], y[ROWS:]))
    )
    for size, outcome in zip(sizes, outcomes, strict=True):
        assert outcome.weights[0].shape == (6, size["n_neurons"])
        assert len(outcome.weights) == (7 if norm else 4) + size["n_blocks"] * (7 if norm else 4)


@pytest.mark.slow
def test_a_cohort_of_several_architectures_trains_in_a_stack_of_each() -> None:
    x, y = rows((6, 5))
    builder = FamilyBuilder("auto", Inputs((6, 5), Task.REGRESSION, 1))
    agree(
        builder,
        [
            {"architecture": "linear", "l1": 0.01},
            {"architecture": "mlp", "n_hidden": 2, "n_neurons": 4, "dropout": 0.2},
            {"architecture": "mlp", "n_hidden": 1, "n_neurons": 6},
            {"architecture": "residual", "n_neurons": 4, "optimizer": "adamw", "weight_decay": 0.01},
            {"architecture": "wide_deep", "n_neurons": 5, "aux_weight": 0.2},
            {"architecture": "cnn", "filters": 2, "n_neurons": 4, "batch_norm": True, "dropout": 0.2},
            {"architecture": "cnn", "filters": 2, "n_neurons": 7, "batch_norm": True, "l2": 0.01},
            {"architecture": "cnn", "filters": 3, "n_conv": 3, "n_neurons": 7},
        ],
        TrainingArrays(x[:ROWS], y[:ROWS], (x[ROWS:], y[ROWS:])),
    )
