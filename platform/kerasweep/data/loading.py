"""The two doors of this room: what a search may see, and the test split that is judged with once."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kerasweep.data.arrays import IN_MEMORY, read_memory, read_npz, read_python
from kerasweep.data.base import Facts, SearchData, Split
from kerasweep.data.fingerprint import fingerprint
from kerasweep.data.named import read_named
from kerasweep.data.preprocessing import fit
from kerasweep.data.rows import Array, Rows, take
from kerasweep.data.sources import Raw, checked
from kerasweep.data.splits import Indices, split
from kerasweep.data.tables import read_csv
from kerasweep.data.targets import Target, decide, encode
from kerasweep.errors import DataError
from kerasweep.spec.pipeline import DataSpec
from kerasweep.spec.vocabulary import Task

_log = logging.getLogger(__name__)


def load_search(spec: DataSpec, directory: Path, memory: tuple[Rows, Array] | None = None) -> SearchData:
    """Read the data and keep the training and validation splits.

    Where the data bring a test split of their own, its files are not opened; otherwise its rows are dropped here.

    Args:
        spec: the data section of a pipeline file.
        directory: where its relative paths and modules are.
        memory: features and targets handed in from Python, when ``spec.python`` is ``IN_MEMORY``.

    Raises:
        DataError: the data cannot be found, read or understood; says which rule they break, and where.
    """
    raw = _read(spec, directory, memory)
    target = _target(raw, spec)
    y = encode(raw.where, raw.y, target)
    indices = _indices(raw, y, target, spec)
    train = Split(take(raw.x, indices.train), y[indices.train])
    validation = Split(take(raw.x, indices.validation), y[indices.validation])
    for chosen, name in raw.renamed.items():
        _log.info("%s: column %r is the model's input %r", raw.where, name, chosen)
    return SearchData(
        train=train,
        validation=validation,
        preprocessing=fit(train.x, automatic=spec.preprocess == "auto", sources=raw.renamed, where=raw.where),
        facts=Facts(
            task=target.task,
            outputs=target.outputs,
            classes=target.classes,
            columns=tuple(raw.x) if isinstance(raw.x, Mapping) else (),
            targets=raw.targets,
        ),
        fingerprint=fingerprint(raw.x, raw.y, spec),
        source="arrays in memory" if spec.python == IN_MEMORY else spec.source,
    )


def load_test(spec: DataSpec, directory: Path, search: SearchData, memory: tuple[Rows, Array] | None = None) -> Split:
    """Read the test split that belongs to what ``load_search`` returned for the same arguments.

    Raises:
        DataError: see ``load_search``; or the data have changed since.
    """
    raw = _read(spec, directory, memory)
    found = fingerprint(raw.x, raw.y, spec)
    if found != search.fingerprint:
        raise DataError(
            f"{raw.where}: the data must be what the search saw, fingerprint {search.fingerprint[:12]}…. "
            f"Received: {found[:12]}…"
        )
    target = _target(raw, spec)
    if raw.own_test is None:
        y = encode(raw.where, raw.y, target)
        rows = _indices(raw, y, target, spec).test
        return Split(take(raw.x, rows), y[rows])
    where = f"{raw.where}: test split"
    x, raw_y, _ = checked(where, *raw.own_test(), missing_allowed=spec.preprocess == "none")
    _check_alike(where, raw.x, x)
    return Split(x, encode(where, raw_y, target))


def _read(spec: DataSpec, directory: Path, memory: Any) -> Raw:
    if spec.name is not None:
        return read_named(spec)
    if spec.csv is not None:
        return read_csv(spec, directory)
    if spec.npz is not None:
        return read_npz(spec, directory)
    if spec.python == IN_MEMORY:
        return read_memory(spec, memory)
    return read_python(spec, directory)


def _target(raw: Raw, spec: DataSpec) -> Target:
    declared = raw.task if spec.task == "auto" else Task(spec.task)
    return decide(raw.where, raw.y, declared, names=raw.targets, classes=raw.classes)


def _indices(raw: Raw, y: Array, target: Target, spec: DataSpec) -> Indices:
    classes = y.reshape(-1) if target.task in (Task.BINARY, Task.MULTICLASS) else None
    return split(
        len(y),
        classes,
        spec,
        raw.where,
        own_test=raw.own_test is not None,
        validation_rows=raw.validation_rows,
    )


def _check_alike(where: str, train: Rows, test: Rows) -> None:
    """Refuse a test split whose columns or shape are not those of the training rows."""
    if isinstance(train, Mapping) and isinstance(test, Mapping):
        if tuple(train) != tuple(test):
            raise DataError(f"{where}: the columns must be the training data's, {list(train)}. Received: {list(test)}")
        return
    shapes = ["columns" if isinstance(rows, Mapping) else f"shape {rows.shape[1:]}" for rows in (train, test)]
    if shapes[0] != shapes[1]:
        raise DataError(f"{where}: the rows must be like the training data's, {shapes[0]}. Received: {shapes[1]}")
