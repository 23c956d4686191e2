"""The figure: mean regret against epochs and against time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes as Panel
from matplotlib.ticker import FixedLocator, NullLocator

from kerasweep.report.style import FONT, INK, MUTED, new_figure, quiet, title
from quality.methods import BASELINE, OURS
from quality.runs import TRAININGS
from quality.summary import PLACES, Axis, Row

# One colour for each library, one dash for each of its methods.
_COLOURS = {
    "kerasweep": "#0072b2",
    "optuna": "#d55e00",
    "ray": "#009e73",
    "keras_tuner": "#cc79a7",
    "smac": "#8a6d00",
    "skopt": "#7a4fbf",
}
_DASHES = ("-", "--", ":", "-.", (0, (7, 1, 1, 1, 1, 1)), (0, (1, 3)), (0, (9, 4)))
_TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
_POINTS = 120  # of a line
_FIRST = 0.2  # full trainings; what comes before is chance

_LABELS: dict[Axis, str] = {
    "epochs": "epochs, in full trainings",
    "seconds": "time, in full trainings on all workers",
}


def draw(rows: Sequence[Row], file: Path) -> None:
    """Writes it as PNG: a line of panels for each number of workers."""
    settings = sorted({row.workers for row in rows})
    figure = new_figure(12.0, 4.0 * len(settings))
    panels = figure.subplots(len(settings), 2, squeeze=False, sharey=True)
    styles = _styles(rows)
    for line, workers in zip(panels, settings, strict=True):
        for axes, axis in zip(line, PLACES, strict=True):
            for row in rows:
                if row.workers == workers:
                    _line(axes, row, axis, styles[row.method])
            quiet(axes)
            axes.set(xscale="log", yscale="log", xlim=(_FIRST, TRAININGS * (1.0 if axis == "epochs" else 1.6)))
            for ticks in (axes.xaxis, axes.yaxis):
                ticks.set_major_locator(FixedLocator(_TICKS))
                ticks.set_major_formatter(lambda place, _: f"{place:g}")
                ticks.set_minor_locator(NullLocator())
            axes.set_xlabel(_LABELS[axis], color=MUTED, fontsize=FONT)
        line[0].set_ylabel("regret, points of accuracy", color=MUTED, fontsize=FONT)
        title(line[0], f"{workers} worker{'s' if workers > 1 else ''}")
    lines = {drawn.get_label(): drawn for drawn in panels[0][0].get_lines()}
    figure.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=4, frameon=False, labelcolor=INK)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=150)


def _line(axes: Panel, row: Row, axis: Axis, style: dict[str, Any]) -> None:
    places = PLACES[axis]
    chosen = np.unique(np.searchsorted(places, np.geomspace(_FIRST, places[-1], _POINTS)).clip(max=len(places) - 1))
    mean, error = row.curves[axis][chosen], row.errors[axis][chosen]
    axes.plot(places[chosen], mean, label=row.method, **style)
    axes.fill_between(places[chosen], mean - error, mean + error, color=style["color"], alpha=0.12, linewidth=0)


def _styles(rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
    styles: dict[str, dict[str, Any]] = {BASELINE: {"color": INK, "linestyle": "-", "linewidth": 2.0}}
    used: dict[str, int] = {}
    for method in sorted({row.method for row in rows} - {BASELINE}):
        library = method.partition(":")[0]
        dash = used[library] = used.get(library, -1) + 1
        width = 2.0 if method.startswith(OURS) else 1.1
        styles[method] = {"color": _COLOURS[library], "linestyle": _DASHES[dash % len(_DASHES)], "linewidth": width}
    return styles
