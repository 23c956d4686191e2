from __future__ import annotations

import math

import pandas as pd

from kerasweep.records import Direction, Objective, Status, Trial
from kerasweep.report import to_frame, top

LOSS = Objective("val_loss", Direction.MINIMIZE)
TRIALS = (
    Trial(0, {"n": 3, "rate": 0.1, "kind": "sgd", "momentum": 0.9}, 1, Status.FINISHED, "", ({"val_loss": 0.5},) * 4,
          value=0.5, epoch=2, seconds=3.5),
    Trial(1, {"n": 4, "rate": 0.2, "kind": "adam", "amsgrad": True}, 2, Status.STOPPED, "by the scheduler",
          value=0.3, epoch=1),
    Trial(2, {"n": 5, "rate": 0.3, "kind": "adam", "amsgrad": False}, 3, Status.FAILED, "NaN loss", value=0.1),
    Trial(3, {"n": 6, "rate": 0.4, "kind": "sgd", "warmup": 7, "momentum": 0.5}, 4, Status.FINISHED, value=math.inf),
    Trial(4, {"n": 6, "rate": 0.4, "kind": "sgd", "momentum": 0.6}, 5, Status.STOPPED),
    Trial(5, {"n": 7, "rate": 0.4, "kind": "sgd", "momentum": 0.7}, 5, Status.FINISHED, value=0.3, epoch=9),
)  # fmt: skip


def test_a_row_a_trial_and_a_column_a_parameter() -> None:
    frame = to_frame(TRIALS)
    assert list(frame.columns) == [
        "number", "status", "value", "epoch", "epochs", "seconds", "reason",
        "n", "rate", "kind", "momentum", "amsgrad", "warmup",
    ]  # fmt: skip
    assert len(frame) == len(TRIALS)
    first = frame.iloc[0]
    assert (first.number, first.status, first.value, first.epoch, first.epochs, first.seconds) == (
        0, "finished", 0.5, 2, 4, 3.5
    )  # fmt: skip
    assert frame.reason.tolist() == ["", "by the scheduler", "NaN loss", "", "", ""]


def test_missing_values_leave_types_as_they_are() -> None:
    frame = to_frame(TRIALS)
    assert frame.n.dtype == frame.warmup.dtype == frame.epoch.dtype == "Int64"
    assert frame.amsgrad.dtype == "boolean"
    assert frame.rate.dtype == frame.momentum.dtype == frame.value.dtype == "float64"
    assert frame.warmup.tolist() == [pd.NA, pd.NA, pd.NA, 7, pd.NA, pd.NA]
    assert frame.amsgrad.tolist() == [pd.NA, True, False, pd.NA, pd.NA, pd.NA]
    assert frame.value.isna().tolist() == [False, False, False, False, True, False]


def test_a_choice_of_mixed_types_keeps_them() -> None:
    frame = to_frame([Trial(n, {"x": value}, 0) for n, value in enumerate((True, 1, "1", 1.5))])
    assert [(type(value), value) for value in frame.x] == [(bool, True), (int, 1), (str, "1"), (float, 1.5)]


def test_a_parameter_named_like_a_fact_gets_a_column_of_its_own() -> None:
    frame = to_frame([Trial(3, {"epochs": 7, "value": "x"}, 0, value=1.0)])
    assert (frame["epochs"].item(), frame["params.epochs"].item()) == (0, 7)
    assert (frame["value"].item(), frame["params.value"].item()) == (1.0, "x")


def test_no_trials_no_rows() -> None:
    frame = to_frame(())
    assert frame.empty
    assert "value" in frame


def test_top_is_sorted_by_the_objective_and_leaves_out_what_failed() -> None:
    assert [trial.number for trial in top(TRIALS, LOSS, 10)] == [1, 5, 0]
    assert [trial.number for trial in top(TRIALS, Objective("val_auc", Direction.MAXIMIZE), 2)] == [0, 1]
    assert top((), LOSS, 3) == ()
