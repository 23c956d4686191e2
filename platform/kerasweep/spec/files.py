"""The files that a specification names: are they where they may be, and do they hold what is asked of them?

Only names are read here (a CSV file's header line, an archive's index), so checking costs the same for any amount of
data.
"""

from __future__ import annotations

import csv
import difflib
import os
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from kerasweep.errors import Problem
from kerasweep.spec.pipeline import DataSpec

_PROJECT_MARKS = (".git", "pyproject.toml", "mlruns")
_SHOWN_COLUMNS = 12


def project_of(directory: Path) -> Path:
    """The project a pipeline file's directory belongs to.

    The nearest directory, from this one upwards, that holds ``.git``, ``pyproject.toml`` or ``mlruns``; without any,
    the parent of this one.
    """
    for candidate in (directory, *directory.parents):
        if any((candidate / mark).exists() for mark in _PROJECT_MARKS):
            return candidate
    return directory.parent


def located(given: str | Path, directory: Path) -> Path:
    """A path of the specification as an absolute one; relative ones count from ``directory``."""
    return Path(os.path.normpath(directory / given))


def leaves_project(given: str | Path, directory: Path) -> str | None:
    """The message for a relative path that leads out of the project, else None."""
    if Path(given).is_absolute():
        return None
    project = project_of(directory)
    if located(given, directory).is_relative_to(project):
        return None
    return (
        f"a relative path must stay inside the project {project}; an absolute path may leave it. "
        f"Received: {str(given)!r}"
    )


def check_files(data: DataSpec, directory: Path) -> Iterator[Problem]:
    """What is wrong with the file that ``data`` names; the problems' paths begin with ``data``."""
    for key, given in (("csv", data.csv), ("npz", data.npz)):
        if given is None:
            continue
        message = leaves_project(given, directory) or _not_a_file(located(given, directory), given)
        if message is not None:
            yield Problem(message, ("data", key))
        elif key == "npz":
            yield from _check_archive(located(given, directory))
        else:
            yield from _check_table(located(given, directory), data)


def _not_a_file(path: Path, given: Path) -> str | None:
    if os.path.isfile(path):
        return None
    received = f"the directory {str(given)!r}" if os.path.isdir(path) else repr(str(given))
    return f"a data file must exist. Received: {received}"


def _check_archive(path: Path) -> Iterator[Problem]:
    try:
        with zipfile.ZipFile(path) as archive:
            arrays = [name.removesuffix(".npy") for name in archive.namelist()]
    except (zipfile.BadZipFile, OSError) as error:
        yield Problem(f"{path.name} must be a NumPy archive. Received: {error}", ("data", "npz"))
        return
    forms = ({"x", "y"}, {"X", "y"}, {"x_train", "y_train", "x_test", "y_test"})
    if not any(form <= set(arrays) for form in forms):
        received = ", ".join(arrays[:_SHOWN_COLUMNS]) or "no arrays"
        rule = f"{path.name} must hold the arrays x (or X) and y, or x_train, y_train, x_test and y_test"
        yield Problem(f"{rule}. Received: {received}", ("data", "npz"))


def _check_table(path: Path, data: DataSpec) -> Iterator[Problem]:
    try:
        columns = header_of(path)
    except ValueError as error:
        yield Problem(str(error), ("data", "csv"))
        return
    if repeated := [name for name, count in Counter(columns).items() if count > 1]:
        message = f"the columns of {path.name} must have different names. Received: {repeated[0]!r} twice"
        yield Problem(message, ("data", "csv"))
    targets = data.targets
    weights = [] if data.weights is None else [data.weights]
    outputs = data.outputs if isinstance(data.outputs, Mapping) else {}
    named: dict[tuple[str, ...], str | list[str] | None] = {
        ("target",): data.target,
        **{("outputs", name): of_output for name, of_output in outputs.items()},
        ("weights",): data.weights,
        ("features",): data.features,
        ("categorical",): data.categorical,
    }
    for (key, *below), given in named.items():
        for position, name in enumerate([given] if isinstance(given, str) else given or []):
            place: tuple[str | int, ...] = ("data", key, *below)
            place = place if isinstance(given, str) else (*place, position)
            if name not in columns:
                yield Problem(_unknown_column(name, columns, path.name), place)
            elif key not in ("target", "outputs") and name in targets:
                yield Problem(f"{key} must not name a target. Received: {name!r}", place)
            elif key in ("features", "categorical") and name in weights:
                yield Problem(f"{key} must not name the column of weights. Received: {name!r}", place)
            elif key == "categorical" and data.features is not None and name not in data.features:
                yield Problem(f"categorical must name features. Received: {name!r}", place)
    if data.features == [] or not set(columns) - {*targets, *weights}:
        where = ("data", "csv") if data.features is None else ("data", "features")
        yield Problem("there must be at least one feature beside the target. Received: none", where)


def header_of(path: Path) -> list[str]:
    """The column names of a CSV file; only its first record is read.

    Raises:
        ValueError: it has no header, is not UTF-8, or cannot be read. The message is a rule and what was received.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            columns = next(csv.reader(file), [])
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise ValueError(f"{path.name} must be UTF-8 text. Received: byte 0x{byte:02x}") from None
    except (csv.Error, OSError) as error:
        raise ValueError(f"{path.name} must be a CSV file. Received: {error}") from None
    if not columns:
        raise ValueError(f"{path.name} must begin with a header line. Received: an empty line")
    return columns


def _unknown_column(name: str, columns: Sequence[str], file: str) -> str:
    near = difflib.get_close_matches(name, columns, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    more = f", … ({len(columns)} in all)" if len(columns) > _SHOWN_COLUMNS else ""
    listed = ", ".join(columns[:_SHOWN_COLUMNS]) + more
    return f"a column must be in the header of {file}: {listed}.{hint} Received: {name!r}"
