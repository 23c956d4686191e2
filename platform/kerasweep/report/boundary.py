"""The decision boundary of a classifier with two numeric features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from kerasweep.report import style
from kerasweep.report.plane import Plane, Points

# Of each split; more points would hide what is under them.
_POINTS = 1500

# Classes that a legend can list.
_LISTED = 12

# How much of a class's colour there is where the model is sure, and where it barely prefers it.
_SURE, _UNSURE = 0.62, 0.06


def decision_boundary(plane: Plane) -> Figure:
    """What a model predicts over the plane of its two features, with the rows that it learnt from and those it did not.

    The colour is that of the likeliest class, paler the less likely it is; lines are where two classes are equally
    likely (figures of decision boundaries in Géron, Hands-On Machine Learning, chapters 4 to 6).
    """
    colors = _colors(len(plane.classes))
    figure = style.new_figure(8.6, 6.2)
    axes = figure.add_subplot()
    style.quiet(axes, grid="none")
    extent = (*plane.horizontal, *plane.vertical)
    shaded = shades(plane.probabilities, colors)
    axes.imshow(shaded, extent=extent, origin="lower", aspect="auto", interpolation="bilinear", zorder=0)
    _draw_lines(axes, plane)
    train = _draw_points(axes, plane.train, colors, {"s": 16, "linewidths": 0, "alpha": 0.75, "zorder": 3})
    edge = {"s": 34, "marker": "D", "edgecolors": style.INK, "linewidths": 0.9, "zorder": 4}
    validation = _draw_points(axes, plane.validation, colors, edge)
    axes.set_xlim(*plane.horizontal)
    axes.set_ylim(*plane.vertical)
    axes.set_xlabel(plane.features[0], color=style.INK)
    axes.set_ylabel(plane.features[1], color=style.INK)
    hits = int((plane.predicted == plane.validation.classes).sum())
    right = f"{hits:,} of {len(plane.predicted):,} validation rows are on the right side"
    style.title(axes, "Decision boundary of the best trial", f"trial {plane.trial}, epoch {plane.epoch}: {right}")
    handles = [_dot("s", color, name) for name, color in zip(plane.classes[:_LISTED], colors, strict=False)]
    if len(plane.classes) > _LISTED:
        handles.append(_dot("", style.MUTED, f"… {len(plane.classes)} classes"))
    handles.append(_dot("o", style.MUTED, f"training ({train})"))
    handles.append(_dot("D", style.MUTED, f"validation ({validation})", edge=style.INK))
    axes.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(1.01, 1.0),
        frameon=False,
        fontsize=style.FONT - 0.5,
        labelcolor=style.INK,
    )
    return figure


def shades(probabilities: NDArray[np.float64], colors: Sequence[str]) -> NDArray[np.float64]:
    """The colour of each point of the plane.

    Args:
        probabilities: ``(vertical, horizontal, classes)``.
        colors: of the classes.

    Returns:
        ``(vertical, horizontal, 3)`` in [0, 1].
    """
    classes = probabilities.shape[-1]
    best = probabilities.argmax(axis=-1)
    even = 1 / classes
    sure = np.clip((probabilities.max(axis=-1) - even) / (1 - even), 0, 1)
    strength = (_UNSURE + (_SURE - _UNSURE) * sure)[..., None]
    painted: NDArray[np.float64] = 1 - strength * (1 - np.array([to_rgb(color) for color in colors])[best])
    return painted


def _draw_lines(axes: Axes, plane: Plane) -> None:
    """Where a class is as likely as the likeliest other one; of two classes, that is one line for both."""
    vertical, horizontal, classes = plane.probabilities.shape
    x, y = np.linspace(*plane.horizontal, horizontal), np.linspace(*plane.vertical, vertical)
    for index in range(1 if classes == 2 else classes):
        margin = plane.probabilities[..., index] - np.delete(plane.probabilities, index, axis=-1).max(axis=-1)
        if margin.min() < 0 < margin.max():
            axes.contour(x, y, margin, levels=[0.0], colors=[style.INK], linewidths=1.2, zorder=2)


def _draw_points(axes: Axes, points: Points, colors: Sequence[str], look: dict[str, Any]) -> str:
    """Draws evenly spaced ones of the points; returns how many of them."""
    count = len(points.classes)
    shown = np.linspace(0, count - 1, min(count, _POINTS)).astype(np.int64)
    inks = np.array([to_rgb(color) for color in colors])[points.classes[shown]]
    x, y = points.at[shown].T
    axes.scatter(x, y, c=inks, **look)
    return f"{count:,}" if len(shown) == count else f"{len(shown):,} of {count:,}"


def _colors(classes: int) -> Sequence[str]:
    if classes <= len(style.SERIES):
        # Blue and orange swapped: the Playground's order of its two classes.
        return [style.SERIES[1], style.SERIES[0], *style.SERIES[2:]][:classes]
    turbo = mpl.colormaps["turbo"]
    return [mpl.colors.to_hex(turbo(share)) for share in np.linspace(0.05, 0.95, classes)]


def _dot(marker: str, color: str, label: str, edge: str | None = None) -> Line2D:
    return Line2D([], [], linestyle="", marker=marker, markersize=6, color=color, markeredgecolor=edge, label=label)
