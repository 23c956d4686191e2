"""What data is once it was read: splits of raw rows, and the facts that a model is built from."""

from __future__ import annotations

from dataclasses import dataclass

from kerasweep.data.preprocessing import Preprocessing
from kerasweep.data.rows import Array, Rows
from kerasweep.spec.vocabulary import Task

__all__ = ["Array", "Facts", "Rows", "SearchData", "Split"]


@dataclass(frozen=True)
class Split:
    """Raw rows and their targets.

    Attributes:
        x: one array ``(rows, ...)`` as the user gave it, or named columns, each ``(rows,)``.
        y: regression ``(rows, outputs)`` float32; binary ``(rows, 1)`` float32 of 0 and 1; multi-class ``(rows,)``
            int32 in ``[0, outputs)``; multi-label ``(rows, outputs)`` float32 of 0 and 1.
    """

    x: Rows
    y: Array

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True)
class Facts:
    """What a network must know of the data.

    Attributes:
        task: what the target is.
        outputs: output units (1 for binary, the number of classes for multi-class).
        classes: labels in the order of their indices; empty for regression.
        columns: names of the raw feature columns; empty exactly when the rows are an unnamed array.
        targets: names of the target columns, empty when they have none.
    """

    task: Task
    outputs: int
    classes: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()


@dataclass(frozen=True)
class SearchData:
    """All that a search may see: the training and validation splits. The test split is loaded by ``load_test``.

    Attributes:
        train: raw training rows.
        validation: raw validation rows.
        preprocessing: fitted on ``train`` alone.
        facts: of the data as a whole.
        fingerprint: hexadecimal digest of the raw data, the split's seed and its shares.
        source: a short label for people.
    """

    train: Split
    validation: Split
    preprocessing: Preprocessing
    facts: Facts
    fingerprint: str
    source: str
