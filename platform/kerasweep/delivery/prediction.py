"""Predictions of a model that takes raw rows, whatever form the rows have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kerasweep.data.base import Array, Rows
from kerasweep.data.columns import text_of
from kerasweep.data.preprocessing import as_numbers
from kerasweep.errors import DeliveryError

if TYPE_CHECKING:
    import keras

# Large enough that the cost of a call vanishes, small enough that a batch of images fits into any memory.
_BATCH_ROWS = 1024


def predict(model: keras.Model, rows: Rows) -> NDArray[np.float64]:
    """What the one output of a model predicts, ``(rows, outputs)`` in double precision; see ``predict_each``.

    Raises:
        DeliveryError: see there; or the model has several outputs.
    """
    predictions = predict_each(model, rows)
    if len(predictions) > 1:
        raise DeliveryError(f"this needs a model of one output. Received: {', '.join(predictions)}")
    return next(iter(predictions.values()))


def predict_each(model: keras.Model, rows: Rows) -> dict[str, NDArray[np.float64]]:
    """Predicts all rows, in batches.

    Args:
        model: from raw rows to predictions, as ``assemble`` makes it or a file gives it back.
        rows: one array ``(rows, ...)``, several by name, or named columns, each ``(rows,)``.

    Returns:
        Output -> ``(rows, outputs)`` in double precision; the only one has an empty name.

    Raises:
        DeliveryError: a column that the model needs is missing, or there are no rows.
    """
    import tensorflow as tf

    inputs = model_inputs(model, rows)
    total = len(next(iter(inputs.values())))
    if total == 0:
        raise DeliveryError("a prediction needs at least one row. Received: none")
    parts: dict[str, list[Array]] = {}
    for start in range(0, total, _BATCH_ROWS):
        batch = {name: tf.constant(array[start : start + _BATCH_ROWS]) for name, array in inputs.items()}
        # Called directly: a model that predicts once or twice in its life is not worth tracing, as Model.predict does.
        predicted = model(batch if takes_columns(model) else batch[_only(batch)], training=False)
        for name, values in (predicted if isinstance(predicted, Mapping) else {"": predicted}).items():
            parts.setdefault(name, []).append(np.asarray(values))
    return {name: as_matrix(np.concatenate(each).astype(np.float64)) for name, each in parts.items()}


def as_matrix(predictions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Predictions ``(rows, outputs)`` of a model that may give one number a row."""
    return predictions[:, None] if predictions.ndim == 1 else predictions


def takes_columns(model: keras.Model) -> bool:
    """Whether the model takes a dictionary, of columns or of arrays, rather than one array."""
    return isinstance(model.input, Mapping)


def named_inputs(model: keras.Model) -> dict[str, Any]:
    """The model's symbolic inputs by name; one array goes by the name of its input layer."""
    return dict(model.input) if takes_columns(model) else {model.inputs[0].name: model.input}


def model_inputs(model: keras.Model, rows: Rows) -> dict[str, Array]:
    """Raw rows in the types and shapes of the model's inputs, by the names of ``named_inputs``.

    Raises:
        DeliveryError: a column is missing, or columns meet a model of one array or the other way round.
    """
    wanted = named_inputs(model)
    if isinstance(rows, Mapping) != takes_columns(model):
        form = "columns or arrays by name" if takes_columns(model) else "one array"
        raise DeliveryError(f"this model takes {form}. Received: {type(rows).__name__}")
    given = rows if isinstance(rows, Mapping) else {_only(wanted): rows}
    if missing := [name for name in wanted if name not in given]:
        raise DeliveryError(f"rows must have the model's inputs. Received: none called {', '.join(missing)}")
    return {name: _as_input(name, given[name], tensor) for name, tensor in wanted.items()}


def _as_input(name: str, array: Array, tensor: Any) -> Array:
    """An array in the type and shape of an input; a missing text is empty, a missing number NaN."""
    if tensor.dtype == "string":
        texts = [text_of(value) or "" for value in array.ravel()]
        array = np.array(texts, dtype=object)
    elif array.dtype.kind == "O":  # truth values with gaps
        array = as_numbers(name, array)
    else:
        array = array.astype(tensor.dtype, copy=False)
    return array[..., np.newaxis] if array.ndim + 1 == len(tensor.shape) else array


def _only(mapping: Mapping[str, Any]) -> str:
    return next(iter(mapping))
