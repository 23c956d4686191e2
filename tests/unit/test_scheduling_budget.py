from __future__ import annotations

import math
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasweep.records import Direction, Objective, Standing
from kerasweep.scheduling import (
    Overlap,
    expected_epochs,
    generations,
    hyperband_brackets,
    make_scheduler,
    overlap,
)
from kerasweep.scheduling.rungs import epochs_of
from kerasweep.spec.schedulers import (
    AshaScheduler,
    AutoScheduler,
    HyperbandScheduler,
    MedianScheduler,
    NoScheduler,
    Pb2Scheduler,
    PbtScheduler,
    PopulationScheduler,
)

SCHEDULERS = [
    NoScheduler(), AshaScheduler(), AshaScheduler(brackets=2), HyperbandScheduler(), MedianScheduler(), PbtScheduler(),
    Pb2Scheduler(),
]  # fmt: skip
schedulers = st.sampled_from(SCHEDULERS)
cohorts = st.sampled_from([1, 2, 7, 64])


def test_hyperband_asks_for_one_bracket_at_a_time() -> None:
    assert list(generations(HyperbandScheduler(), 64, 30, concurrency=2)) == [4, 6, 12, 27, 4, 6, 5]
    assert list(generations(HyperbandScheduler(), 64, 30, concurrency=2, cohort=16)) == [27, 12, 6, 4, 15]


@pytest.mark.parametrize("scheduler", [PbtScheduler(), Pb2Scheduler()])
def test_a_population_is_one_portion_and_populations_are_alike(scheduler) -> None:
    assert list(generations(scheduler, 50, 30, concurrency=2, cohort=64)) == [50]
    assert list(generations(scheduler, 50, 30, concurrency=2, cohort=16)) == [13, 13, 12, 12]


@pytest.mark.parametrize("scheduler", [NoScheduler(), AshaScheduler(), MedianScheduler()])
def test_others_ask_for_what_keeps_the_workers_busy(scheduler) -> None:
    assert list(generations(scheduler, 10, 30, concurrency=2)) == [4, 4, 2]
    assert list(generations(scheduler, 20, 30, concurrency=16)) == [16, 4]
    assert list(generations(scheduler, 40, 30, concurrency=2, cohort=8)) == [16, 16, 8]


@given(
    scheduler=schedulers,
    trials=st.integers(1, 500),
    epochs=st.integers(5, 200),
    concurrency=st.integers(1, 64),
    cohort=cohorts,
)
def test_generations_add_up(scheduler, trials: int, epochs: int, concurrency: int, cohort: int) -> None:
    sizes = list(generations(scheduler, trials, epochs, concurrency, cohort))
    assert sum(sizes) == trials
    assert min(sizes) >= 1
    if isinstance(scheduler, PopulationScheduler):
        assert max(sizes) - min(sizes) <= 1
        assert max(sizes) <= cohort


@given(scheduler=schedulers, trials=st.integers(1, 500), epochs=st.integers(5, 200), cohort=cohorts)
def test_the_estimate_lies_between_one_epoch_a_trial_and_the_bound(
    scheduler, trials: int, epochs: int, cohort: int
) -> None:
    expected, bound = expected_epochs(scheduler, trials, epochs, cohort)
    assert trials <= expected * (1 + 1e-9)
    assert expected <= bound * (1 + 1e-9)
    assert bound <= trials * epochs


def test_none_and_hyperband_are_known_beforehand() -> None:
    assert expected_epochs(NoScheduler(), 64, 30) == (1920, 1920)
    assert expected_epochs(PbtScheduler(), 64, 30, cohort=64) == (1920, 1920)
    assert expected_epochs(Pb2Scheduler(), 64, 30, cohort=64) == (1920, 1920)
    band = [epochs_of(bracket.rungs, bracket.survivors) for bracket in hyperband_brackets(30, 3)]
    # 64 trials: a whole band of 49, two brackets of the next one, and 5 of the 12 trials of its third.
    assert expected_epochs(HyperbandScheduler(), 64, 30)[0] == sum(band) + band[0] + band[1] + 5 * 3 + 4 * 6 + 2 * 18
    assert expected_epochs(HyperbandScheduler(), 49, 30) == (sum(band), sum(band))


def test_within_cohorts_hyperband_and_asha_are_known_beforehand() -> None:
    band = [epochs_of(bracket.rungs, bracket.survivors) for bracket in hyperband_brackets(30, 3, cohort=27)]
    assert expected_epochs(HyperbandScheduler(), 49, 30, cohort=27) == (sum(band), sum(band))
    # 81 trials to epoch 1, 27 to 3, 9 to 9, 3 to 27, 1 to 30; and 4 trials to epoch 1, 1 to 30.
    whole, rest = 81 + 27 * 2 + 9 * 6 + 3 * 18 + 1 * 3, 4 + 1 * 29
    assert expected_epochs(AshaScheduler(), 85, 30, cohort=81) == (whole + rest, whole + rest)
    expected, bound = expected_epochs(AshaScheduler(brackets=2), 64, 30, cohort=64)
    assert 64 < expected < bound == 64 * 30


