"""Raw rows: one array, or named columns. What every room does with them is here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kerasweep.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

    from kerasweep.data.base import Facts

Array = NDArray[Any]
Rows = Array | Mapping[str, Array]
"""Either one array ``(rows, ...)``, or columns by name, each ``(rows,)``: float, integer or bool, or object holding
``str`` (text) or ``bool`` with None where a value is missing. A missing number is NaN. Or several arrays by name, each
``(rows, …)`` of two axes or more, which are the inputs of a network of several."""
Features = Array | Mapping[str, Array]
"""What a network takes, or its targets: one array ``(rows, …)``, or one for each of its inputs or outputs by name."""


def row_count(rows: Rows) -> int:
    """How many rows there are."""
    if isinstance(rows, Mapping):
        return row_count(next(iter(rows.values()))) if rows else 0
    return int(rows.shape[0])  # len() of a tensor inside a compiled program is not known


def are_columns(rows: Rows) -> bool:
    """Whether rows are named columns: not arrays, which have two axes or more."""
    return isinstance(rows, Mapping) and all(column.ndim == 1 for column in rows.values())


def take(rows: Rows, indices: Array | slice) -> Rows:
    """The rows at these indices, in that order (a slice gives a view)."""
    if isinstance(rows, Mapping):
        return {name: column[indices] for name, column in rows.items()}
    return rows[indices]


def head(rows: Rows, n: int) -> Rows:
    """The first ``n`` rows, all of them when there are fewer."""
    return take(rows, slice(0, max(n, 0)))


def concatenate(a: Rows, b: Rows) -> Rows:
    """The rows of ``a``, then those of ``b``; both must have the same columns or the same shape.

    Raises:
        DataError: they do not.
    """
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        if set(a) != set(b):
            raise DataError(f"rows to join must have the same columns. Received: {sorted(a)} and {sorted(b)}")
        return {name: np.concatenate([column, b[name]]) for name, column in a.items()}
    if isinstance(a, Mapping) or isinstance(b, Mapping):
        raise DataError("rows to join must both be arrays or both be named columns. Received: one of each")
    if a.shape[1:] != b.shape[1:]:
        raise DataError(f"rows to join must have the same shape. Received: {a.shape[1:]} and {b.shape[1:]}")
    return np.concatenate([a, b])


def to_frame(rows: Rows, facts: Facts) -> pd.DataFrame:
    """The rows as a table, for signatures, examples and CSV files.

    Args:
        rows: raw rows.
        facts: give the order of named columns.

    Returns:
        One line a row. Columns keep their names; an array's are ``x0, x1, …`` in C order, so an image of 28 by
        28 pixels has 784 of them.
    """
    import pandas as pd

    if isinstance(rows, Mapping):
        return pd.DataFrame({name: rows[name] for name in facts.columns or tuple(rows)})
    flat = rows.reshape(len(rows), -1)
    return pd.DataFrame(flat, columns=[f"x{index}" for index in range(flat.shape[1])])
