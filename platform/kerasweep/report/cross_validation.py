"""The table of a cross-validated search, as scikit-learn has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerasweep.records import Direction, Objective, Status, Trial


def cv_results(trials: Sequence[Trial], objective: Objective, folds: int) -> dict[str, Any]:
    """``cv_results_`` of scikit-learn's searches: one row a trial, at its best epoch, NaN where it failed.

    Args:
        trials: of a search with folds.
        objective: its values are the scores; with a negative sign if less is better, so that more is always better.
        folds: how many.

    Returns:
        Beside scikit-learn's columns ``status`` and ``epochs`` of each trial, and the mean over the folds of every
        other validation metric, as it is: ``mean_test_mae`` and the like.
    """
    sign = 1 if objective.direction is Direction.MAXIMIZE else -1
    metric = objective.metric
    at_best = [
        trial.history[trial.epoch - 1] if trial.epoch is not None and trial.status is not Status.FAILED else {}
        for trial in trials
    ]

    def column(name: str, sign: int = 1) -> NDArray[np.float64]:
        return np.array([sign * metrics.get(name, np.nan) for metrics in at_best])

    table: dict[str, Any] = {
        "mean_fit_time": np.array([trial.seconds / folds for trial in trials]),
        "params": [dict(trial.params) for trial in trials],
        "status": np.array([str(trial.status) for trial in trials]),
        "epochs": np.array([len(trial.history) for trial in trials]),
    }
    for name in dict.fromkeys(name for trial in trials for name in trial.params):
        values = [trial.params.get(name) for trial in trials]
        table[f"param_{name}"] = np.ma.MaskedArray(values, mask=[value is None for value in values], dtype=object)
    for fold in range(folds):
        table[f"split{fold}_test_score"] = column(f"{metric}_fold_{fold + 1}", sign)
    table["mean_test_score"] = column(metric, sign)
    table["std_test_score"] = column(f"{metric}_std")
    means = np.nan_to_num(table["mean_test_score"], nan=-np.inf)
    table["rank_test_score"] = 1 + (means[None, :] > means[:, None]).sum(axis=1).astype(np.int32)
    own = {metric, f"{metric}_std", *(f"{metric}_fold_{fold + 1}" for fold in range(folds))}
    others = dict.fromkeys(name for metrics in at_best for name in metrics if name.startswith("val_"))
    table |= {f"mean_test_{name.removeprefix('val_')}": column(name) for name in others if name not in own}
    return table