def trained(scheduler, numbers: range, epochs: int) -> int:
    """The epochs of a cohort that the scheduler decides on, if nobody ends by itself."""
    decides = make_scheduler(scheduler, epochs, Objective("val_loss", Direction.MINIMIZE), seed=3)
    rng = np.random.default_rng(numbers.start)
    curves = {number: tuple(rng.standard_normal(epochs).tolist()) for number in numbers}
    lengths = dict.fromkeys(numbers, epochs)
    living = frozenset(numbers)
    for epoch in range(1, epochs + 1):
        members = {number: Standing(curves[number][: min(epoch, lengths[number])], {}) for number in numbers}
        decision = decides.decide(epoch, members, living)
        lengths |= dict.fromkeys(decision.stop, epoch)
        living -= decision.stop
    return sum(lengths.values())


@pytest.mark.parametrize("scheduler", [HyperbandScheduler(), HyperbandScheduler(eta=2.5), AshaScheduler(eta=2.5)])
@pytest.mark.parametrize("trials", [5, 64, 100])
@pytest.mark.parametrize("cohort", [2, 7, 64])
def test_what_is_expected_of_cohorts_is_what_they_train(scheduler, trials: int, cohort: int) -> None:
    total, first = 0, 0
    portions = generations(scheduler, trials, 30, 1, cohort) if scheduler.name == "hyperband" else [trials]
    for portion in portions:
        for start in range(first, first + portion, cohort):
            total += trained(scheduler, range(start, min(start + cohort, first + portion)), 30)
        first += portion
    assert expected_epochs(scheduler, trials, 30, cohort) == (total, total)


def test_several_brackets_of_asha_cost_what_is_expected_on_average() -> None:
    """Over 60 cohorts, each trial's bracket being drawn: within four standard errors (sigma)."""
    scheduler = AshaScheduler(eta=2, brackets=3)
    totals = [trained(scheduler, range(start, start + 64), 30) for start in range(0, 60 * 64, 64)]
    expected, _ = expected_epochs(scheduler, 64, 30, cohort=64)
    # A share is a fraction on average and cut off only once, so that a few epochs in a hundred are lost.
    assert abs(np.mean(totals) - expected) < 4 * np.std(totals, ddof=1) / math.sqrt(60) + 0.03 * expected


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


def test_auto_s_estimate_is_what_its_cohorts_train() -> None:
    expected, bound = expected_epochs(AutoScheduler(), 31, 30, cohort=9)
    scheduler = make_scheduler(AutoScheduler(), 30, Objective("val_loss", Direction.MINIMIZE), seed=0)
    trained = 0
    for first, size in ((0, 9), (9, 9), (18, 9), (27, 4)):
        living = frozenset(range(first, first + size))
        epochs = dict.fromkeys(living, 0)
        for epoch in range(1, 31):
            epochs.update(dict.fromkeys(living, epoch))
            standings = {number: Standing((float(number),) * count, {}) for number, count in epochs.items()}
            living -= scheduler.decide(epoch, standings, living).stop
        trained += sum(epochs.values())
    assert (expected, bound) == (trained, trained)


def test_auto_s_portions_are_its_cohorts() -> None:
    assert list(generations(AutoScheduler(), 25, 30, concurrency=3, cohort=9)) == [9, 9, 7]
    assert list(generations(AutoScheduler(), 10, 30, concurrency=3)) == [4, 4, 2]


def test_how_far_portions_overlap() -> None:
    alone = Overlap(lag=0, unseen=0)
    assert overlap(AutoScheduler(), 52, 1, cohort=9) == overlap(MedianScheduler(), 52, 1) == alone
    assert overlap(MedianScheduler(), 52, 4) == Overlap(lag=1, unseen=1)
    assert overlap(AutoScheduler(), 52, 4, cohort=9) == Overlap(lag=4, unseen=2, glimpse=2)
    many = overlap(AutoScheduler(), 52, 32)
    assert (many.unseen, many.glimpse) == (1, 2)
    assert 5 < many.lag < 12  # most trials end early


def test_median_s_estimate() -> None:
    assert expected_epochs(MedianScheduler(grace=5, min_trials=5), 25, 30) == (5 * 30 + 20 * 17.5, 750)
    assert list(islice(generations(MedianScheduler(), 25, 30, 2), 1)) == [4]
    assert list(islice(generations(MedianScheduler(), 25, 30, 1), 2)) == [1, 1]  # one worker learns from every trial
