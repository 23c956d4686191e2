"""Gaussian processes and forests with an acquisition function, by scikit-optimize."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from skopt.acquisition import gaussian_ei, gaussian_lcb, gaussian_pi
from skopt.learning import ExtraTreesRegressor, GaussianProcessRegressor, RandomForestRegressor
from skopt.learning.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from kerasweep.search.base import Brief
from kerasweep.search.cube import Array
from kerasweep.search.gaussian_process import Field, GaussianProcess, Prior
from kerasweep.search.surrogate import SurrogateSearcher, spread_out, standardised
from kerasweep.seeds import derive
from kerasweep.spec.searchers import ForestSearch, GpSearch

# What an option is where the file leaves it out, in standard deviations. The best trials may be but a few hundredths
# apart, so that ei must ask for little; pi is next to blind to how far an improvement goes, and stays where it is
# unless it must ask for more.
_XI = {"ei": 0.001, "pi": 0.05, "lcb": 0.0}
_KAPPA = 1.96

# What is left of a gain at the next reward. Without forgetting, the boldest of the early batches is chosen for good.
_MEMORY = 0.8

# Trials that the hyperparameters of a Gaussian process are fitted to, at most; it then learns from all.
_FITTED = 128

# Bounds of the hyperparameters, for standardised costs and coordinates in [0, 1].
_AMPLITUDE = (1e-2, 1e3)
_LENGTH = (5e-2, 1e2)
_NOISE = (1e-8, 1e1)


@dataclass(frozen=True)
class Acquisition:
    """How much is hoped for from a normally distributed cost.

    Sources: Jones, Schonlau, Welch: Efficient Global Optimization of Expensive Black-Box Functions, Journal of Global
    Optimization 13 (1998), ``ei``; Kushner, Journal of Basic Engineering 86 (1964), ``pi``; Cox, John: SDO, a
    statistical method for global optimization (1992), ``lcb``.

    Attributes:
        name: ``ei`` expected improvement, ``pi`` probability of improvement, ``lcb`` lower confidence bound.
        xi: improvement that ``ei`` and ``pi`` ask for.
        kappa: standard deviations that ``lcb`` goes below the mean.
    """

    name: str
    xi: float
    kappa: float

    def __call__(self, mean: Array, deviation: Array, best: float) -> Array:
        """The higher the better, ``(n,)``.

        Args:
            mean: of the costs, ``(n,)``.
            deviation: standard deviations, ``(n,)``.
            best: the lowest cost so far.
        """
        known = _Known(mean, deviation)
        if self.name == "lcb":
            return -np.asarray(gaussian_lcb(None, known, self.kappa))
        improvement = gaussian_ei if self.name == "ei" else gaussian_pi
        return np.asarray(improvement(None, known, best, self.xi))


@dataclass(frozen=True, eq=False)
class _Known:
    """Predictions that are at hand, where scikit-optimize asks a model for them."""

    mean: Array
    deviation: Array

    def predict(self, _: None, return_std: bool) -> tuple[Array, Array]:
        return self.mean, self.deviation


class Portfolio:
    """Chooses among acquisition functions by what the points that they nominated turned out to be worth.

    Each batch, every function nominates a point. When more is known, it gains the standardised cost that the model
    then expects there, negated, while earlier gains fade. A function is chosen with a probability proportional to the
    exponential of its gains.

    Sources: Brochu, Hoffman, de Freitas: Portfolio Allocation for Bayesian Optimization, UAI 2011 (GP-Hedge, with its
    eta = 1); Vasconcelos et al.: No-PASt-BO, 2019 (the memory).

    Args:
        acquisitions: to choose from.
    """

    def __init__(self, acquisitions: list[Acquisition]) -> None:
        self.acquisitions = acquisitions
        self.gains = np.zeros(len(acquisitions))
        self._nominees: Array | None = None  # (acquisitions, dimensions)

    def choose(self, rng: np.random.Generator) -> int:
        """The index of an acquisition function."""
        weights = np.exp(self.gains - self.gains.max())
        return int(rng.choice(len(weights), p=weights / weights.sum()))

    def nominate(self, points: Array) -> None:
        """Takes the point of each function, ``(acquisitions, dimensions)``, for the next reward."""
        self._nominees = points

    def reward(self, cost: Callable[[Array], Array]) -> None:
        """Gives what the nominees are worth.

        Args:
            cost: what is expected now at points, ``(n, dimensions) -> (n,)``.
        """
        if self._nominees is not None:
            self.gains = _MEMORY * self.gains - cost(self._nominees)
            self._nominees = None


class GpSearcher(SurrogateSearcher):
    """Proposes what an acquisition function thinks the most of, given a Gaussian process.

    The process is scikit-optimize's: a Matérn 5/2 kernel with a length scale for each feature and noise, its
    hyperparameters those of the highest marginal likelihood. They are fitted when there are new trials, beginning
    with the last ones and once from a random place, to at most 128 trials that are spread evenly from the best to the
    worst; the process then learns from all.

    A batch needs one fit: for each candidate that is out, the process is told that what it expects has come true
    (the kriging believer of Ginsbourger et al. 2010). This takes a row of its Cholesky factor, where
    ``skopt.Optimizer`` would fit a copy of itself. Its acquisition functions see points of the space only, steps on
    their steps and inactive parameters in their place, which ``skopt.Optimizer`` would move.

    What it learns:

    - a finished trial: its best value;
    - a stopped trial: its best value up to there, as if it had finished. More epochs could only have improved it, so
      it never seems better than it is;
    - a failed trial, or one without a finite value: nothing, but that it need not be tried again.

    Values count in standard deviations, outliers cut off (``surrogate.standardised``).

    Sources: Jones, Schonlau, Welch: Efficient Global Optimization of Expensive Black-Box Functions, Journal of Global
    Optimization 13 (1998); Ginsbourger, Le Riche, Carraro: Kriging Is Well-Suited to Parallelize Optimization (2010).

    Args:
        brief: what to search.
        spec: its options.
    """

    def __init__(self, brief: Brief, spec: GpSearch) -> None:
        super().__init__(brief, spec.startup, power=10, near=8)
        names = ("ei", "pi", "lcb") if spec.acquisition == "hedge" else (spec.acquisition,)
        self._portfolio = Portfolio([_acquisition(name, spec) for name in names])
        self._prior = Prior(0.0, 1.0, 0.1, np.ones(len(self.cube.owners)))
        self._fitted = 0  # how many trials the prior was fitted to or chosen from

    def surrogate(self, pool: Array) -> _GpSurrogate:
        features, costs = self.features(), standardised(self.costs)
        news = self._fitted < len(costs)
        if news:
            self._prior = self._fit(features, costs)
            self._fitted = len(costs)
        process = GaussianProcess(self._prior, features, costs[:, None])
        if news:
            self._portfolio.reward(lambda points: process.predict(self.cube.features(points))[0][:, 0])
        return _GpSurrogate(self, self._portfolio, process, pool, float(costs.min()))

    def _fit(self, features: Array, costs: Array) -> Prior:
        shown = spread_out(costs, _FITTED)
        last = self._prior
        kernel = (
            ConstantKernel(last.amplitude, _AMPLITUDE) * Matern(last.lengths, [_LENGTH] * len(last.lengths), nu=2.5)
            + WhiteKernel(last.noise, _NOISE)
        )  # fmt: skip
        model = GaussianProcessRegressor(
            kernel, noise="gaussian", n_restarts_optimizer=1, random_state=derive(self.seed, "fit", len(costs))
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of hyperparameters at their bounds, and of searches that end early
            model.fit(features[shown], costs[shown])
        signal = model.kernel_.k1
        lengths = np.broadcast_to(signal.k2.length_scale, last.lengths.shape).copy()
        return Prior(0.0, float(signal.k1.constant_value), float(model.noise_), lengths)


class _GpSurrogate:
    def __init__(
        self, searcher: GpSearcher, portfolio: Portfolio, process: GaussianProcess, pool: Array, best: float
    ) -> None:
        self._searcher = searcher
        self._portfolio = portfolio
        self._process = process
        self._pool = pool
        self._field = Field(process, searcher.cube.features(pool))
        self._best = best
        self._nominated = False

    def pretend(self, points: Array) -> None:
        features = self._searcher.cube.features(points)
        believed, _ = self._process.predict(features)
        self._process.append(features, believed)
        self._best = min(self._best, float(believed.min()))

    def best(self, left: NDArray[np.bool_], refine: bool) -> tuple[int, Array]:
        acquisitions = self._portfolio.acquisitions
        chosen = self._portfolio.choose(self._searcher.model_rng)
        if self._nominated or len(acquisitions) == 1:
            return self._summit(acquisitions[chosen], left, refine)
        found = [self._summit(acquisition, left, refine) for acquisition in acquisitions]
        self._portfolio.nominate(np.array([point for _, point in found]))
        self._nominated = True
        return found[chosen]

    def _summit(self, acquisition: Acquisition, left: NDArray[np.bool_], refine: bool) -> tuple[int, Array]:
        def wanted(posterior: tuple[Array, Array]) -> Array:
            mean, variance = posterior
            return acquisition(mean[:, 0], np.sqrt(variance), self._best)

        def height(points: Array) -> Array:
            return wanted(self._process.predict(self._searcher.cube.features(points)))

        heights = np.where(left, wanted(self._field.predict()), -np.inf)
        return self._searcher.summit(self._pool, heights, height if refine else None)


def _acquisition(name: str, spec: GpSearch | ForestSearch) -> Acquisition:
    xi = _XI[name] if spec.xi is None else spec.xi
    return Acquisition(name, xi, _KAPPA if spec.kappa is None else spec.kappa)


class ForestSearcher(SurrogateSearcher):
    """Proposes what an acquisition function thinks the most of, given a forest of regression trees.

    The trees are scikit-optimize's; their standard deviation has a part of the leaves and one of the trees' means
    (Hutter et al. 2011). Each batch needs one forest: a candidate that is out joins its leaves with the worst cost (the
    constant liar of Ginsbourger et al. 2010), which moves their means and variances as if the trees had kept their
    splits.

    It learns from finished, stopped and failed trials what ``GpSearcher`` does.

    Sources: Hutter, Hoos, Leyton-Brown: Sequential Model-Based Optimization for General Algorithm Configuration, LION
    2011; Geurts, Ernst, Wehenkel: Extremely Randomized Trees, Machine Learning 63 (2006).

    Args:
        brief: what to search.
        spec: its options.
    """

    def __init__(self, brief: Brief, spec: ForestSearch) -> None:
        super().__init__(brief, spec.startup, power=13, near=0)
        self._trees = ExtraTreesRegressor if spec.trees == "extra_trees" else RandomForestRegressor
        self.acquisition = _acquisition(spec.acquisition, spec)

    def surrogate(self, pool: Array) -> ForestSurrogate:
        features, costs = self.features(), standardised(self.costs)
        seed = derive(self.seed, "fit", len(costs))
        forest = self._trees(n_estimators=100, min_samples_leaf=3, random_state=seed).fit(features, costs)
        return ForestSurrogate(self, forest, pool, costs)


class ForestSurrogate:
    """A forest whose leaves can take in more costs.

    It holds the leaves of all trees in flat arrays, ``(nodes,)``, and in which of them each point of the pool lies.

    Args:
        searcher: asks.
        forest: fitted to ``costs``.
        pool: settled points, ``(pool, dimensions)``.
        costs: standardised, ``(n,)``.
    """

    def __init__(
        self, searcher: ForestSearcher, forest: ExtraTreesRegressor | RandomForestRegressor, pool: Array, costs: Array
    ) -> None:
        self._searcher = searcher
        self._pool = pool
        self._costs = costs
        self._trees = [tree.tree_ for tree in forest.estimators_]
        self._first = np.cumsum([0, *(tree.node_count for tree in self._trees[:-1])])[:, None]
        self._mean = np.concatenate([tree.value[:, 0, 0] for tree in self._trees])
        self._variance = np.concatenate([tree.impurity for tree in self._trees])
        self._weight = np.concatenate([tree.weighted_n_node_samples for tree in self._trees])
        self._leaves = self._leaves_of(pool)
        means = self._mean[self._leaves]
        self._expected = means.mean(axis=0)  # of the cost, and of its square, (pool,)
        self._squared = (means**2 + self._variance[self._leaves]).mean(axis=0)

    def pretend(self, points: Array) -> None:
        lie = float(self._costs.max())
        for leaves in self._leaves_of(points).T:
            mean, variance, weight = self._mean[leaves], self._variance[leaves], self._weight[leaves]
            moved = (weight * mean + lie) / (weight + 1)
            squared = (weight * (mean**2 + variance) + lie**2) / (weight + 1)
            changes = zip(self._leaves, leaves, moved - mean, squared - mean**2 - variance, strict=True)
            for of_pool, leaf, change, change_squared in changes:
                inside = np.flatnonzero(of_pool == leaf)
                self._expected[inside] += change / len(leaves)
                self._squared[inside] += change_squared / len(leaves)
            self._mean[leaves], self._variance[leaves] = moved, squared - moved**2
            self._weight[leaves] += 1

    def predict(self) -> tuple[Array, Array]:
        """The mean and the standard deviation of the cost at the points of the pool, both ``(pool,)``."""
        return self._expected.copy(), np.sqrt(np.maximum(self._squared - self._expected**2, 0.0))

    def best(self, left: NDArray[np.bool_], refine: bool) -> tuple[int, Array]:
        # There is nothing to refine: a forest is flat in boxes, and the pool has points in the larger ones.
        heights = self._searcher.acquisition(*self.predict(), float(self._costs.min()))
        return self._searcher.summit(self._pool, np.where(left, heights, -np.inf), None)

    def _leaves_of(self, points: Array) -> NDArray[np.int64]:
        """The leaf of each point in each tree, ``(trees, n)``."""
        features = self._searcher.cube.features(points).astype(np.float32)
        leaves: NDArray[np.int64] = self._first + np.array([tree.apply(features) for tree in self._trees])
        return leaves
