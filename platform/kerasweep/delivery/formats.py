"""The formats a model can be delivered in: how each is written, and how it is read back and asked to predict.

Reading back goes the way a user's program will: ``keras.models.load_model`` in safe mode, the serving signature of a
SavedModel, ONNX Runtime, the LiteRT interpreter. All but ``.keras`` take every raw column as an input of its name, with
shape ``(rows, 1)``, or every array of several, and give one output (see ``output_name``), or several by their names.
"""

from __future__ import annotations

import logging
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kerasweep.data.base import Array, Facts, Rows
from kerasweep.delivery.prediction import model_inputs, named_inputs, predict_each, takes_columns

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Format:
    """One export format.

    Attributes:
        file: its name inside the export folder.
        write: writes a model of raw rows to a path, with this name for its output, if that is the only one.
        read: loads the path and predicts raw rows, output by output; the model tells it their types and shapes.
        categories: whether it can hold the lookup tables that text and categorical columns need.
        packages: it needs besides kerasweep's own dependencies.
    """

    file: str
    write: Callable[[keras.Model, Path, str], None]
    read: Callable[[Path, keras.Model, Rows], Mapping[str, Array]]
    categories: bool
    packages: tuple[str, ...] = ()


def output_name(facts: Facts) -> str:
    """The target's name when there is one target that can be an identifier, else ``predictions``."""
    if len(facts.targets) == 1 and re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", facts.targets[0]):
        return facts.targets[0]
    return "predictions"


def _write_keras(model: keras.Model, path: Path, output: str) -> None:
    model.save(path)


def _read_keras(path: Path, model: keras.Model, rows: Rows) -> Mapping[str, Array]:
    import keras

    return predict_each(keras.models.load_model(path, compile=False, safe_mode=True), rows)


def _write_saved_model(model: keras.Model, path: Path, output: str) -> None:
    import keras

    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serve", _endpoint(model, output), input_signature=[_signature(model)])
    with _quiet():
        archive.write_out(str(path), verbose=False)


def _read_saved_model(path: Path, model: keras.Model, rows: Rows) -> Mapping[str, Array]:
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))
    tensors = {name: tf.constant(array) for name, array in model_inputs(model, rows).items()}
    return _arrays(loaded.signatures["serving_default"](**tensors))


def _write_onnx(model: keras.Model, path: Path, output: str) -> None:
    import onnx
    import tensorflow as tf
    import tf2onnx

    signature = _signature(model)
    function = tf.function(_endpoint(model, output), input_signature=[signature])
    concrete = function.get_concrete_function()
    with _quiet():
        proto, _ = tf2onnx.convert.from_function(function, [signature])
    # Constants made outside the function, such as the mean and variance of a Normalization layer, are captured, and
    # tf2onnx turns what is captured into inputs that nobody could feed. Here they become constants again.
    arguments = len(concrete.inputs) - len(concrete.captured_inputs)
    names = [tensor.name for tensor in concrete.inputs[arguments:]]
    captured = dict(zip(names, concrete.captured_inputs, strict=True))
    for value in [value for value in proto.graph.input if value.name in captured]:
        proto.graph.input.remove(value)
        # A constant that was folded into another one is no longer asked for.
        if any(value.name.encode() in node.SerializeToString() for node in proto.graph.node):
            proto.graph.initializer.append(onnx.numpy_helper.from_array(captured[value.name].numpy(), value.name))
    onnx.checker.check_model(proto)
    onnx.save(proto, str(path))


def _read_onnx(path: Path, model: keras.Model, rows: Rows) -> Mapping[str, Array]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, model_inputs(model, rows)), strict=True))


def _write_litert(model: keras.Model, path: Path, output: str) -> None:
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:
        _write_saved_model(model, Path(folder), output)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        # Only LiteRT's own operations: what needs TensorFlow's could not be read back here, nor run on most devices.
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        with _quiet():
            path.write_bytes(converter.convert())


def _read_litert(path: Path, model: keras.Model, rows: Rows) -> Mapping[str, Array]:
    import tensorflow as tf

    with warnings.catch_warnings():
        # TensorFlow announces the interpreter's move to a package of its own; until then this one is the reference.
        warnings.filterwarnings("ignore", message=r"\s*Warning: tf.lite.Interpreter is deprecated")
        # From memory, where it verifies the file first; given a path, it reads a damaged one until it crashes.
        interpreter = tf.lite.Interpreter(model_content=path.read_bytes())
    return _arrays(interpreter.get_signature_runner()(**model_inputs(model, rows)))


FORMATS: Mapping[str, Format] = {
    "keras": Format("model.keras", _write_keras, _read_keras, categories=True),
    "saved_model": Format("saved_model", _write_saved_model, _read_saved_model, categories=True),
    "onnx": Format(
        "model.onnx", _write_onnx, _read_onnx, categories=False, packages=("onnx", "tf2onnx", "onnxruntime")
    ),
    "litert": Format("model.tflite", _write_litert, _read_litert, categories=True),
}


def _signature(model: keras.Model) -> Any:
    """The types of the raw rows, in the structure the model takes."""
    import tensorflow as tf

    specs = {name: tf.TensorSpec((None, *t.shape[1:]), t.dtype, name) for name, t in named_inputs(model).items()}
    return specs if takes_columns(model) else _only_value(specs)


def _endpoint(model: keras.Model, output: str) -> Callable[[Any], dict[str, Any]]:
    def serve(rows: Any) -> dict[str, Any]:
        predicted = model(rows, training=False)
        return dict(predicted) if isinstance(predicted, Mapping) else {output: predicted}

    return serve


def _arrays(outputs: Mapping[str, Any]) -> dict[str, Array]:
    return {name: np.asarray(values) for name, values in outputs.items()}


def _only_value(mapping: Mapping[str, Any]) -> Any:
    (value,) = mapping.values()
    return value


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences what the converters log, even about models that convert well; failures come as exceptions."""
    loggers = [logging.getLogger(name) for name in ("absl", "tensorflow", "tf2onnx")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
