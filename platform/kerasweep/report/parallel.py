"""Parallel coordinates: every trial as a line through its parameters to its value."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.ticker import MaxNLocator

from kerasweep.records import Objective, Params, Trial
from kerasweep.report import style
from kerasweep.report.tables import score, top
from kerasweep.space import Space
from kerasweep.space.axes import Axis, Continuous, Options, Steps

_HEADING = "Parallel coordinates"

# Where lines of trials pass in which the parameter is not active.
_OFF = -0.13

# More values than these have no room for a label each.
_MOST_LABELS = 9

# Labels closer than this share of the axis would touch each other.
_APART = 0.07


@dataclass(frozen=True)
class _Column:
    """One vertical axis: what it is called, and its labelled places between 0 and 1."""

    name: str
    ticks: tuple[tuple[float, str], ...]
    conditional: bool = False


def parallel_coordinates(trials: Sequence[Trial], objective: Objective, space: Space) -> Figure:
    """Every trial with a value as a line; the darkest are the best, and they lie on top.

    Each parameter's axis is its coordinate of the unit cube, so it is logarithmic where the parameter is. Where many
    trials share a value, they are fanned out around it, the best on top. The last axis is the rank of the value: the
    best on top, whatever the direction.
    """
    good = [trial for trial in top(trials, objective, len(trials)) if space.contains(trial.params)]
    if not good or not space.dimensions:
        return style.note("No trial has a value." if not good else "No parameter varies.", _HEADING)
    spread = [1 - rank / max(len(good) - 1, 1) for rank in range(len(good))]
    columns = [_column(name, space) for name in space.dimensions]
    columns.append(_Column(objective.metric, _value_ticks(good)))

    figure = style.new_figure(max(6.0, 1.9 + 1.45 * len(columns)), 5.2)
    axes = figure.add_subplot()
    axes.set_axis_off()
    for place, column in enumerate(columns):
        _draw_column(axes, place, column)
    for trial, height in reversed(list(zip(good, spread, strict=True))):
        _draw_line(axes, [*_heights(trial.params, space, height), height], height)
    axes.set_xlim(-0.35, len(columns) - 0.5)
    low = _OFF - 0.08 if any(column.conditional for column in columns) else -0.05
    axes.set_ylim(low, 1.13)
    style.title(axes, _HEADING, f"{len(good)} trials; the darker, the better")
    return figure


def _heights(params: Params, space: Space, goodness: float) -> list[float]:
    """Where a trial's line crosses each axis; ``goodness`` is 1 for the best trial, 0 for the worst."""
    point = space.to_unit(params)
    heights = []
    for name, unit in zip(space.dimensions, point.tolist(), strict=True):
        axis = space.axes[name]
        if name not in params:
            heights.append(_OFF + 0.06 * (goodness - 0.5))
        elif isinstance(axis, Continuous) or axis.size > _MOST_LABELS:
            heights.append(unit)
        else:
            low, high = axis.cell(axis.index(params[name]))
            heights.append(unit + 0.45 * (high - low) * (goodness - 0.5))
    return heights


def _draw_line(axes: Axes, heights: Sequence[float], goodness: float) -> None:
    """One trial: level at every axis, bent in between, so that lines can be followed through an axis."""
    points = [(0.0, heights[0])]
    codes = [int(Path.MOVETO)]
    for place, (left, right) in enumerate(pairwise(heights)):
        points += [(place + 0.45, left), (place + 0.55, right), (place + 1.0, right)]
        codes += [int(Path.CURVE4)] * 3
    axes.add_patch(
        PathPatch(
            Path(np.array(points), codes),
            facecolor="none",
            edgecolor=style.BEST_TO_WORST(1 - goodness),
            linewidth=0.8 + 1.4 * goodness**4,
            alpha=0.35 + 0.6 * goodness**2,
            capstyle="round",
            zorder=1 + goodness,
        )
    )


def _draw_column(axes: Axes, place: int, column: _Column) -> None:
    axes.plot([place, place], [0, 1], color=style.INK, linewidth=1.1, alpha=0.75, zorder=5)
    axes.text(place, 1.06, column.name, ha="center", va="bottom", fontsize=style.FONT, color=style.INK, weight="bold")
    marks = [*column.ticks, *([(_OFF, "not active")] if column.conditional else [])]
    for height, label in marks:
        axes.plot([place - 0.025, place], [height, height], color=style.INK, linewidth=0.9, alpha=0.75, zorder=5)
        axes.text(
            place - 0.05,
            height,
            label,
            ha="right",
            va="center",
            fontsize=style.FONT - 2,
            color=style.MUTED if height == _OFF else style.INK,
            style="italic" if height == _OFF else "normal",
            zorder=6,
            bbox={"boxstyle": "round,pad=0.12", "facecolor": "white", "edgecolor": "none", "alpha": 0.78},
        )


def _column(name: str, space: Space) -> _Column:
    axis = space.axes[name]
    return _Column(name, tuple(_ticks(axis)), bool(space.spec.parameters[name].when))


def _ticks(axis: Axis) -> list[tuple[float, str]]:
    if not isinstance(axis, Continuous) and (isinstance(axis, Options) or axis.size <= _MOST_LABELS):
        last = axis.size - 1
        count = min(axis.size, _MOST_LABELS)
        shown = sorted({round(step * last / (count - 1)) for step in range(count)})
        return [(axis.coordinate(axis.value(index)), _label(axis.value(index))) for index in shown]
    ticks = [(axis.coordinate(end), _label(end)) for end in (axis.low, axis.high)]
    for candidate in _round_numbers(axis):
        value = candidate if isinstance(axis, Continuous) else axis.value(axis.index(candidate))
        height = axis.coordinate(value)
        if all(abs(height - other) > _APART for other, _ in ticks):
            ticks.append((height, _label(value)))
    return ticks


def _round_numbers(axis: Continuous | Steps) -> list[float]:
    """Numbers strictly inside an axis that people like to read, the most welcome first."""
    if axis.log:
        powers = range(math.floor(math.log10(axis.low)), math.ceil(math.log10(axis.high)) + 1)
        numbers = [digit * 10.0**power for digit in (1, 3) for power in powers]
    else:
        numbers = list(MaxNLocator(5).tick_values(axis.low, axis.high))
    return [float(number) for number in numbers if axis.low < number < axis.high]


def _value_ticks(trials: Sequence[Trial]) -> tuple[tuple[float, str], ...]:
    """Values at evenly spaced ranks, the best on top; ``trials`` are sorted, best first."""
    count = min(len(trials), 6)
    last = len(trials) - 1
    ranks = sorted({round(step * last / max(count - 1, 1)) for step in range(count)})
    return tuple((1 - rank / max(last, 1), style.short(score(trials[rank]))) for rank in ranks)


def _label(value: object) -> str:
    if isinstance(value, bool | str):
        text = str(value)
        return text if len(text) <= 14 else f"{text[:13]}…"
    return style.short(float(value)) if isinstance(value, int | float) else str(value)
