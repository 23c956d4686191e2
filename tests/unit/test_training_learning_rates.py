"""The factors that multiply learning rates: pure numbers."""

from __future__ import annotations

import numpy as np
import pytest

from kerasweep.spec.families import SCHEDULE_PARAMETERS, SCHEDULE_TAKES, SCHEDULES
from kerasweep.spec.learning_rates import (
    ConstantRate,
    CosineRate,
    ExponentialRate,
    OneCycleRate,
    PiecewiseRate,
    RateSchedule,
    resolved,
)
from kerasweep.spec.pipeline import TrainingSpec
from kerasweep.training.learning_rates import Factors, Rates

EVERY: tuple[RateSchedule, ...] = (
    ConstantRate(warmup_epochs=2.5),
    ExponentialRate(decay_rate=0.5, warmup_share=0.1, staircase=True, decay_epochs=3),
    PiecewiseRate(),
    OneCycleRate(),
    CosineRate(final_factor=0.1, warmup_epochs=20),
)


@pytest.mark.parametrize("schedule", EVERY, ids=lambda each: each.name)
def test_factors_are_parts_of_the_base_rate_and_the_same_asked_for_piece_by_piece(schedule: RateSchedule) -> None:
    factors = Factors(schedule, horizon=20, steps=7)
    whole = factors.at(0, 200)  # beyond the horizon, too: a cohort's clock may be copied
    assert whole.shape == (200,)
    assert np.isfinite(whole).all()
    assert (whole >= 0).all()
    assert (whole <= 1).all()
    pieces = np.concatenate([factors.at(first, 10) for first in range(0, 200, 10)])
    np.testing.assert_array_equal(pieces, whole)


def test_a_warm_up_climbs_in_equal_steps_to_the_base_rate_and_decay_begins_after_it() -> None:
    factors = Factors(ExponentialRate(warmup_epochs=2, decay_epochs=5), horizon=12, steps=10)
    np.testing.assert_allclose(factors.at(0, 21), [*np.arange(1, 21) / 20, 1.0])
    np.testing.assert_allclose(factors.at(70, 1), [0.1])  # five epochs later
    by_default = Factors(ExponentialRate(warmup_share=0.25), horizon=12, steps=10)
    np.testing.assert_allclose(by_default.at(29, 2), [1.0, 1.0])
    np.testing.assert_allclose(by_default.at(120, 1), [0.1])


def test_a_staircase_falls_once_every_decay_epochs() -> None:
    stairs = Factors(ExponentialRate(decay_rate=0.5, decay_epochs=2, staircase=True), horizon=9, steps=3)
    np.testing.assert_array_equal(stairs.at(0, 13), [1.0] * 6 + [0.5] * 6 + [0.25])


def test_piecewise_changes_at_its_epochs() -> None:
    own = Factors(PiecewiseRate(epochs=[1, 1.5], factors=[2.0, 0.5]), horizon=9, steps=4)
    np.testing.assert_array_equal(own.at(0, 8), [1, 1, 1, 1, 2, 2, 0.5, 0.5])
    by_default = Factors(PiecewiseRate(), horizon=8, steps=1)
    np.testing.assert_array_equal(by_default.at(0, 8), [1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01])


def test_one_cycle_peaks_halfway_through_its_cycle() -> None:
    cycle = Factors(OneCycleRate(start_factor=0.2, final_factor=0.05, final_share=0.2), horizon=10, steps=10).at(0, 101)
    assert cycle.argmax() == 40
    np.testing.assert_allclose(cycle[[0, 20, 40, 60, 80, 90, 100]], [0.2, 0.6, 1, 0.6, 0.2, 0.125, 0.05])
    without_end = Factors(OneCycleRate(final_share=0), horizon=10, steps=10).at(0, 100)
    assert without_end[-1] == pytest.approx(0.1 + 0.9 / 50)


def test_a_warm_up_of_all_epochs_leaves_nothing_to_decay() -> None:
    np.testing.assert_allclose(Factors(CosineRate(warmup_share=1), 5, 1).at(0, 5), np.arange(1, 6) / 5)


@pytest.mark.parametrize("schedule", EVERY, ids=lambda each: each.name)
def test_the_vocabulary_has_every_option_that_is_a_number_with_its_limits(schedule: RateSchedule) -> None:
    assert tuple(each.name for each in EVERY) == SCHEDULES
    own = {name for name in type(schedule).model_fields if name in SCHEDULE_PARAMETERS}
    assert own == SCHEDULE_TAKES[schedule.name]
    assert type(schedule).model_fields.keys() - own <= {"name", "epochs", "factors"}
    for name in own:
        known = SCHEDULE_PARAMETERS[name]
        for value in (-0.5, 0.0, 0.5, 1.0, 2.5) if known.kind == "float" else (True, False):
            section = {"schedule": {"name": schedule.name, name: value}}
            try:
                TrainingSpec.model_validate(section)
                legal = True
            except ValueError:
                legal = False
            assert legal == (known.problem(name, value) is None), (name, value)


def test_a_trial_s_own_hyperparameters_go_before_the_study_s_schedule() -> None:
    assert resolved(CosineRate(final_factor=0.1), {"warmup_epochs": 3}) == CosineRate(final_factor=0.1, warmup_epochs=3)
    assert resolved(ConstantRate(), {"schedule": "cosine"}) == CosineRate()
    with pytest.raises(ValueError, match=r"Received: start_factor with cosine"):
        Rates(CosineRate()).of({"start_factor": 0.5})
    assert Rates(CosineRate(), parameters=("final_factor",)).of({"start_factor": 0.5}) == CosineRate()
