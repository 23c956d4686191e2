from __future__ import annotations

import math
import statistics
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasweep.data.base import Facts, SearchData, Split
from kerasweep.data.preprocessing import fit
from kerasweep.delivery import choose, lost_cohort, merged, retrain_cohort, spread
from kerasweep.errors import DataError, DeliveryError
from kerasweep.records import Change, Direction, Objective, Status, Trial
from kerasweep.spec.learning_rates import CosineRate
from kerasweep.spec.pipeline import EarlyStopping
from kerasweep.spec.vocabulary import Task
from kerasweep.training import Freeze, Schedule
from kerasweep.training.base import Outcome
from kerasweep.training.learning_rates import Rates

OBJECTIVE = Objective("val_loss", Direction.MINIMIZE)
WINNER = Trial(7, {"n_hidden": 2, "learning_rate": 0.01}, seed=3, status=Status.FINISHED, value=0.3, epoch=12)

SEARCH = Schedule(OBJECTIVE, 30, EarlyStopping(), 5, 4.5, Rates(CosineRate(), horizon=30), Freeze(1, 3))


def _search(train: Split, validation: Split) -> SearchData:
    facts = Facts(Task.REGRESSION, 1)
    return SearchData(train, validation, fit(train.x), facts, fingerprint="0", source="made up")


def test_merged_joins_arrays_in_order() -> None:
    x, y = np.arange(12.0).reshape(6, 2), np.arange(6.0)[:, None]
    both = merged(_search(Split(x[:4], y[:4]), Split(x[4:], y[4:])))
    np.testing.assert_array_equal(both.x, x)
    np.testing.assert_array_equal(both.y, y)


def test_merged_joins_columns_by_name_and_keeps_text_and_gaps() -> None:
    train = Split({"a": np.array([1.0, np.nan]), "t": np.array(["x", None], object)}, np.zeros((2, 1)))
    validation = Split({"t": np.array(["y"], object), "a": np.array([3.0])}, np.ones((1, 1)))
    both = merged(_search(train, validation))
    np.testing.assert_array_equal(both.x["a"], [1.0, np.nan, 3.0])
    assert both.x["t"].tolist() == ["x", None, "y"]
    assert len(both) == 3


def test_merged_refuses_rows_of_two_forms() -> None:
    with pytest.raises(DataError):
        merged(_search(Split(np.zeros((2, 1)), np.zeros((2, 1))), Split({"a": np.zeros(2)}, np.zeros((2, 1)))))


def test_every_seed_trains_the_winner_to_its_best_epoch() -> None:
    cohort, schedule = retrain_cohort(WINNER, {"batch_size": 64, "n_hidden": 1}, 3, 42, SEARCH)
    assert [member.number for member in cohort.members] == [0, 1, 2]
    assert all(m.params == {"batch_size": 64, "n_hidden": 2, "learning_rate": 0.01} for m in cohort.members)
    assert len({member.seed for member in cohort.members} | {WINNER.seed}) == 4
    assert (schedule.epochs, schedule.early_stopping, schedule.objective) == (12, None, OBJECTIVE)
    assert schedule.freeze == SEARCH.freeze
    assert schedule.ahead(0) == 12  # nothing ends it before
    assert schedule.order_seed != SEARCH.order_seed
    factors = schedule.factors(cohort.members[0].params, 10)
    assert factors is not None
    assert factors.at(60, 1)[0] == pytest.approx((1 + math.cos(math.pi * 6 / 30)) / 2)  # of 30 epochs, not of 12


def test_what_changed_before_the_best_epoch_changes_again() -> None:
    changes = (Change(0, {"learning_rate": 0.02}), Change(8, {"learning_rate": 0.03}), Change(12, {"momentum": 0.5}))
    cohort, _ = retrain_cohort(replace(WINNER, changes=changes), {}, 2, 42, SEARCH)
    assert [member.changes for member in cohort.members] == [changes[:2]] * 2  # the last one came too late to matter


def test_the_seeds_depend_on_the_study_alone() -> None:
    one, _ = retrain_cohort(WINNER, {}, 1, 42, SEARCH)
    three, _ = retrain_cohort(WINNER, {}, 3, 42, SEARCH)
    other, _ = retrain_cohort(WINNER, {}, 1, 43, SEARCH)
    assert one.members[0] == three.members[0]
    assert one.members[0].seed != other.members[0].seed


def test_lost_weights_are_trained_as_they_were() -> None:
    changes = (Change(8, {"learning_rate": 0.03}),)
    cohort, schedule = lost_cohort(replace(WINNER, changes=changes), {"n_hidden": 1}, SEARCH)
    (member,) = cohort.members
    assert (member.seed, member.changes) == (WINNER.seed, changes)
    assert member.params == {"n_hidden": 2, "learning_rate": 0.01}
    assert (schedule.epochs, schedule.early_stopping, schedule.order_seed) == (12, None, SEARCH.order_seed)


def test_a_trial_that_never_had_a_value_cannot_be_retrained() -> None:
    with pytest.raises(DeliveryError) as caught:
        retrain_cohort(Trial(3, {}, 0, Status.FAILED, reason="loss is NaN"), {}, 1, 0, SEARCH)
    assert str(caught.value) == (
        "only a trial with a finite val_loss can be retrained. Received: trial 3, failed: loss is NaN"
    )


def _outcomes(n: int, failed: tuple[int, ...] = ()) -> list[Outcome]:
    return [
        Outcome(i, Status.FAILED, "out of memory") if i in failed else Outcome(i, Status.FINISHED) for i in range(n)
    ]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9), st.sampled_from(Direction))
def test_the_median_model_is_chosen_and_of_two_in_the_middle_the_worse(values: list[float], way: Direction) -> None:
    index = choose(_outcomes(len(values)), [{"m": value} for value in values], "m", way)
    expected = statistics.median_high(values) if way is Direction.MINIMIZE else statistics.median_low(values)
    assert values[index] == expected


def test_failed_seeds_and_nan_are_not_chosen() -> None:
    scores = [{}, {"m": 5.0}, {"m": math.nan}, {"m": 1.0}]
    assert choose(_outcomes(4, failed=(0,)), scores, "m", Direction.MINIMIZE) == 1
    assert choose(_outcomes(4, failed=(0, 1)), scores, "m", Direction.MINIMIZE) == 3


def test_when_every_seed_failed_the_error_gives_the_reasons() -> None:
    with pytest.raises(DeliveryError) as caught:
        choose(_outcomes(3, failed=(0, 1)), [{}, {}, {"m": math.nan}], "m", Direction.MINIMIZE)
    assert str(caught.value) == (
        "at least one retraining must succeed. Received: 3 failed (out of memory; no finite test m)"
    )


def test_spread_leaves_out_what_failed() -> None:
    scores = [{"mse": 3.0, "r2": math.nan}, {}, {"mse": 1.0, "r2": math.nan}, {"mse": 2.0, "r2": math.nan}]
    assert spread(scores) == {"mse": (1.0, 2.0, 3.0)}
    assert spread([]) == {}


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=9))
def test_spread_encloses_the_median(values: list[float]) -> None:
    low, middle, high = spread([{"m": value} for value in values])["m"]
    assert low == min(values)
    assert high == max(values)
    assert low <= middle <= high
