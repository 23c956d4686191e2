"""What is known of a classifier over the plane of its two numeric features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Points:
    """Rows on the plane.

    Attributes:
        at: ``(rows, 2)``.
        classes: of each row ``(rows,)``, indices.
    """

    at: NDArray[np.float64]
    classes: NDArray[np.int64]


@dataclass(frozen=True)
class Plane:
    """A model's predictions over a plane, and the rows on it.

    Attributes:
        trial: number of the model's trial.
        epoch: whose weights these are.
        features: names of the horizontal and the vertical one.
        classes: their names.
        horizontal: lowest and highest value.
        vertical: likewise.
        probabilities: at evenly spaced places, ``(vertical, horizontal, classes)``.
        train: rows that the model learnt from.
        validation: rows that chose the epoch and the trial.
        predicted: the classes predicted for the validation rows ``(rows,)``.
    """

    trial: int
    epoch: int
    features: tuple[str, str]
    classes: tuple[str, ...]
    horizontal: tuple[float, float]
    vertical: tuple[float, float]
    probabilities: NDArray[np.float64]
    train: Points
    validation: Points
    predicted: NDArray[np.int64]
