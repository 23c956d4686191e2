"""The plane of a study whose rows are two numbers and a class: what its winner predicts there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kerasweep.data import SearchData, Split
from kerasweep.data.base import Rows
from kerasweep.data.columns import Kind, kind_of
from kerasweep.delivery import class_probabilities, predict
from kerasweep.models import ModelBuilder
from kerasweep.records import Trial
from kerasweep.report.plane import Plane, Points
from kerasweep.spec.pipeline import PipelineSpec
from kerasweep.spec.vocabulary import Task
from kerasweep.training import snapshots

# Places along each axis.
_PLACES = 220
# Of the rows' extent, that is shown beyond them.
_MARGIN = 0.06


def on_a_plane(data: SearchData) -> bool:
    """Whether rows are exactly two numbers, and the task has one class a row and one output."""
    if data.facts.task not in (Task.BINARY, Task.MULTICLASS) or data.facts.heads or data.preprocessing.arrays:
        return False
    rows = data.train.x
    if isinstance(rows, Mapping):
        return len(rows) == 2 and all(kind_of(column) is Kind.NUMBER for column in rows.values())
    return rows.shape[1:] == (2,) and rows.dtype.kind != "b"


def winners_plane(spec: PipelineSpec, data: SearchData, models: ModelBuilder, trial: Trial, kept: Path) -> Plane | None:
    """What the winner, as it was at its best epoch of the search, predicts over the plane.

    That model has not learnt from the validation rows, so that these show how it does on others. The test split has no
    part in it.

    Args:
        spec: of the study.
        data: of the study.
        models: builds its models.
        trial: the winner.
        kept: the folder with its weights, which is not there if its worker died too early.

    Returns:
        None where there is no plane, or no weights.
    """
    if not on_a_plane(data) or trial.epoch is None or not kept.is_dir():
        return None
    from kerasweep.study.winner import assembled

    weights = snapshots.best_weights(snapshots.load(kept), trial.number)
    model = assembled(spec, trial, weights, models, data)
    train, validation = _points(data.train), _points(data.validation)
    everything = np.concatenate([train.at, validation.at])
    limits = [_limits(values[np.isfinite(values)]) for values in everything.T]
    horizontal, vertical = limits
    across, up = np.meshgrid(*(np.linspace(*each, _PLACES) for each in limits))
    grid = _rows(np.stack([across.ravel(), up.ravel()], axis=1), data.train.x)
    first, second = (raw.source for raw in data.preprocessing.inputs) if data.facts.columns else ("x0", "x1")
    return Plane(
        trial=trial.number,
        epoch=trial.epoch,
        features=(first, second),
        classes=data.facts.classes,
        horizontal=horizontal,
        vertical=vertical,
        probabilities=class_probabilities(predict(model, grid), data.facts).reshape(_PLACES, _PLACES, -1),
        train=train,
        validation=validation,
        predicted=class_probabilities(predict(model, data.validation.x), data.facts).argmax(axis=1),
    )


def _points(split: Split) -> Points:
    rows = split.x
    columns = list(rows.values()) if isinstance(rows, Mapping) else list(rows.T)
    return Points(np.stack(columns, axis=1).astype(np.float64), split.target.reshape(-1).astype(np.int64))


def _rows(at: NDArray[np.float64], like: Rows) -> Rows:
    """Points as rows of the form that the data have."""
    return dict(zip(like, at.T, strict=True)) if isinstance(like, Mapping) else at


def _limits(values: NDArray[np.float64]) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    margin = _MARGIN * (high - low) or 1.0
    return low - margin, high + margin
