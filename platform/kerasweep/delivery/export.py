"""Writes a model in the formats asked for; none counts before it was read back and agreed with the original."""

from __future__ import annotations

import importlib.util
import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kerasweep.data.base import Facts, Rows
from kerasweep.data.rows import head
from kerasweep.delivery.formats import FORMATS, Format, output_name
from kerasweep.delivery.prediction import as_matrix, named_inputs, predict_each
from kerasweep.errors import DeliveryError, MissingExtra, one_of

if TYPE_CHECKING:
    import keras

_PARITY_ROWS = 256
_DRAFT = ".writing-"
# Single precision keeps seven digits; converters reorder sums, which may cost the last three.
_RELATIVE = 1e-4
_OF_LARGEST = 1e-5


def check_formats(formats: Sequence[str], *, categories: bool = False, body: keras.Model | None = None) -> None:
    """Whether these formats can hold this model, before anything is trained or written.

    Without ``body`` this loads neither TensorFlow nor Keras.

    Args:
        formats: of ``spec.vocabulary.EXPORT_FORMATS``.
        categories: whether any raw column holds text or categories.
        body: a network as the user's builder makes it, trained or not; None for a built-in family.

    Raises:
        DeliveryError: a format cannot; the message says which can.
        MissingExtra: a format needs a package that is not installed.
    """
    problems = [one_of("an export format", name, FORMATS) for name in formats if name not in FORMATS]
    known = {name: FORMATS[name] for name in formats if name in FORMATS}
    if unable := [name for name, form in known.items() if categories and not form.categories]:
        able = ", ".join(name for name, form in FORMATS.items() if form.categories)
        problems.append(f"columns of text or categories need one of the formats {able}. Received: {', '.join(unable)}")
    if body is not None and "keras" in known and (reason := _not_loadable(body)):
        problems.append(
            "a model for the keras format must be made of Keras's own layers, or of classes registered with "
            "keras.saving.register_keras_serializable that have a get_config; the other formats take any model. "
            f"Received: {reason}"
        )
    if problems:
        raise DeliveryError("\n".join(problems))
    for name, form in known.items():
        if any(importlib.util.find_spec(package) is None for package in form.packages):
            raise MissingExtra(f"the export format {name}", name)


def _not_loadable(body: keras.Model) -> str | None:
    """Why the network's structure does not survive a ``.keras`` file in safe mode, None if it does."""
    import keras

    try:
        structure = json.loads(json.dumps(keras.saving.serialize_keras_object(body)))
        keras.saving.deserialize_keras_object(structure, safe_mode=True)
    except Exception as error:  # any class of the user's may raise anything here
        return f"{type(body).__name__}: {_first_line(error)}"
    return None


def export(model: keras.Model, formats: Sequence[str], folder: Path, rows: Rows, facts: Facts) -> dict[str, Path]:
    """Writes a model of raw rows in several formats.

    Each format is written beside its final place, read back, compared with the original on up to 256 real rows, and
    only then moved there; what stood there before is replaced as a whole, or stays when anything goes wrong.

    Args:
        model: from raw rows to predictions.
        formats: of ``spec.vocabulary.EXPORT_FORMATS``.
        folder: for the exports; created if missing.
        rows: real raw rows to compare on.
        facts: of the data; they name the output.

    Returns:
        Format -> path.

    Raises:
        DeliveryError: a format cannot hold the model; nothing was written. Or one could not be written or read back,
            or does not agree; the others were tried, and the message names those in place.
        MissingExtra: a format needs a package that is not installed; nothing was written.
    """
    check_formats(formats, categories=any(tensor.dtype == "string" for tensor in named_inputs(model).values()))
    folder.mkdir(parents=True, exist_ok=True)
    paths: dict[str, Path] = {}
    problems = []
    for name in formats:
        try:
            paths[name] = _export_one(model, name, folder, head(rows, _PARITY_ROWS), facts)
        except DeliveryError as error:
            problems.append(str(error))
    if problems:
        written = f"In place: {', '.join(map(str, paths.values()))}." if paths else "Nothing was put in place."
        raise DeliveryError("\n".join([*problems, written]))
    return paths


