"""A Gaussian process over a function that drifts in time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# What is tried for each hyperparameter. Shorter lengths and less noise fit a few dozen observations too well.
_LENGTHS = (0.3, 0.5, 0.8, 1.6)
_FORGETTING = (0.0, 0.05, 0.1, 0.2, 0.4)
_NOISE = (0.1, 0.2, 0.4, 0.6, 0.8)

# Rounds in which each hyperparameter is chosen once, the others as they are.
_ROUNDS = 2


@dataclass(frozen=True)
class DriftingProcess:
    """Observations of a function of a point and a time, with mean 0 and variance 1.

    The kernel of two points x, x' at times t, t' is (1 - noise) exp(-|(x - x') / lengths|^2 / 2)
    (1 - forgetting)^(|t - t'| / 2); each observation has an error of variance ``noise``.

    Source: Bogunovic, Scarlett, Cevher: Time-Varying Gaussian Process Bandit Optimization, AISTATS 2016. Their epsilon
    is ``forgetting``.

    Attributes:
        points: in the unit cube, ``(n, d)``.
        times: ``(n,)``.
        values: ``(n,)``.
        lengths: of the function's features along each coordinate, ``(d,)``.
        forgetting: what is forgotten in a unit of time, from 0 to under 1.
        noise: share of the variance, over 0, under 1.
    """

    points: Array
    times: Array
    values: Array
    lengths: tuple[float, ...]
    forgetting: float = 0.1
    noise: float = 0.4

    @classmethod
    def fitted(cls, points: Array, times: Array, values: Array) -> DriftingProcess:
        """The process whose hyperparameters make the observations likely.

        They are chosen one after the other from a few values each; without observations they keep the middle ones.
        """
        process = cls(points, times, values, (0.5,) * points.shape[1])
        highest = process.likelihood()
        for _ in range(_ROUNDS):
            for coordinate in range(len(process.lengths) + 2):
                for variant in process._variants(coordinate):
                    if (likelihood := variant.likelihood()) > highest:
                        process, highest = variant, likelihood
        return process

    def likelihood(self) -> float:
        """The logarithm of the marginal likelihood of the values."""
        root = np.linalg.cholesky(self._covariance())
        whitened = np.linalg.solve(root, self.values)
        return float(-whitened @ whitened / 2 - np.log(np.diag(root)).sum() - len(root) * math.log(2 * math.pi) / 2)

    def kernel(self, points: Array, times: Array, others: Array, other_times: Array) -> Array:
        """Covariances without the error, ``(n, m)``."""
        scaled, others = points / np.array(self.lengths), others / np.array(self.lengths)
        squares = (scaled**2).sum(axis=1)[:, None] + (others**2).sum(axis=1) - 2 * scaled @ others.T
        decay = np.abs(times[:, None] - other_times) / 2 * math.log1p(-self.forgetting)
        covariance: Array = (1 - self.noise) * np.exp(decay - np.maximum(squares, 0.0) / 2)
        return covariance

    def beliefs(self, points: Array, time: float, pending: Array) -> Beliefs:
        """What is believed of the function at points ``(m, d)`` at one time.

        Args:
            points: to be chosen from.
            time: of all of them.
            pending: points ``(p, d)`` that are being observed at that time, with values that are not known yet. They
                leave the mean as it is and make the function more certain around them.
        """
        now, waiting = np.full(len(points), time), np.full(len(pending), time)
        known = self.kernel(self.points, self.times, points, now)
        mean = known.T @ np.linalg.solve(self._covariance(), self.values)
        extended = replace(
            self,
            points=np.concatenate([self.points, pending]),
            times=np.concatenate([self.times, waiting]),
        )
        across = np.concatenate([known, self.kernel(pending, waiting, points, now)])
        covariance = self.kernel(points, now, points, now)
        covariance -= across.T @ np.linalg.solve(extended._covariance(), across)
        return Beliefs(mean, covariance, self.noise)

    def _covariance(self) -> Array:
        """Of the observations, errors and all, ``(n, n)``."""
        own = self.kernel(self.points, self.times, self.points, self.times)
        return own + self.noise * np.eye(len(own))

    def _variants(self, coordinate: int) -> Iterator[DriftingProcess]:
        """The process with other values of one hyperparameter: of a length, then forgetting, then noise."""
        if coordinate < len(self.lengths):
            for length in _LENGTHS:
                lengths = (*self.lengths[:coordinate], length, *self.lengths[coordinate + 1 :])
                yield replace(self, lengths=lengths)
        elif coordinate == len(self.lengths):
            yield from (replace(self, forgetting=forgetting) for forgetting in _FORGETTING)
        else:
            yield from (replace(self, noise=noise) for noise in _NOISE)


class Beliefs:
    """What is believed of a function at ``m`` points; it grows more certain as points are chosen, each once.

    Args:
        mean: ``(m,)``.
        covariance: ``(m, m)``.
        noise: variance of an observation's error.
    """

    def __init__(self, mean: Array, covariance: Array, noise: float) -> None:
        self._mean = mean
        self._covariance = covariance
        self._noise = noise
        self._left = np.ones(len(mean), dtype=bool)

    def choose(self, optimism: float) -> int:
        """The index of that point left whose mean + ``optimism`` deviations is highest; it is pending from then on."""
        variances = np.maximum(np.diag(self._covariance), 0.0)
        index = int(np.argmax(np.where(self._left, self._mean + optimism * np.sqrt(variances), -math.inf)))
        self._left[index] = False
        column = self._covariance[:, index]
        self._covariance = self._covariance - np.outer(column, column) / (variances[index] + self._noise)
        return index
