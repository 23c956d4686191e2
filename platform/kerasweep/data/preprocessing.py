"""From raw rows to the features a network's body takes.

What is fitted is plain numbers and names, found with NumPy on the training split alone; ``Preprocessing.model`` turns
them into a Keras model of stock layers, the only implementation of the transformation. It becomes the first part of the
delivered model, which therefore takes raw rows and loads without kerasweep.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from kerasweep.data.columns import Kind, kind_of, plain_values, text_of
from kerasweep.data.rows import Array, Features, Rows, are_columns, row_count, take
from kerasweep.data.scaling import ArrayScaling, fit_array, safe_variance
from kerasweep.errors import DataError

if TYPE_CHECKING:
    import keras

MAX_LEVELS = 100
"""Categories that get a feature of their own; rarer ones share the feature of the unknown."""

_BATCH = 8192
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RawInput:
    """One input of the preprocessing model.

    Attributes:
        name: of the input, and of the raw column; ``rows`` for an unnamed array.
        source: what the user calls the column, where that is no legal name of an input.
        shape: of one row.
        dtype: ``float32`` or ``string``.
    """

    name: str
    source: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Number:
    """A column of numbers, or of truth values as 0 and 1: ``(x - mean) / sqrt(variance)``.

    Attributes:
        name: of the input.
        source: the user's name of the column.
        mean: 0 for truth values.
        variance: 1 for truth values, and for numbers that do not vary in the training split.
        fill: stands in for a missing value, before the standardisation: the training split's mean (for truth values
            the share of true ones). None passes NaN on.
        indicator: whether a feature tells missing (1) from present (0): it does when the training split lacks a value.
    """

    name: str
    source: str
    mean: float
    variance: float
    fill: float | None
    indicator: bool


@dataclass(frozen=True)
class Category:
    """A column of text, one-hot: first the unknown, then the missing (if it has a feature), then the levels.

    A missing value has its own feature when the training split has missing values; otherwise it counts as unknown.

    Attributes:
        name: of the input.
        source: the user's name of the column.
        levels: by frequency in the training split, then by name; at most ``MAX_LEVELS``.
        missing: whether missing values have their own feature.
    """

    name: str
    source: str
    levels: tuple[str, ...]
    missing: bool

    @property
    def width(self) -> int:
        """Its number of features."""
        return 1 + self.missing + len(self.levels)


@dataclass(frozen=True)
class Part:
    """One of a network's several inputs.

    Attributes:
        name: of the input.
        features: it takes, by their positions.
    """

    name: str
    features: tuple[int, ...]


@dataclass(frozen=True)
class Preprocessing:
    """How raw rows become float32 features; frozen, picklable and free of TensorFlow until ``model`` is called.

    Features of named columns come in this order: all numbers, the indicators of missing numbers, then the categories.

    Attributes:
        array: for rows that are one array; None for others.
        arrays: for rows that are several arrays by name, each of which is an input of the network.
        numbers: columns of numbers and truth values.
        categories: columns of text.
        parts: the inputs among which the features of one array, or of columns, are shared out; empty for one input.
    """

    array: ArrayScaling | None = None
    arrays: tuple[tuple[str, ArrayScaling], ...] = ()
    numbers: tuple[Number, ...] = ()
    categories: tuple[Category, ...] = ()
    parts: tuple[Part, ...] = ()

    @property
    def feature_shape(self) -> tuple[int, ...]:
        """The shape of one row's features before they are shared out: an array keeps its own, columns become a vector.

        Of several arrays it is that of the vector they would be together.
        """
        if self.arrays:
            return (sum(math.prod(scaling.shape) for _, scaling in self.arrays),)
        if self.array is not None:
            return self.array.shape
        indicators = sum(number.indicator for number in self.numbers)
        return (len(self.numbers) + indicators + sum(category.width for category in self.categories),)

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of one row of each of a network's inputs, by name; empty for one input, which needs no name."""
        return {name: scaling.shape for name, scaling in self.arrays} | {
            part.name: (len(part.features),) for part in self.parts
        }

    @property
    def inputs(self) -> tuple[RawInput, ...]:
        """What the preprocessing model takes: one array or several, or one input ``(1,)`` per named column."""
        if self.arrays:
            return tuple(RawInput(name, name, scaling.shape, "float32") for name, scaling in self.arrays)
        if self.array is not None:
            return (RawInput("rows", "rows", self.array.shape, "float32"),)
        return (
            *(RawInput(number.name, number.source, (1,), "float32") for number in self.numbers),
            *(RawInput(category.name, category.source, (1,), "string") for category in self.categories),
        )

    def features_of(self, name: str) -> tuple[int, ...]:
        """Which features a named column becomes, by position: a number and its indicator, or a category's one-hot ones.

        Raises:
            KeyError: there is no such input.
        """
        told = [number.name for number in self.numbers if number.indicator]
        found: dict[str, tuple[int, ...]] = {number.name: (i,) for i, number in enumerate(self.numbers)}
        start = len(found)
        found |= {each: (*found[each], start + i) for i, each in enumerate(told)}
        start += len(told)
        for category in self.categories:
            found[category.name] = tuple(range(start, start + category.width))
            start += category.width
        return found[name]

    def model(self) -> keras.Model:
        """A new Keras model: raw rows -> features ``(rows, …)`` float32, or a dict of them for several inputs.

        Raw rows are an array, or a dict by name: of arrays, or of columns ``(rows, 1)``.

        It holds stock Keras layers and operations only, nothing trainable, so ``.keras`` files of it load in safe mode
        and without kerasweep.
        """
        from kerasweep.data.layers import preprocessing_model

        return preprocessing_model(self)


