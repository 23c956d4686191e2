"""Exact Gaussian process regression, small and fast, for models that are asked anew with a little more each time."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, solve_triangular
from scipy.spatial.distance import cdist
from scipy.special import ndtr

Array = NDArray[np.float64]

# Added to the diagonal as a share of the amplitude: equal rows without noise still have a Cholesky factor.
_JITTER = 1e-8


@dataclass(frozen=True, eq=False)
class Prior:
    """A constant mean and a Matérn 5/2 kernel with automatic relevance determination, plus noise.

    Source: Rasmussen, Williams: Gaussian Processes for Machine Learning (2006), equations 4.17 and 5.2.

    Attributes:
        mean: of all values.
        amplitude: variance of the function around its mean.
        noise: variance of an observation around the function.
        lengths: how far apart along each feature values are still alike, ``(width,)``.
    """

    mean: float
    amplitude: float
    noise: float
    lengths: Array

    def covariance(self, a: Array, b: Array) -> Array:
        """Of the function at the points ``a``, ``(n, width)``, and ``b``, ``(m, width)``: ``(n, m)``."""
        return self.amplitude * matern52(cdist(a / self.lengths, b / self.lengths))

    @property
    def nugget(self) -> float:
        """What the diagonal of an observation's covariance has on top."""
        return self.noise + _JITTER * self.amplitude


def matern52(distances: Array) -> Array:
    """The Matérn 5/2 correlation at distances in units of the length scale."""
    scaled = math.sqrt(5) * distances
    correlation: Array = (1 + scaled + scaled**2 / 3) * np.exp(-scaled)
    return correlation


class GaussianProcess:
    """A function after some observations of it, each step by algorithm 2.1 of Rasmussen and Williams (2006).

    The values of one observation may be several, ``draws``: alternatives that share their place and so the Cholesky
    factor. Observations appended later cost a row of that factor each.

    Args:
        prior: what holds before.
        x: places of the observations, ``(n, width)``.
        y: their values, ``(n, draws)``.
    """

    def __init__(self, prior: Prior, x: Array, y: Array) -> None:
        self.prior = prior
        self.x = x
        covariance = prior.covariance(x, x)
        covariance[np.diag_indices_from(covariance)] += prior.nugget
        self.factor = _factor(covariance)  # (n, n)
        self.whitened = _solved(self.factor, y - prior.mean)  # (n, draws)

    def log_likelihood(self) -> Array:
        """The log marginal likelihood of each column of values, ``(draws,)``."""
        n = len(self.x)
        fit = -0.5 * np.sum(self.whitened**2, axis=0)
        density: Array = fit - np.sum(np.log(np.diag(self.factor))) - 0.5 * n * math.log(2 * math.pi)
        return density

    def predict(self, x: Array) -> tuple[Array, Array]:
        """The function at places ``(m, width)``: its mean ``(m, draws)`` and its variance ``(m,)``, noise left out."""
        weights = _solved(self.factor, self.prior.covariance(self.x, x))
        return _posterior(self, weights)

    def append(self, x: Array, y: Array) -> None:
        """Adds observations.

        Args:
            x: ``(m, width)``.
            y: ``(m, draws)``.
        """
        cross, corner = self._grow(x)
        self.whitened = np.vstack([self.whitened, _solved(corner, y - self.prior.mean - cross @ self.whitened)])

    def imagine(self, x: Array, normal: Array) -> Array:
        """Adds observations that were not made: draws from their joint distribution given all before.

        Args:
            x: ``(m, width)``.
            normal: independent standard normal numbers, ``(m, draws)``; if the process has one column of values so
                far, it gets as many as there are here.

        Returns:
            The values, ``(m, draws)``.
        """
        cross, corner = self._grow(x)
        before = np.broadcast_to(self.whitened, (len(self.whitened), normal.shape[1]))
        # Whitened by their own covariance, jointly normal values are independent standard normal ones.
        self.whitened = np.vstack([before, normal])
        values: Array = self.prior.mean + cross @ before + corner @ normal
        return values

    def _grow(self, x: Array) -> tuple[Array, Array]:
        """Adds rows to the factor: what they have of the rows before, ``(m, n)``, and of themselves, ``(m, m)``."""
        n, m = len(self.x), len(x)
        cross = _solved(self.factor, self.prior.covariance(self.x, x)).T
        rest = self.prior.covariance(x, x) - cross @ cross.T
        rest[np.diag_indices_from(rest)] += self.prior.nugget
        corner = _factor(rest)
        factor = np.zeros((n + m, n + m))
        factor[:n, :n], factor[n:, :n], factor[n:, n:] = self.factor, cross, corner
        self.factor, self.x = factor, np.vstack([self.x, x])
        return cross, corner


class Field:
    """A process's posterior at fixed places, which follows the process as it is appended to.

    Each further observation costs a row, not a prediction anew.

    Args:
        process: to follow.
        x: the places, ``(m, width)``.
    """

    def __init__(self, process: GaussianProcess, x: Array) -> None:
        self._process = process
        self._x = x
        self._weights = np.zeros((0, len(x)))

    def predict(self) -> tuple[Array, Array]:
        """What ``process.predict(x)`` returns."""
        process, known = self._process, len(self._weights)
        if known < len(process.x):
            rows = process.factor[known:]
            cross = process.prior.covariance(process.x[known:], self._x) - rows[:, :known] @ self._weights
            self._weights = np.vstack([self._weights, _solved(rows[:, known:], cross)])
        return _posterior(process, self._weights)


def expected_improvement(mean: Array, deviation: Array, best: Array | float) -> Array:
    """How far a normal value lies below ``best`` on average, where above counts as zero (Jones et al. 1998).

    The three have shapes that broadcast; a deviation may be 0.
    """
    gain = best - mean
    with np.errstate(divide="ignore", invalid="ignore"):
        z = gain / deviation
    density = np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
    expected: Array = np.where(deviation > 0, gain * ndtr(z) + deviation * density, np.maximum(gain, 0.0))
    return expected


def _posterior(process: GaussianProcess, weights: Array) -> tuple[Array, Array]:
    mean: Array = process.prior.mean + weights.T @ process.whitened
    variance = process.prior.amplitude - np.einsum("nm,nm->m", weights, weights)
    return mean, np.maximum(variance, 0.0)


def _factor(covariance: Array) -> Array:
    lower: Array = cholesky(covariance, lower=True, check_finite=False)
    return lower


def _solved(lower: Array, right: Array) -> Array:
    solution: Array = solve_triangular(lower, right, lower=True, check_finite=False)
    return solution
