"""The model registry: versions of a model under one name, and the alias that points to the best."""

from __future__ import annotations

import importlib.metadata
import json
import logging
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kerasweep.errors import DeliveryError, TrackingError
from kerasweep.records import Metrics
from kerasweep.tracking import layout
from kerasweep.tracking.mlflow_store import MlflowStore
from kerasweep.tracking.opening import connect, translated
from kerasweep.tracking.uris import redact

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.models import Model, ModelSignature

_TEST = "test_"
_CLASSES = "kerasweep.classes"
_REQUIRED = ("tensorflow", "keras", "numpy", "pandas", "mlflow")
_EXAMPLE_ROWS = 5


@dataclass(frozen=True)
class Delivered:
    """A model that is ready to be registered.

    Attributes:
        study: id of the study it came from.
        network: a ``.keras`` file, from raw rows to predictions. Its inputs are one array, or named columns as a
            dict of ``(rows, 1)`` tensors (numbers, or strings).
        example: a few raw rows: an array ``(rows, ...)``, or a pandas DataFrame.
        classes: labels in the order of their indices; empty for regression.
        metrics: on the test split.
    """

    study: str
    network: Path
    example: Any
    classes: tuple[str, ...]
    metrics: Metrics


@dataclass(frozen=True)
class Champion:
    """The version that an alias points to, with its test metrics."""

    version: int
    metrics: Metrics


class Registry:
    """Registered models of one store. The decision whether an alias moves is the caller's.

    Args:
        uri: a resolved address.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri

    def champion(self, name: str, alias: str) -> Champion | None:
        """The version under an alias, None if there is none.

        Raises:
            TrackingError: the store does not answer.
        """
        client = connect(self._uri, create=False)
        if client is None:
            return None
        from mlflow.exceptions import MlflowException

        with translated(self._uri):
            try:
                version = client.get_model_version_by_alias(name, alias)
            except MlflowException as error:
                if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                    return None
                raise
        metrics = {
            layout.unquote(tag.removeprefix(_TEST)): float(value)
            for tag, value in version.tags.items()
            if tag.startswith(_TEST)
        }
        return Champion(int(version.version), metrics)

    def register(self, name: str, delivered: Delivered) -> int:
        """Log the model to its study and add it to the registry as a new version.

        Afterwards ``mlflow models serve -m models:/NAME/VERSION`` answers requests with raw rows. A model of one
        array is of MLflow's keras flavour; one of a DataFrame's columns is a small pyfunc around the ``.keras``
        file, because that flavour takes neither text nor named columns.

        Returns:
            The new version's number.

        Raises:
            DeliveryError: the model cannot be read, or refuses the example.
            StudyNotFound: the study is not in the store.
            TrackingError: the store does not answer.
        """
        run_id = MlflowStore(self._uri).run_id(delivered.study)
        client = connect(self._uri, create=False)
        if client is None:
            raise TrackingError(f"a model's study must be in the store. Received: no store at {redact(self._uri)}")
        with tempfile.TemporaryDirectory(prefix="kerasweep-model-") as scratch:
            folder = Path(scratch) / "model"
            with translated(self._uri):
                experiment = client.get_run(run_id).info.experiment_id
                model_id = _create_logged_model(client, experiment, name, run_id)
            try:
                _save(folder, delivered, run_id, model_id)
            except Exception:
                client.finalize_logged_model(model_id, "FAILED")
                raise
            with translated(self._uri):
                return self._publish(client, name, delivered, _Logged(run_id, model_id, folder))

    def move_alias(self, name: str, alias: str, version: int) -> None:
        """Point an alias to a version.

        Raises:
            TrackingError: there is no such version, or the store does not answer.
        """
        client = connect(self._uri, create=False)
        if client is None:
            raise TrackingError(f"an alias points to a registered version. Received: no store at {redact(self._uri)}")
        with translated(self._uri):
            client.set_registered_model_alias(name, alias, str(version))

    def _publish(self, client: MlflowClient, name: str, delivered: Delivered, logged: _Logged) -> int:
        from mlflow.entities import LoggedModelOutput
        from mlflow.exceptions import MlflowException

        client.log_model_artifacts(logged.model_id, str(logged.folder))
        client.finalize_logged_model(logged.model_id, "READY")
        client.log_outputs(logged.run_id, [LoggedModelOutput(logged.model_id, step=0)])
        try:
            client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        tags = {
            layout.STUDY: delivered.study,
            **({_CLASSES: json.dumps(delivered.classes)} if delivered.classes else {}),
            **{f"{_TEST}{layout.quote(metric)}": repr(float(value)) for metric, value in delivered.metrics.items()},
        }
        # Not "models:/ID", which a database store resolves with the process's global address instead of its own.
        source = client.get_logged_model(logged.model_id).artifact_location
        version = client.create_model_version(name, source, logged.run_id, tags, model_id=logged.model_id)
        # The link from the logged model's page to its version.
        link = json.dumps([{"name": name, "version": version.version}])
        client.set_logged_model_tags(logged.model_id, {"mlflow.modelVersions": link})
        return int(version.version)


@dataclass(frozen=True)
class _Logged:
    """A model's files on their way into the store."""

    run_id: str
    model_id: str
    folder: Path


