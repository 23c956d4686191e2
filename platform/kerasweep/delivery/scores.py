"""What predictions are worth: the test metrics of each task, in double precision."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kerasweep.data.base import Facts
from kerasweep.errors import DeliveryError
from kerasweep.records import Direction
from kerasweep.spec.vocabulary import Task

Numbers = NDArray[np.float64]

# The first metric of a task is its default headline.
TEST_METRICS: Mapping[Task, Mapping[str, Direction]] = {
    Task.REGRESSION: {
        "mse": Direction.MINIMIZE,
        "rmse": Direction.MINIMIZE,
        "mae": Direction.MINIMIZE,
        "r2": Direction.MAXIMIZE,
    },
    Task.BINARY: {"loss": Direction.MINIMIZE, "accuracy": Direction.MAXIMIZE, "auc": Direction.MAXIMIZE},
    Task.MULTICLASS: {"loss": Direction.MINIMIZE, "accuracy": Direction.MAXIMIZE},
    Task.MULTILABEL: {"loss": Direction.MINIMIZE, "accuracy": Direction.MAXIMIZE, "auc": Direction.MAXIMIZE},
}

# Keras's own: a probability of exactly 0 or 1 costs 16.1, not infinity, so test and validation losses compare.
_EPSILON = 1e-7


def score(targets: ArrayLike, predictions: ArrayLike, facts: Facts) -> dict[str, float]:
    """The test metrics of predictions.

    - regression: ``mse``, ``rmse`` (its root), ``mae`` over all outputs; ``r2``, the mean over outputs.
    - binary: ``loss`` (cross-entropy), ``accuracy`` at 0.5, ``auc`` (area under the ROC curve).
    - multi-class: ``loss``, ``accuracy``.
    - multi-label: ``loss`` and ``accuracy`` over all labels of all rows; ``auc``, the mean over labels.

    Values that cannot be probabilities (outside [0, 1], or, for classes, not adding up to 1) are read as logits:
    models of the user's own may end without an activation. Where a metric is not defined (a single class in the
    rows, a constant target) its value is NaN, and a NaN among the predictions makes every metric NaN.

    Args:
        targets: as ``data.Split.y``.
        predictions: ``(rows, outputs)``; for binary targets also ``(rows, 2)``, of both classes.
        facts: of the data.

    Raises:
        DeliveryError: the shape of the predictions does not fit the target.
    """
    y, p = np.asarray(targets), np.asarray(predictions, dtype=np.float64)
    p = _in_shape(p, len(y), facts)
    if not np.isfinite(p).all():
        return dict.fromkeys(TEST_METRICS[facts.task], math.nan)
    if facts.task is Task.REGRESSION:
        return _regression(y.astype(np.float64).reshape(p.shape), p)
    if facts.task is Task.MULTICLASS:
        return _multiclass(y.reshape(len(p)).astype(np.int64), p)
    return _labels(y.astype(np.float64).reshape(len(p), -1), p)


def class_probabilities(predictions: ArrayLike, facts: Facts) -> Numbers:
    """The probability of each class ``(rows, classes)``, of a binary or multi-class model; logits are read as such.

    Args:
        predictions: ``(rows, outputs)``; for binary targets also ``(rows, 2)``.
        facts: of the data.

    Raises:
        DeliveryError: the shape of the predictions does not fit the target.
    """
    p = np.asarray(predictions, dtype=np.float64)
    p = _in_shape(p, len(p), facts)
    if facts.task is Task.MULTICLASS:
        return _class_probabilities(p)
    p = _label_probabilities(p)
    return np.concatenate([1 - p, p], axis=1)


def _in_shape(p: Numbers, rows: int, facts: Facts) -> Numbers:
    if p.shape == (rows,):
        p = p[:, None]
    if facts.task is Task.BINARY and p.shape == (rows, 2):
        return _class_probabilities(p)[:, 1:]
    if p.shape != (rows, facts.outputs):
        raise DeliveryError(
            f"predictions for a {facts.task} target must have shape {(rows, facts.outputs)}. Received: {p.shape}"
        )
    return p


def _regression(y: Numbers, p: Numbers) -> dict[str, float]:
    squares = (y - p) ** 2
    mse = float(squares.mean())
    spread = ((y - y.mean(axis=0)) ** 2).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        r2 = np.where(spread > 0, 1 - squares.sum(axis=0) / spread, math.nan)
    return {"mse": mse, "rmse": math.sqrt(mse), "mae": float(np.abs(y - p).mean()), "r2": float(r2.mean())}


def _multiclass(y: NDArray[np.int64], p: Numbers) -> dict[str, float]:
    p = _class_probabilities(p)
    own = np.clip(p[np.arange(len(y)), y], _EPSILON, 1 - _EPSILON)
    return {"loss": float(-np.log(own).mean()), "accuracy": float((p.argmax(axis=1) == y).mean())}


def _labels(y: Numbers, p: Numbers) -> dict[str, float]:
    p = _label_probabilities(p)
    clipped = np.clip(p, _EPSILON, 1 - _EPSILON)
    loss = -(y * np.log(clipped) + (1 - y) * np.log1p(-clipped))
    hits = (p > 0.5) == (y > 0.5)
    return {"loss": float(loss.mean()), "accuracy": float(hits.mean()), "auc": _mean_auc(y, p)}


def _mean_auc(y: Numbers, p: Numbers) -> float:
    from sklearn.metrics import roc_auc_score

    areas = [roc_auc_score(y[:, i], p[:, i]) for i in range(y.shape[1]) if 0 < y[:, i].sum() < len(y)]
    return float(np.mean(areas)) if areas else math.nan


def _label_probabilities(p: Numbers) -> Numbers:
    return p if p.min() >= 0 and p.max() <= 1 else 1 / (1 + np.exp(-np.clip(p, -500, 500)))


def _class_probabilities(p: Numbers) -> Numbers:
    if p.min() >= 0 and np.allclose(p.sum(axis=1), 1, atol=1e-3):
        return p
    raised = np.exp(p - p.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))
