"""What data is once it was read: splits of raw rows, and the facts that a model is built from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kerasweep.data.preprocessing import Preprocessing
from kerasweep.data.rows import Array, Features, Rows, row_count
from kerasweep.spec.vocabulary import Task

__all__ = ["Array", "Facts", "Fold", "Rows", "SearchData", "Split"]


@dataclass(frozen=True)
class Split:
    """Raw rows and their targets.

    Attributes:
        x: one array ``(rows, ...)`` as the user gave it, several by name, or named columns, each ``(rows,)``.
        y: of each output by its name, where there are several. Regression ``(rows, outputs)`` float32; binary
            ``(rows, 1)`` float32 of 0 and 1; multi-class ``(rows,)`` int32 in ``[0, outputs)``; multi-label
            ``(rows, outputs)`` float32 of 0 and 1.
        weights: of each row in the training loss ``(rows,)`` float32; None where all weigh the same.
    """

    x: Rows
    y: Features
    weights: Array | None = None

    def __len__(self) -> int:
        return row_count(self.y)

    @property
    def target(self) -> Array:
        """``y``, where there is one output.

        Raises:
            ValueError: there are several.
        """
        if isinstance(self.y, Mapping):
            raise ValueError(f"this needs one output. Received: {', '.join(self.y)}")
        return self.y


@dataclass(frozen=True)
class Facts:
    """What a network must know of the data.

    Attributes:
        task: what the target is; of several outputs the first one's, as are the next two.
        outputs: output units (1 for binary, the number of classes for multi-class).
        classes: labels in the order of their indices; empty for regression.
        columns: names of the raw feature columns; empty exactly when the rows are arrays.
        targets: names of the target columns, or of the outputs; empty when they have none.
        heads: of each of several outputs, by name; empty for one.
    """

    task: Task
    outputs: int
    classes: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    heads: Mapping[str, Facts] = field(default_factory=dict)


@dataclass(frozen=True)
class Fold:
    """One fold of a cross-validation.

    Attributes:
        train: numbers of the rows it trains on, among the training rows followed by the validation rows.
        validation: likewise, of those it validates on.
        preprocessing: fitted on ``train``; its features are those of the study's.
    """

    train: Array
    validation: Array
    preprocessing: Preprocessing


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
        folds: of a cross-validation over training and validation rows together; empty without one.
    """

    train: Split
    validation: Split
    preprocessing: Preprocessing
    facts: Facts
    fingerprint: str
    source: str
    folds: tuple[Fold, ...] = ()
