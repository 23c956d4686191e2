"""The doors of this room: what a search may see, and the test split that is judged with once."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kerasweep.data.arrays import IN_MEMORY, read_memory, read_npz, read_python
from kerasweep.data.base import SearchData, Split
from kerasweep.data.fingerprint import fingerprint
from kerasweep.data.folds import deal, made_folds
from kerasweep.data.named import read_named
from kerasweep.data.preprocessing import fit
from kerasweep.data.rows import Array, Features, Rows, are_columns, concatenate, row_count, take
from kerasweep.data.several import Targets, encoded, facts_of, main_of, named, outputs_of, shared_out, targets_of
from kerasweep.data.sources import Raw, checked
from kerasweep.data.splits import Indices, split
from kerasweep.data.tables import read_csv
from kerasweep.errors import DataError
from kerasweep.seeds import derive
from kerasweep.spec.pipeline import DataSpec
from kerasweep.spec.vocabulary import Task

_log = logging.getLogger(__name__)


def load_search(spec: DataSpec, directory: Path, memory: Any = None, folds: int | None = None) -> SearchData:
    """Read the data and keep the training and validation splits.

    Where the data bring a test split of their own, its files are not opened; otherwise its rows are dropped here.

    Args:
        spec: the data section of a pipeline file.
        directory: where its relative paths and modules are.
        memory: features, targets and perhaps weights handed in from Python, when ``spec.python`` is ``IN_MEMORY``.
        folds: of a cross-validation over the rows of both splits; None for none.

    Raises:
        DataError: the data cannot be found, read or understood; says which rule they break, and where.
    """
    raw = _read(spec, directory, memory)
    target = targets_of(raw, spec)
    y = encoded(raw.where, raw.y, target)
    indices = _indices(raw, y, target, spec)
    train, validation = _part(raw, y, indices.train), _part(raw, y, indices.validation)
    splits: list[tuple[Array, Array]] = []
    if folds is not None:
        own = concatenate(train.y, validation.y)
        rows = len(train) + len(validation)
        splits = deal(rows, _classes(own, target), folds, derive(spec.seed, "split", "folds"), raw.where)
    return _search_data(raw, target, spec, train, validation, splits)


def load_folds(spec: DataSpec, memory: tuple[Any, ...], folds: int | Sequence[tuple[Array, Array]]) -> SearchData:
    """Arrays for a cross-validation over all of their rows, without a test split.

    Args:
        spec: the data section of a pipeline; its source is ``IN_MEMORY``.
        memory: features, targets and perhaps weights.
        folds: how many, or of each the numbers of the rows to train and to validate on.

    Raises:
        DataError: see ``load_search``.
    """
    raw = read_memory(spec, memory)
    target = targets_of(raw, spec)
    everything = _part(raw, encoded(raw.where, raw.y, target), slice(None))
    if isinstance(folds, int):
        classes = _classes(everything.y, target)
        folds = deal(len(everything), classes, folds, derive(spec.seed, "split", "folds"), raw.where)
    none = _part(raw, everything.y, slice(0))
    return _search_data(raw, target, spec, everything, none, folds)


def _search_data(
    raw: Raw,
    target: Targets,
    spec: DataSpec,
    train: Split,
    validation: Split,
    splits: Sequence[tuple[Array, Array]],
) -> SearchData:
    for chosen, name in raw.renamed.items():
        _log.info("%s: column %r is the model's input %r", raw.where, name, chosen)
    automatic = spec.preprocess == "auto"
    preprocessing = shared_out(fit(train.x, automatic=automatic, sources=raw.renamed, where=raw.where), raw)
    return SearchData(
        train=train,
        validation=validation,
        preprocessing=preprocessing,
        facts=facts_of(raw, target),
        fingerprint=fingerprint(raw.x, raw.y, spec, raw.weights),
        source=_source(spec),
        folds=made_folds(concatenate(train.x, validation.x), splits, preprocessing, automatic=automatic),
    )


def load_test(spec: DataSpec, directory: Path, search: SearchData, memory: Any = None) -> Split:
    """Read the test split that belongs to what ``load_search`` returned for the same arguments.

    Raises:
        DataError: see ``load_search``; or the data have changed since.
    """
    raw = _read(spec, directory, memory)
    found = fingerprint(raw.x, raw.y, spec, raw.weights)
    if found != search.fingerprint:
        raise DataError(
            f"{raw.where}: the data must be what the search saw, fingerprint {search.fingerprint[:12]}…. "
            f"Received: {found[:12]}…"
        )
    target = targets_of(raw, spec)
    if raw.own_test is None:
        y = encoded(raw.where, raw.y, target)
        return _part(raw, y, _indices(raw, y, target, spec).test)
    where = f"{raw.where}: test split"
    x, raw_y, _ = checked(where, *raw.own_test(), missing_allowed=spec.preprocess == "none")
    if raw.inputs and isinstance(raw.x, Mapping) and isinstance(x, Mapping):
        x = {name: column for name, column in x.items() if name in raw.x}
    _check_alike(where, raw.x, x)
    return Split(x, encoded(where, outputs_of(where, raw_y, spec), target))


def _part(raw: Raw, y: Features, rows: Array | slice) -> Split:
    return Split(take(raw.x, rows), take(y, rows), None if raw.weights is None else raw.weights[rows])


def _source(spec: DataSpec) -> str:
    return "arrays in memory" if spec.python == IN_MEMORY else spec.source


def _read(spec: DataSpec, directory: Path, memory: Any) -> Raw:
    return named(_as_read(spec, directory, memory), spec, _source(spec))


def _as_read(spec: DataSpec, directory: Path, memory: Any) -> Raw:
    if spec.name is not None:
        return read_named(spec)
    if spec.csv is not None:
        return read_csv(spec, directory)
    if spec.npz is not None:
        return read_npz(spec, directory)
    if spec.python == IN_MEMORY:
        return read_memory(spec, memory)
    return read_python(spec, directory)


def _indices(raw: Raw, y: Features, target: Targets, spec: DataSpec) -> Indices:
    return split(
        row_count(y),
        _classes(y, target),
        spec,
        raw.where,
        own_test=raw.own_test is not None,
        validation_rows=raw.validation_rows,
    )


def _classes(y: Features, targets: Targets) -> Array | None:
    """The class of each row ``(rows,)`` to stratify by, None where there are none."""
    own, target = main_of(y, targets)
    return own.reshape(-1) if target.task in (Task.BINARY, Task.MULTICLASS) else None


def _check_alike(where: str, train: Rows, test: Rows) -> None:
    """Refuse a test split whose columns or shape are not those of the training rows."""
    if isinstance(train, Mapping) and isinstance(test, Mapping):
        if tuple(train) != tuple(test):
            what = "columns" if are_columns(train) else "inputs"
            raise DataError(f"{where}: the {what} must be the training data's, {list(train)}. Received: {list(test)}")
        if not are_columns(train):
            for name, array in train.items():
                _check_alike(f"{where}: input {name!r}", array, test[name])
        return
    shapes = ["columns" if isinstance(rows, Mapping) else f"shape {rows.shape[1:]}" for rows in (train, test)]
    if shapes[0] != shapes[1]:
        raise DataError(f"{where}: the rows must be like the training data's, {shapes[0]}. Received: {shapes[1]}")
