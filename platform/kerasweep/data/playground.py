"""The TensorFlow Playground's four data sets for classification: points of two colours on a plane.

Written after the Playground's public description (exercise 1 of chapter 10 of Géron's *Hands-On Machine Learning*),
with its noise at 0, as it opens: every point has the colour of the region that it lies in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from kerasweep.data.rows import Array
from kerasweep.seeds import derive

FEATURES = ("x1", "x2")
CLASSES = ("orange", "blue")
"""Class 0 and class 1; the Playground calls them -1 and 1."""

ROWS = 1000
"""Half of them blue, in ``xor`` about half. The Playground draws 500."""

_RADIUS = 5.0
_PADDING = 0.3
_TURNS = 1.75


def playground(name: str) -> tuple[dict[str, Array], Array]:
    """A data set, the same one on every machine and at every call.

    - ``circle``: blue within half the radius of 5, orange from 0.7 of it on.
    - ``xor``: uniform in ±5 and moved 0.3 away from both axes; blue where both coordinates have the same sign.
    - ``gauss``: two normal blobs of variance 0.5, blue around (2, 2), orange around (-2, -2).
    - ``spiral``: two arms of 1.75 turns each, from the centre to a radius of 5, half a turn apart. Both begin in the
      same point, so that no model can be right about all rows.

    Args:
        name: ``playground_`` and one of these four.

    Returns:
        Columns ``x1`` and ``x2``, each ``(ROWS,)`` float64, and the classes ``(ROWS,)``, 0 or 1.
    """
    # RandomState's stream is frozen by NumPy's policy, that of its Generators is not.
    points, blue = _SETS[name](np.random.RandomState(derive(0, "playground", name)))
    return dict(zip(FEATURES, points.T, strict=True)), blue.astype(np.int64)


def _halves() -> Array:
    """The first half blue, ``(ROWS,)`` bool."""
    return np.arange(ROWS) < ROWS // 2


def _circle(rng: np.random.RandomState) -> tuple[Array, Array]:
    blue = _halves()
    radius = _RADIUS * np.where(blue, rng.uniform(0, 0.5, ROWS), rng.uniform(0.7, 1, ROWS))
    angle = rng.uniform(0, 2 * np.pi, ROWS)
    return np.stack([radius * np.sin(angle), radius * np.cos(angle)], axis=1), blue


def _xor(rng: np.random.RandomState) -> tuple[Array, Array]:
    points = rng.uniform(-_RADIUS, _RADIUS, (ROWS, 2))
    points += np.where(points > 0, _PADDING, -_PADDING)
    return points, points.prod(axis=1) >= 0


def _gauss(rng: np.random.RandomState) -> tuple[Array, Array]:
    blue = _halves()
    centres = np.where(blue, 2.0, -2.0)
    return centres[:, None] + rng.normal(0, np.sqrt(0.5), (ROWS, 2)), blue


def _spiral(rng: np.random.RandomState) -> tuple[Array, Array]:
    """Drawn without chance: at noise 0 the points of an arm follow from their number."""
    blue, arm = _halves(), ROWS // 2
    share = np.tile(np.arange(arm) / arm, 2)
    angle = _TURNS * share * 2 * np.pi + np.where(blue, 0.0, np.pi)
    return (_RADIUS * share)[:, None] * np.stack([np.sin(angle), np.cos(angle)], axis=1), blue


_SETS: Mapping[str, Callable[[np.random.RandomState], tuple[Array, Array]]] = {
    "playground_circle": _circle,
    "playground_xor": _xor,
    "playground_gauss": _gauss,
    "playground_spiral": _spiral,
}