def fit(
    rows: Rows, *, automatic: bool = True, sources: Mapping[str, str] | None = None, where: str = "the data"
) -> Preprocessing:
    """Fit the preprocessing on the training split.

    Args:
        rows: raw training rows.
        automatic: ``data.preprocess: auto``; False passes the rows on as they are, as float32.
        sources: the user's name of a column whose input is called otherwise.
        where: the data's place, for messages.

    Raises:
        DataError: a column has no value at all; or text columns, without ``automatic``.
    """
    if not isinstance(rows, Mapping):
        return Preprocessing(array=fit_array(rows, automatic))
    if not are_columns(rows):
        return Preprocessing(arrays=tuple((name, fit_array(array, automatic)) for name, array in rows.items()))
    sources = sources or {}
    numbers, categories = [], []
    for name, column in rows.items():
        source = sources.get(name, name)
        kind = kind_of(column)
        if kind is not Kind.TEXT:
            numbers.append(_fit_number(name, source, column, kind, automatic, where))
        elif automatic:
            categories.append(_fit_category(name, source, column, where))
        else:
            raise DataError(f"{where}: preprocess: none takes columns of numbers only. Received: text in {source!r}")
    return Preprocessing(numbers=tuple(numbers), categories=tuple(categories))


def refit(preprocessing: Preprocessing, rows: Rows) -> Preprocessing:
    """The same preprocessing with the means and variances of other rows.

    Features and their meaning stay: which categories and indicators there are, and how bytes are scaled. A column that
    has no value in these rows keeps its numbers.

    Args:
        preprocessing: fitted with ``automatic``.
        rows: raw, as ``fit`` takes them.
    """
    if not isinstance(rows, Mapping):
        return replace(preprocessing, array=fit_array(rows, automatic=True))
    if not are_columns(rows):
        return replace(preprocessing, arrays=fit(rows).arrays)
    numbers = []
    for number in preprocessing.numbers:
        column = rows[number.name]
        if not np.isnan(as_numbers(number.source, column, np.float64)).all():
            fresh = _fit_number(number.name, number.source, column, kind_of(column), True, number.source)
            number = replace(fresh, indicator=number.indicator)
        numbers.append(number)
    return replace(preprocessing, numbers=tuple(numbers))


def _fit_number(name: str, source: str, column: Array, kind: Kind, automatic: bool, where: str) -> Number:
    values = as_numbers(source, column, np.float64)
    missing = np.isnan(values)
    if not automatic:
        return Number(name, source, 0.0, 1.0, fill=None, indicator=False)
    if missing.all():
        raise _no_value(where, source)
    mean = values[~missing].mean()
    indicator = bool(missing.any())
    if kind is Kind.TRUTH:
        return Number(name, source, 0.0, 1.0, float(mean), indicator)
    return Number(name, source, float(mean), float(safe_variance(mean, values[~missing].var())), float(mean), indicator)


def _fit_category(name: str, source: str, column: Array, where: str) -> Category:
    present = [value for value in column if value is not None]
    if not present:
        raise _no_value(where, source)
    levels, counts = np.unique(np.array(present, dtype=object), return_counts=True)
    order = sorted(range(len(levels)), key=lambda index: (-counts[index], levels[index]))
    kept = order[:MAX_LEVELS]
    if len(kept) < len(order):
        share = 1 - counts[kept].sum() / len(present)
        _log.warning(
            "%s: column %r has %d categories; the %d most frequent are told apart, the others (%.0f %% of the training "
            "rows) count as unknown",
            where, source, len(order), MAX_LEVELS, 100 * share,
        )  # fmt: skip
    return Category(name, source, tuple(str(levels[index]) for index in kept), missing=len(present) < len(column))


