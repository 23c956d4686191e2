from __future__ import annotations

import math
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasweep.scheduling import expected_epochs, generations, hyperband_brackets
from kerasweep.spec.pipeline import AshaScheduler, HyperbandScheduler, MedianScheduler, NoScheduler

SCHEDULERS = [NoScheduler(), AshaScheduler(), HyperbandScheduler(), MedianScheduler()]
schedulers = st.sampled_from(SCHEDULERS)


def test_hyperband_asks_for_one_bracket_at_a_time() -> None:
    assert list(generations(HyperbandScheduler(), 64, 30, concurrency=2)) == [4, 6, 12, 27, 4, 6, 5]


@pytest.mark.parametrize("scheduler", [NoScheduler(), AshaScheduler(), MedianScheduler()])
def test_others_ask_for_what_keeps_the_workers_busy(scheduler) -> None:
    assert list(generations(scheduler, 10, 30, concurrency=2)) == [4, 4, 2]
    assert list(generations(scheduler, 20, 30, concurrency=16)) == [16, 4]


@given(scheduler=schedulers, trials=st.integers(1, 500), epochs=st.integers(5, 200), concurrency=st.integers(1, 64))
def test_generations_add_up(scheduler, trials: int, epochs: int, concurrency: int) -> None:
    sizes = list(generations(scheduler, trials, epochs, concurrency))
    assert sum(sizes) == trials
    assert min(sizes) >= 1


@given(scheduler=schedulers, trials=st.integers(1, 500), epochs=st.integers(5, 200))
def test_the_estimate_lies_between_one_epoch_a_trial_and_the_bound(scheduler, trials: int, epochs: int) -> None:
    expected, bound = expected_epochs(scheduler, trials, epochs)
    assert trials <= expected <= bound <= trials * epochs


def test_none_and_hyperband_are_known_beforehand() -> None:
    assert expected_epochs(NoScheduler(), 64, 30) == (1920, 1920)
    band = [bracket.epochs() for bracket in hyperband_brackets(30, 3)]
    # 64 trials: a whole band of 49, two brackets of the next one, and 5 of the 12 trials of its third.
    assert expected_epochs(HyperbandScheduler(), 64, 30)[0] == sum(band) + band[0] + band[1] + 5 * 3 + 4 * 6 + 2 * 18
    assert expected_epochs(HyperbandScheduler(), 49, 30) == (sum(band), sum(band))


def test_asha_s_estimate_is_what_ray_tune_does_in_random_order() -> None:
    """Ray's own scheduler judges 40 studies of 64 trials; their mean lies within four standard errors (sigma)."""
    from ray.tune.experiment import Trial
    from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler

    rng = np.random.default_rng(0)
    totals = []
    for _ in range(40):
        ray_s = AsyncHyperBandScheduler(max_t=30, grace_period=1, reduction_factor=3, metric="score", mode="max")
        total = 0
        for score in rng.standard_normal(64):
            trial = Trial("x", stub=True)
            ray_s.on_trial_add(None, trial)
            for epoch in range(1, 31):
                total += 1
                result = {"training_iteration": epoch, "score": score}
                if ray_s.on_trial_result(None, trial, result) == TrialScheduler.STOP:
                    break
        totals.append(total)
    expected, bound = expected_epochs(AshaScheduler(grace=1, eta=3.0), 64, 30)
    assert bound == 64 * 30
    assert abs(np.mean(totals) - expected) < 4 * np.std(totals, ddof=1) / math.sqrt(40)
    assert expected_epochs(AshaScheduler(grace=1, eta=3.0), 64, 30) == (expected, bound), "the same every time"


def test_median_s_estimate() -> None:
    assert expected_epochs(MedianScheduler(grace=5, min_trials=5), 25, 30) == (5 * 30 + 20 * 17.5, 750)
    assert list(islice(generations(MedianScheduler(), 25, 30, 1), 1)) == [4]
