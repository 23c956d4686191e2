"""Named columns in their canonical form, whatever they came from.

Canonical: numbers are float64 (NaN where missing) or integers; truth values are bool, or object with ``True``,
``False`` and None; text is object with ``str`` and None. Names are those that a SavedModel's signature accepts.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable, Mapping
from enum import Enum, auto
from typing import Any

import numpy as np

from kerasweep.data.rows import Array, Rows
from kerasweep.errors import DataError

_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_WHOLE = re.compile(r"([+-]?\d+)\.0*")
_FLOAT32_MAX = float(np.finfo(np.float32).max)


class Kind(Enum):
    """What a column holds."""

    NUMBER = auto()
    TRUTH = auto()
    TEXT = auto()


def kind_of(column: Array) -> Kind:
    """The kind of a canonical column."""
    if column.dtype.kind == "b":
        return Kind.TRUTH
    if column.dtype.kind in "iuf":
        return Kind.NUMBER
    first = next((value for value in column if value is not None), None)
    return Kind.TRUTH if isinstance(first, bool) else Kind.TEXT


def plain_values(values: Any) -> Array:
    """A column of any library as a NumPy array; in object arrays whatever stands for a missing value is None."""
    if hasattr(values, "to_numpy"):
        if isinstance(values.dtype, np.dtype) and values.dtype.kind != "O":
            array = np.asarray(values.to_numpy())
        else:
            array = np.asarray(values.to_numpy(dtype=object, na_value=None))
    else:
        array = np.asarray(values)
        if array.dtype.kind in "US" and not isinstance(values, np.ndarray):
            array = np.asarray(values, dtype=object)  # else the numbers of ["a", 1] would have become text
    if array.dtype.kind in "USO":
        array = np.fromiter((_plain(value) for value in array.ravel()), dtype=object, count=array.size).reshape(
            array.shape
        )
    return array


def _plain(value: Any) -> Any:
    """The Python value of one cell, None for NaN and for empty text."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", errors="replace")
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and value != value:
        return None
    return None if isinstance(value, str) and not value else value


def text_of(value: Any) -> str | None:
    """The name of a category: ``3``, ``3.0`` and ``"3.0"`` are all ``"3"``; ``"007"`` stays as it is."""
    value = _plain(value)
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    text = str(value)
    whole = _WHOLE.fullmatch(text)
    return whole.group(1) if whole else text


def as_text(values: Array) -> Array:
    """A column of categories: object, ``(rows,)``, holding ``str`` or None."""
    return np.fromiter((text_of(value) for value in values), dtype=object, count=len(values))


def canonical_column(where: str, values: Any) -> Array:
    """One column in its canonical form.

    Args:
        where: the column's place, for messages.
        values: a list, array or pandas Series ``(rows,)``.

    Raises:
        DataError: it is no flat column of numbers, truth values or text, or a number is infinite.
    """
    categories = getattr(getattr(values, "dtype", None), "categories", None)
    array = plain_values(values)
    if array.ndim != 1:
        raise DataError(f"{where}: a column must have one value a row. Received: shape {array.shape}")
    if categories is not None:
        return as_text(array)
    if array.dtype.kind == "O":
        array = _from_objects(where, array)
    if array.dtype.kind not in "biufO":
        raise DataError(
            f"{where}: a column must hold numbers, truth values or text (turn dates into numbers). "
            f"Received: {array.dtype}"
        )
    if array.dtype.kind == "f":
        array = array.astype(np.float64, copy=False)
        check_finite(where, array)
    return array


def _from_objects(where: str, array: Array) -> Array:
    kinds = {
        bool if isinstance(v, bool) else float if isinstance(v, int | float) else type(v)
        for v in array
        if v is not None
    }
    if kinds == {float}:
        missing = any(value is None for value in array)
        whole = not missing and all(isinstance(value, int) for value in array)
        try:
            return np.array([np.nan if v is None else v for v in array], dtype=np.int64 if whole else np.float64)
        except OverflowError:
            raise DataError(f"{where}: a whole number must fit into 64 bits. Received: a larger one") from None
    if kinds == {bool}:
        return array if any(value is None for value in array) else array.astype(bool)
    if kinds == {str}:
        return array
    if not kinds:
        return np.full(len(array), np.nan)
    raise DataError(
        f"{where}: a column must hold numbers, truth values or text, one kind throughout. "
        f"Received: {', '.join(sorted('number' if kind is float else kind.__name__ for kind in kinds))}"
    )


def check_finite(where: str, array: Array, *, missing_allowed: bool = True) -> None:
    """Refuse what float32 makes infinite, and NaN unless it may stand for a missing value.

    Raises:
        DataError: with the first offending row, counted from 0.
    """
    if array.dtype.kind != "f":
        return
    flat = array.reshape(len(array), -1)
    bad = np.abs(flat) > _FLOAT32_MAX
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise DataError(f"{where}: numbers must be finite in float32. Received: {flat[row, column]} in row {row}")
    if not missing_allowed and np.isnan(flat).any():
        row = int(np.argwhere(np.isnan(flat))[0][0])
        raise DataError(f"{where}: every row must have a value. Received: NaN in row {row}")


def input_names(names: Iterable[str]) -> dict[str, str]:
    """Each column's name as a model input.

    TensorFlow takes only plain identifiers as arguments of a SavedModel's signature, and tells them apart without
    regard to case; so ``sepal length (cm)`` becomes ``sepal_length_cm``, and ``a`` beside ``A`` becomes ``a_2``. A name
    that will do is kept.

    Returns:
        The user's name -> the input's name, in the same order.
    """
    names = list(names)
    result: dict[str, str] = {}
    used: set[str] = set()
    for name in names:
        if _fits(name) and name.lower() not in used:
            result[name] = name
            used.add(name.lower())
    for position, name in enumerate(names):
        if name in result:
            continue
        slug = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")
        stem = slug if _fits(slug) else f"column_{slug or position}"
        chosen, suffix = stem, 1
        while chosen.lower() in used:
            suffix += 1
            chosen = f"{stem}_{suffix}"
        used.add(chosen.lower())
        result[name] = chosen
    return {name: result[name] for name in names}


def _fits(name: str) -> bool:
    # ``self`` is an argument of TensorFlow's own that a signature's inputs must not shadow.
    return _IDENTIFIER.fullmatch(name) is not None and not keyword.iskeyword(name) and name != "self"


def canonical_columns(where: str, columns: Mapping[Any, Any]) -> tuple[Rows, dict[str, str]]:
    """All columns of a mapping or DataFrame in their canonical form.

    Returns:
        The columns by input name, and the user's name of each input whose name had to change.

    Raises:
        DataError: there are none, a name is not text, or they differ in length.
    """
    names = list(columns)
    if not names:
        raise DataError(f"{where}: there must be at least one feature column. Received: none")
    wrong = [name for name in names if not isinstance(name, str) or not name.strip()]
    if wrong:
        raise DataError(f"{where}: every column must have a name that is text. Received: {wrong[0]!r}")
    renamed = input_names(names)
    rows = {renamed[name]: canonical_column(f"{where}: column {name!r}", columns[name]) for name in names}
    lengths = {name: len(column) for name, column in rows.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(f"{where}: all columns must have the same length. Received: {lengths}")
    return rows, {chosen: name for name, chosen in renamed.items() if chosen != name}
