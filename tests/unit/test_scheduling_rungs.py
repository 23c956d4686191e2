from __future__ import annotations

import math
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasweep.errors import SpecError
from kerasweep.scheduling import (
    Bracket,
    asha_rungs,
    bracket_of,
    hyperband_brackets,
    last_epochs,
    paper_brackets,
)
from kerasweep.scheduling.rungs import best_share, epochs_of
from kerasweep.spec.schedulers import AshaScheduler, HyperbandScheduler, NoScheduler, PbtScheduler

BUDGETS = [1, 2, 3, 5, 9, 10, 27, 30, 50, 81, 100, 243]


def test_the_paper_s_table_of_brackets() -> None:
    """R = 81, eta = 3: table 1 of the paper, n_i and r_i of each bracket."""
    assert paper_brackets(81, 3) == (
        Bracket((1, 3, 9, 27, 81), (81, 27, 9, 3, 1)),
        Bracket((3, 9, 27, 81), (34, 11, 3, 1)),
        Bracket((9, 27, 81), (15, 5, 1)),
        Bracket((27, 81), (8, 2)),
        Bracket((81,), (5,)),
    )
    assert [bracket.trials for bracket in paper_brackets(81, 3)] == [81, 34, 15, 8, 5]
    assert hyperband_brackets(81, 3, cohort=2) == paper_brackets(81, 3)


def test_powers_are_powers() -> None:
    """A quotient of logarithms says that 243 is 3 to the power of 4.999…"""
    assert [bracket.rungs[0] for bracket in paper_brackets(243, 3)] == [1, 3, 9, 27, 81, 243]
    assert len(paper_brackets(242, 3)) == 5
    assert paper_brackets(1, 3) == (Bracket((1,), (1,)),)


def test_the_paper_s_rungs_in_whole_epochs() -> None:
    """R = 30, eta = 3: r = 30/27, 10/9 · 3, …; a last rung is R itself, which Ray's need not be."""
    assert [bracket.rungs for bracket in paper_brackets(30, 3)] == [(1, 3, 10, 30), (3, 10, 30), (10, 30), (30,)]
    assert [bracket.survivors for bracket in paper_brackets(30, 3)] == [(27, 9, 3, 1), (12, 4, 1), (6, 2), (4,)]
    assert [bracket.rungs for bracket in paper_brackets(10, 4)] == [(3, 10), (10,)], "2.5 is rounded up"


@given(max_epochs=st.integers(1, 1000), eta=st.floats(2, 10))
def test_the_paper_s_brackets_climb_to_the_last_epoch(max_epochs: int, eta: float) -> None:
    brackets = paper_brackets(max_epochs, eta)
    assert [len(bracket.rungs) for bracket in brackets] == list(range(len(brackets), 0, -1))
    for bracket in brackets:
        assert list(bracket.rungs) == sorted(set(bracket.rungs))
        assert (bracket.rungs[0] >= 1, bracket.rungs[-1]) == (True, max_epochs)
        assert list(bracket.survivors) == sorted(bracket.survivors, reverse=True)
        assert bracket.survivors[-1] >= 1


def test_ray_fills_the_brackets_the_other_way_round() -> None:
    assert hyperband_brackets(81, 3) == (
        Bracket((81,), (5,)),
        Bracket((27, 81), (8, 3)),
        Bracket((9, 27, 81), (15, 5, 2)),
        Bracket((3, 9, 27, 81), (34, 12, 4, 2)),
        Bracket((1, 3, 9, 27, 81), (81, 27, 9, 3, 1)),
    )


