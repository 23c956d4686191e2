"""The networks of a study's best trials for TensorBoard: their weights, and the winner's graph."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kerasweep.models import FamilyBuilder, UserBuilder
from kerasweep.records import Params, Trial
from kerasweep.spec.pipeline import TensorBoardSpec
from kerasweep.tracking.board_models import write_model
from kerasweep.training import snapshots

if TYPE_CHECKING:
    import keras


def show_models(
    board: TensorBoardSpec,
    folder: Path,
    models: FamilyBuilder | UserBuilder,
    fixed: Params,
    kept: Sequence[Trial],
    weights: Path,
) -> None:
    """Writes what is wanted of the networks whose weights were kept.

    Args:
        board: what is wanted.
        folder: of the study's event files.
        models: builds the networks.
        fixed: ``training.fixed``.
        kept: the trials, best first.
        weights: the folder with their weights, one below it for each.

    Raises:
        TrackingError: something cannot be written.
    """
    for place, trial in enumerate(kept):
        graph = board.graph and place == 0
        if trial.epoch is None or not (graph or board.histograms):
            continue
        model = models.build({**fixed, **trial.params}, trial.seed)
        values = snapshots.best_weights(snapshots.load(weights / str(trial.number)), trial.number)
        named = {weight.path: each for weight, each in zip(model.weights, values, strict=True)}
        write_model(
            folder,
            trial.number,
            trial.epoch,
            named if board.histograms else {},
            _graph(model, models.inputs.shape) if graph else None,
        )


def _graph(model: keras.Model, row: tuple[int, ...]) -> bytes:
    """The operations from features to predictions, as TensorFlow's ``GraphDef``."""
    import tensorflow as tf

    rows = tf.TensorSpec((None, *row), tf.float32, name="features")
    traced = tf.function(lambda x: model(x, training=False), autograph=False).get_concrete_function(rows)
    definition: bytes = traced.graph.as_graph_def().SerializeToString()
    return definition
