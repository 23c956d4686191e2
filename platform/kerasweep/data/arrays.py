"""Data that are arrays already: NumPy archives, the user's own function, and what is handed in from Python."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kerasweep.data.rows import Array, row_count
from kerasweep.data.sources import Raw, checked, resolve, target_names
from kerasweep.data.weights import canonical_weights
from kerasweep.errors import DataError
from kerasweep.spec.importing import import_function
from kerasweep.spec.pipeline import DataSpec

IN_MEMORY = "memory:arrays"
"""What ``data.python`` says of arrays that were handed in from Python: they are in no file to be read again."""


def read_memory(spec: DataSpec, memory: Any) -> Raw:
    """Arrays handed in from Python."""
    if memory is None:
        raise DataError(
            "data passed as arrays are not kept: pass them again, as data=(x, y) or (x, y, weights). "
            "Received: a study without them"
        )
    return _from_returned("the arrays passed in", memory, spec)


def read_python(spec: DataSpec, directory: Path) -> Raw:
    """What the user's ``module:function`` returns: ``(x, y)``, or ``((x_train, y_train), (x_test, y_test))``.

    A third array after ``y`` or ``y_train`` holds the weights of the rows.

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
    if not isinstance(returned, tuple | list) or len(returned) not in (2, 3):
        size = f" of {len(returned)}" if isinstance(returned, tuple | list) else ""
        raise DataError(
            f"{where}: data must be (x, y), (x, y, weights) or ((x_train, y_train), (x_test, y_test)), with weights "
            f"after y_train if any. Received: {type(returned).__name__}{size}"
        )
    x, y, *weights = returned
    own_test: Callable[[], tuple[Any, Any]] | None = None
    if len(returned) == 2 and all(isinstance(part, tuple) for part in returned):
        train, test = returned
        if len(train) in (2, 3) and len(test) == 2:
            x, y, *weights = train

            def own_test() -> tuple[Any, Any]:
                return test[0], test[1]

        elif len(train) in (2, 3) and len(test) == 3:
            raise DataError(
                f"{where}: the test split must be (x_test, y_test), since every test row counts once. "
                "Received: three arrays"
            )
    names = target_names(y)
    return _raw(where, x, y, weights[0] if weights else None, spec, targets=names, own_test=own_test)


def _raw(where: str, x: Any, y: Any, weights: Any, spec: DataSpec, **known: Any) -> Raw:
    rows, target, renamed = checked(where, x, y, missing_allowed=spec.preprocess == "none")
    own = None if weights is None else canonical_weights(where, weights, row_count(target))
    return Raw(rows, target, where, renamed=renamed, weights=own, **known)


def read_npz(spec: DataSpec, directory: Path) -> Raw:
    """A NumPy archive with ``x`` (or ``X``) and ``y``, or with ``x_train, y_train, x_test, y_test``.

    Weights of the rows are an array ``w`` or ``sample_weight``; beside ``x_train``, ``w_train`` or
    ``sample_weight_train``.

    Raises:
        DataError: it cannot be read, lacks an array, or holds pickled objects, which are never loaded.
    """
    path, where = resolve(directory, Path(str(spec.npz))), str(spec.npz)
    names = npz_names(path)
    if {"x_train", "y_train", "x_test", "y_test"} <= names:
        weights = _npz_weights(path, names, "_train")
        x, y, *given = npz_arrays(path, "x_train", "y_train", *weights)
        return _raw(where, x, y, given[0] if given else None, spec, own_test=lambda: _npz_test(path))
    key = "x" if "x" in names else "X"
    if not {key, "y"} <= names:
        raise DataError(
            f"{path}: the archive must hold x (or X) and y, or x_train, y_train, x_test and y_test. "
            f"Received: {', '.join(sorted(names)) or 'nothing'}"
        )
    x, y, *given = npz_arrays(path, key, "y", *_npz_weights(path, names, ""))
    return _raw(where, x, y, given[0] if given else None, spec)


def _npz_test(path: Path) -> tuple[Array, Array]:
    x, y = npz_arrays(path, "x_test", "y_test")
    return x, y


def _npz_weights(path: Path, names: set[str], suffix: str) -> list[str]:
    """The name of the array that holds weights, if there is one."""
    found = [name for name in (f"w{suffix}", f"sample_weight{suffix}") if name in names]
    if len(found) > 1:
        raise DataError(f"{path}: the archive must hold one array of weights. Received: {' and '.join(found)}")
    return found


def npz_names(path: Path) -> set[str]:
    """The names of an archive's arrays."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {name.removesuffix(".npy") for name in archive.namelist()}
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: the file must be a NumPy archive (.npz). Received: {error}") from error


def npz_arrays(path: Path, *names: str) -> tuple[Array, ...]:
    """Arrays of an archive; the others are not read."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return tuple(archive[name] for name in names)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path}: its arrays must be whole, and hold no Python objects. Received: {error}") from error
