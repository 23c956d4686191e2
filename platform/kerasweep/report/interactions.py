"""Heat maps of the parameters that act together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kerasweep.records import Direction, Objective, ParamValue, Trial
from kerasweep.report import style
from kerasweep.report.boxes import Array, Boxes, levels, regimes
from kerasweep.report.importance import FEWEST, Importance, Interaction, forest_of
from kerasweep.report.tables import usable
from kerasweep.space import Space

_HEADING = "Parameters that act together"

# How many pairs are drawn, and what each of them must be worth.
_SHOWN = 4
WORTH_SHOWING = 0.02

# Along each side, at most.
_CELLS = 20
_LABELS = 5


@dataclass(frozen=True, eq=False)
class Surface:
    """The mean rank that a forest expects over the values of two parameters.

    Attributes:
        pair: which they are.
        ranks: ``(values of the second, values of the first)``; 0 is the best trial, 1 the worst; NaN where they cannot
            be active together.
        values: of the first and of the second.
    """

    pair: Interaction
    ranks: Array
    values: tuple[tuple[ParamValue, ...], tuple[ParamValue, ...]]

    @property
    def best(self) -> Mapping[str, ParamValue]:
        """The two values, among those looked at, that are best together."""
        second, first = np.unravel_index(np.nanargmin(self.ranks), self.ranks.shape)
        return {self.pair.first: self.values[0][int(first)], self.pair.second: self.values[1][int(second)]}


def surfaces(found: Importance | None, trials: Sequence[Trial], objective: Objective, space: Space) -> list[Surface]:
    """The surfaces of the strongest interactions, of a forest that has learnt all trials.

    Args:
        found: by ``importance``, of these trials.
        trials: of one study.
        objective: of the study.
        space: of the study.
    """
    pairs = [pair for pair in found.interactions if pair.share >= WORTH_SHOWING][:_SHOWN] if found else []
    if not pairs:
        return []
    boxes = Boxes(forest_of(trials, space), space, regimes(space))
    drawn = []
    for pair in pairs:
        (across, first), (upwards, second) = (levels(space.axes[name], _CELLS) for name in (pair.first, pair.second))
        at = np.stack([each.ravel() for each in np.meshgrid(across, upwards)], axis=1)
        ranks = boxes.surface(space.dimensions.index(pair.first), space.dimensions.index(pair.second), at)
        ranks = ranks if objective.direction is Direction.MINIMIZE else 1 - ranks
        drawn.append(Surface(pair, ranks.reshape(len(upwards), len(across)), (first, second)))
    return drawn


def interaction_maps(drawn: Sequence[Surface], trials: Sequence[Trial], objective: Objective) -> Figure:
    """A heat map for each surface, two in a row, with a dot for each trial."""
    if not drawn:
        enough = len(usable(trials)) >= FEWEST
        text = "No two parameters help to rank the trials together." if enough else f"It takes {FEWEST} trials to tell."
        return style.note(text, _HEADING)
    rows = -(-len(drawn) // 2)
    figure = style.new_figure(5.6 if len(drawn) == 1 else 10.4, 0.9 + 3.6 * rows)
    images = []
    for place, surface in enumerate(drawn, start=1):
        axes = figure.add_subplot(rows, min(len(drawn), 2), place)
        images.append(axes.pcolormesh(surface.ranks, cmap=style.BEST_TO_WORST, vmin=0, vmax=1))
        _dots(axes, surface, trials)
        _side(axes, "x", surface.pair.first, surface.values[0])
        _side(axes, "y", surface.pair.second, surface.values[1])
        style.title(axes, _HEADING if place == 1 else "", f"worth {surface.pair.share:.0%} of the ranking")
    bar = figure.colorbar(images[0], ax=figure.axes, shrink=0.7, ticks=[0, 1])
    bar.ax.set_yticklabels(["best", "worst"])
    bar.set_label(f"expected rank by {objective.metric}", color=style.INK)
    return figure


def _dots(axes: Axes, surface: Surface, trials: Sequence[Trial]) -> None:
    names = (surface.pair.first, surface.pair.second)
    both = [trial.params for trial in usable(trials) if all(name in trial.params for name in names)]
    across, upwards = (
        [_nearest(params[name], values) + 0.5 for params in both]
        for name, values in zip(names, surface.values, strict=True)
    )
    axes.scatter(across, upwards, s=9, color="white", edgecolors=style.INK, linewidths=0.5, alpha=0.8)


def _nearest(value: ParamValue, values: Sequence[ParamValue]) -> float:
    """The index at which a value lies among these, with a fraction between two of them."""
    numbers = [each for each in values if isinstance(each, int | float) and not isinstance(each, bool)]
    if isinstance(value, str | bool) or len(numbers) < len(values) or sorted(numbers) != numbers:
        return next(i for i, each in enumerate(values) if each == value and type(each) is type(value))
    return float(np.interp(value, numbers, np.arange(len(numbers))))


def _side(axes: Axes, side: str, name: str, values: Sequence[ParamValue]) -> None:
    count = min(len(values), _LABELS)
    shown = sorted({round(step * (len(values) - 1) / max(count - 1, 1)) for step in range(count)})
    labels = [style.short(value) if isinstance(value, float) else str(value) for value in (values[i] for i in shown)]
    (axes.set_xticks if side == "x" else axes.set_yticks)([i + 0.5 for i in shown], labels)
    (axes.set_xlabel if side == "x" else axes.set_ylabel)(name, color=style.INK)
    axes.tick_params(colors=style.MUTED, labelsize=style.FONT - 1, length=0)
