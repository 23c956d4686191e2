"""Which rows are for training, validation and test: fixed by the data, the seed and the shares, by nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kerasweep.data.rows import Array
from kerasweep.errors import DataError
from kerasweep.seeds import derive
from kerasweep.spec.pipeline import DataSpec

TEST_SHARE = 0.25
VALIDATION_SHARE = 0.25


@dataclass(frozen=True)
class Indices:
    """Row numbers of each split, ascending; disjoint, together all rows. ``test`` is empty for data with their own."""

    train: Array
    validation: Array
    test: Array


def split(
    rows: int, classes: Array | None, spec: DataSpec, where: str, *, own_test: bool, validation_rows: int | None = None
) -> Indices:
    """Split rows at random, in each class alike.

    Args:
        rows: how many there are.
        classes: the class of each row ``(rows,)`` to stratify by, or None.
        spec: ``seed``, ``test`` and ``validation``; ``auto`` is 0.25 of all rows and 0.25 of the rest.
        where: the data's place, for messages.
        own_test: the data bring a test split, so none is taken out.
        validation_rows: what ``validation: auto`` is for these data, instead of a share.

    Returns:
        ``round(share * rows)`` rows for a split, at least one. Every class has a row in the training split.

    Raises:
        DataError: ``test`` is given for data with a test split; too few rows; a class with a single row.
    """
    if own_test and spec.test != "auto":
        raise DataError(
            f"{where}: these data have their own test split, so test must be left out. Received: {spec.test}"
        )
    if classes is not None:
        _, first, counts = np.unique(classes, return_index=True, return_counts=True)
        if counts.min() < 2:
            single = first[counts < 2]
            raise DataError(
                f"{where}: every class must have at least two rows, to train and to be judged on. "
                f"Received: {len(single)} with a single row, the first of them row {single.min()}"
            )
    least = 2 if own_test else 3
    if rows < least:
        raise DataError(f"{where}: each split needs a row, {least} in all. Received: {rows}")
    everything = np.arange(rows)
    test = everything[:0]
    if not own_test:
        share = TEST_SHARE if spec.test == "auto" else spec.test
        test = _held_out(everything, classes, max(1, round(share * rows)), derive(spec.seed, "split", "test"), where, 2)
    rest = np.setdiff1d(everything, test, assume_unique=True)
    share = VALIDATION_SHARE if spec.validation == "auto" else spec.validation
    count = max(1, round(share * len(rest)))
    if spec.validation == "auto" and validation_rows is not None:
        count = validation_rows
    seed = derive(spec.seed, "split", "validation")
    validation = _held_out(rest, None if classes is None else classes[rest], count, seed, where, 1)
    return Indices(np.setdiff1d(rest, validation, assume_unique=True), validation, test)


def _held_out(rows: Array, classes: Array | None, count: int, seed: int, where: str, keep: int) -> Array:
    """``count`` of these rows, ascending, leaving at least ``keep`` rows and one of each class."""
    labels = np.zeros(len(rows), dtype=np.int64) if classes is None else np.unique(classes, return_inverse=True)[1]
    sizes = np.bincount(labels)
    keep = max(keep, len(sizes))
    if count > len(rows) - keep:
        raise DataError(
            f"{where}: enough rows must be left for training, one of each class. "
            f"Received: {len(rows)} rows in {len(sizes)} classes, of which {count} are to be held out"
        )
    shares = allot(sizes, count)
    # RandomState's stream is frozen by NumPy's policy, that of its Generators is not: a split must never change.
    order = np.random.RandomState(seed).permutation(len(rows))
    chosen = [order[labels[order] == label][:share] for label, share in enumerate(shares)]
    return np.sort(rows[np.concatenate(chosen)])


def allot(sizes: Array, count: int) -> Array:
    """Share ``count`` seats out over classes by the largest remainder, leaving each class at least one row.

    Args:
        sizes: rows of each class, each at least 1.
        count: at most ``sum(sizes) - len(sizes)``.

    Returns:
        Seats of each class ``(classes,)``, which add up to ``count``.
    """
    quota = sizes * count / sizes.sum()
    seats: Array = np.minimum(np.floor(quota).astype(np.int64), sizes - 1)
    while seats.sum() < count:
        wanting = np.where(seats < sizes - 1, quota - seats, -np.inf)
        seats[np.argmax(wanting)] += 1
    return seats
