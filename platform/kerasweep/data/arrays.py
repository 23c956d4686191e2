"""Data that are arrays already: NumPy archives, the user's own function, and what is handed in from Python."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kerasweep.data.rows import Array
from kerasweep.data.sources import Raw, checked, resolve, target_names
from kerasweep.errors import DataError
from kerasweep.spec.importing import import_function
from kerasweep.spec.pipeline import DataSpec

IN_MEMORY = "memory:arrays"
"""What ``data.python`` says of arrays that were handed in from Python: they are in no file to be read again."""


def read_memory(spec: DataSpec, memory: Any) -> Raw:
    """Arrays handed in from Python."""
    if memory is None:
        raise DataError(
            "data passed as arrays are not kept: pass them again, as data=(x, y). Received: a study without them"
        )
    return _from_returned("the arrays passed in", memory, spec)


def read_python(spec: DataSpec, directory: Path) -> Raw:
    """What the user's ``module:function`` returns: ``(x, y)``, or ``((x_train, y_train), (x_test, y_test))``.

    Raises:
        DataError: it cannot be imported, raises, or returns something else.
    """
    reference = str(spec.python)
    try:
        function = import_function(reference, directory)
    except ImportError as error:
        raise DataError(str(error)) from error
    try:
        returned = function()
    except Exception as error:
        raise DataError(
            f"{reference}: the function must return the data. Received: {type(error).__name__}: {error}"
        ) from error
    return _from_returned(reference, returned, spec)


def _from_returned(where: str, returned: Any, spec: DataSpec) -> Raw:
    if not isinstance(returned, tuple | list) or len(returned) != 2:
        size = f" of {len(returned)}" if isinstance(returned, tuple | list) else ""
        raise DataError(
            f"{where}: data must be (x, y) or ((x_train, y_train), (x_test, y_test)). "
            f"Received: {type(returned).__name__}{size}"
        )
    first, second = returned
    own_test: Callable[[], tuple[Any, Any]] | None = None
    if all(isinstance(part, tuple) and len(part) == 2 for part in (first, second)):
        x, y = first

        def own_test() -> tuple[Any, Any]:
            return second[0], second[1]

    else:
        x, y = first, second
    rows, target, renamed = checked(where, x, y, missing_allowed=spec.preprocess == "none")
    return Raw(rows, target, where, targets=target_names(y), renamed=renamed, own_test=own_test)


def read_npz(spec: DataSpec, directory: Path) -> Raw:
    """A NumPy archive with ``x`` (or ``X``) and ``y``, or with ``x_train, y_train, x_test, y_test``.

    Raises:
        DataError: it cannot be read, lacks an array, or holds pickled objects, which are never loaded.
    """
    path = resolve(directory, Path(str(spec.npz)))
    return npz_raw(path, str(spec.npz), spec)


def npz_raw(path: Path, where: str, spec: DataSpec) -> Raw:
    """The archive at this path; see ``read_npz``."""
    names = npz_names(path)
    if {"x_train", "y_train", "x_test", "y_test"} <= names:
        x, y = npz_arrays(path, "x_train", "y_train")
        rows, target, renamed = checked(where, x, y, missing_allowed=spec.preprocess == "none")
        return Raw(rows, target, where, renamed=renamed, own_test=lambda: npz_arrays(path, "x_test", "y_test"))
    key = "x" if "x" in names else "X"
    if not {key, "y"} <= names:
        raise DataError(
            f"{path}: the archive must hold x (or X) and y, or x_train, y_train, x_test and y_test. "
            f"Received: {', '.join(sorted(names)) or 'nothing'}"
        )
    x, y = npz_arrays(path, key, "y")
    rows, target, renamed = checked(where, x, y, missing_allowed=spec.preprocess == "none")
    return Raw(rows, target, where, renamed=renamed)


def npz_names(path: Path) -> set[str]:
    """The names of an archive's arrays."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {name.removesuffix(".npy") for name in archive.namelist()}
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: the file must be a NumPy archive (.npz). Received: {error}") from error


def npz_arrays(path: Path, x: str, y: str) -> tuple[Array, Array]:
    """Two arrays of an archive; the others are not read."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return archive[x], archive[y]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path}: its arrays must be whole, and hold no Python objects. Received: {error}") from error
