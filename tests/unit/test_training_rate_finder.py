"""The learning-rate range test: what it reads off a curve, and that its losses are those of a plain loop."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import pytest

from kerasweep.errors import SpecError
from kerasweep.models import FamilyBuilder, Inputs, ModelBuilder, UserBuilder
from kerasweep.records import Direction, Objective, Params
from kerasweep.report.rates import range_test_figure
from kerasweep.spec.learning_rates import CosineRate
from kerasweep.spec.vocabulary import Task
from kerasweep.training import Member, Schedule, TrainingArrays
from kerasweep.training.learning_rates import Rates
from kerasweep.training.order import epoch_order
from kerasweep.training.rate_finder import BETA, RangeTest, Sweep, _Meter, range_tests, smoothed

INPUTS = Inputs((4,), Task.REGRESSION, 1)
FAMILY = FamilyBuilder("mlp", INPUTS)
SCHEDULE = Schedule(Objective("val_loss", Direction.MINIMIZE), 1, order_seed=4)
ROWS, BATCH = 50, 16
SHORT = Sweep(1e-3, 10.0, 40)


def arrays() -> TrainingArrays:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, 4)).astype("float32")
    y = (x @ np.array([[1.0], [-2.0], [0.5], [0.0]]) + rng.normal(0, 0.3, (ROWS, 1))).astype("float32")
    return TrainingArrays(x, y, (x, y))


def read(losses: Sequence[float], sweep: Sweep) -> RangeTest:
    meter = _Meter()
    for loss in losses:
        meter.add(loss)
    return meter.result(sweep)


# --- what a curve says ----------------------------------------------------------------------------------------------


def test_smoothed_losses_are_weighted_means_over_both_sides() -> None:
    losses = np.random.default_rng(0).normal(size=30)
    weights = BETA ** np.abs(np.arange(30)[:, None] - np.arange(30))
    np.testing.assert_allclose(smoothed(losses), weights @ losses / weights.sum(axis=1))
    np.testing.assert_allclose(smoothed(np.full(30, 3.0)), 3.0)  # no bias towards zero at the ends


def bowl(sweep: Sweep, turn: float, noise: float = 0.3, shift: float = 0.0) -> np.ndarray:
    """Falls from 4 to 1 until ``turn``, then explodes within a decade and ends as NaN."""
    decades = np.log10(sweep.rates / turn)
    losses = np.where(decades < 0, 1 + 3 * (1 - np.exp(decades)), 1 + 1e3 * np.clip(decades, 0, None) ** 4)
    losses = losses * np.random.default_rng(1).lognormal(0, noise, len(losses)) + shift
    losses[decades > 1] = math.nan
    return losses


@pytest.mark.parametrize("shift", [0.0, -10.0], ids=["above zero", "below zero"])
@pytest.mark.parametrize("turn", [1e-3, 0.05])
def test_the_turning_point_is_found_in_noise_and_a_tenth_of_it_suggested(turn: float, shift: float) -> None:
    sweep = Sweep()
    found = read(bowl(sweep, turn, shift=shift), sweep)
    assert found.turning == pytest.approx(turn, rel=1.0)  # between none of it and twice, a third of a decade
    assert found.turning > turn / 2
    assert found.suggestion == pytest.approx(found.turning / 10)
    assert (found.reason, len(found.rates)) == ("", len(found.losses))
    assert len(found.losses) < sweep.steps  # nothing was trained in vain after the turn
    assert np.isfinite(found.smoothed).all()


def test_a_curve_without_a_turn_says_why() -> None:
    sweep = Sweep(steps=100)
    falling = read(np.linspace(4, 1, 100), sweep)
    assert (falling.turning, falling.reason) == (None, "the loss still falls at the highest rate: end higher")
    flat = read(np.full(100, 2.0), sweep)
    assert flat.suggestion is None
    assert flat.reason.startswith("the loss did not fall by 2% at any rate")
    rising = read(2.0 * np.geomspace(1, 1e6, 100), sweep)
    assert rising.reason == flat.reason
    assert len(rising.losses) < 60
    broken = read([math.nan, 1.0, 1.0], sweep)
    assert (broken.reason, len(broken.losses)) == ("the loss is not finite even at the lowest rate", 0)


def test_a_sweep_must_rise_over_enough_steps() -> None:
    np.testing.assert_allclose(Sweep(1e-5, 10, 61).rates[[0, 10, 60]], [1e-5, 1e-4, 10])
    with pytest.raises(SpecError, match=r"0 < lowest rate < highest rate must hold\. Received: 1 and 0\.1"):
        Sweep(1.0, 0.1)
    with pytest.raises(SpecError, match=r"at least 40 steps\. Received: 39"):
        Sweep(steps=39)


def test_the_figure_marks_the_turn_and_the_suggestion(tmp_path: Path) -> None:
    sweep = Sweep()
    found = read(bowl(sweep, 0.05), sweep)
    figure = range_test_figure(found, "study")
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    marked = [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == "--"]
    assert marked == [found.turning, found.suggestion]
    none = range_test_figure(read(np.full(500, 2.0), sweep), "study")
    assert not [line for line in none.axes[0].lines if line.get_linestyle() == "--"]
    figure.savefig(tmp_path / "figure.png")
    none.savefig(tmp_path / "none.png")


# --- training -------------------------------------------------------------------------------------------------------


def plain_loop(builder: ModelBuilder, params: Params, count: int) -> list[float]:
    model = builder.build(params, 5)
    order = np.concatenate([epoch_order(SCHEDULE.order_seed, epoch, ROWS) for epoch in range(20)])
    losses, data = [], arrays()
    for step, rate in enumerate(SHORT.rates[:count]):
        rows = order[step * BATCH : (step + 1) * BATCH]
        model.optimizer.learning_rate = float(rate)
        model.reset_metrics()
        losses.append(float(model.train_on_batch(data.x[rows], data.y[rows], return_dict=True)["loss"]))
    return losses


def scheduled(noise: float = 0.0) -> keras.Model:
    """With a schedule of its own, and unless without noise, of a kind that trains alone."""
    hidden, output = keras.layers.Dense(5, "tanh"), keras.layers.Dense(1)
    noisy = [keras.layers.GaussianNoise(noise)] if noise else []
    model = keras.Sequential([keras.Input((4,)), hidden, *noisy, output])
    model.compile(keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(1.0, 5)), "mse")
    return model


def test_members_of_several_sizes_are_tested_together_with_the_losses_of_their_own_loops() -> None:
    configurations: list[Params] = [
        {"n_neurons": 5, "optimizer": "adam", "learning_rate": 123.0, "batch_size": BATCH},
        {"n_neurons": 9, "n_hidden": 2, "optimizer": "sgd", "l2": 0.01, "batch_size": BATCH, "schedule": "one_cycle"},
        {"n_neurons": 3, "optimizer": "adadelta", "batch_size": BATCH},  # has no form for training together
    ]
    members = [Member(10 + i, params, 5) for i, params in enumerate(configurations)]
    schedule = Schedule(SCHEDULE.objective, 1, order_seed=4, rates=Rates(CosineRate()))
    found = range_tests(FAMILY, members, arrays(), schedule, SHORT)
    assert list(found) == [10, 11, 12]
    for member in members:
        test = found[member.number]
        count = min(25, len(test.losses))
        assert count > 10
        np.testing.assert_array_equal(test.rates, SHORT.rates[: len(test.losses)])
        np.testing.assert_allclose(test.losses[:count], plain_loop(FAMILY, member.params, count), rtol=1e-3)
    assert found[11].turning is not None
    again = range_tests(FAMILY, members[1:2], arrays(), schedule, SHORT)[11]
    assert again.turning == pytest.approx(found[11].turning)


def test_a_schedule_of_the_model_s_own_is_left_aside_and_what_fails_says_why() -> None:
    def fails(noise: float = 0.0) -> keras.Model:
        raise ValueError("in a bad mood")

    member = Member(0, {"batch_size": BATCH}, 5)
    stacked = range_tests(UserBuilder(scheduled, Path(), INPUTS), [member], arrays(), SCHEDULE, SHORT)[0]
    noisy = Member(0, {"batch_size": BATCH, "noise": 1e-6}, 5)
    alone = range_tests(UserBuilder(scheduled, Path(), INPUTS), [noisy], arrays(), SCHEDULE, SHORT)[0]
    np.testing.assert_allclose(stacked.losses[:20], alone.losses[:20], rtol=1e-3)
    assert stacked.turning is not None
    failed = range_tests(UserBuilder(fails, Path(), INPUTS), [member], arrays(), SCHEDULE, SHORT)[0]
    assert failed.reason.startswith("ValueError: in a bad mood")
    assert (failed.suggestion, len(failed.losses)) == (None, 0)
