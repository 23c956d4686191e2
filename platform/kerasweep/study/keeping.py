"""What is kept of a search beside its records: the best trials' weights, and figures."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from pathlib import Path

from kerasweep.dispatch import state_of_one, values_of
from kerasweep.errors import StorageError
from kerasweep.models import import_tensorflow
from kerasweep.records import Objective, Trial
from kerasweep.report.plane import Plane
from kerasweep.space import Space
from kerasweep.spec.pipeline import PipelineSpec
from kerasweep.study.search import Searched
from kerasweep.tracking import Tracker
from kerasweep.training import Snapshot, snapshots
from kerasweep.training.base import Array


def keep_weights(searched: Searched, objective: Objective, most: int, into: Path, tracker: Tracker) -> list[Trial]:
    """Keeps the best trials' weights in a folder, one below it for each, and with the tracker.

    Args:
        searched: the search.
        objective: says which are the best.
        most: how many are kept at most.
        into: the folder.
        tracker: of the study.

    Returns:
        The trials whose weights there are.
    """
    from kerasweep.report import top

    best = [trial for trial in top(searched.trials, objective, most) if trial.number in searched.snapshots]
    loaded = {folder: snapshots.load(folder) for folder in {searched.snapshots[trial.number] for trial in best}}
    kept: list[Trial] = []
    for trial in best:
        snapshot = loaded[searched.snapshots[trial.number]]
        values = values_of(snapshot, trial.number)
        if len(values) < (trial.epoch or 0):
            continue  # its cohort died after it had ended, before a snapshot was taken
        _keep(trial.number, snapshots.best_weights(snapshot, trial.number), values, into, tracker)
        kept.append(trial)
    for folder in into.glob("*"):  # of trials that were among the best before the budget grew
        if folder.name not in {str(trial.number) for trial in kept}:
            shutil.rmtree(folder)
    return kept


def keep_again(trial: Trial, weights: tuple[Array, ...], objective: Objective, into: Path, tracker: Tracker) -> None:
    """Keeps the weights of a trial that was trained again; see ``keep_weights``."""
    values = [metrics.get(objective.metric, math.nan) for metrics in trial.history]
    _keep(trial.number, weights, values, into, tracker)


def _keep(number: int, weights: tuple[Array, ...], values: list[float], into: Path, tracker: Tracker) -> None:
    folder = into / str(number)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        snapshots.save(Snapshot(snapshots.named_best(number, weights), state_of_one(number, values)), folder)
    except OSError as error:
        raise StorageError(
            f"the best trials' weights must be written. Received: {folder}: {error.strerror}. Once there is room, "
            f"kerasweep resume {into.parent.name} carries on"
        ) from error
    tracker.log_files(tuple(folder.iterdir()), "weights", number)


def draw_figures(
    trials: Sequence[Trial],
    kept: Sequence[Trial],
    spec: PipelineSpec,
    folder: Path,
    tracker: Tracker,
    plane: Plane | None,
) -> None:
    """Draws the figures of a study, and those of the trials that can be exported, and hands them to the tracker."""
    from kerasweep.report import write_figures, write_learning_curve

    tracker.log_files(write_figures(trials, spec.objective, Space(spec.space), folder, plane), "figures")
    for trial in kept:
        figure = write_learning_curve(trial, spec.objective, folder / str(trial.number))
        tracker.log_files((figure,), "figures", trial.number)


def import_ahead() -> None:
    """Imports what is needed once the search has ended; until then the driver has little to do."""
    import_tensorflow()

    import kerasweep.report.curves
    import kerasweep.report.importance
    import kerasweep.report.interactions
    import kerasweep.report.parallel  # noqa: F401  # the import is the purpose
