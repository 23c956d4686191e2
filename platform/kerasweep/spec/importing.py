"""Imports what a user's file names as ``module:function``. (``spec.builders`` reads it without importing.)"""

from __future__ import annotations

import importlib
import sys
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from kerasweep.errors import one_of
from kerasweep.spec.builders import is_hypermodel


def import_function(reference: str, directory: Path) -> Any:
    """The function (or KerasTuner's ``HyperModel``) that ``module:function`` names.

    Args:
        reference: as in ``model.builder`` and ``data.python``.
        directory: of the pipeline file; see ``import_module``.

    Raises:
        ImportError: the module cannot be imported or has no such function; the message says which and why.
    """
    module_name, _, name = reference.partition(":")
    try:
        module = import_module(module_name, directory)
    except Exception as error:
        raise ImportError(
            f"{reference}: the module must be importable from {directory}, {Path.cwd()} or the Python path. "
            f"Received: {type(error).__name__}: {error}"
        ) from error
    function: Any = getattr(module, name, None)
    if not callable(function) and not is_hypermodel(function):
        names = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise ImportError(f"{reference}: {one_of('the function', name, names or ['(the module has none)'])}")
    return function


def import_module(name: str, directory: Path) -> ModuleType:
    """Imports a module from this directory, else the working directory, else ``sys.path``.

    Both directories stay on the path, for what the module itself imports later. A module of the same name that was
    imported from elsewhere before does not stand in for it.

    Raises:
        Exception: whatever the import raises.
    """
    places = [str(directory.resolve()), str(Path.cwd())]
    sys.path[:] = [*places, *(place for place in sys.path if place not in places)]
    top = name.partition(".")[0]
    found = PathFinder.find_spec(top, places)
    if found is not None and found.origin is not None:
        known = sys.modules.get(top)
        if known is not None and getattr(known, "__file__", None) != found.origin:
            for key in [key for key in sys.modules if key == top or key.startswith(f"{top}.")]:
                del sys.modules[key]
    importlib.invalidate_caches()
    return importlib.import_module(name)
