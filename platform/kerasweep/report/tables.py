"""Trials as tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kerasweep.records import Direction, Objective, ParamValue, Status, Trial

if TYPE_CHECKING:
    import pandas as pd

_FACTS = ("number", "status", "value", "epoch", "epochs", "seconds", "reason")


def usable(trials: Sequence[Trial]) -> tuple[Trial, ...]:
    """The trials that did not fail and have a finite value."""
    return tuple(
        trial
        for trial in trials
        if trial.status is not Status.FAILED and trial.value is not None and math.isfinite(trial.value)
    )


def score(trial: Trial) -> float:
    """The value of a usable trial."""
    if trial.value is None:
        raise ValueError(f"a usable trial has a value. Received: trial {trial.number} without one")
    return trial.value


def top(trials: Sequence[Trial], objective: Objective, n: int) -> tuple[Trial, ...]:
    """The ``n`` best trials, best first; failed ones and those without a finite value are never among them.

    Of equal ones the earlier trial comes first.
    """
    sign = 1 if objective.direction is Direction.MINIMIZE else -1
    return tuple(sorted(usable(trials), key=lambda trial: (sign * score(trial), trial.number))[:n])


def to_frame(trials: Sequence[Trial]) -> pd.DataFrame:
    """One row a trial, in the given order.

    Columns: ``number``, ``status``, ``value`` and ``epoch`` (the best one's; missing if there is none), ``epochs``
    (trained), ``seconds``, ``reason``, then one for each parameter that any trial has, missing where it is not active.
    A parameter that is called like one of the first columns gets the column ``params.NAME``. Integers and booleans
    stay such beside missing values (pandas' nullable types).
    """
    import pandas as pd

    columns: dict[str, Any] = {
        "number": pd.array([trial.number for trial in trials], dtype="int64"),
        "status": [str(trial.status) for trial in trials],
        "value": pd.array([math.nan if trial.value is None else trial.value for trial in trials], dtype="float64"),
        "epoch": pd.array([trial.epoch for trial in trials], dtype="Int64"),
        "epochs": pd.array([len(trial.history) for trial in trials], dtype="int64"),
        "seconds": pd.array([trial.seconds for trial in trials], dtype="float64"),
        "reason": [trial.reason for trial in trials],
    }
    for name in dict.fromkeys(name for trial in trials for name in trial.params):
        column = f"params.{name}" if name in _FACTS else name
        columns[column] = _column([trial.params.get(name) for trial in trials])
    return pd.DataFrame(columns)


def _column(values: Sequence[ParamValue | None]) -> Any:
    import pandas as pd

    kinds = {type(value) for value in values if value is not None}
    if kinds == {float}:
        return pd.Series([math.nan if value is None else value for value in values], dtype="float64")
    if kinds == {int}:
        return pd.Series(list(values), dtype="Int64")
    return pd.Series(list(values), dtype="boolean" if kinds == {bool} else "object")
