"""Which parameters mattered, and which act together."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from kerasweep.records import Objective, Trial
from kerasweep.report import style
from kerasweep.report.boxes import Array, Boxes, regimes
from kerasweep.report.tables import score, usable
from kerasweep.seeds import derive
from kerasweep.space import Space

# With fewer trials nothing can be said.
FEWEST = 4

_HEADING = "Importance of the parameters"
_TREES = 100
# Trials that a tree learns from, and that a pair of parameters is tried on in a fold, at most: more would cost much and
# tell little.
_LEARNT = 512
_TRIED = 128
_FOLDS = 5
_SHUFFLES = 10

# Of so many parameters, the most important ones, each pair is looked at. What a pair does together counts in the
# importance of both, so none is missed for having no effect of its own.
_PAIRED = 6


@dataclass(frozen=True)
class Interaction:
    """What two parameters do together, beyond what each does alone.

    Attributes:
        first: the more important one.
        second: the other one.
        share: of the differences between the ranks of trials that were not learnt from.
    """

    first: str
    second: str
    share: float


@dataclass(frozen=True)
class Importance:
    """Which parameters mattered.

    Attributes:
        trials: how many it was learnt from.
        explained: the share of the differences between the ranks of trials that the forest predicts without having
            seen them; at or below 0 nothing else here means anything.
        shares: parameter -> its share of what the forest needs; they add up to 1, or are all 0 if none helps. The
            largest first.
        interactions: those that help to predict, strongest first.
    """

    trials: int
    explained: float
    shares: Mapping[str, float]
    interactions: tuple[Interaction, ...]


def importance(trials: Sequence[Trial], space: Space, seed: int = 0) -> Importance | None:
    """How much worse a model predicts the trials' ranking when it no longer knows a parameter, or how two of them act.

    A random forest (Breiman 2001) learns the rank of each trial's value from its point in the unit cube; ranks, because
    one diverged trial would otherwise outweigh all others. On the trials that it has not seen, by cross-validation, one
    parameter after the other is shuffled; the increase of the squared error is its importance. A conditional parameter
    is shuffled among the trials where it is active, so that it is not credited with what its switch does.

    The interaction of two parameters is taken from the forest's functional ANOVA (Hutter, Hoos, Leyton-Brown 2014; see
    ``boxes``): what their joint mean effect has beyond the sum of their own. It is subtracted from the predictions of
    unseen trials in which both are active; the increase of the squared error is what it is worth. So an interaction
    that the forest has made of noise is worth nothing, and one of a switch with what it switches is what remains among
    the values under which that is active.

    A stopped trial counts with its best value up to there; failed trials and those without a finite value do not.

    Args:
        trials: of one study.
        space: theirs.
        seed: of the forest, the folds and the shuffles.

    Returns:
        None if there are fewer than four trials with a value, or they all have the same.
    """
    evidence = _evidence(trials, space)
    if evidence is None:
        return None
    rng = np.random.default_rng(derive(seed, "importance"))
    fold = rng.permutation(np.arange(len(evidence.ranks)) % min(_FOLDS, len(evidence.ranks)))
    folds = [_Fold(evidence, fold == held_out, derive(seed, "forest", int(held_out))) for held_out in np.unique(fold)]
    increase = np.maximum(sum(each.increase(rng) for each in folds), 0.0)
    total = float(increase.sum())
    shares = {
        name: float(each) / total if total > 0 else 0.0 for name, each in zip(space.dimensions, increase, strict=True)
    }
    shares = dict(sorted(shares.items(), key=lambda item: -item[1]))
    spread = float(np.square(evidence.ranks - evidence.ranks.mean()).sum())
    return Importance(
        trials=len(evidence.ranks),
        explained=1 - sum(each.error for each in folds) / spread,
        shares=shares,
        interactions=tuple(_interactions(shares, folds, space, spread)),
    )


def _interactions(
    shares: Mapping[str, float], folds: Sequence[_Fold], space: Space, spread: float
) -> list[Interaction]:
    leading = [name for name, share in list(shares.items())[:_PAIRED] if share > 0]
    parts = regimes(space)
    boxes = [Boxes(each.forest, space, parts) for each in folds] if len(leading) > 1 else []
    found = []
    for first, second in combinations(leading, 2):
        pair = space.dimensions.index(first), space.dimensions.index(second)
        worth = sum(fold.worth(own.interaction, *pair) for fold, own in zip(folds, boxes, strict=True))
        if worth > 0:
            found.append(Interaction(first, second, worth / spread))
    return sorted(found, key=lambda each: -each.share)


def importance_bars(found: Importance | None, objective: Objective) -> Figure:
    """The importances as bars, largest on top."""
    if found is None or not found.shares:
        return style.note(f"It takes {FEWEST} trials with different values to tell.", _HEADING)
    names, widths = list(found.shares), list(found.shares.values())
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
    detail = f"share of what a random forest needs to rank {found.trials} trials by {objective.metric}"
    style.title(axes, _HEADING, detail if any(widths) else f"no parameter helps to rank {found.trials} trials")
    return figure


@dataclass(frozen=True, eq=False)
class _Evidence:
    """What a forest learns from.

    Attributes:
        points: ``(trials, dimensions)``.
        active: which coordinates stand for active parameters, likewise.
        ranks: what to predict, from 0 (the lowest value) to 1, ``(trials,)``.
    """

    points: Array
    active: NDArray[np.bool_]
    ranks: Array


def _evidence(trials: Sequence[Trial], space: Space) -> _Evidence | None:
    good = [trial for trial in usable(trials) if space.contains(trial.params)]
    values = np.array([score(trial) for trial in good])
    if len(good) < FEWEST or np.all(values == values[0]) or not space.dimensions:
        return None
    points = np.stack([space.to_unit(trial.params) for trial in good])
    active = np.array([[name in trial.params for name in space.dimensions] for trial in good])
    return _Evidence(points, active, _ranks(values))


def forest_of(trials: Sequence[Trial], space: Space, seed: int = 0) -> Any:
    """A forest that has learnt the ranks of all trials with a value; None where ``importance`` is None."""
    evidence = _evidence(trials, space)
    return None if evidence is None else _fitted(evidence.points, evidence.ranks, derive(seed, "forest"))


def _fitted(points: Array, ranks: Array, seed: int) -> Any:
    from sklearn.ensemble import RandomForestRegressor

    most = min(_LEARNT, len(points))
    return RandomForestRegressor(_TREES, max_samples=most, random_state=seed).fit(points, ranks)


class _Fold:
    """A forest and the trials that it has not seen.

    Attributes:
        forest: fitted to the others.
        error: the sum of its squared errors on these.
    """

    def __init__(self, evidence: _Evidence, held_out: NDArray[np.bool_], seed: int) -> None:
        self.forest = _fitted(evidence.points[~held_out], evidence.ranks[~held_out], seed)
        self._evidence = evidence
        self._test = np.flatnonzero(held_out)
        self._errors: Array = self.forest.predict(evidence.points[held_out]) - evidence.ranks[held_out]
        self.error = float(np.square(self._errors).sum())

    def increase(self, rng: np.random.Generator) -> Array:
        """The increase of the sum of squared errors by shuffling each column, ``(dimensions,)``."""
        points, active, test = self._evidence.points, self._evidence.active, self._test
        shuffled = np.stack([_shuffled(points, active, test, column, rng) for column in range(points.shape[1])])
        # (dimensions, shuffles, rows, dimensions) in one call: a forest takes longer to start than to predict.
        rows = shuffled.reshape(-1, points.shape[1])
        errors = self.forest.predict(rows) - np.tile(self._evidence.ranks[test], points.shape[1] * _SHUFFLES)
        increase: Array = np.square(errors).reshape(points.shape[1], -1).mean(axis=1) * len(test) - self.error
        return increase

    def worth(self, interaction: Callable[[int, int, Array], Array], first: int, second: int) -> float:
        """The increase of the sum of squared errors by subtracting an interaction from the predictions."""
        pair = [first, second]
        both = np.flatnonzero(self._evidence.active[self._test][:, pair].all(axis=1))
        if not len(both):
            return 0.0
        tried = both[:: math.ceil(len(both) / _TRIED)]
        errors = self._errors[tried]
        effect = interaction(first, second, self._evidence.points[self._test[tried]][:, pair])
        effect = np.nan_to_num(effect)  # of a regime too rare to be known
        return float((np.square(errors - effect) - np.square(errors)).mean() * len(both))


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
