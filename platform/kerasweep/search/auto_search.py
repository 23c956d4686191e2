"""The default searcher: a model of learning curves, priors, and batches.

What was tried on the development tasks of LCBench, serially (mean regret in points of validation accuracy after 2,600
epochs, 8 tasks with 3 or 4 seeds, so with a standard error of some 0.3; random search 7.0):

- the model: extra trees over (configuration, log epoch) with Thompson sampling 1.8, the Gaussian process 0.9 in the
  same brackets. Costs by rank 1.2 instead of by the logarithm of their distance to the best, 0.9;
- the choice: expected improvement 0.9, upper confidence bounds 0.9, Thompson sampling 1.6, the mean alone 1.6;
- cohorts of 9, 12 and 15: no difference beyond chance; with the extra trees, cohorts of 27 learnt too late, 2.5 instead
  of 1.8. Nine random trials to begin with reach a given quality sooner than fourteen;
- at the rungs: going on by what the model expects of the end instead of by the values themselves, 2.9 against 2.1 on
  the four hardest tasks; one of the survivors by the model, 3.5 against 2.6 on six tasks with six seeds (standard
  error 0.4); no pace at all, 2.5 against 2.4 on four;
- what is learnt of a curve that turns: the value where it stands, 2.2 on the six tasks; its best one so far, 2.6;
- the pool and how it is climbed from, four ways: between 1.2 and 1.6, no difference beyond chance.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from threadpoolctl import threadpool_limits

from kerasweep.records import Candidate, Direction, Params, Status, Trial
from kerasweep.search.base import Brief
from kerasweep.search.cube import Array
from kerasweep.search.curve_model import Curve, CurveModel, Scale, joint
from kerasweep.search.gaussian_process import Field, GaussianProcess, expected_improvement
from kerasweep.search.surrogate import SurrogateSearcher
from kerasweep.spec.searchers import AutoSearch

# Trials with a value before the model is asked: two a dimension, within these bounds.
_FEWEST, _MOST = 5, 9

# Settings of one structure that are compared by the model.
_VARIED = 64

# How far an expert's guess may be off, as a standard deviation in the unit cube, and the share of the points drawn
# without the model that lie around it.
_PRIOR_DISTANCE = 0.2
_PRIOR_SHARE = 0.5

# A trial's pace is where the model gives it this chance of becoming the best.
_HOPE = 0.07

# Below this share of what is seen at a rung, it tells nothing about the end.
_LEAST_GAIN = 0.05


class AutoSearcher(SurrogateSearcher):
    """Proposes where a model of learning curves expects the best networks after full training.

    The model is a Gaussian process over configuration and epoch (``CurveModel``), so that trials that were stopped
    early teach what they can, and points are chosen by expected improvement at full training. In a batch each point is
    chosen as if those before it, and all that are out, would turn out as the model expects. ``explore`` of the points
    ask no model. They, and the first ones, are Sobol points of the space or, half of them if the space has priors,
    lie around the priors: an expert's guess is used, and a wrong one is survived.

    Each candidate has a ``pace``: at each rung, the value below which the model gives it less than seven chances in a
    hundred of becoming the best. The scheduler ``auto`` stops what falls behind it, besides halving the cohort.

    What it learns: of every trial the value at each rung, and at its end; one that stopped early of itself has restored
    its best epoch, and would not have improved on it. Trials that are still in training teach what they have shown so
    far. A failed trial counts as the worst one known.

    Sources: Swersky, Snoek, Adams: Freeze-Thaw Bayesian Optimization, 2014 (a model over configuration and epoch);
    Klein et al.: MOBSTER, 2020 (within successive halving); Wistuba, Kadra, Grabocka: DyHPO, NeurIPS 2022 (expected
    improvement at the fidelity that counts); Mallik et al.: PriorBand, NeurIPS 2023 (priors, incumbents and random
    points); Ginsbourger, Le Riche, Carraro: Kriging Is Well-Suited to Parallelize Optimization, 2010 (the believer).

    Args:
        brief: what to search.
        spec: its options.
    """

    def __init__(self, brief: Brief, spec: AutoSearch) -> None:
        super().__init__(brief, startup=0, power=9, near=30)
        self.max_epochs = brief.max_epochs
        self.model = CurveModel(self.cube.owners, brief.max_epochs)
        self._explore = spec.explore
        self._random = min(max(_FEWEST, 2 * self.cube.dimensions), _MOST)
        self._spread: list[Array] = []  # Sobol points that were not used yet
        self._curves: list[Curve] = []  # one a point of known cost
        self._watched: dict[int, tuple[Array, Curve]] = {}  # points and curves of trials in training, by number
        self._failures: list[Array] = []  # points that failed
        self._after: tuple[GaussianProcess, Scale] | None = None

    def ask(self, n: int) -> list[Candidate]:
        return self._paced(super().ask(n))

    def vary(self, candidate: Candidate, free: frozenset[str]) -> Candidate | None:
        """See ``structured.Varying``; of many variations, the one that the model expects most of."""
        tried = [self.space.vary(candidate.params, free, self.model_rng) for _ in range(_VARIED if self._knows else 0)]
        tried = [params for params in tried if self._proposals.is_new(params)]
        if not tried:
            varied = super().vary(candidate, free)
            return None if varied is None else self._paced([varied])[0]
        with threadpool_limits(1, "blas"):
            points = np.array([self.space.to_unit(params) for params in tried])
            surrogate = self.surrogate(points)
            surrogate.pretend(np.array([self.space.to_unit(params) for params in self.pending.values()]))
            place, _ = surrogate.best(np.ones(len(tried), dtype=bool), refine=False)
        return self._paced([self._issue(tried[place])])[0]

    def propose(self, n: int) -> Iterator[Params]:
        while self.cube.dimensions and not self._knows:
            yield self._drawn()
        for params in super().propose(n):
            while self.model_rng.random() < self._explore:
                yield self._drawn()
            yield params

    def surrogate(self, pool: Array) -> _CurveSurrogate:
        return _CurveSurrogate(self, self._posterior()[0], pool)

    def watch(self, trials: Sequence[Trial]) -> None:
        """See ``base.Watching``."""
        for trial in trials:
            if trial.status is not Status.FAILED and trial.value is not None and math.isfinite(trial.value):
                point = self.space.to_unit(trial.params)
                self._watched[trial.number] = point, self._curve(point, trial, self.cost(trial.value))
        self._after = None

    def tell(self, trials: Sequence[Trial]) -> None:
        for trial in trials:
            self._watched.pop(trial.number, None)
        super().tell(trials)

    def learn(self, trial: Trial, cost: float) -> None:
        super().learn(trial, cost)
        self._curves.append(self._curve(self.points[-1], trial, cost))
        self._after = None

    def failed(self, trial: Trial) -> None:
        self._failures.append(self.space.to_unit(trial.params))
        self._after = None

    def full(self, points: Array) -> Array:
        """Where points of the unit cube lie for the model, at full training."""
        return self.model.place(self.cube.features(points), self.max_epochs)

    @property
    def _knows(self) -> bool:
        """Whether the model is worth asking."""
        return self.cube.dimensions > 0 and len(self._seen) >= self._random

    @property
    def _seen(self) -> list[Curve]:
        """The curves of all trials that have one, as far as it is known."""
        return self._curves + [curve for _, curve in self._watched.values()]

    def standings(self) -> tuple[Array, Array]:
        points = [*self.points, *(point for point, _ in self._watched.values())]
        return np.array(points), np.array([curve.cost for curve in self._seen])

    @cached_property
    def _rungs(self) -> tuple[int, ...]:
        """Where curves are looked at: full training over the powers of three, ascending."""
        powers = math.floor(math.log(self.max_epochs) / math.log(3) + 1e-9)
        return tuple(sorted({max(1, round(self.max_epochs * 3.0**-power)) for power in range(powers + 1)}))

    def _curve(self, point: Array, trial: Trial, cost: float) -> Curve:
        """The cost at each rung and at the end; the best one, at full training, if it stopped of itself before."""
        values = [self.cost(value) for value in trial.curve(self.objective.metric)][: self.max_epochs]
        costs = {epoch: values[epoch - 1] for epoch in self._rungs if epoch <= len(values)}
        if values:
            costs[len(values)] = values[-1]
        if len(values) < self.max_epochs and trial.status is Status.FINISHED:
            costs[self.max_epochs] = cost
        finite = {epoch: value for epoch, value in costs.items() if math.isfinite(value)}
        return Curve(self.cube.features(point[None])[0], finite or {self.max_epochs: cost})

    def _posterior(self) -> tuple[GaussianProcess, Scale]:
        """The model after all trials, failed ones as the worst."""
        if self._after is None:
            curves = self._seen
            if self._failures:
                worst = {self.max_epochs: max(curve.cost for curve in curves)}
                curves += [Curve(features, worst) for features in self.cube.features(np.array(self._failures))]
            self._after = self.model.posterior(curves, self.model_rng)
        return self._after

    def _drawn(self) -> Params:
        """A configuration without the model: around the priors, or anywhere."""
        if self.model_rng.random() < _PRIOR_SHARE and (typical := self.space.typical(self.model_rng)) is not None:
            near = self.cube.near(self.space.to_unit(typical)[None], _PRIOR_DISTANCE, self.model_rng)
            return self.space.from_unit(near[0])
        if not self._spread:
            self._spread = list(self.cube.spread(6, self.model_rng)[::-1])
        return self.space.from_unit(self._spread.pop())

    def _paced(self, candidates: list[Candidate]) -> list[Candidate]:
        """Candidates with their paces, if the model can tell any."""
        if not candidates or not self._rungs[:-1] or not self._knows:
            return candidates
        with threadpool_limits(1, "blas"):
            return [replace(candidate, pace=self._pace(candidate.params)) for candidate in candidates]

    def _pace(self, params: Params) -> dict[int, float]:
        process, scale = self._posterior()
        features = self.cube.features(self.space.to_unit(params)[None])
        mean, covariance = joint(process, np.vstack([self.model.place(features, epoch) for epoch in self._rungs]))
        best = float(scale.inward(np.array([min(curve.cost for curve in self._seen)]))[0])
        pace = {}
        for index, epoch in enumerate(self._rungs[:-1]):
            gain = covariance[-1, index] / (covariance[index, index] + process.prior.noise)
            deviation = math.sqrt(max(covariance[-1, -1] - gain * covariance[-1, index], 0.0))
            if gain > _LEAST_GAIN:
                slowest = mean[index] + (best - ndtri(_HOPE) * deviation - mean[-1]) / gain
                value = scale.outward(slowest)
                pace[epoch] = value if self.objective.direction is Direction.MINIMIZE else -value
        return pace


class _CurveSurrogate:
    """Expected improvement at full training; see ``surrogate.Surrogate``.

    Args:
        searcher: asks.
        process: after all trials.
        pool: settled points, ``(pool, dimensions)``.
    """

    def __init__(self, searcher: AutoSearcher, process: GaussianProcess, pool: Array) -> None:
        self._searcher = searcher
        self._process = copy.copy(process)  # what grows is replaced in it, never changed
        self._pool = pool
        self._field = Field(self._process, searcher.full(pool))
        # What the model expects of the best known configuration.
        self._best = float(np.min(process.predict(searcher.full(searcher.standings()[0]))[0]))

    def pretend(self, points: Array) -> None:
        if len(points):
            self._process.imagine(self._searcher.full(points), np.zeros((len(points), 1)))

    def best(self, left: NDArray[np.bool_], refine: bool) -> tuple[int, Array]:
        def height(points: Array) -> Array:
            return self._improvement(self._process.predict(self._searcher.full(points)))

        heights = np.where(left, self._improvement(self._field.predict()), -np.inf)
        return self._searcher.summit(self._pool, heights, height if refine else None)

    def _improvement(self, posterior: tuple[Array, Array]) -> Array:
        mean, variance = posterior
        return expected_improvement(mean[:, 0], np.sqrt(variance), self._best)
