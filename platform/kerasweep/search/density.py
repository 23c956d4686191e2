"""Kernel densities over numbers and choices."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

# A Gaussian of this bandwidth is flat on the unit interval.
_FLAT = 100.0

_NORMAL = NormalDist()


@dataclass(frozen=True)
class Density:
    """The mean of one product of kernels around each point.

    A coordinate is a number in ``[0, 1]``, whose kernel is a Gaussian cut off at both ends, or the index of one of a
    choice's values, whose kernel is that of Aitchison and Aitken (1976): 1 - h for the point's own value, h / (c - 1)
    for each of the c - 1 others.

    Attributes:
        points: ``(n, dimensions)``.
        sizes: values of each choice, 0 for a number, ``(dimensions,)``.
        widths: the bandwidths h, ``(dimensions,)``.
    """

    points: NDArray[np.float64]
    sizes: NDArray[np.int_]
    widths: NDArray[np.float64]

    @classmethod
    def of(cls, points: NDArray[np.float64], sizes: NDArray[np.int_], narrowest: float) -> Density:
        """Bandwidths by the normal reference rule, h = 1.06 s n^(-1 / (4 + d)), at least ``narrowest``.

        The s^2 of a choice is half the chance that two of the points differ, which is that of 0 and 1 for two values.
        """
        n, dimensions = points.shape
        spread = points.std(axis=0)
        for column in np.flatnonzero(sizes):
            _, counts = np.unique(points[:, column], return_counts=True)
            spread[column] = math.sqrt((1 - np.sum((counts / n) ** 2)) / 2)
        widths = np.maximum(1.06 * spread * n ** (-1 / (4 + dimensions)), narrowest)
        return cls(points, sizes, _capped(widths, sizes))

    def log(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Logarithms at points ``(m, dimensions)``, over the coordinates that are not NaN; ``(m,)``."""
        total = np.zeros((len(points), len(self.points)))
        for column, (size, width) in enumerate(zip(self.sizes.tolist(), self.widths.tolist(), strict=True)):
            at, centres = points[:, column, None], self.points[None, :, column]
            if size:
                kernel = np.where(at == centres, math.log1p(-width), math.log(width / (size - 1)))
            else:
                mass = [_mass(centre, width) for centre in self.points[:, column].tolist()]
                norm = np.log(np.array(mass) * width * math.sqrt(2 * math.pi))
                kernel = -(((at - centres) / width) ** 2) / 2 - norm
            total += np.where(np.isnan(at), 0.0, kernel)
        highest = total.max(axis=1, keepdims=True)
        logarithm: NDArray[np.float64] = np.log(np.exp(total - highest).mean(axis=1)) + highest[:, 0]
        return logarithm

    def drawn(self, factor: float, rng: np.random.Generator) -> NDArray[np.float64]:
        """A point drawn with bandwidths ``factor`` times as wide, ``(dimensions,)``."""
        point: NDArray[np.float64] = self.points[rng.integers(len(self.points))].copy()
        widths = _capped(self.widths * factor, self.sizes)
        for column, (size, width) in enumerate(zip(self.sizes.tolist(), widths.tolist(), strict=True)):
            if not size:
                point[column] = _cut_normal(float(point[column]), width, float(rng.random()))
            elif rng.random() < width:
                point[column] = (point[column] + rng.integers(1, size)) % size  # one of the others
        return point


def _capped(widths: NDArray[np.float64], sizes: NDArray[np.int_]) -> NDArray[np.float64]:
    """Bandwidths at which the kernels are flat, at most: (c - 1) / c for a choice of c values."""
    return np.minimum(widths, np.where(sizes > 0, 1 - 1 / np.maximum(sizes, 1), _FLAT))


def _mass(centre: float, width: float) -> float:
    """What of a Gaussian lies in ``[0, 1]``."""
    return _NORMAL.cdf((1 - centre) / width) - _NORMAL.cdf(-centre / width)


def _cut_normal(centre: float, width: float, quantile: float) -> float:
    """The quantile of a Gaussian that is cut off outside ``[0, 1]``."""
    below = _NORMAL.cdf(-centre / width)
    share = below + quantile * _mass(centre, width)
    value = centre + width * _NORMAL.inv_cdf(min(max(share, 1e-16), 1 - 1e-16))
    return min(max(value, 0.0), 1.0)
