"""Kernel densities of good and bad trials, at the highest rung that has enough of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kerasweep.records import Candidate, Params, ParamValue, Status, Trial
from kerasweep.search.base import Brief
from kerasweep.search.density import Density
from kerasweep.search.modelled import ModelledSearcher
from kerasweep.seeds import derive
from kerasweep.space import Space
from kerasweep.space.axes import Options
from kerasweep.spec.searchers import BohbSearch

# Densities below this count as this, so that the ratio of two vanishing ones decides nothing; the authors' number.
_FLOOR = math.log(1e-32)


class BohbSearcher(ModelledSearcher):
    """The model of BOHB: proposes where good trials are denser than bad ones (Falkner et al. 2018).

    A rung is an epoch at which a trial ended, whichever scheduler ended it. At a rung are all trials that trained so
    far, by their best value up to it, and those that had finished by themselves before, by their best value: more
    epochs would not have changed it. The model is that of the highest rung with at least two trials more than
    ``startup``, the paper's N_min; until a rung has as many, candidates are random. The best ``top`` of the rung's
    trials are good, the others bad, at least N_min each, so that few trials count on both sides.

    Each side has a density, the mean of one product of kernels for every trial: a Gaussian cut off at both ends for a
    number, on its axis in its scale, and Aitchison and Aitken's kernel for a choice. Bandwidths follow the normal
    reference rule. A trial's inactive parameters take the values of other trials of the same side. Of ``candidates``
    draws from the good density with its bandwidths widened, the new one with the highest ratio of the densities over
    its active parameters is proposed; a share ``random`` of all candidates is uniform. As each one is drawn afresh, a
    batch spreads by itself.

    What it learns: from a stopped trial, its values at the rungs that it reached; from one that failed, or trained
    without a finite value, that its configuration is bad at every rung; never that it is good.

    Source: Falkner, Klein, Hutter: BOHB: Robust and Efficient Hyperparameter Optimization at Scale, ICML 2018,
    algorithm 2. Its q is ``top``, N_s ``candidates``, rho ``random``, b_w ``bandwidth_factor``.

    Args:
        brief: what to search.
        spec: its options.
    """

    def __init__(self, brief: Brief, spec: BohbSearch) -> None:
        self._fewest = spec.startup or len(brief.space.dimensions) + 1
        super().__init__(brief, startup=self._fewest + 2)
        self._spec = spec
        self._rng = np.random.default_rng(derive(brief.seed, "bohb"))
        self._points = _Points(brief.space)
        self._courses: list[_Course] = []
        self._failures: list[NDArray[np.float64]] = []
        self._model: _Model | None = None
        self._stale = False  # whether something was learned since the model was fitted

    def learn(self, trial: Trial, cost: float) -> None:
        best_epoch = trial.epoch or 1
        costs = np.full(max(len(trial.history), best_epoch), cost)
        costs[: best_epoch - 1] = math.inf
        before = np.array([self.cost(value) for value in trial.curve(self.objective.metric)[: best_epoch - 1]])
        costs[: len(before)] = np.minimum.accumulate(np.where(np.isfinite(before), before, math.inf))
        self._courses.append(_Course(self._points.of(trial.params), costs, trial.status is Status.FINISHED))
        self._stale = True

    def failed(self, trial: Trial) -> None:
        if trial.status is Status.FAILED or trial.history:  # else it was stopped before its first epoch
            self._failures.append(self._points.of(trial.params))
            self._stale = True

    def propose(self, n: int) -> Iterator[Params]:
        while (model := self._fitted()) is not None:
            yield self.space.sample(self._rng) if self._is_random() else self._chosen(model, {})

    def vary(self, candidate: Candidate, free: frozenset[str]) -> Candidate | None:
        """See ``structured.Varying``; what varies is chosen as everything is."""
        model = self._fitted()
        if model is not None and not self._is_random():
            held = {name: value for name, value in candidate.params.items() if name not in free}
            params = self._chosen(model, held)
            if self._proposals.is_new(params):
                return self._issue(params)
        return super().vary(candidate, free)

    def _is_random(self) -> bool:
        return bool(self._rng.random() < self._spec.random)

    def _chosen(self, model: _Model, held: Params) -> Params:
        """The new one with the highest ratio among draws with the values of ``held``; an old one if none is new."""
        drawn = []
        for _ in range(self._spec.candidates):
            point = model.good.drawn(self._spec.bandwidth_factor, self._rng)
            drawn.append(self._points.params(point, held))
        ratios = model.ratios(np.array([self._points.of(params) for params in drawn]))
        ranked = [drawn[index] for index in np.argsort(-ratios, kind="stable")]
        return next((params for params in ranked if self._proposals.is_new(params)), ranked[0])

    def _fitted(self) -> _Model | None:
        """The model of all that was learned, None if no rung has enough trials."""
        if self._stale:
            self._model = self._fit()
            self._stale = False
        return self._model

    def _fit(self) -> _Model | None:
        for rung in sorted({len(course.costs) for course in self._courses}, reverse=True):
            costs = np.array([course.at(rung) for course in self._courses])
            count = int(np.isfinite(costs).sum())
            if count >= self._fewest + 2:
                ranked = [self._courses[index].point for index in np.argsort(costs, kind="stable")[:count]]
                good = max(self._fewest, int(self._spec.top * count))
                bad = max(self._fewest, count - good)
                return _Model(self._density(ranked[:good]), self._density(ranked[-bad:] + self._failures))
        return None

    def _density(self, points: Sequence[NDArray[np.float64]]) -> Density:
        complete = self._points.complete(np.array(points), self._rng)
        return Density.of(complete, self._points.sizes, self._spec.min_bandwidth)


@dataclass(frozen=True)
class _Course:
    """How a trial stood at each rung.

    Attributes:
        point: its configuration; see ``_Points``.
        costs: the lowest cost up to each epoch, infinite where there was none yet.
        over: whether it ended by itself.
    """

    point: NDArray[np.float64]
    costs: NDArray[np.float64]
    over: bool

    def at(self, rung: int) -> float:
        """The cost at a rung, infinite if the trial did not get there."""
        if rung <= len(self.costs):
            return float(self.costs[rung - 1])
        return float(self.costs[-1]) if self.over else math.inf


class _Points:
    """Configurations as points, ``(dimensions,)``.

    A number lies at its coordinate in ``[0, 1]``, a choice at the index of its value; NaN stands for an inactive
    parameter.

    Attributes:
        sizes: values of each choice, 0 for a number, ``(dimensions,)``.
    """

    def __init__(self, space: Space) -> None:
        self._space = space
        axes = [space.axes[name] for name in space.dimensions]
        self.sizes = np.array([axis.size if isinstance(axis, Options) else 0 for axis in axes], dtype=int)

    def of(self, params: Params) -> NDArray[np.float64]:
        """A configuration's point."""
        point = np.full(len(self.sizes), math.nan)
        for index, name in enumerate(self._space.dimensions):
            if name in params:
                axis, value = self._space.axes[name], params[name]
                point[index] = axis.index(value) if isinstance(axis, Options) else axis.coordinate(value)
        return point

    def params(self, point: NDArray[np.float64], held: Params) -> Params:
        """The configuration of a point without NaN, but for the values of ``held``."""
        places = dict(zip(self._space.dimensions, point.tolist(), strict=True))

        def choose(name: str) -> ParamValue:
            if name in held:
                return held[name]
            axis = self._space.axes[name]
            return axis.value(int(places[name])) if isinstance(axis, Options) else axis.at(places[name])

        return self._space.compose(choose)

    def complete(self, points: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
        """Points ``(n, dimensions)`` whose NaN are values of other points, or any if no point has one."""
        complete = points.copy()
        for column, size in enumerate(self.sizes):
            missing = np.isnan(points[:, column])
            known = points[~missing, column]
            count = int(missing.sum())
            if len(known):
                complete[missing, column] = rng.choice(known, count)
            else:
                complete[missing, column] = rng.integers(size, size=count) if size else rng.random(count)
        return complete


@dataclass(frozen=True)
class _Model:
    """The densities of one rung: the paper's l and g."""

    good: Density
    bad: Density

    def ratios(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """The logarithm of l / g at points ``(m, dimensions)``."""
        return np.maximum(self.good.log(points), _FLOOR) - np.maximum(self.bad.log(points), _FLOOR)
