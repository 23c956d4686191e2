from __future__ import annotations

import math
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasweep.errors import SpecError
from kerasweep.scheduling import Bracket, asha_rungs, bracket_of, hyperband_brackets, last_epochs
from kerasweep.spec.pipeline import AshaScheduler, HyperbandScheduler, NoScheduler

BUDGETS = [1, 2, 3, 5, 9, 10, 27, 30, 50, 81, 100, 243]


def test_the_paper_s_table_of_brackets() -> None:
    """R = 81, eta = 3 (table 1 of the paper); Ray fills the brackets in the opposite order, and rounds n up alike."""
    assert hyperband_brackets(81, 3) == (
        Bracket(5, (81,), 3),
        Bracket(8, (27, 81), 3),
        Bracket(15, (9, 27, 81), 3),
        Bracket(34, (3, 9, 27, 81), 3),
        Bracket(81, (1, 3, 9, 27, 81), 3),
    )
    assert hyperband_brackets(81, 3)[-1].survivors == (81, 27, 9, 3, 1)


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


@given(trial=st.integers(0, 10_000), max_epochs=st.integers(1, 300))
def test_a_band_follows_a_band(trial: int, max_epochs: int) -> None:
    brackets = hyperband_brackets(max_epochs, 3)
    band = [index for index, bracket in enumerate(brackets) for _ in range(bracket.trials)]
    assert bracket_of(trial, brackets) == band[trial % len(band)]


def test_epochs_of_a_bracket() -> None:
    bracket = Bracket(27, (1, 3, 9, 27), 3)
    assert bracket.epochs() == 27 * 1 + 9 * 2 + 3 * 6 + 1 * 18
    assert bracket.epochs(4) == 4 * 1 + 4 * 2 + 3 * 6 + 1 * 18
    assert bracket.epochs(0) == 0


def test_last_epochs() -> None:
    assert last_epochs(HyperbandScheduler(eta=3.0), 30) == (30,) * 10 + (27,) * 39
    assert last_epochs(HyperbandScheduler(eta=3.0), 27) == ()
    assert last_epochs(NoScheduler(), 30) == last_epochs(AshaScheduler(), 30) == ()


def test_rungs_that_do_not_climb_are_refused() -> None:
    with pytest.raises(SpecError) as caught:
        hyperband_brackets(10, 1.5)
    assert str(caught.value) == (
        "search.scheduler.eta: eta must be so large that every rung of a bracket lies after the one before it "
        "(2 always is). Received: eta=1.5, max_epochs=10: rungs at epochs 1, 1, 1, 1, 1"
    )


def test_illegal_arguments() -> None:
    with pytest.raises(ValueError, match=r"max_epochs must be >= 1. Received: 0"):
        hyperband_brackets(0, 3)
    with pytest.raises(ValueError, match=r"eta must be > 1. Received: 1"):
        hyperband_brackets(9, 1)
    with pytest.raises(SpecError, match=r"1 <= grace <= max_epochs must hold. Received: grace=10, max_epochs=9"):
        asha_rungs(10, 3, 9, 1)
