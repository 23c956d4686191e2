"""Which value is better, which trial wins, and what a curve is."""

from __future__ import annotations

import math
import pickle
from dataclasses import FrozenInstanceError, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasweep.records import Direction, Metrics, Objective, Status, Trial, loss_ratio, winner, with_loss_ratio

LOSS = Objective("val_loss", Direction.MINIMIZE)
ACCURACY = Objective("val_accuracy", Direction.MAXIMIZE)
ANY = st.floats(allow_nan=True, allow_infinity=True)


def trial(number: int, value: float | None, status: Status = Status.FINISHED) -> Trial:
    return Trial(number, {"units": number}, seed=number, status=status, value=value, epoch=1)


@given(st.dictionaries(st.integers(0, 50), ANY))
def test_the_best_is_finite_and_nothing_finite_is_better(values: dict[int, float]) -> None:
    finite = {key: value for key, value in values.items() if math.isfinite(value)}
    for objective in (LOSS, ACCURACY):
        best = objective.best(values)
        if best is None:
            assert not finite
            continue
        assert best in finite
        assert not any(objective.direction.better(value, values[best]) for value in finite.values())
        assert best == min(key for key, value in finite.items() if value == values[best])  # the first of equals


def test_better_is_strict() -> None:
    assert Direction.MINIMIZE.better(1.0, 2.0)
    assert Direction.MAXIMIZE.better(2.0, 1.0)
    for direction in Direction:
        assert not direction.better(1.0, 1.0)
        assert not direction.better(math.nan, 1.0)
        assert not direction.better(1.0, math.nan)


def test_the_winner_did_not_fail_and_has_a_finite_value() -> None:
    trials = (
        trial(0, 0.5),
        trial(1, 0.1, Status.FAILED),
        trial(2, math.nan),
        trial(3, None),
        trial(4, 0.3, Status.STOPPED),
        trial(5, 0.4, Status.RUNNING),
    )
    best = winner(trials, LOSS)
    assert best is not None
    assert best.number == 4
    assert winner({each.number: each for each in trials}, LOSS) == best
    highest = winner(trials, ACCURACY)
    assert highest is not None
    assert highest.number == 0


def test_there_may_be_no_winner() -> None:
    assert winner((), LOSS) is None
    assert winner((trial(0, 0.1, Status.FAILED), trial(1, None), trial(2, math.inf)), LOSS) is None


def test_a_curve_has_a_value_for_each_epoch() -> None:
    run = replace(trial(0, 0.1), history=({"loss": 2, "val_loss": 1.0}, {"loss": 1.5}, {"val_loss": 0.5}))
    assert run.curve("loss")[:2] == (2.0, 1.5)
    assert math.isnan(run.curve("loss")[2])
    assert math.isnan(run.curve("val_loss")[1])
    assert len(run.curve("unknown")) == 3


def test_records_are_frozen_and_cross_process_borders() -> None:
    run = trial(3, 0.1)
    with pytest.raises(FrozenInstanceError):
        run.value = 0.0  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(run)) == run


def test_the_ratio_of_the_losses() -> None:
    assert loss_ratio({"loss": 0.2, "val_loss": 0.3}) == pytest.approx(1.5)
    assert with_loss_ratio({"loss": 0.5, "val_loss": 0.25}) == {"loss": 0.5, "val_loss": 0.25, "loss_ratio": 0.5}


@pytest.mark.parametrize(
    "metrics",
    [
        {},
        {"loss": 1.0},
        {"val_loss": 1.0},
        {"loss": 0.0, "val_loss": 1.0},
        {"loss": 0.0, "val_loss": 0.0},
        {"loss": -1.0, "val_loss": -2.0},
        {"loss": math.nan, "val_loss": 1.0},
        {"loss": 1.0, "val_loss": math.nan},
        {"loss": 1.0, "val_loss": math.inf},
        {"loss": math.inf, "val_loss": math.inf},
        {"loss": 1e-300, "val_loss": 1e300},
    ],
)
def test_a_ratio_that_says_nothing_is_left_out(metrics: Metrics) -> None:
    assert loss_ratio(metrics) is None
    assert with_loss_ratio(metrics) == metrics


def test_a_model_s_own_metric_of_that_name_stays() -> None:
    metrics = {"loss": 1.0, "val_loss": 2.0, "loss_ratio": 7.0}
    assert with_loss_ratio(metrics) == metrics
    assert loss_ratio(metrics) == 2.0


def test_overfitting_is_judged_at_the_best_epoch() -> None:
    history = ({"loss": 1.0, "val_loss": 1.0}, {"loss": 0.5, "val_loss": 0.66}, {"loss": 0.1, "val_loss": 0.9})
    run = replace(trial(0, 0.66), history=history, epoch=2)
    assert run.loss_ratio == pytest.approx(1.32)
    assert run.overfits is True
    assert replace(run, epoch=1).overfits is False
    assert replace(run, epoch=None).overfits is None
    assert replace(run, history=()).overfits is None
    assert replace(run, history=({"val_loss": 1.0},), epoch=1).overfits is None
