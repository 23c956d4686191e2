"""Gaussian processes averaged over their hyperparameters (Snoek et al. 2012)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

from kerasweep.records import Params, Status, Trial
from kerasweep.search.base import Brief
from kerasweep.search.cube import Array
from kerasweep.search.gaussian_process import Field, GaussianProcess, Prior, expected_improvement
from kerasweep.search.surrogate import SurrogateSearcher, spread_out, standardised
from kerasweep.seeds import derive
from kerasweep.spec.searchers import SpearmintSearch

# Draws of hyperparameters that are thrown away: at first, and later when the chain goes on with a few more trials.
_BURN_IN = 100
_WARM_UP = 5

# Trials that the hyperparameters are drawn for, at most; the processes then learn from all.
_FITTED = 128

# Where the chain begins: mean, log amplitude, log noise, and the logarithm of each length scale.
_START = (0.0, 0.0, math.log(1e-2))
_START_LENGTH = math.log(0.5)

# Where the hyperparameters can be at all; the upper end of lengths is the paper's prior, the others only keep numbers
# from overflowing.
_LOG_AMPLITUDE = (-10.0, 10.0)
_LOG_NOISE = (-18.0, 5.0)
_LOG_LENGTH = (-7.0, math.log(2.0))
_HORSESHOE = 0.1

# How far slice sampling steps out at a time.
_WIDTH = 1.0


class SpearmintSearcher(SurrogateSearcher):
    """Proposes where the expected improvement, averaged over Gaussian processes, is highest.

    Trials begin with Sobol points. Then ``samples`` hyperparameters are drawn from their posterior by slice sampling,
    each of which makes a Gaussian process (Matérn 5/2, a length scale for each parameter, noise, a constant mean). The
    expected improvement is averaged over them; where it is highest among Sobol points and neighbours of the best
    trials is refined by local search. The outcomes of trials that are out are imagined ``fantasies`` times, jointly,
    and the expected improvement averaged over these too, so that a batch spreads.

    With ``per_second``, a second set of processes learns the logarithm of the seconds that trials took, and the
    expected improvement is divided by the seconds that it expects. A stopped trial's seconds count for ``max_epochs``,
    in proportion to the epochs that it has; one without seconds (or stopped without epochs) is left out. As long as
    fewer than ``startup`` trials have seconds, the expected improvement decides alone.

    What it learns:

    - a finished trial: its best value;
    - a stopped trial: its best value up to there, as if it had finished. More epochs could only have improved it, so
      it never seems better than it is;
    - a failed trial, or one without a finite value: nothing, but that it need not be tried again.

    Values count in standard deviations, outliers cut off (``surrogate.standardised``). From 129 trials on, the
    hyperparameters are drawn for 128 of them, spread evenly from the best to the worst.

    Source: Snoek, Larochelle, Adams: Practical Bayesian Optimization of Machine Learning Algorithms, NeurIPS 2012.

    Args:
        brief: what to search.
        spec: its options.
    """

    def __init__(self, brief: Brief, spec: SpearmintSearch) -> None:
        super().__init__(brief, startup=0, power=10, near=8)
        self.fantasies = spec.fantasies
        self._spec = spec
        self._max_epochs = brief.max_epochs
        self._sequence = qmc.Sobol(self.cube.dimensions, rng=derive(brief.seed, "sobol"))
        self._of_costs = Ensemble(self.cube.owners, spec.samples, self.model_rng)
        self._of_seconds = Ensemble(self.cube.owners, spec.samples, self.model_rng)
        self._log_seconds: list[float | None] = []  # one a point

    def learn(self, trial: Trial, cost: float) -> None:
        super().learn(trial, cost)
        self._log_seconds.append(self._log_seconds_of(trial))

    def propose(self, n: int) -> Iterator[Params]:
        while self.cube.dimensions and len(self.costs) < self._spec.startup:
            yield self.space.from_unit(self._sequence.random(1)[0])
        yield from super().propose(n)

    def surrogate(self, pool: Array) -> _SpearmintSurrogate:
        features, costs = self.features(), standardised(self.costs)
        processes = self._of_costs.processes(features, costs)
        timed = [place for place, seconds in enumerate(self._log_seconds) if seconds is not None]
        seconds = None
        if self._spec.per_second and len(timed) >= self._spec.startup:
            logs = np.array([self._log_seconds[place] for place in timed], dtype=float)
            seconds = _Seconds(self._of_seconds, features[timed], logs)
        return _SpearmintSurrogate(self, processes, seconds, pool, float(costs.min()))

    def _log_seconds_of(self, trial: Trial) -> float | None:
        seconds, epochs = trial.seconds, len(trial.history)
        if trial.status is Status.STOPPED:
            seconds = seconds / epochs * self._max_epochs if epochs else 0.0
        return math.log(seconds) if 0 < seconds < math.inf else None


class _SpearmintSurrogate:
    def __init__(
        self,
        searcher: SpearmintSearcher,
        processes: list[GaussianProcess],
        seconds: _Seconds | None,
        pool: Array,
        best: float,
    ) -> None:
        features = searcher.cube.features(pool)
        self._searcher = searcher
        self._processes = processes
        self._fields = [Field(process, features) for process in processes]
        self._lowest = [np.array([best])] * len(processes)  # of each process, for each of its fantasies
        self._pool = pool
        self._seconds = seconds
        self._seconds_of_pool = seconds.relative(features) if seconds else np.ones(len(pool))

    def pretend(self, points: Array) -> None:
        features = self._searcher.cube.features(points)
        for place, process in enumerate(self._processes):
            normal = self._searcher.model_rng.standard_normal((len(points), self._searcher.fantasies))
            imagined = process.imagine(features, normal)
            self._lowest[place] = np.minimum(self._lowest[place], imagined.min(axis=0))

    def best(self, left: NDArray[np.bool_], refine: bool) -> tuple[int, Array]:
        improvement = self._improvement([field.predict() for field in self._fields]) / self._seconds_of_pool
        heights = np.where(left, improvement, -np.inf)
        return self._searcher.summit(self._pool, heights, self._height if refine else None)

    def _height(self, points: Array) -> Array:
        features = self._searcher.cube.features(points)
        improvement = self._improvement([process.predict(features) for process in self._processes])
        return improvement / self._seconds.relative(features) if self._seconds else improvement

    def _improvement(self, posteriors: list[tuple[Array, Array]]) -> Array:
        """Expected improvement, averaged over hyperparameters and fantasies, ``(n,)``.

        Args:
            posteriors: mean ``(n, fantasies)`` and variance ``(n,)`` by each process.
        """
        improvements = [
            expected_improvement(mean, np.sqrt(variance)[:, None], lowest).mean(axis=1)
            for (mean, variance), lowest in zip(posteriors, self._lowest, strict=True)
        ]
        average: Array = np.mean(improvements, axis=0)
        return average


class _Seconds:
    """What is expected of the seconds that a trial takes.

    Args:
        ensemble: draws the hyperparameters.
        features: of trials, ``(n, features)``.
        logs: logarithms of their seconds, ``(n,)``.
    """

    def __init__(self, ensemble: Ensemble, features: Array, logs: Array) -> None:
        self._scale = float(logs.std()) or 1.0
        self._processes = ensemble.processes(features, (logs - logs.mean()) / self._scale)

    def relative(self, features: Array) -> Array:
        """Seconds by those of an average trial, ``(n,)``."""
        logs = np.mean([process.predict(features)[0][:, 0] for process in self._processes], axis=0)
        seconds: Array = np.exp(self._scale * logs)
        return seconds


class Ensemble:
    """Gaussian processes of one quantity, one for each draw of hyperparameters from their posterior.

    The chain that draws goes on from where it ended the time before.

    Args:
        owners: the parameter that each feature comes from, ``(features,)``; features of one share a length scale.
        samples: draws.
        rng: of the chain.
    """

    def __init__(self, owners: NDArray[np.int64], samples: int, rng: np.random.Generator) -> None:
        self._owners = owners
        self._samples = samples
        self._rng = rng
        self._state: Array | None = None
        self._priors: list[Prior] = []
        self._known = 0  # observations that the priors were drawn for

    def processes(self, x: Array, y: Array) -> list[GaussianProcess]:
        """The processes after all observations so far.

        Args:
            x: features, ``(n, features)``.
            y: values, about standardised, ``(n,)``.
        """
        if len(y) > self._known:
            self._priors = self._drawn(x, y)
            self._known = len(y)
        return [GaussianProcess(prior, x, y[:, None]) for prior in self._priors]

    def _drawn(self, x: Array, y: Array) -> list[Prior]:
        shown = spread_out(y, _FITTED)
        density = Hyperposterior(x[shown], y[shown], self._owners)
        if self._state is None:
            state = np.array([*_START, *[_START_LENGTH] * (int(self._owners.max()) + 1)])
            passed = _BURN_IN
        else:
            state, passed = self._state, _WARM_UP
        priors = []
        for sweep in range(passed + self._samples):
            state = slice_sampled(state, density, self._rng)
            if sweep >= passed:
                priors.append(density.prior(state))
        self._state = state
        return priors


class Hyperposterior:
    """The logarithm of the density of hyperparameters given observations, up to a constant.

    A vector of hyperparameters holds the mean, the logarithms of amplitude and noise (variances), and the logarithm
    of each parameter's length scale. Their prior is that of Spearmint: uniform up to 2 for length scales, log-normal
    for the amplitude, a horseshoe of scale 0.1 for the noise; the mean of standardised values is standard normal.

    Args:
        x: features, ``(n, features)``.
        y: values, ``(n,)``.
        owners: the parameter of each feature, ``(features,)``.
    """

    def __init__(self, x: Array, y: Array, owners: NDArray[np.int64]) -> None:
        self._x, self._y, self._owners = x, y, owners

    def prior(self, vector: Array) -> Prior:
        """The hyperparameters of a vector."""
        amplitude, noise = np.exp(vector[1:3]).tolist()
        return Prior(float(vector[0]), amplitude, noise, np.exp(vector[3:])[self._owners])

    def __call__(self, vector: Array) -> float:
        """The log density; minus infinity where there is none."""
        mean, log_amplitude, log_noise = vector[:3].tolist()
        log_lengths = vector[3:]
        if not (
            _LOG_AMPLITUDE[0] < log_amplitude < _LOG_AMPLITUDE[1]
            and _LOG_NOISE[0] < log_noise < _LOG_NOISE[1]
            and np.all((log_lengths > _LOG_LENGTH[0]) & (log_lengths < _LOG_LENGTH[1]))
        ):
            return -math.inf
        prior = self.prior(vector)
        # The horseshoe and the uniform density are those of noise and length: their logarithms' have a factor each.
        horseshoe = math.log(math.log1p(_HORSESHOE**2 / prior.noise)) + log_noise
        likelihood = GaussianProcess(prior, self._x, self._y[:, None]).log_likelihood()
        density: float = -0.5 * mean**2 - 0.5 * log_amplitude**2 + horseshoe + float(log_lengths.sum() + likelihood[0])
        return density


def slice_sampled(start: Array, density: Callable[[Array], float], rng: np.random.Generator) -> Array:
    """A sweep of slice sampling: each coordinate once, in a random order, by stepping out and shrinking.

    Source: Neal: Slice Sampling, Annals of Statistics 31 (2003), figures 3 and 5.

    Args:
        start: where the density is not 0, ``(n,)``.
        density: its logarithm, up to a constant.
        rng: of the draws.

    Returns:
        The next state of the chain, ``(n,)``.
    """
    state = start.copy()
    log_density = density(state)

    def moved(place: int, value: float) -> tuple[Array, float]:
        other = state.copy()
        other[place] = value
        return other, density(other)

    for place in rng.permutation(len(start)).tolist():
        level = log_density - rng.exponential()
        low = state[place] - _WIDTH * rng.random()
        high = low + _WIDTH
        while moved(place, low)[1] > level:
            low -= _WIDTH
        while moved(place, high)[1] > level:
            high += _WIDTH
        while True:
            value = rng.uniform(low, high)
            other, reached = moved(place, value)
            if reached > level:
                break
            low, high = (value, high) if value < state[place] else (low, value)
        state, log_density = other, reached
    return state