def clear_drafts(folder: Path) -> None:
    """Removes what a process that was killed had not finished; nobody else may write into the folder now."""
    for draft in folder.glob(f"{_DRAFT}*"):
        shutil.rmtree(draft, ignore_errors=True)


def _export_one(model: keras.Model, name: str, folder: Path, rows: Rows, facts: Facts) -> Path:
    form = FORMATS[name]
    final = folder / form.file
    scratch = Path(tempfile.mkdtemp(prefix=_DRAFT, dir=folder))
    try:
        draft = scratch / form.file
        try:
            form.write(model, draft, output_name(facts))
        except Exception as error:  # each converter has errors of its own
            raise DeliveryError(
                f"a model must be convertible to be exported as {name}. "
                f"Received: {type(error).__name__}: {_first_line(error)}"
            ) from error
        compare(model, name, draft, rows)
        _replace(draft, final, aside=scratch / "replaced")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return final


def compare(model: keras.Model, name: str, path: Path, rows: Rows) -> float:
    """Reads an export back and compares its predictions with the model's, both computed on the CPU.

    A difference counts from 1e-4 of the value plus 1e-5 of the largest prediction.

    Args:
        model: the original.
        name: of the format.
        path: of the export.
        rows: raw rows to predict, at least one.

    Returns:
        The largest absolute difference.

    Raises:
        DeliveryError: it cannot be read, or differs.
    """
    import tensorflow as tf

    with tf.device("/CPU:0"):  # a GPU rounds products more coarsely (TF32) than the formats' own runtimes do
        expected = predict_each(model, rows)
        received = _read_back(FORMATS[name], name, path, model, rows)
    if len(expected) == 1:  # whatever the format calls it
        received = dict(zip(expected, received.values(), strict=False))
    if set(received) != set(expected):
        raise DeliveryError(
            f"{path.name} must give the outputs {', '.join(expected)} when it is read back. "
            f"Received: {', '.join(received)}"
        )
    return max(_difference(path, received[output], values) for output, values in expected.items())


def _difference(path: Path, received: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference between one output's predictions."""
    if received.shape != expected.shape:
        raise DeliveryError(
            f"{path.name} must give predictions of shape {expected.shape} when it is read back. "
            f"Received: {received.shape}"
        )
    # NaN or infinity in the same place is agreement: the export is faithful, whatever the model is worth.
    finite = np.isfinite(expected)
    largest = float(np.abs(expected[finite]).max(initial=0.0))
    difference = float(np.abs(received - expected)[finite].max(initial=0.0))
    if not np.allclose(received, expected, rtol=_RELATIVE, atol=_OF_LARGEST * largest, equal_nan=True):
        raise DeliveryError(
            f"{path.name} must predict what the model predicts when it is read back. "
            f"Received: predictions that differ by up to {difference:.3g}, where the largest is {largest:.3g}"
        )
    return difference


def _read_back(form: Format, name: str, path: Path, model: keras.Model, rows: Rows) -> dict[str, np.ndarray]:
    try:
        received = form.read(path, model, rows)
        return {output: as_matrix(np.asarray(values, dtype=np.float64)) for output, values in received.items()}
    except Exception as error:  # each runtime has errors of its own
        raise DeliveryError(
            f"an export as {name} must be readable. Received: {path.name}: {type(error).__name__}: {_first_line(error)}"
        ) from error


def _replace(draft: Path, final: Path, aside: Path) -> None:
    """Moves the draft to its place; the old export is moved aside first, and back if that fails."""
    if not final.exists():
        draft.rename(final)
    elif final.is_dir() or draft.is_dir():
        final.rename(aside)  # a directory cannot be renamed over one that is not empty
        try:
            draft.rename(final)
        except OSError:
            aside.rename(final)
            raise
    else:
        draft.replace(final)


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
