"""How much a row weighs in the training loss: its own weight, times that of its class.

Weights act on the loss of the rows trained on, and on nothing else: metrics of validation and test rows count every row
once, as Keras has it for ``class_weight``, so that studies with other weights remain comparable.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kerasweep.data.base import SearchData, Split
from kerasweep.data.columns import plain_values
from kerasweep.data.rows import Array
from kerasweep.errors import DataError, Problem, SpecError, one_of
from kerasweep.spec.checks import NO_CLASSES
from kerasweep.spec.several import NO_CLASS_WEIGHT
from kerasweep.spec.vocabulary import Task

_FLOAT32_MAX = float(np.finfo(np.float32).max)


def canonical_weights(where: str, given: Any, rows: int, place: Callable[[int], str] | None = None) -> Array:
    """Weights as ``(rows,)`` float32.

    Args:
        where: the data's place, for messages.
        given: an array, list or Series, ``(rows,)`` or ``(rows, 1)``.
        rows: how many there must be.
        place: says where a row is, counted from 0, where it has a better place than its number.

    Raises:
        DataError: a weight is no number, missing, infinite in float32, or below 0; there are too few or too many; or
            all are 0.
    """
    array = plain_values(given)
    if array.shape not in ((rows,), (rows, 1)):
        raise DataError(f"{where}: there must be one weight a row, {rows} in all. Received: shape {array.shape}")
    array = array.reshape(-1)
    values = _numbers(array)
    wrong = np.flatnonzero(~((values >= 0) & (values <= _FLOAT32_MAX)))
    if len(wrong):
        row = int(wrong[0])
        received = array[row : row + 1].tolist()[0]
        shown = "none" if received is None or received != received else repr(received)
        rule = f"a weight must be a finite number of at least 0. Received: {shown}"
        raise DataError(f"{place(row)}: {rule}" if place is not None else f"{where}: {rule} in row {row}")
    if not values.any():
        raise DataError(f"{where}: at least one weight must be over 0. Received: 0 in every row")
    return values.astype(np.float32)


def _numbers(array: Array) -> NDArray[np.float64]:
    """Weights as they are, NaN for what cannot be one."""
    if array.dtype.kind in "biuf":
        return array.astype(np.float64)
    if array.dtype.kind != "O":
        return np.full(len(array), np.nan)
    return np.array([value if isinstance(value, int | float) else np.nan for value in array], dtype=np.float64)


def weighted(data: SearchData, class_weight: Literal["balanced"] | Mapping[str, float] | None) -> SearchData:
    """The data with every row's weight multiplied by that of its class.

    Args:
        data: of a study.
        class_weight: ``training.class_weight``. ``balanced`` is scikit-learn's: a class weighs
            ``rows / (classes * rows of the class)``, counted on the training split and in weights where rows have some,
            so that each class comes to the same sum. The same numbers weigh the validation rows when these are trained
            on. Of a mapping, a class without a weight has 1.

    Raises:
        DataError: no training row has a weight over 0.
        SpecError: the task has no classes, or none of that name.
    """
    if class_weight is not None:
        if data.facts.heads:
            message = f"{NO_CLASS_WEIGHT}. Received: {', '.join(data.facts.heads)}"
            raise SpecError([Problem(message, ("training", "class_weight"))])
        if data.facts.task not in (Task.BINARY, Task.MULTICLASS):
            raise SpecError([Problem(f"{NO_CLASSES}. Received: {data.facts.task}", ("training", "class_weight"))])
        if class_weight == "balanced":
            weights = _balanced(data.train, len(data.facts.classes))
        else:
            weights = _named(class_weight, data.facts.classes)
        data = replace(data, train=_times(data.train, weights), validation=_times(data.validation, weights))
    if data.train.weights is not None and not data.train.weights.any():
        raise DataError("at least one training row must weigh more than 0. Received: 0 for all of them")
    return data


def merged_weights(train: Split, validation: Split) -> Array | None:
    """The weights of the training rows, then of the validation rows; None where neither have any."""
    if train.weights is None or validation.weights is None:
        return None
    return np.concatenate([train.weights, validation.weights])


def _classes_of(split: Split) -> Array:
    """The class of each row ``(rows,)``."""
    return split.target.reshape(-1).astype(np.int64)


def _balanced(train: Split, classes: int) -> Array:
    totals = np.bincount(_classes_of(train), weights=train.weights, minlength=classes)
    present = totals > 0
    even = totals.sum() / max(1, np.count_nonzero(present))
    weights: Array = np.divide(even, totals, out=np.ones(classes), where=present)
    return weights


def _named(given: Mapping[str, float], classes: tuple[str, ...]) -> Array:
    problems = [
        Problem(one_of("a class", name, classes), ("training", "class_weight", name))
        for name in given
        if name not in classes
    ]
    if problems:
        raise SpecError(problems)
    return np.array([given.get(name, 1.0) for name in classes])


def _times(split: Split, of_classes: Array) -> Split:
    own = 1.0 if split.weights is None else split.weights
    return replace(split, weights=(own * of_classes[_classes_of(split)]).astype(np.float32))
