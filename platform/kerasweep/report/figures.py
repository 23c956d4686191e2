"""Writes all figures of a study."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kerasweep.records import Objective, Trial
from kerasweep.space import Space


def write_figures(trials: Sequence[Trial], objective: Objective, space: Space, folder: Path) -> tuple[Path, ...]:
    """Writes the figures of a study as PNG files, 150 dots an inch.

    ``best_over_time.png``, ``learning_curves.png``, ``parallel_coordinates.png`` and ``importance.png``. A figure for
    which there are too few trials says so instead.

    Args:
        trials: as many as there are, however they ended.
        objective: of the study.
        space: of the study.
        folder: made if it is not there.

    Returns:
        The files.
    """
    from kerasweep.report.curves import best_over_time, learning_curves
    from kerasweep.report.importance import importance_bars
    from kerasweep.report.parallel import parallel_coordinates

    folder.mkdir(parents=True, exist_ok=True)
    figures = {
        "best_over_time": best_over_time(trials, objective),
        "learning_curves": learning_curves(trials, objective),
        "parallel_coordinates": parallel_coordinates(trials, objective, space),
        "importance": importance_bars(trials, objective, space),
    }
    paths = []
    for name, figure in figures.items():
        path = folder / f"{name}.png"
        figure.savefig(path, dpi=150)
        paths.append(path)
    return tuple(paths)
