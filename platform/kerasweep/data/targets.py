"""What the target asks of the network, and the target as the network learns it.

Decided as tables 10-1 and 10-2 of Géron's *Hands-On Machine Learning* lay it out: numbers are a regression, two classes
a binary, more classes a multi-class and several yes-or-no columns a multi-label classification. Whole numbers may be
either amounts or classes; that is asked for rather than guessed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kerasweep.data.columns import check_finite, plain_values, text_of
from kerasweep.data.rows import Array
from kerasweep.errors import DataError
from kerasweep.spec.vocabulary import Task


@dataclass(frozen=True)
class Target:
    """How a target is read.

    Attributes:
        task: what it is.
        outputs: of the network.
        labels: raw values as text, in the order of their indices; empty for matrices and regression.
        classes: names for people, in the same order; empty for regression.
    """

    task: Task
    outputs: int
    labels: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()


def canonical_target(where: str, y: object) -> Array:
    """A target as ``(rows,)`` or ``(rows, outputs)`` with two outputs or more: numbers, bool, or object of ``str``.

    Raises:
        DataError: it has another shape or type, no rows, or a row without a value.
    """
    try:
        array = plain_values(y)
    except ValueError as error:
        raise DataError(f"{where}: the target must be an array. Received: {error}") from None
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim not in (1, 2) or 0 in array.shape:
        raise DataError(
            f"{where}: the target must have one value or one vector for each of at least one row. "
            f"Received: shape {array.shape}"
        )
    if array.dtype.kind == "O":
        array = _from_objects(where, array)
    if array.dtype.kind not in "biufO":
        raise DataError(f"{where}: the target must be numbers, truth values or text. Received: {array.dtype}")
    check_finite(f"{where}: the target", array, missing_allowed=False)
    return array


def _from_objects(where: str, array: Array) -> Array:
    flat = array.reshape(len(array), -1)
    for row, values in enumerate(flat):
        if any(value is None for value in values):
            raise DataError(f"{where}: every row must have a target. Received: none in row {row}")
    kinds = {type(value) for value in flat.ravel()}
    if kinds == {str}:
        return array
    if kinds == {bool}:
        return array.astype(bool)
    if kinds <= {int, float}:
        return array.astype(np.float64 if float in kinds else np.int64)
    names = ", ".join(sorted(kind.__name__ for kind in kinds))
    raise DataError(
        f"{where}: the target must be numbers, truth values or text, one kind throughout. Received: {names}"
    )


def decide(
    where: str, y: Array, declared: Task | None, *, names: tuple[str, ...] = (), classes: tuple[str, ...] = ()
) -> Target:
    """What this target is.

    Args:
        where: the data's place, for messages.
        y: a canonical target.
        declared: ``data.task``, or what is known of a named dataset; checked against the data. None decides.
        names: of the target's columns, where it has names.
        classes: names of the classes ``0, 1, …``, where they are known.

    Raises:
        DataError: the data contradict ``declared``; or the target is ambiguous, or always the same.
    """
    task = declared or _told(where, y)
    if y.ndim == 2:
        return _matrix(where, y, task, names or tuple(str(index) for index in range(y.shape[1])))
    if task is Task.MULTILABEL:
        raise DataError(f"{where}: a multilabel target must have two columns or more. Received: one")
    values = _distinct(y)
    if len(values) < 2:
        raise DataError(f"{where}: the target must vary. Received: {values[0]!r} in every row")
    if task is Task.REGRESSION:
        if y.dtype.kind not in "iuf":
            raise DataError(f"{where}: the target of a regression must be numbers. Received: {_example(y)}")
        return Target(task, 1)
    if y.dtype.kind == "f" and not _whole(y):
        raise DataError(f"{where}: classes must be text, truth values or whole numbers. Received: {_example(y)}")
    if task is Task.BINARY and len(values) != 2:
        raise DataError(f"{where}: a binary target must have two different values. Received: {len(values)}")
    labels = tuple(_label(value) for value in values)
    if classes and labels != tuple(str(index) for index in range(len(classes))):
        raise DataError(f"{where}: the labels must be 0 to {len(classes) - 1}. Received: {', '.join(labels)}")
    return Target(task, 1 if task is Task.BINARY else len(labels), labels, classes or labels)


def _told(where: str, y: Array) -> Task:
    """The task, as far as the data tell it."""
    binary = y.dtype.kind != "O" and bool(np.isin(y, (0, 1)).all())
    if y.ndim == 2:
        if binary:
            return Task.MULTICLASS if bool((y.sum(axis=1) == 1).all()) else Task.MULTILABEL
        if y.dtype.kind == "f" and not _whole(y):
            return Task.REGRESSION
        if y.dtype.kind == "O":
            raise DataError(f"{where}: several target columns must be numbers. Received: {_example(y)}")
        raise DataError(
            f"{where}: several columns of whole numbers may be amounts or classes: say data.task: regression if they "
            f"are amounts (several targets with classes are not supported). Received: {_example(y)}"
        )
    if binary:
        return Task.BINARY
    if y.dtype.kind in "bO":
        return Task.BINARY if len(_distinct(y)) == 2 else Task.MULTICLASS
    if y.dtype.kind == "f" and not _whole(y):
        return Task.REGRESSION
    raise DataError(
        f"{where}: a target of whole numbers may be classes or amounts: say data.task: multiclass (or binary) or "
        f"data.task: regression. Received: {len(_distinct(y))} different values, {_example(y)}"
    )


def _matrix(where: str, y: Array, task: Task, names: tuple[str, ...]) -> Target:
    if y.dtype.kind == "O":
        raise DataError(f"{where}: several target columns must be numbers. Received: {_example(y)}")
    if task is Task.BINARY:
        raise DataError(f"{where}: a binary target must have one column. Received: {y.shape[1]}")
    if (y == y[0]).all():
        raise DataError(f"{where}: the target must vary. Received: {y[0].tolist()} in every row")
    if task is Task.REGRESSION:
        return Target(task, y.shape[1])
    if not np.isin(y, (0, 1)).all():
        raise DataError(f"{where}: a {task} target of several columns must hold 0 and 1 only. Received: {_example(y)}")
    if task is Task.MULTICLASS and not (y.sum(axis=1) == 1).all():
        row = int(np.argmax(y.sum(axis=1) != 1))
        raise DataError(
            f"{where}: a multiclass target of several columns must have exactly one 1 in each row. "
            f"Received: {y[row].astype(int).tolist()} in row {row}"
        )
    return Target(task, y.shape[1], (), names)


def encode(where: str, y: Array, target: Target) -> Array:
    """The target in the layout of ``Split.y``.

    Raises:
        DataError: a label, or a number of columns, that ``target`` does not know.
    """
    columns = y.shape[1] if y.ndim == 2 else 1
    if y.ndim == 2 and columns != target.outputs:
        raise DataError(f"{where}: the target must have {target.outputs} columns. Received: {columns}")
    if target.task is Task.MULTICLASS and y.ndim == 2:
        hot: Array = y.argmax(axis=1)
        return hot.astype(np.int32)
    if target.task in (Task.REGRESSION, Task.MULTILABEL):
        return y.reshape(len(y), -1).astype(np.float32)
    index = {label: position for position, label in enumerate(target.labels)}
    values, inverse = np.unique(y, return_inverse=True)
    unknown = [label for label in map(_label, values) if label not in index]
    if unknown:
        raise DataError(
            f"{where}: labels must be among the training data's {', '.join(target.labels)}. Received: {unknown[0]!r}"
        )
    codes: Array = np.array([index[_label(value)] for value in values])[inverse]
    if target.task is Task.BINARY:
        return codes.astype(np.float32)[:, None]
    return codes.astype(np.int32)


def _label(value: object) -> str:
    """A class by name: text as it is, and ``3.0`` like ``3``."""
    return value if isinstance(value, str) else str(text_of(value))


def _distinct(y: Array) -> list[object]:
    """The different values, numbers in their order and text by name."""
    return list(np.unique(y).tolist())


def _whole(y: Array) -> bool:
    return bool((y == np.floor(y)).all())


def _example(y: Array) -> str:
    return (
        f"{y.dtype if y.dtype.kind != 'O' else 'text'} such as {y[0].tolist() if y.ndim == 2 else y[:1].tolist()[0]!r}"
    )
