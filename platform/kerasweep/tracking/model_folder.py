"""A model as MLflow keeps it: a folder that can be served from raw rows."""

from __future__ import annotations

import importlib.metadata
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kerasweep.errors import DeliveryError
from kerasweep.records import Metrics

if TYPE_CHECKING:
    from mlflow.models import Model, ModelSignature

_REQUIRED = ("tensorflow", "keras", "numpy", "pandas", "mlflow")
_EXAMPLE_ROWS = 5


@dataclass(frozen=True)
class Delivered:
    """A model that is ready to be registered.

    Attributes:
        study: id of the study it came from.
        network: a ``.keras`` file, from raw rows to predictions. Its inputs are one array, several by name, or named
            columns as a dict of ``(rows, 1)`` tensors (numbers, or strings).
        example: a few raw rows: an array ``(rows, ...)``, several by name, or a pandas DataFrame.
        classes: labels in the order of their indices; empty for regression.
        metrics: on the test split.
        outputs: the classes of each of several outputs, by name; empty for one output.
    """

    study: str
    network: Path
    example: Any
    classes: tuple[str, ...]
    metrics: Metrics
    outputs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def save(folder: Path, delivered: Delivered, run_id: str, model_id: str) -> None:
    """Write the model as MLflow keeps it, after it has predicted the example.

    Raises:
        DeliveryError: the file cannot be read, or the model refuses the example.
    """
    import keras
    import numpy as np
    from mlflow.models import Model

    try:
        network = keras.saving.load_model(delivered.network, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises whatever its layers raise
        raise DeliveryError(f"a model to register must load from its .keras file. Received: {error}") from error
    entry = Model(run_id=run_id, model_id=model_id)
    try:
        if isinstance(delivered.example, np.ndarray) and not delivered.outputs:
            _save_array_model(folder, network, delivered.example[:_EXAMPLE_ROWS], entry)
        else:
            _save_named_model(folder, network, delivered, entry)
    except Exception as error:  # as above; a model that cannot take its own raw rows is not to be served
        raise DeliveryError(f"a model to register must predict its example rows. Received: {error}") from error


def _save_array_model(folder: Path, network: Any, example: Any, entry: Model) -> None:
    import mlflow.keras
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types.schema import Schema, TensorSpec

    inputs = getattr(network, "inputs", None)  # a subclassed model has none until it is called
    example = np.asarray(example, dtype=inputs[0].dtype if inputs else "float32")
    predicted = network.predict(example, verbose=0)
    inputs = Schema([TensorSpec(example.dtype, (-1, *example.shape[1:]))])
    outputs = Schema([TensorSpec(predicted.dtype, (-1, *predicted.shape[1:]))])
    folder.mkdir()
    mlflow.keras.save_model(
        network,
        str(folder),
        mlflow_model=entry,
        signature=ModelSignature(inputs, outputs),
        input_example=example,
        pip_requirements=_requirements(),
    )


def _save_named_model(folder: Path, network: Any, delivered: Delivered, entry: Model) -> None:
    import mlflow.pyfunc

    example = _example(network, delivered.example)
    outputs = _output_columns(network, delivered)
    with _without_hints():
        mlflow.pyfunc.save_model(
            str(folder),
            mlflow_model=entry,
            python_model=str(Path(__file__).with_name("served_model.py")),
            artifacts={"network": str(delivered.network)},
            model_config={"outputs": outputs},
            signature=_signature(network, example, [column for _, columns in outputs for column in columns]),
            input_example=example,
            pip_requirements=_requirements(),
        )
        mlflow.pyfunc.load_model(str(folder)).predict(example)


def _example(network: Any, rows: Any) -> Any:
    """A few raw rows; arrays in the types of the inputs that take them."""
    import numpy as np

    if isinstance(rows, Mapping):
        return {name: np.asarray(rows[name][:_EXAMPLE_ROWS], each.dtype) for name, each in network.input.items()}
    if isinstance(rows, np.ndarray):
        return np.asarray(rows[:_EXAMPLE_ROWS], network.inputs[0].dtype)
    return rows.head(_EXAMPLE_ROWS)


def _output_columns(network: Any, delivered: Delivered) -> list[tuple[str, list[str]]]:
    """Of each output its name and those of its columns, which begin with it if there are several; see ``RawRows``."""
    if not delivered.outputs:
        return [("", _output_names(int(network.outputs[0].shape[-1]), delivered.classes))]
    columns = []
    for name, classes in delivered.outputs.items():
        units = int(network.output[name].shape[-1])
        labels = classes if len(classes) == units else range(units)
        columns.append((name, [name] if units == 1 else [f"{name}_{label}" for label in labels]))
    return columns


def _signature(network: Any, example: Any, outputs: list[str]) -> ModelSignature:
    """Arrays have their types; of columns, text is strings, and all others are of any type.

    MLflow refuses whole numbers in a column of doubles, missing values in one of whole numbers, and numbers in one
    of strings, which a category may well be.
    """
    import keras
    from mlflow.models import ModelSignature
    from mlflow.types import DataType
    from mlflow.types.schema import AnyType, ColSpec, Schema, TensorSpec
    from pandas.api.types import is_numeric_dtype

    predicted = Schema([ColSpec(DataType.float, name=name) for name in outputs])
    if isinstance(example, Mapping):
        arrays = [TensorSpec(each.dtype, (-1, *each.shape[1:]), name) for name, each in example.items()]
        return ModelSignature(Schema(arrays), predicted)
    if not hasattr(example, "columns"):
        return ModelSignature(Schema([TensorSpec(example.dtype, (-1, *example.shape[1:]))]), predicted)
    named = {} if isinstance(network, keras.Sequential) else network.input  # a dict when columns have names
    texts = {name for name, tensor in named.items() if tensor.dtype == "string"} if isinstance(named, dict) else set()
    columns = [
        ColSpec(
            DataType.string if name in texts and not is_numeric_dtype(example[name].dtype) else AnyType(), name=name
        )
        for name in map(str, example.columns)
    ]
    return ModelSignature(Schema(columns), predicted)


def _output_names(units: int, classes: tuple[str, ...]) -> list[str]:
    """The probability of a class is named after the class; a binary network's only one after the second class."""
    if len(classes) == units:
        return list(classes)
    if units == 1:
        return [classes[1]] if len(classes) == 2 else ["prediction"]
    return [f"prediction_{index}" for index in range(units)]


def _requirements() -> list[str]:
    """The installed versions, pinned; MLflow's own inference would load the model in another process for 14 s."""
    return [f"{package}=={importlib.metadata.version(package)}" for package in _REQUIRED]


@contextmanager
def _without_hints() -> Iterator[None]:
    """MLflow advises type hints on ``predict``; the signature says more than they could."""
    logger = logging.getLogger("mlflow.pyfunc")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
