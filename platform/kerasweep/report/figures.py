"""Writes all figures of a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kerasweep.records import Objective, Trial
from kerasweep.report.plane import Plane
from kerasweep.space import Space

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from kerasweep.report.importance import Importance
    from kerasweep.report.interactions import Surface

# Dots an inch.
_DPI = 150


def write_figures(
    trials: Sequence[Trial], objective: Objective, space: Space, folder: Path, plane: Plane | None = None
) -> tuple[Path, ...]:
    """Writes the figures of a study as PNG files, 150 dots an inch.

    ``best_over_time.png``, ``learning_curves.png``, ``parallel_coordinates.png``, ``importance.png`` and
    ``interactions.png``; ``decision_boundary.png`` for a study on a plane. A figure for which there are too few trials
    says so instead.

    Args:
        trials: as many as there are, however they ended.
        objective: of the study.
        space: of the study.
        folder: made if it is not there.
        plane: what the winner predicts over its two numeric features; None where there is no such plane.

    Returns:
        The files.
    """
    from kerasweep.report.curves import best_over_time, learning_curves
    from kerasweep.report.importance import importance
    from kerasweep.report.interactions import surfaces
    from kerasweep.report.parallel import parallel_coordinates

    figures = {
        "best_over_time": best_over_time(trials, objective),
        "learning_curves": learning_curves(trials, objective),
        "parallel_coordinates": parallel_coordinates(trials, objective, space),
    }
    if plane is not None:
        from kerasweep.report.boundary import decision_boundary

        figures["decision_boundary"] = decision_boundary(plane)
    found = importance(trials, space)
    drawn = surfaces(found, trials, objective, space)
    return (*_written(figures, folder), *write_importance(found, drawn, trials, objective, folder))


def write_importance(
    found: Importance | None, drawn: Sequence[Surface], trials: Sequence[Trial], objective: Objective, folder: Path
) -> tuple[Path, ...]:
    """Writes ``importance.png`` and ``interactions.png``.

    Args:
        found: by ``importance``, of these trials.
        drawn: the ``surfaces`` of what was found.
        trials: of a study.
        objective: of the study.
        folder: made if it is not there.
    """
    from kerasweep.report.importance import importance_bars
    from kerasweep.report.interactions import interaction_maps

    figures = {
        "importance": importance_bars(found, objective),
        "interactions": interaction_maps(drawn, trials, objective),
    }
    return _written(figures, folder)


def write_learning_curve(trial: Trial, objective: Objective, folder: Path) -> Path:
    """Writes one trial's ``learning_curve.png``.

    Args:
        trial: that has a value.
        objective: of its study.
        folder: made if it is not there.
    """
    from kerasweep.report.curves import learning_curve

    (path,) = _written({"learning_curve": learning_curve(trial, objective)}, folder)
    return path


def _written(figures: Mapping[str, Figure], folder: Path) -> tuple[Path, ...]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, figure in figures.items():
        path = folder / f"{name}.png"
        figure.savefig(path, dpi=_DPI)
        paths.append(path)
    return tuple(paths)