@pytest.mark.parametrize("eta", [2, 2.5, 3, 4])
@pytest.mark.parametrize("max_epochs", BUDGETS)
def test_brackets_are_those_of_ray_tune(max_epochs: int, eta: float) -> None:
    """Ray's own scheduler is fed with trials, and each of its brackets is halved to its end."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    from ray.tune.experiment import Trial
    from ray.tune.schedulers import HyperBandScheduler

    ours = hyperband_brackets(max_epochs, eta)
    band = sum(bracket.trials for bracket in ours)
    theirs = HyperBandScheduler(metric="loss", mode="min", max_t=max_epochs, reduction_factor=eta)
    trials = [Trial("x", stub=True) for _ in range(band + 1)]
    for trial in trials:
        theirs.on_trial_add(None, trial)
    first, second = theirs._hyperbands
    assert len([bracket for bracket in second if bracket]) == 1, "the trial after a band begins the next one"
    brackets = [bracket for bracket in first if bracket]
    assert len(brackets) == len(ours)
    for number, (mine, ray_s) in enumerate(zip(ours, brackets, strict=True)):
        members = list(ray_s.current_trials())
        assert {bracket_of(trials.index(member), ours) for member in members} == {number}
        rungs, survivors = [ray_s._cumul_r], [len(members)]
        while ray_s._halves:
            for loss, member in enumerate(ray_s.current_trials()):
                ray_s.update_trial_stats(member, {"training_iteration": ray_s._cumul_r, "loss": loss})
            good, bad = ray_s.successive_halving("loss", -1.0)
            for member in bad:
                ray_s.cleanup_trial(member)
            rungs.append(ray_s._cumul_r)
            survivors.append(len(good))
        assert mine.rungs == tuple(rungs)
        assert mine.survivors == tuple(survivors)


@pytest.mark.parametrize(("grace", "eta", "brackets"), [(1, 3, 1), (1, 2, 3), (2, 4, 2), (1, 2.5, 2), (5, 3, 1)])
@pytest.mark.parametrize("max_epochs", [5, 9, 27, 30, 100, 243])
def test_asha_s_rungs_are_those_of_ray_tune(grace: int, eta: float, brackets: int, max_epochs: int) -> None:
    from ray.tune.schedulers import AsyncHyperBandScheduler

    theirs = AsyncHyperBandScheduler(
        max_t=max_epochs, grace_period=grace, reduction_factor=eta, brackets=brackets, metric="loss", mode="min"
    )
    expected = tuple(
        tuple(math.ceil(milestone) for milestone, _ in reversed(bracket._rungs)) for bracket in theirs._brackets
    )
    assert asha_rungs(grace, eta, max_epochs, brackets) == expected


@given(max_epochs=st.integers(1, 1000), eta=st.floats(2, 10))
def test_brackets_climb_within_the_budget(max_epochs: int, eta: float) -> None:
    for s, bracket in enumerate(hyperband_brackets(max_epochs, eta)):
        assert len(bracket.rungs) == s + 1
        assert list(bracket.rungs) == sorted(set(bracket.rungs))
        assert bracket.rungs[0] >= 1
        assert bracket.rungs[-1] <= max_epochs
        assert bracket.survivors[0] == bracket.trials
        assert bracket.survivors[-1] >= 1


@given(trial=st.integers(0, 10_000), max_epochs=st.integers(1, 300), cohort=st.sampled_from([1, 64]))
def test_a_band_follows_a_band(trial: int, max_epochs: int, cohort: int) -> None:
    brackets = hyperband_brackets(max_epochs, 3, cohort)
    band = [index for index, bracket in enumerate(brackets) for _ in range(bracket.trials)]
    assert bracket_of(trial, brackets) == band[trial % len(band)]


def test_epochs_of_a_bracket() -> None:
    bracket = Bracket((1, 3, 9, 27), (27, 9, 3, 1))
    assert epochs_of(bracket.rungs, bracket.survivors) == 27 * 1 + 9 * 2 + 3 * 6 + 1 * 18
    assert epochs_of(bracket.rungs, (0, 0, 0, 0)) == 0


def test_a_part_of_a_bracket() -> None:
    bracket = Bracket((1, 3, 9, 27), (27, 9, 3, 1))
    assert bracket.capped(4) == (4, 4, 3, 1), "a rung of Ray's has its places, whoever comes"
    assert bracket.scaled(27) == bracket.survivors
    assert bracket.scaled(4) == (4, 1, 1, 1)
    assert bracket.scaled(14) == (14, 5, 2, 1)
    assert bracket.scaled(0) == bracket.capped(0) == (0, 0, 0, 0)


@given(cohorts=st.lists(st.integers(1, 40), min_size=1, max_size=6))
def test_parts_together_are_nearly_the_whole(cohorts: list[int]) -> None:
    bracket = Bracket((1, 3, 9), (sum(cohorts), sum(cohorts) // 3 or 1, sum(cohorts) // 9 or 1))
    parts = [bracket.scaled(size) for size in cohorts]
    for rung, planned in enumerate(bracket.survivors):
        assert abs(sum(part[rung] for part in parts) - planned) <= len(cohorts)
        assert min(part[rung] for part in parts) >= 1


def test_last_epochs() -> None:
    assert last_epochs(HyperbandScheduler(eta=3.0), 30) == (30,) * 10 + (27,) * 39
    assert last_epochs(HyperbandScheduler(eta=3.0), 27) == ()
    assert last_epochs(HyperbandScheduler(eta=3.0), 30, cohort=64) == ()
    for scheduler in (NoScheduler(), AshaScheduler(), PbtScheduler()):
        assert last_epochs(scheduler, 30) == last_epochs(scheduler, 30, cohort=64) == ()


def test_the_best_share() -> None:
    assert [best_share(trials, 3) for trials in (1, 2, 3, 5, 6, 81)] == [1, 1, 1, 1, 2, 27]
    assert best_share(7, 7 / 3) == 3, "up to the rounding of the quotient"


def test_rungs_that_do_not_climb_are_refused() -> None:
    with pytest.raises(SpecError) as caught:
        hyperband_brackets(10, 1.5)
    with pytest.raises(SpecError, match=r"Received: eta=1.2, max_epochs=3: rungs at epochs 1, 1, 1, 2, 2, 3, 3"):
        paper_brackets(3, 1.2)
    assert str(caught.value) == (
        "search.scheduler.eta: eta must be so large that every rung of a bracket lies after the one before it "
        "(2 always is). Received: eta=1.5, max_epochs=10: rungs at epochs 1, 1, 1, 1, 1"
    )


def test_illegal_arguments() -> None:
    with pytest.raises(ValueError, match=r"max_epochs must be >= 1. Received: 0"):
        hyperband_brackets(0, 3)
    with pytest.raises(ValueError, match=r"max_epochs must be >= 1. Received: 0"):
        paper_brackets(0, 3)
    with pytest.raises(ValueError, match=r"eta must be > 1. Received: 1"):
        hyperband_brackets(9, 1)
    with pytest.raises(SpecError, match=r"1 <= grace <= max_epochs must hold. Received: grace=10, max_epochs=9"):
        asha_rungs(10, 3, 9, 1)
