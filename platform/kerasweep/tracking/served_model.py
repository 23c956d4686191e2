"""What a registered model runs when it is served: raw rows in, predictions out.

MLflow copies this file into the model and runs it there (``mlflow.models.set_model``). Hence it imports nothing of
kerasweep: whoever serves the model needs only the packages in its requirements.
"""

from __future__ import annotations

import re
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

_WHOLE = re.compile(r"([+-]?\d+)\.0*")


class RawRows(PythonModel):  # type: ignore[misc]  # MLflow leaves its base class untyped
    """A ``.keras`` model of named columns, each ``(rows, 1)``, of one array, or of several by name.

    Its outputs are told by ``model_config``: a pair for each, of its name and of the names of its columns. The name of
    the only one is empty.
    """

    def load_context(self, context: PythonModelContext) -> None:
        """Load the network, and the names of its outputs."""
        self._network = keras.saving.load_model(context.artifacts["network"], compile=False, safe_mode=True)
        self._outputs: list[tuple[str, list[str]]] = [tuple(pair) for pair in context.model_config["outputs"]]

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Predict one line a row.

        Args:
            context: of MLflow; unused.
            model_input: a DataFrame of raw rows, in which None, NaN and empty text stand for missing values; or an
                array ``(rows, …)``, or a dict of them. MLflow knows no type hint for these, and warns of any other.
            params: unused.

        Returns:
            A column for each number that the network predicts.
        """
        rows: Any = model_input
        index = rows.index if isinstance(rows, pd.DataFrame) else None
        predicted = self._network.predict(self._batch(rows), verbose=0)
        columns: dict[str, Any] = {}
        for name, labels in self._outputs:
            values = np.asarray(predicted[name] if isinstance(predicted, dict) else predicted)
            columns |= dict(zip(labels, values.reshape(len(values), -1).T, strict=True))
        return pd.DataFrame(columns, index=index)

    def _batch(self, rows: Any) -> Any:
        """Rows as the network takes them."""
        if isinstance(rows, dict):
            return {name: np.asarray(rows[name], tensor.dtype) for name, tensor in self._network.input.items()}
        if not isinstance(rows, pd.DataFrame):
            return np.asarray(rows, self._network.inputs[0].dtype)
        # A Sequential model has one input, but no ``input`` before its first call.
        single = isinstance(self._network, keras.Sequential)
        expected = self._network.inputs[0] if single else self._network.input
        if isinstance(expected, dict):
            return {name: _column(name, rows[name], tensor.dtype) for name, tensor in expected.items()}
        flat = np.concatenate([_column(name, rows[name], "float32") for name in rows.columns], axis=1)
        return flat.reshape(len(rows), *expected.shape[1:])


def _column(name: str, values: Any, dtype: str) -> Any:
    """One raw column as the tensor ``(rows, 1)`` that the network takes: text with "" for missing, numbers with NaN."""
    if dtype == "string":
        return tf.constant([[_text(value)] for value in values])
    try:
        numbers = pd.to_numeric(values.where(values.notna() & (values.astype(object) != ""), np.nan))
    except (TypeError, ValueError):
        raise ValueError(f"column {name!r} must hold numbers. Received: {values.tolist()[:3]!r}") from None
    return numbers.to_numpy(dtype=dtype, na_value=np.nan).reshape(-1, 1)


def _text(value: Any) -> str:
    """The name of a category: 3, 3.0 and "3.0" are all "3", as they were in training."""
    if pd.isna(value):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    whole = _WHOLE.fullmatch(str(value))
    return whole.group(1) if whole else str(value)


set_model(RawRows())
