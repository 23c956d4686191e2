"""The folds of a cross-validation: which rows each trains and validates on, and its own preprocessing."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from kerasweep.data.base import Fold
from kerasweep.data.preprocessing import Preprocessing, refit
from kerasweep.data.rows import Array, Rows, take
from kerasweep.errors import DataError


def deal(rows: int, classes: Array | None, folds: int, seed: int, where: str) -> list[tuple[Array, Array]]:
    """Deals rows out like cards, in each class alike.

    All folds are of one size, so that one compiled program serves them all: the ``rows % folds`` rows that are left
    over are trained on in every fold and validated on in none.

    Args:
        rows: how many there are.
        classes: the class of each row ``(rows,)`` to stratify by, or None.
        folds: at least 2.
        seed: of the order.
        where: the data's place, for messages.

    Returns:
        Of each fold the rows to train and to validate on, ascending.

    Raises:
        DataError: there are fewer rows than folds.
    """
    if rows < folds:
        raise DataError(f"{where}: each fold needs a row to validate on. Received: {rows} rows for {folds} folds")
    # RandomState's stream is frozen by NumPy's policy, that of its Generators is not: a split must never change.
    order = np.random.RandomState(seed).permutation(rows)
    each = rows // folds
    dealt = order[: each * folds]
    if classes is not None:
        dealt = dealt[np.argsort(classes[dealt], kind="stable")]
    everything = np.arange(rows)
    held = [np.sort(dealt[fold::folds]) for fold in range(folds)]
    return [(np.setdiff1d(everything, out, assume_unique=True), out) for out in held]


def made_folds(
    rows: Rows, splits: Iterable[tuple[Array, Array]], preprocessing: Preprocessing, *, automatic: bool
) -> tuple[Fold, ...]:
    """The folds with their preprocessing, each fitted on the rows that it trains on.

    Categories and the features that they become are those of ``preprocessing``: all folds train the same network.

    Args:
        rows: all raw rows that the splits choose from.
        splits: of each fold the rows to train and to validate on.
        preprocessing: of the study.
        automatic: ``data.preprocess: auto``.
    """
    return tuple(
        Fold(train, validation, refit(preprocessing, take(rows, train)) if automatic else preprocessing)
        for train, validation in splits
    )
