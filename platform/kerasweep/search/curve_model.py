"""A Gaussian process over configuration and epoch, fitted to the learning curves of all trials so far."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, solve_triangular
from scipy.optimize import minimize

from kerasweep.search.gaussian_process import GaussianProcess, Prior

Array = NDArray[np.float64]

# Observations that kernel parameters are fitted to, and that predictions use; both keep a fit within milliseconds.
_FITTED = 150
_USED = 400

# Trials whose whole curves are used if not all observations can be; of the others only where they stand.
_WHOLE = 60

# The scale of values: log(value - best + share of the distance from the best value to the median).
_SHARE = 0.2

# Logarithms of length scales, amplitude and noise before anything was seen, and how sure that is (deviations).
_LENGTH, _TIME, _AMPLITUDE, _NOISE = math.log(0.6), 0.0, 0.0, math.log(0.05)
_SURE = (1.0, 1.0, 1.5)
_BOUNDS = ((-3.0, 3.0), (-3.0, 3.0), (-9.0, 1.0))
_STEPS = 15

# More observations than at the last fit, as a share, before kernel parameters are fitted again.
_GROWTH = 0.15


@dataclass(frozen=True)
class Curve:
    """What is known of one trial.

    Attributes:
        features: of its configuration, ``(features,)``.
        costs: epoch -> its best value up to there, the lower the better; at least one.
    """

    features: Array
    costs: dict[int, float]

    @property
    def last(self) -> int:
        """The epoch at which it stands."""
        return max(self.costs)

    @property
    def cost(self) -> float:
        """Where it stands."""
        return self.costs[self.last]


@dataclass(frozen=True)
class Scale:
    """Values as the model sees them.

    The distance to the best value decides, on a logarithmic scale: of networks that are nearly as good as the best
    one small differences matter, of the others large ones. It needs no knowledge of a metric's bounds.

    Attributes:
        best: the lowest value.
        softening: what is added to the distance, so that the best value has a logarithm.
        mean: of the logarithms.
        deviation: of the logarithms.
    """

    best: float
    softening: float
    mean: float
    deviation: float

    @classmethod
    def of(cls, costs: Array) -> Scale:
        best = float(np.min(costs))
        softening = _SHARE * float(np.median(costs) - best) or 1.0
        logs = np.log(costs - best + softening)
        return cls(best, softening, float(np.mean(logs)), float(np.std(logs)) or 1.0)

    def inward(self, costs: Array) -> Array:
        logs: Array = np.log(np.maximum(costs - self.best, 0.0) + self.softening)
        return (logs - self.mean) / self.deviation

    def outward(self, value: float) -> float:
        """The cost of a model's value; infinite beyond what a float holds."""
        exponent = value * self.deviation + self.mean
        return math.exp(exponent) - self.softening + self.best if exponent < 700 else math.inf


