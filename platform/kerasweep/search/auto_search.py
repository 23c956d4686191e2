"""The default searcher: a model of learning curves, priors, and batches.

What was tried on the development tasks of LCBench, serially (mean regret in points of validation accuracy after 2,600
epochs, 8 tasks with 3 or 4 seeds, so with a standard error of some 0.3; random search 7.0):

- the model: extra trees over (configuration, log epoch) with Thompson sampling 1.8, the Gaussian process 0.9 in the
  same brackets. Costs by rank 1.2 instead of by the logarithm of their distance to the best, 0.9;
- the choice: expected improvement 0.9, upper confidence bounds 0.9, Thompson sampling 1.6, the mean alone 1.6;
- cohorts of 9, 12 and 15: no difference beyond chance; with the extra trees, cohorts of 27 learnt too late, 2.5 instead
  of 1.8. Nine random trials to begin with reach a given quality sooner than fourteen;
- at the rungs: going on by what the model expects of the end instead of by the values themselves, 2.9 against 2.1 on
  the four hardest tasks; no pace at all, 2.5 against 2.4 there;
- the search for the best improvement: neighbours at two distances 1.6, at three and climbing from the best 1.2.
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
from kerasweep.search.cube import Cube
from kerasweep.search.curve_model import Curve, CurveModel, Scale, joint
from kerasweep.search.gaussian_process import Field, GaussianProcess, expected_improvement
from kerasweep.search.modelled import ModelledSearcher
from kerasweep.seeds import derive
from kerasweep.spec.searchers import AutoSearch

Array = NDArray[np.float64]

# Trials with a value before the model is asked: two a dimension, within these bounds.
_FEWEST, _MOST = 5, 9

# Where the acquisition function is looked at: Sobol points, and neighbours of the best trials at three distances.
_POWER = 9
_BEST = 10
_NEIGHBOURS = 40
_DISTANCES = (0.03, 0.15, 0.5)

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


class AutoSearcher(ModelledSearcher):
    """Proposes where a model of learning curves expects the best networks after full training.

    The model is a Gaussian process over configuration and epoch (``CurveModel``), so that trials that were stopped
    early teach what they can, and points are chosen by expected improvement at full training. In a batch each point is
    chosen as if those before it, and all that are out, would turn out as the model expects. ``explore`` of the points
    ask no model. They, and the first ones, are Sobol points of the space or, half of them if the space has priors,
    lie around the priors: an expert's guess is used, and a wrong one is survived.

    Each candidate has a ``pace``: at each rung, the value below which the model gives it less than seven chances in a
    hundred of becoming the best. The scheduler ``auto`` stops what falls behind it, besides halving the cohort.

    What it learns: of every trial the best value up to each rung, and where it stood at its end; one that ended by
    itself would not have improved any more. A failed trial counts as the worst one known.

    Sources: Swersky, Snoek, Adams: Freeze-Thaw Bayesian Optimization, 2014 (a model over configuration and epoch);
    Klein et al.: MOBSTER, 2020 (within successive halving); Wistuba, Kadra, Grabocka: DyHPO, NeurIPS 2022 (expected
    improvement at the fidelity that counts); Mallik et al.: PriorBand, NeurIPS 2023 (priors, incumbents and random
    points); Ginsbourger, Le Riche, Carraro: Kriging Is Well-Suited to Parallelize Optimization, 2010 (the believer).

    Args:
        brief: what to search.
        spec: its options.
    """

    def __init__(self, brief: Brief, spec: AutoSearch) -> None:
        super().__init__(brief, startup=0)
        self._explore = spec.explore
        self._max_epochs = brief.max_epochs
        self._draws = np.random.default_rng(derive(brief.seed, "auto"))
        self._cube = Cube(brief.space)
        self._startup_trials = min(max(_FEWEST, 2 * self._cube.dimensions), _MOST)
        self._spread: list[Array] = []  # Sobol points that were not used yet
        self._model = CurveModel(self._cube.owners, brief.max_epochs)
        self._points: list[Array] = []  # of the curves, in the unit cube
        self._curves: list[Curve] = []
        self._failures: list[Array] = []  # their features
        self._after: tuple[GaussianProcess, Scale] | None = None

    def ask(self, n: int) -> list[Candidate]:
        candidates = super().ask(n)
        with threadpool_limits(1, "blas"):
            return [self._paced(candidate) for candidate in candidates]

    def vary(self, candidate: Candidate, free: frozenset[str]) -> Candidate | None:
        """See ``structured.Varying``; of many variations, the one that the model expects most of."""
        if not self._knows:
            varied = super().vary(candidate, free)
            return None if varied is None else self._paced(varied)
        tried = [self.space.vary(candidate.params, free, self._draws) for _ in range(_VARIED)]
        tried = [params for params in tried if self._proposals.is_new(params)]
        if not tried:
            return super().vary(candidate, free)
        believed = self._believed()
        improvement = _improvement(believed.predict(self._full(self._at(tried))), self._best())
        return self._paced(self._issue(tried[int(np.argmax(improvement))]))

    def propose(self, n: int) -> Iterator[Params]:
        if not self._cube.dimensions:  # one configuration, which needs no choosing
            return
        while not self._knows:
            yield self._drawn()
        believed = self._believed()
        pool = self._pool()
        field = Field(believed, self._full(pool))
        best = self._best()
        left = np.ones(len(pool), dtype=bool)
        while np.any(left):
            if self._draws.random() < self._explore:
                params = self._drawn()
                yield params
                believe(believed, self._full(self._at([params])))
                continue
            improvement = _improvement(field.predict(), best)
            chosen = int(np.argmax(np.where(left, improvement, -1.0)))
            left[chosen] = False
            top, _ = self._cube.climb(
                pool[chosen][None],
                improvement[chosen][None],
                lambda points: _improvement(believed.predict(self._full(points)), best),
                self._draws,
            )
            yield self.space.from_unit(top[0])
            believe(believed, self._full(top))

    def learn(self, trial: Trial, cost: float) -> None:
        if not self._cube.dimensions:
            return
        point = self.space.to_unit(trial.params)
        self._points.append(point)
        self._curves.append(Curve(self._cube.features(point[None])[0], self._costs(trial, cost)))
        self._after = None

    def failed(self, trial: Trial) -> None:
        if self._cube.dimensions:
            self._failures.append(self._cube.features(self._at([trial.params]))[0])
            self._after = None

    @property
    def _knows(self) -> bool:
        """Whether the model is worth asking."""
        return len(self._curves) >= self._startup_trials

    @cached_property
    def _rungs(self) -> tuple[int, ...]:
        """Where curves are looked at: full training over the powers of three, ascending."""
        powers = math.floor(math.log(self._max_epochs) / math.log(3) + 1e-9)
        return tuple(sorted({max(1, round(self._max_epochs * 3.0**-power)) for power in range(powers + 1)}))

    def _costs(self, trial: Trial, cost: float) -> dict[int, float]:
        """The best cost up to each rung and at the end; at full training if the trial ended by itself."""
        values = np.array([self.cost(value) for value in trial.curve(self.objective.metric)])
        values = values[: self._max_epochs]
        best = np.fmin.accumulate(np.where(np.isfinite(values), values, np.nan)) if len(values) else values
        costs = {epoch: float(best[epoch - 1]) for epoch in self._rungs if epoch <= len(best)}
        end = self._max_epochs if trial.status is Status.FINISHED or not len(best) else len(best)
        costs[end] = float(best[-1]) if len(best) and math.isfinite(best[-1]) else cost
        return {epoch: value for epoch, value in costs.items() if math.isfinite(value)}

    def _posterior(self) -> tuple[GaussianProcess, Scale]:
        """The model after all trials, failed ones as the worst."""
        if self._after is None:
            worst = max(curve.cost for curve in self._curves)
            failures = [Curve(features, {self._max_epochs: worst}) for features in self._failures]
            self._after = self._model.posterior([*self._curves, *failures], self._draws)
        return self._after

    def _believed(self) -> GaussianProcess:
        """The model, as if what is out had ended as it expects."""
        process = copy.copy(self._posterior()[0])  # what grows is replaced in it, never changed
        if self.pending:
            believe(process, self._full(self._at(list(self.pending.values()))))
        return process

    def _best(self) -> float:
        """What the model expects of the best known configuration."""
        process, _ = self._posterior()
        features = np.array([curve.features for curve in self._curves])
        return float(np.min(process.predict(self._model.place(features, self._max_epochs))[0]))

    def _at(self, configurations: Sequence[Params]) -> Array:
        """Points of the unit cube."""
        return np.array([self.space.to_unit(params) for params in configurations])

    def _full(self, points: Array) -> Array:
        """Where points of the unit cube lie for the model, at full training."""
        return self._model.place(self._cube.features(points), self._max_epochs)

    def _pool(self) -> Array:
        """Points to choose from."""
        ranked = sorted(range(len(self._curves)), key=lambda index: self._curves[index].cost)
        best = np.repeat(np.array([self._points[index] for index in ranked[:_BEST]]), _NEIGHBOURS, axis=0)
        near = [self._cube.near(best, distance, self._draws) for distance in _DISTANCES]
        return np.vstack([self._cube.spread(_POWER, self._draws), *near])

    def _drawn(self) -> Params:
        """A configuration without the model: around the priors, or anywhere."""
        if self._draws.random() < _PRIOR_SHARE and (typical := self.space.typical(self._draws)) is not None:
            near = self._cube.near(self._at([typical]), _PRIOR_DISTANCE, self._draws)
            return self.space.from_unit(near[0])
        if not self._spread:
            self._spread = list(self._cube.spread(6, self._draws)[::-1])
        return self.space.from_unit(self._spread.pop())

    def _paced(self, candidate: Candidate) -> Candidate:
        """The candidate with its pace, if the model can tell."""
        rungs = self._rungs[:-1]
        if not rungs or not self._knows:
            return candidate
        process, scale = self._posterior()
        features = self._cube.features(self._at([candidate.params]))
        x = np.vstack([self._model.place(features, epoch) for epoch in self._rungs])
        mean, covariance = joint(process, x)
        best = float(scale.inward(np.array([min(curve.cost for curve in self._curves)]))[0])
        pace = {}
        for index, epoch in enumerate(rungs):
            gain = covariance[-1, index] / (covariance[index, index] + process.prior.noise)
            deviation = math.sqrt(max(covariance[-1, -1] - gain * covariance[-1, index], 0.0))
            if gain > _LEAST_GAIN:
                slowest = mean[index] + (best - ndtri(_HOPE) * deviation - mean[-1]) / gain
                value = scale.outward(slowest)
                pace[epoch] = value if self.objective.direction is Direction.MINIMIZE else -value
        return replace(candidate, pace=pace)


def _improvement(prediction: tuple[Array, Array], best: float) -> Array:
    """Expected improvement of what ``GaussianProcess.predict`` returns."""
    mean, variance = prediction
    return expected_improvement(mean[:, 0], np.sqrt(variance), best)


def believe(process: GaussianProcess, x: Array) -> None:
    """Adds what a process expects at places ``(n, width)`` as if it had been observed."""
    process.imagine(x, np.zeros((len(x), 1)))
