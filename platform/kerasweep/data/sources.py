"""One reader for each kind of source, chosen by the spec; all give ``Raw`` data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kerasweep.data.columns import canonical_columns, check_finite, plain_values
from kerasweep.data.rows import Array, Features, Rows, are_columns, row_count
from kerasweep.data.targets import canonical_target
from kerasweep.errors import DataError
from kerasweep.spec.several import name_problem
from kerasweep.spec.vocabulary import Task


@dataclass(frozen=True)
class Raw:
    """Data as they were read: canonical rows and targets, not yet split.

    Attributes:
        x: canonical rows; without the test rows when ``own_test`` reads those.
        y: the canonical target of each row, or of each output by its name.
        where: their place, for messages.
        task: of a named dataset.
        classes: names of the classes ``0, 1, …`` of a named dataset.
        targets: names of the target columns, where they have names.
        renamed: input name -> the user's name, for columns whose name had to change.
        weights: of each row ``(rows,)`` float32; None where they have none.
        validation_rows: what ``validation: auto`` means for these data, instead of a share.
        own_test: reads the test split that comes with the data, as the user gave it; None when there is none.
        inputs: that take columns: name -> their positions.
    """

    x: Rows
    y: Features
    where: str
    task: Task | None = None
    classes: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)
    weights: Array | None = None
    validation_rows: int | None = None
    own_test: Callable[[], tuple[Any, Any]] | None = None
    inputs: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


def canonical_rows(where: str, x: Any) -> tuple[Rows, dict[str, str]]:
    """Rows of any library in their canonical form, and the user's name of each input whose name had to change.

    Args:
        where: the data's place, for messages.
        x: an array ``(rows, …)``; or columns by name in a dict or DataFrame; or arrays by name in a dict, at least one
            of which has two axes or more.

    Raises:
        DataError: ragged or object arrays, text without column names, no rows, no features, infinite numbers.
    """
    if isinstance(x, Mapping) and any(map(_is_wide, x.values())):
        return _arrays(where, x), {}
    if isinstance(x, Mapping) or (hasattr(x, "columns") and hasattr(x, "to_numpy")):
        columns = x if isinstance(x, Mapping) else {name: x[name] for name in _unique(where, list(x.columns))}
        rows, renamed = canonical_columns(where, columns)
        if not row_count(rows):
            raise DataError(f"{where}: there must be at least one row. Received: none")
        return rows, renamed
    return _array(where, x), {}


def _arrays(where: str, x: Mapping[Any, Any]) -> Rows:
    """Arrays by name, as many rows in each."""
    check_names(where, "an input", x)
    arrays = {name: _array(f"{where}: input {name!r}", value) for name, value in x.items()}
    check_lengths(f"{where}: all inputs", arrays)
    return arrays


def check_names(where: str, what: str, named: Mapping[Any, Any]) -> None:
    """Refuse names of inputs or outputs that not every export format can hold."""
    for name in named:
        if problem := name_problem(what, name):
            raise DataError(f"{where}: {problem}")


def check_lengths(what: str, arrays: Mapping[str, Array]) -> None:
    """Refuse arrays that have not as many rows as each other."""
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(f"{what} must have as many rows. Received: {lengths}")


def _is_wide(values: Any) -> bool:
    """Whether something has two axes or more, and so is no column."""
    try:
        return np.ndim(values) > 1
    except ValueError:  # a ragged list
        return False


def _array(where: str, x: Any) -> Array:
    try:
        array = plain_values(x.to_numpy() if hasattr(x, "columns") else x)
    except ValueError as error:
        raise DataError(f"{where}: the rows must all have the same shape. Received: {error}") from None
    if array.dtype.kind not in "biuf":
        received = "objects or text" if array.dtype.kind == "O" else array.dtype
        raise DataError(
            f"{where}: rows in one array must be numbers; text and missing values need named columns "
            f"(a csv file, a dict or a DataFrame). Received: {received}"
        )
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim == 0 or 0 in array.shape:
        raise DataError(f"{where}: there must be at least one row and one feature. Received: shape {array.shape}")
    return np.ascontiguousarray(array)


def _unique(where: str, names: list[Any]) -> list[Any]:
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise DataError(f"{where}: every column must have a name of its own. Received: {twice[0]!r} twice")
    return names


def checked(where: str, x: Any, y: Any, *, missing_allowed: bool) -> tuple[Rows, Features, dict[str, str]]:
    """Rows and targets in their canonical form, as many of the one as of the other.

    Args:
        where: the data's place, for messages.
        x: rows, as ``canonical_rows`` takes them.
        y: targets, as ``canonical_target`` takes them, or a dict of them by the names of outputs.
        missing_allowed: whether rows in one array may hold NaN. Only ``preprocess: none`` passes them on.

    Raises:
        DataError: see there; or the lengths differ.
    """
    rows, renamed = canonical_rows(where, x)
    if not isinstance(rows, Mapping):
        _check_values(where, rows, missing_allowed)
    elif not are_columns(rows):
        for name, array in rows.items():
            _check_values(f"{where}: input {name!r}", array, missing_allowed)
    target = _targets(where, y)
    if row_count(rows) != row_count(target):
        raise DataError(
            f"{where}: there must be one target a row. Received: {row_count(rows)} rows and {row_count(target)} targets"
        )
    return rows, target, renamed


def _check_values(where: str, rows: Array, missing_allowed: bool) -> None:
    """Refuse infinite numbers in an array, and missing ones unless they are allowed."""
    check_finite(f"{where}: the rows", rows)
    if not missing_allowed and rows.dtype.kind == "f" and np.isnan(rows).any():
        row = int(np.argwhere(np.isnan(rows))[0][0])
        raise DataError(
            f"{where}: missing values need named columns (a csv file, a dict or a DataFrame); there they are "
            f"filled in inside the model. Received: NaN in row {row}"
        )


def _targets(where: str, y: Any) -> Features:
    """The target, or that of each output where they come by name."""
    if not isinstance(y, Mapping):
        return canonical_target(where, y)
    if len(y) < 2:
        received = ", ".join(map(str, y)) or "none"
        raise DataError(f"{where}: targets by name must be two or more (one needs no name). Received: {received}")
    check_names(where, "an output", y)
    targets = {name: canonical_target(f"{where}: output {name!r}", value) for name, value in y.items()}
    check_lengths(f"{where}: the targets of all outputs", targets)
    return targets


def target_names(y: Any) -> tuple[str, ...]:
    """The names that a pandas target brings, else none."""
    if hasattr(y, "columns"):
        return tuple(map(str, y.columns))
    return (str(y.name),) if getattr(y, "name", None) is not None and hasattr(y, "to_numpy") else ()


def resolve(directory: Path, path: Path) -> Path:
    """A path of the spec, counted from the directory of its file.

    Raises:
        DataError: there is no such file.
    """
    full = directory / path.expanduser()
    if not full.is_file():
        raise DataError(
            f"{full}: the data file must exist. Received: {'a folder' if full.is_dir() else 'no such file'}"
        )
    return full