class CurveModel:
    """The cost of every configuration at every epoch, as a Gaussian process.

    The kernel is a product of Matérn 5/2 correlations: one over the configurations, with a length scale for each
    parameter, one over the logarithm of the epoch. So what is seen after a few epochs says much about full training
    where curves are alike, and the length scale of the epochs tells how much. Kernel parameters are the most probable
    ones, found by L-BFGS, under wide log-normal priors that keep them sensible after ten trials.

    Sources: Swersky, Snoek, Adams: Multi-Task Bayesian Optimization, NeurIPS 2013; Kandasamy et al.: Multi-fidelity
    Bayesian Optimisation with Continuous Approximations, ICML 2017 (a product kernel over the fidelity); Klein et al.:
    Model-based Asynchronous Hyperparameter and Neural Architecture Search (MOBSTER), 2020.

    Args:
        owners: the parameter that each feature belongs to, ``(features,)``.
        max_epochs: the epoch that matters in the end.
    """

    def __init__(self, owners: NDArray[np.int64], max_epochs: int) -> None:
        self._owners = np.append(owners, owners.max(initial=-1) + 1)  # the epoch comes last
        self._max_epochs = max_epochs
        groups = int(self._owners[-1]) + 1
        self._expected = np.array([_LENGTH] * (groups - 1) + [_TIME, _AMPLITUDE, _NOISE])
        self._theta = self._expected.copy()
        self._fitted = 0

    def place(self, features: Array, epoch: int) -> Array:
        """Where configurations ``(n, features)`` lie at an epoch, ``(n, features + 1)``."""
        time = math.log(epoch) / math.log(self._max_epochs) if self._max_epochs > 1 else 1.0
        return np.hstack([features, np.full((len(features), 1), time)])

    def posterior(self, curves: Sequence[Curve], rng: np.random.Generator) -> tuple[GaussianProcess, Scale]:
        """The process after these trials, and the scale of its values."""
        observed = [(curve, epoch) for curve in curves for epoch in sorted(curve.costs)]
        if len(observed) > _USED:
            observed = _chosen(curves)
        x = np.vstack([self.place(curve.features[None], epoch) for curve, epoch in observed])
        costs = np.array([curve.costs[epoch] for curve, epoch in observed])
        scale = Scale.of(costs)
        y = scale.inward(costs)
        if len(curves) >= self._fitted * (1 + _GROWTH):
            self._fit(x, y, rng)
            self._fitted = len(curves)
        lengths = np.exp(self._theta[:-2])[self._owners]
        amplitude, noise = np.exp(self._theta[-2:])
        return GaussianProcess(Prior(0.0, float(amplitude), float(noise), lengths), x, y[:, None]), scale

    def _fit(self, x: Array, y: Array, rng: np.random.Generator) -> None:
        if len(y) > _FITTED:
            rows = rng.choice(len(y), _FITTED, replace=False)
            x, y = x[rows], y[rows]
        squares = np.zeros((int(self._owners[-1]) + 1, len(y), len(y)))
        for column, owner in zip(x.T, self._owners, strict=True):
            squares[owner] += np.subtract.outer(column, column) ** 2
        lengths, amplitude, noise = _BOUNDS
        bounds = [lengths] * len(squares) + [amplitude, noise]
        found = minimize(
            self._loss, self._theta, (squares, y), "L-BFGS-B", jac=True, bounds=bounds, options={"maxiter": _STEPS}
        )
        self._theta = found.x

    def _loss(self, theta: Array, squares: Array, y: Array) -> tuple[float, Array]:
        """The negative log posterior of the kernel's parameters, up to a constant, and its gradient.

        Equations 5.8 and 5.9 of Rasmussen and Williams (2006).
        """
        inverse = np.exp(-2 * theta[:-2])
        amplitude, noise = np.exp(theta[-2:])
        scaled = np.sqrt(5 * np.tensordot(inverse, squares, 1))
        decay = np.exp(-scaled)
        kernel = amplitude * (1 + scaled + scaled**2 / 3) * decay
        eye = np.eye(len(y))
        try:
            factor = np.linalg.cholesky(kernel + (noise + 1e-6) * eye)
        except np.linalg.LinAlgError:
            return 1e10, np.zeros_like(theta)
        alpha = cho_solve((factor, True), y, check_finite=False)
        weights = cho_solve((factor, True), eye, check_finite=False) - np.outer(alpha, alpha)
        slope = weights * (amplitude * 5 / 3 * (1 + scaled) * decay)
        deviations = np.array([_SURE[0]] * len(squares) + list(_SURE[1:]))
        off = (theta - self._expected) / deviations
        gradient = np.empty_like(theta)
        gradient[:-2] = 0.5 * inverse * np.tensordot(squares, slope, 2)
        gradient[-2] = 0.5 * np.sum(weights * kernel)
        gradient[-1] = 0.5 * noise * np.trace(weights)
        loss = 0.5 * y @ alpha + np.sum(np.log(np.diag(factor))) + 0.5 * off @ off
        return float(loss), gradient + off / deviations


def joint(process: GaussianProcess, x: Array) -> tuple[Array, Array]:
    """The function at places ``(m, width)`` together: its mean ``(m,)`` and covariance ``(m, m)``, noise left out."""
    weights = solve_triangular(process.factor, process.prior.covariance(process.x, x), lower=True, check_finite=False)
    mean: Array = process.prior.mean + weights.T @ process.whitened[:, 0]
    covariance: Array = process.prior.covariance(x, x) - weights.T @ weights
    return mean, covariance


def _chosen(curves: Sequence[Curve]) -> list[tuple[Curve, int]]:
    """The observations to use if they are too many: the best trials' curves, and where the next best stand."""
    ranked = sorted(curves, key=lambda curve: curve.cost)
    chosen = [(curve, epoch) for curve in ranked[:_WHOLE] for epoch in sorted(curve.costs)]
    rest = ranked[_WHOLE:]
    left = max(0, _USED - len(chosen))
    if len(rest) > left:  # evenly over good and bad
        rest = [rest[index * len(rest) // left] for index in range(left)] if left else []
    return chosen + [(curve, curve.last) for curve in rest]
