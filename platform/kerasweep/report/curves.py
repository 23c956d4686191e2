"""Figures over time: the best value so far, and the learning curves of the best trials."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from kerasweep.records import Direction, Objective, Status, Trial
from kerasweep.report import style
from kerasweep.report.tables import score, top, usable

# Unit of time, its length in seconds, and up to how many seconds it is used.
_UNITS = (("seconds", 1.0, 180.0), ("minutes", 60.0, 10_800.0), ("hours", 3600.0, math.inf))

_DASHES = (0, (4, 2))
_SHIFTED = "training curves are shifted half an epoch to the left: each point is the mean over its epoch"

_STATUSES = {
    Status.FINISHED: (style.ACCENT, "finished"),
    Status.STOPPED: (style.AMBER, "stopped early"),
    Status.RUNNING: (style.MUTED, "running"),
}


def best_over_time(trials: Sequence[Trial], objective: Objective) -> Figure:
    """Every trial's value when it ended, and the best one so far.

    The horizontal axis is the wall time since the first trial began; a trial ends ``seconds`` after it ``started``
    (pauses are not known). Failed trials are crosses at the bottom; values far off are triangles at the edge.
    """
    heading = "Best value over time"
    good = usable(trials)
    if not good:
        return style.note("No trial has a value.", heading)
    began = min(trial.started for trial in trials)
    longest = max(trial.started + trial.seconds - began for trial in trials)
    unit, length = next((name, seconds) for name, seconds, limit in _UNITS if longest <= limit)
    ends = {trial.number: (trial.started + trial.seconds - began) / length for trial in trials}
    lower = objective.direction is Direction.MINIMIZE
    limits = style.robust_limits([score(trial) for trial in good], lower)

    figure = style.new_figure(9, 4.8)
    axes = figure.add_subplot()
    style.quiet(axes)
    handles = _scatter(axes, good, ends, limits)
    failed = [trial for trial in trials if trial.status is Status.FAILED]
    if failed:
        axes.scatter(
            [ends[trial.number] for trial in failed],
            [0.015] * len(failed),
            transform=axes.get_xaxis_transform(),
            marker="x",
            s=28,
            linewidths=1.3,
            color=style.WARM,
            zorder=3,
        )
        handles.append(_dot("x", style.WARM, f"failed ({len(failed)})"))

    times, bests = _best_so_far(good, ends, objective)
    last = max(*ends.values(), times[-1])
    axes.step([*times, last], [*bests, bests[-1]], where="post", color=style.INK, linewidth=2, zorder=4)
    best = top(trials, objective, 1)[0]
    axes.scatter([ends[best.number]], [score(best)], s=120, marker="*", color=style.INK, zorder=5)
    handles.append(Line2D([], [], color=style.INK, linewidth=2, marker="*", markersize=10, label="best so far"))

    axes.set_ylim(*limits)
    axes.set_xlim(left=0)
    axes.set_xlabel(f"{unit} since the search began", color=style.INK)
    axes.set_ylabel(objective.metric, color=style.INK)
    better = "lower" if lower else "higher"
    style.title(
        axes, heading, f"best {objective.metric} {style.short(score(best))}, trial {best.number}  ({better} is better)"
    )
    _legend(axes, handles)
    return figure


def learning_curves(trials: Sequence[Trial], objective: Objective, top_n: int = 5) -> Figure:
    """The objective over the epochs of the best trials, on validation data and in training.

    Training curves are drawn half an epoch to the left: a training metric is a mean over the epoch, while the
    validation metric is measured at its end (Géron, Hands-On Machine Learning, chapter 10).

    Args:
        trials: of a study.
        objective: ``val_…``; the training curve is the same metric without the prefix, if it was reported.
        top_n: how many trials.
    """
    heading = f"Learning curves of the {top_n} best trials" if top_n > 1 else "Learning curve of the best trial"
    best = [trial for trial in top(trials, objective, top_n) if trial.history]
    if not best:
        return style.note("No trial has reported an epoch with a value.", heading)
    figure = style.new_figure(9, 4.8)
    axes = figure.add_subplot()
    shifted = _curves(axes, best, objective.metric, objective.direction is Direction.MINIMIZE)
    style.title(axes, heading if len(best) == top_n else "Learning curves", _SHIFTED if shifted else "")
    handles = [
        Line2D([], [], color=color, linewidth=2, label=f"trial {trial.number}:  {style.short(score(trial))}")
        for trial, color in zip(best, style.SERIES, strict=False)
    ]
    _legend(axes, [*handles, *_line_styles(objective.metric, style.MUTED, shifted)])
    return figure


def learning_curve(trial: Trial, objective: Objective) -> Figure:
    """One trial's objective over its epochs, and beside it the loss if that is another metric; see ``learning_curves``.

    Args:
        trial: that has a value.
        objective: of its study.
    """
    heading = f"Learning curve of trial {trial.number}"
    reported = {name for metrics in trial.history for name in metrics}
    metrics = [name for name in dict.fromkeys((objective.metric, "val_loss")) if name in reported]
    if not metrics:
        return style.note("The trial has reported no epoch with a value.", heading)
    figure = style.new_figure(4.5 + 4.5 * len(metrics), 4.2)
    for place, metric in enumerate(metrics, start=1):
        axes = figure.add_subplot(1, len(metrics), place)
        lower = metric != objective.metric or objective.direction is Direction.MINIMIZE
        shifted = _curves(axes, [trial], metric, lower)
        if place == 1:
            best = f"best {objective.metric} {style.short(score(trial))} at epoch {trial.epoch}"
            style.title(axes, heading, f"{best}; training half an epoch to the left" if shifted else best)
        handles = _line_styles(metric, style.SERIES[0], shifted)
        axes.legend(handles=handles, frameon=False, fontsize=style.FONT - 0.5, labelcolor=style.INK)
    return figure


def _curves(axes: Axes, trials: Sequence[Trial], metric: str, lower: bool) -> bool:
    """Draws a metric's curves of a few trials, the first one on top.

    Args:
        axes: to draw on.
        trials: that have a value.
        metric: ``val_…``; the training curve is the same metric without the prefix.
        lower: whether lower is better: the worse end of the scale is cut where outliers begin.

    Returns:
        Whether there are training curves, which are half an epoch to the left.
    """
    training = metric.removeprefix("val_")
    style.quiet(axes)
    seen: list[float] = []
    reported = False
    for rank, (trial, color) in enumerate(zip(trials, style.SERIES, strict=False)):
        validation = trial.curve(metric)
        epochs = range(1, len(validation) + 1)
        look: dict[str, Any] = {"color": color, "zorder": 10 - rank}
        marker = "o" if len(validation) == 1 else None
        axes.plot(epochs, validation, linewidth=2.2 if rank == 0 else 1.6, marker=marker, markersize=4, **look)
        if training != metric:
            curve = trial.curve(training)
            reported = reported or any(math.isfinite(value) for value in curve)
            dashes: dict[str, Any] = {"linewidth": 1.1, "linestyle": _DASHES, "alpha": 0.75}
            axes.plot([epoch - 0.5 for epoch in epochs], curve, marker=marker, markersize=3, **dashes, **look)
            seen += curve
        if trial.epoch is not None and trial.epoch <= len(validation):
            axes.plot([trial.epoch], [validation[trial.epoch - 1]], "o", markersize=6, markeredgecolor="white", **look)
        seen += validation
    if finite := [value for value in seen if math.isfinite(value)]:
        axes.set_ylim(*style.robust_limits(finite, lower))
    axes.set_xlim(left=0)
    style.whole_numbers(axes)
    axes.set_xlabel("epoch", color=style.INK)
    axes.set_ylabel(metric, color=style.INK)
    return reported


def _line_styles(metric: str, color: str, shifted: bool) -> list[Line2D]:
    """What a legend says of the kinds of lines."""
    training = f"{metric.removeprefix('val_')} (training)"
    return [
        Line2D([], [], color=color, linewidth=1.6, label=metric),
        *([Line2D([], [], color=color, linewidth=1.1, linestyle=_DASHES, label=training)] if shifted else []),
        _dot("o", color, "best epoch"),
    ]


def _scatter(axes: Axes, trials: Sequence[Trial], ends: dict[int, float], limits: tuple[float, float]) -> list[Line2D]:
    """Draws the trials; those beyond the limits as triangles at the edge. Returns what the legend needs."""
    handles = []
    edge = 0.02 * (limits[1] - limits[0])
    for status, (color, label) in _STATUSES.items():
        own = [trial for trial in trials if trial.status is status]
        if not own:
            continue
        inside = [trial for trial in own if limits[0] <= score(trial) <= limits[1]]
        x, y = [ends[trial.number] for trial in inside], [score(trial) for trial in inside]
        axes.scatter(x, y, s=26, color=color, alpha=0.75, linewidths=0, zorder=3)
        for trial in own:
            if trial not in inside:
                above = score(trial) > limits[1]
                height = limits[1] - edge if above else limits[0] + edge
                marker = "^" if above else "v"
                axes.plot([ends[trial.number]], [height], marker, color=color, markersize=5, alpha=0.75)
        handles.append(_dot("o", color, f"{label} ({len(own)})"))
    outside = [score(trial) for trial in trials if not limits[0] <= score(trial) <= limits[1]]
    if outside:
        above = outside[0] > limits[1]
        farthest = style.short(max(outside) if above else min(outside))
        label = f"off the scale ({len(outside)}), to {farthest}"
        handles.append(_dot("^" if above else "v", style.MUTED, label))
    return handles


def _best_so_far(
    trials: Sequence[Trial], ends: dict[int, float], objective: Objective
) -> tuple[list[float], list[float]]:
    times: list[float] = []
    bests: list[float] = []
    for trial in sorted(trials, key=lambda trial: (ends[trial.number], trial.number)):
        if not bests or objective.direction.better(score(trial), bests[-1]):
            times.append(ends[trial.number])
            bests.append(score(trial))
    return times, bests


def _dot(marker: str, color: str, label: str) -> Line2D:
    return Line2D([], [], linestyle="", marker=marker, markersize=6, color=color, label=label)


def _legend(axes: Axes, handles: Sequence[Line2D]) -> None:
    axes.legend(
        handles=list(handles),
        loc="upper left",
        bbox_to_anchor=(1.01, 1.0),
        frameon=False,
        fontsize=style.FONT - 0.5,
        labelcolor=style.INK,
    )
