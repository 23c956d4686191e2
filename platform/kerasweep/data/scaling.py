"""How rows that are arrays become features: scaled, or standardised along their last axis."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kerasweep.data.rows import Array

_FLOAT32_EPSILON = float(np.finfo(np.float32).eps)


@dataclass(frozen=True)
class ArrayScaling:
    """For rows that are one array: ``(x * scale - mean) / sqrt(variance)``.

    Attributes:
        shape: of one row.
        scale: 1/255 for images of bytes, else 1.
        mean: per position of the last axis; empty when nothing is standardised.
        variance: likewise; 1 where the training split does not vary.
    """

    shape: tuple[int, ...]
    scale: float = 1.0
    mean: tuple[float, ...] = ()
    variance: tuple[float, ...] = ()


def fit_array(rows: Array, automatic: bool) -> ArrayScaling:
    """Fitted on training rows; without ``automatic`` they pass as they are."""
    shape = rows.shape[1:]
    if not automatic or rows.dtype.kind == "b":
        return ArrayScaling(shape)
    if rows.dtype == np.uint8 and len(shape) >= 2:
        return ArrayScaling(shape, scale=1 / 255)
    axes = tuple(range(rows.ndim - 1))
    mean = rows.mean(axis=axes, dtype=np.float64)
    variance = safe_variance(mean, rows.var(axis=axes, dtype=np.float64))
    return ArrayScaling(shape, mean=tuple(mean.tolist()), variance=tuple(variance.tolist()))


def safe_variance(mean: Array, variance: Array) -> Array:
    """The variance, 1 where it is zero or no more than the rounding of the mean in float32."""
    return np.where(variance <= (_FLOAT32_EPSILON * np.abs(mean)) ** 2, 1.0, variance)