def _no_value(where: str, source: str) -> DataError:
    return DataError(
        f"{where}: every feature column must have a value in the training split. Received: none in {source!r} "
        "(leave the column out)"
    )


def as_numbers(name: str, column: Any, dtype: type[np.floating[Any]] = np.float32) -> Array:
    """A column of numbers or truth values as floats ``(rows,)``, NaN where it is missing.

    Raises:
        DataError: a value is no number.
    """
    array = plain_values(column)
    if array.dtype.kind not in "biufO":
        raise DataError(f"column {name!r} must hold numbers. Received: {array.dtype}")
    array = array.reshape(len(array), -1)[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    if array.ndim != 1:
        raise DataError(f"column {name!r} must have one value a row. Received: shape {array.shape}")
    if array.dtype.kind != "O":
        return array.astype(dtype)
    try:
        return np.array([np.nan if value is None else float(value) for value in array], dtype=dtype)
    except (TypeError, ValueError) as error:
        raise DataError(f"column {name!r} must hold numbers. Received: {error}") from None


def as_inputs(rows: Any, preprocessing: Preprocessing) -> Any:
    """Raw rows as the preprocessing model takes them.

    Args:
        rows: an array ``(rows, …)``; several by name in a dict; or columns by name in a dict or DataFrame, under the
            input's name or the user's own. Missing numbers are NaN or None; missing text is None, NaN or empty. Further
            columns are not looked at.
        preprocessing: says which inputs there are.

    Returns:
        A float32 array ``(rows, …)``, a dict of several, or a dict of TensorFlow tensors ``(rows, 1)``, float32 and
        string: Keras takes no text in NumPy arrays, and no mixture of arrays and tensors. ``Model.predict`` and a
        SavedModel take either.

    Raises:
        DataError: a column is missing, or the shape or a type does not fit.
    """
    if preprocessing.array is not None:
        return _array_input(rows, preprocessing.array.shape)
    if not hasattr(rows, "keys") or not hasattr(rows, "__getitem__"):
        form = "arrays by name, in a dict" if preprocessing.arrays else "columns by name, in a dict or a DataFrame"
        raise DataError(f"the rows must be {form}. Received: {type(rows).__name__}")
    present = set(rows.keys())
    lacking = [raw.source for raw in preprocessing.inputs if raw.name not in present and raw.source not in present]
    if lacking:
        raise DataError(f"the rows must have the columns the model was trained on. Received: rows without {lacking}")
    result: dict[str, Any] = {}
    for raw in preprocessing.inputs:
        column = rows[raw.name if raw.name in present else raw.source]
        if preprocessing.arrays:
            result[raw.name] = _array_input(column, raw.shape)
        else:
            result[raw.name] = _text_input(column) if raw.dtype == "string" else _number_input(raw.source, column)
    lengths = {name: len(column) for name, column in result.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(f"all columns must have the same length. Received: {lengths}")
    return result


def _array_input(rows: Any, shape: tuple[int, ...]) -> Array:
    array = plain_values(rows)
    if array.ndim == 1 and shape == (1,):
        array = array[:, None]
    if array.dtype.kind not in "biuf" or array.shape[1:] != shape:
        raise DataError(
            f"the rows must be one numeric array of shape (rows, {', '.join(map(str, shape))}). "
            f"Received: shape {array.shape}, {array.dtype}"
        )
    return array.astype(np.float32, copy=False)


def _number_input(name: str, column: Any) -> Any:
    import tensorflow as tf

    return tf.constant(as_numbers(name, column)[:, None])


def _text_input(column: Any) -> Any:
    """A string tensor ``(rows, 1)``; a missing value is the empty text, which no category can be."""
    import tensorflow as tf

    values = plain_values(column).ravel()
    return tf.constant([[text_of(value) or ""] for value in values], dtype=tf.string, shape=(len(values), 1))


def transform(preprocessing: Preprocessing, rows: Rows) -> Features:
    """The features of raw rows, float32 ``(rows, *feature_shape)``: the preprocessing model run batch by batch.

    For a network of several inputs they are a dict, each ``(rows, …)`` of ``Preprocessing.shapes``.

    Raises:
        DataError: the rows are not such as the preprocessing was fitted on.
    """
    model = preprocessing.model()
    count = row_count(rows)
    shapes = preprocessing.shapes or {"": preprocessing.feature_shape}
    features = {name: np.empty((count, *shape), dtype=np.float32) for name, shape in shapes.items()}
    for start in range(0, count, _BATCH):
        batch = model(as_inputs(take(rows, slice(start, start + _BATCH)), preprocessing), training=False)
        for name, values in (batch if preprocessing.shapes else {"": batch}).items():
            features[name][start : start + _BATCH] = np.asarray(values)
    return features if preprocessing.shapes else features[""]
