"""The task is told from the target, and the target laid out for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from kerasweep.data.targets import canonical_target, decide, encode
from kerasweep.errors import DataError
from kerasweep.spec.vocabulary import Task


def read(y: Any, task: Task | None = None) -> tuple[Any, Any]:
    array = canonical_target("d", y)
    target = decide("d", array, task)
    return target, encode("d", array, target)


@pytest.mark.parametrize(
    ("y", "task", "outputs", "classes", "encoded", "dtype"),
    [
        ([0.5, 1.0, 2.5], Task.REGRESSION, 1, (), [[0.5], [1.0], [2.5]], np.float32),
        ([[0.5, 1], [2, 3]], Task.REGRESSION, 2, (), [[0.5, 1], [2, 3]], np.float32),
        (["no", "yes", "no"], Task.BINARY, 1, ("no", "yes"), [[0], [1], [0]], np.float32),
        ([True, False], Task.BINARY, 1, ("False", "True"), [[1], [0]], np.float32),
        ([0, 1, 1], Task.BINARY, 1, ("0", "1"), [[0], [1], [1]], np.float32),
        ([0.0, 1.0], Task.BINARY, 1, ("0", "1"), [[0], [1]], np.float32),
        ([[0], [1]], Task.BINARY, 1, ("0", "1"), [[0], [1]], np.float32),
        (["b", "c", "a", "b"], Task.MULTICLASS, 3, ("a", "b", "c"), [1, 2, 0, 1], np.int32),
        ([[1, 0, 0], [0, 0, 1]], Task.MULTICLASS, 3, ("0", "1", "2"), [0, 2], np.int32),
        ([[1, 0, 1], [0, 0, 1]], Task.MULTILABEL, 3, ("0", "1", "2"), [[1, 0, 1], [0, 0, 1]], np.float32),
        ([[True, True], [False, True]], Task.MULTILABEL, 2, ("0", "1"), [[1, 1], [0, 1]], np.float32),
    ],
)
def test_the_target_tells_the_task(
    y: Any, task: Task, outputs: int, classes: tuple[str, ...], encoded: Any, dtype: type
) -> None:
    target, result = read(y)
    assert (target.task, target.outputs, target.classes) == (task, outputs, classes)
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, np.array(encoded))


@pytest.mark.parametrize("y", [[1, 2, 3], [1.0, 2.0, 5.0], np.array([7, 9], np.uint8)])
def test_whole_numbers_are_asked_about(y: Any) -> None:
    with pytest.raises(
        DataError, match=r"may be classes or amounts: say data.task: multiclass \(or binary\) or data.t"
    ):
        read(y)


def test_a_declared_task_settles_whole_numbers() -> None:
    target, encoded = read([30, 5, 100, 5], Task.MULTICLASS)
    assert target.classes == ("5", "30", "100")  # in the order of the numbers, not of the text
    assert encoded.tolist() == [1, 0, 2, 0]
    target, encoded = read([30, 5, 100], Task.REGRESSION)
    assert (target.outputs, encoded.tolist()) == (1, [[30], [5], [100]])
    target, encoded = read([1, 2, 2], Task.BINARY)
    assert (target.classes, encoded.tolist()) == (("1", "2"), [[0], [1], [1]])


def test_text_that_looks_like_numbers_stays_text() -> None:
    target, encoded = read(["1", "1.0", "01"])
    assert target.classes == ("01", "1", "1.0")
    assert encoded.tolist() == [1, 2, 0]


@pytest.mark.parametrize(
    ("y", "task", "message"),
    [
        ([0.5, 1.5], Task.MULTICLASS, "classes must be text, truth values or whole numbers"),
        ([1, 2, 3], Task.BINARY, "a binary target must have two different values. Received: 3"),
        (["a", "b"], Task.REGRESSION, "the target of a regression must be numbers"),
        ([1, 2], Task.MULTILABEL, "must have two columns or more. Received: one"),
        ([[1, 0], [0, 1]], Task.BINARY, "a binary target must have one column. Received: 2"),
        ([[1, 2], [0, 1]], Task.MULTILABEL, "must hold 0 and 1 only"),
        ([[0, 1], [1, 1]], Task.MULTICLASS, "exactly one 1 in each row. Received: [1, 1] in row 1"),
        ([[1, 2], [3, 4]], None, "several columns of whole numbers may be amounts or classes"),
        ([["a", "b"], ["c", "d"]], None, "several target columns must be numbers"),
        ([2.5, 2.5], None, "the target must vary. Received: 2.5 in every row"),
        ([[1, 1], [1, 1]], None, "the target must vary. Received: [1, 1] in every row"),
        ([1.0, np.nan], None, "every row must have a value. Received: NaN in row 1"),
        ([1.0, np.inf], None, "numbers must be finite in float32. Received: inf in row 1"),
        ([1.0, 1e300], None, "numbers must be finite in float32. Received: 1e+300 in row 1"),
        (["a", None], None, "every row must have a target. Received: none in row 1"),
        (["a", 1], None, "one kind throughout. Received: int, str"),
        ([{"a": 1}], None, "one kind throughout. Received: dict"),
        ([], None, "at least one row. Received: shape (0,)"),
        (3.0, None, "Received: shape ()"),
        (np.zeros((2, 2, 2)), None, "Received: shape (2, 2, 2)"),
        ([[1], [1, 2]], None, "the target must be an array"),
        (np.array([1j]), None, "numbers, truth values or text. Received: complex128"),
        (np.array(["2020-01-01"], "M8[D]"), None, "Received: datetime64[D]"),
    ],
)
def test_what_is_no_target_is_refused(y: Any, task: Task | None, message: str) -> None:
    with pytest.raises(DataError) as caught:
        read(y, task)
    assert str(caught.value).startswith("d: ")
    assert message in str(caught.value)


def test_pandas_targets() -> None:
    assert read(pd.Series(["x", "y"], dtype="category"))[0].classes == ("x", "y")
    assert read(pd.Series([1.5, 2.0], dtype="Float64"))[0].task is Task.REGRESSION
    with pytest.raises(DataError, match="Received: none in row 1"):
        read(pd.Series([1, None], dtype="Int64"))


def test_labels_of_another_split_must_be_known() -> None:
    target = decide("d", canonical_target("d", ["a", "b"]), None)
    with pytest.raises(DataError, match=r"labels must be among the training data's a, b. Received: 'c'"):
        encode("d", canonical_target("d", ["a", "c"]), target)
    matrix = decide("d", canonical_target("d", [[1, 1], [0, 1]]), None)
    with pytest.raises(DataError, match=r"must have 2 columns. Received: 3"):
        encode("d", canonical_target("d", [[1, 1, 0]]), matrix)


def test_known_classes_must_fit() -> None:
    y = canonical_target("d", [0, 1, 2])
    assert decide("d", y, Task.MULTICLASS, classes=("x", "y", "z")).classes == ("x", "y", "z")
    with pytest.raises(DataError, match=r"the labels must be 0 to 1. Received: 0, 1, 2"):
        decide("d", y, Task.MULTICLASS, classes=("x", "y"))