def _create_logged_model(client: MlflowClient, experiment: str, name: str, run_id: str) -> str:
    plain = re.sub(
        r"[^\w-]", "-", name
    )  # the name of a logged model takes fewer characters than that of a registered one
    return str(client.create_logged_model(experiment, name=plain, source_run_id=run_id, model_type="keras").model_id)


def _save(folder: Path, delivered: Delivered, run_id: str, model_id: str) -> None:
    """Write the model as MLflow keeps it, after it has predicted the example.

    Raises:
        DeliveryError: the file cannot be read, or the model refuses the example.
    """
    import keras
    import numpy as np
    from mlflow.models import Model

    try:
        network = keras.saving.load_model(delivered.network, compile=False)
    except Exception as error:  # Keras raises whatever its layers raise
        raise DeliveryError(f"a model to register must load from its .keras file. Received: {error}") from error
    entry = Model(run_id=run_id, model_id=model_id)
    try:
        if isinstance(delivered.example, np.ndarray):
            _save_array_model(folder, network, delivered.example[:_EXAMPLE_ROWS], entry)
        else:
            _save_table_model(folder, network, delivered, entry)
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


def _save_table_model(folder: Path, network: Any, delivered: Delivered, entry: Model) -> None:
    import mlflow.pyfunc

    example = delivered.example.head(_EXAMPLE_ROWS)
    outputs = _output_names(int(network.outputs[0].shape[-1]), delivered.classes)
    with _without_hints():
        mlflow.pyfunc.save_model(
            str(folder),
            mlflow_model=entry,
            python_model=str(Path(__file__).with_name("served_model.py")),
            artifacts={"network": str(delivered.network)},
            model_config={"outputs": outputs},
            signature=_table_signature(network, example, outputs),
            input_example=example,
            pip_requirements=_requirements(),
        )
        mlflow.pyfunc.load_model(str(folder)).predict(example)


def _table_signature(network: Any, example: Any, outputs: list[str]) -> ModelSignature:
    """Text columns are strings, all others of any type.

    MLflow refuses whole numbers in a column of doubles, missing values in one of whole numbers, and numbers in one
    of strings, which a category may well be.
    """
    import keras
    from mlflow.models import ModelSignature
    from mlflow.types import DataType
    from mlflow.types.schema import AnyType, ColSpec, Schema
    from pandas.api.types import is_numeric_dtype

    named = {} if isinstance(network, keras.Sequential) else network.input  # a dict when columns have names
    texts = {name for name, tensor in named.items() if tensor.dtype == "string"} if isinstance(named, dict) else set()
    columns = [
        ColSpec(
            DataType.string if name in texts and not is_numeric_dtype(example[name].dtype) else AnyType(), name=name
        )
        for name in map(str, example.columns)
    ]
    return ModelSignature(Schema(columns), Schema([ColSpec(DataType.float, name=name) for name in outputs]))


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
