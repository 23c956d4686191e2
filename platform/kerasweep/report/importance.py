"""Which parameters mattered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from kerasweep.records import Objective, Trial
from kerasweep.report import style
from kerasweep.report.tables import score, usable
from kerasweep.seeds import derive
from kerasweep.space import Space

# With fewer trials nothing can be said.
FEWEST = 4

_HEADING = "Importance of the parameters"
_TREES = 100
_FOLDS = 5
_SHUFFLES = 10


def importance(trials: Sequence[Trial], space: Space, seed: int = 0) -> dict[str, float]:
    """How much worse a model predicts the trials' ranking when it no longer knows a parameter.

    A random forest (Breiman 2001) learns the rank of each trial's value from its point in the unit cube; ranks, because
    one diverged trial would otherwise outweigh all others. On the trials that it has not seen, by cross-validation, one
    parameter after the other is shuffled; the increase of the squared error is its importance. A conditional parameter
    is shuffled among the trials where it is active, so that it is not credited with what its switch does.

    A stopped trial counts with its best value up to there; failed trials and those without a finite value do not.

    Args:
        trials: of one study.
        space: theirs.
        seed: of the forest, the folds and the shuffles.

    Returns:
        Parameter -> share; the shares add up to 1, or are all 0 if no parameter helps to predict. Largest first.
        Empty if there are fewer than four trials with a value, or they all have the same.
    """
    good = [trial for trial in usable(trials) if space.contains(trial.params)]
    values = np.array([score(trial) for trial in good])
    if len(good) < FEWEST or np.all(values == values[0]) or not space.dimensions:
        return {}
    points = np.stack([space.to_unit(trial.params) for trial in good])
    active = np.array([[name in trial.params for name in space.dimensions] for trial in good])
    increase = _increase(points, active, _ranks(values), seed)
    total = float(increase.sum())
    shares = {
        name: float(each) / total if total > 0 else 0.0 for name, each in zip(space.dimensions, increase, strict=True)
    }
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def importance_bars(trials: Sequence[Trial], objective: Objective, space: Space) -> Figure:
    """The importances as bars, largest on top."""
    shares = importance(trials, space)
    if not shares:
        return style.note(f"It takes {FEWEST} trials with different values to tell.", _HEADING)
    names, widths = list(shares), list(shares.values())
    figure = style.new_figure(8, 1.5 + 0.38 * len(names))
    axes = figure.add_subplot()
    style.quiet(axes, grid="x")
    bars = axes.barh(names, widths, height=0.62, color=[style.ACCENT if width > 0 else style.FAINT for width in widths])
    labels = [f"{width:.0%}" for width in widths]
    axes.bar_label(bars, labels, padding=4, fontsize=style.FONT - 1, color=style.INK)
    axes.invert_yaxis()
    axes.tick_params(axis="y", labelsize=style.FONT, labelcolor=style.INK, length=0)
    axes.xaxis.set_visible(False)
    axes.spines["bottom"].set_visible(False)
    axes.set_xlim(0, max(max(widths) * 1.12, 0.1))
    count = len(usable(trials))
    detail = f"share of what a random forest needs to rank {count} trials by {objective.metric}"
    style.title(axes, _HEADING, detail if any(widths) else f"no parameter helps to rank {count} trials")
    return figure


def _increase(
    points: NDArray[np.float64], active: NDArray[np.bool_], ranks: NDArray[np.float64], seed: int
) -> NDArray[np.float64]:
    """The mean increase of the squared error by shuffling each column, ``(dimensions,)``, at least 0.

    Args:
        points: ``(trials, dimensions)``.
        active: which coordinates stand for active parameters, likewise.
        ranks: what to predict, ``(trials,)``.
        seed: of everything random.
    """
    from sklearn.ensemble import RandomForestRegressor

    rng = np.random.default_rng(derive(seed, "importance"))
    fold = rng.permutation(np.arange(len(points)) % min(_FOLDS, len(points)))
    increase = np.zeros(points.shape[1])
    for held_out in np.unique(fold):
        test = np.flatnonzero(fold == held_out)
        forest: Any = RandomForestRegressor(_TREES, random_state=derive(seed, "forest", int(held_out)))
        forest.fit(points[fold != held_out], ranks[fold != held_out])
        shuffled = np.stack([_shuffled(points, active, test, column, rng) for column in range(points.shape[1])])
        # (dimensions, shuffles, rows, dimensions) in one call: a forest takes longer to start than to predict.
        rows = np.concatenate([points[test], shuffled.reshape(-1, points.shape[1])])
        errors = (forest.predict(rows) - np.tile(ranks[test], 1 + points.shape[1] * _SHUFFLES)) ** 2
        errors_of_columns = errors[len(test) :].reshape(points.shape[1], -1).mean(axis=1)
        increase += (errors_of_columns - errors[: len(test)].mean()) * len(test)
    return np.maximum(increase, 0.0)


def _shuffled(
    points: NDArray[np.float64],
    active: NDArray[np.bool_],
    test: NDArray[np.intp],
    column: int,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """The test rows with one column replaced by values of other trials: ``(shuffles, rows, dimensions)``.

    Only active rows change, and only values of active rows take their place.
    """
    copies = np.repeat(points[test][None], _SHUFFLES, axis=0)
    rows = np.flatnonzero(active[test, column])
    donors = points[active[:, column], column]
    copies[:, rows, column] = rng.choice(donors, size=(_SHUFFLES, len(rows))) if len(rows) else 0.0
    return copies


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 0 to 1; equal values share their mean rank."""
    ordered = np.sort(values)
    first, last = np.searchsorted(ordered, values, "left"), np.searchsorted(ordered, values, "right")
    return (first + last - 1) / 2 / (len(values) - 1)
