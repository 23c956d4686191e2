"""Several named inputs and outputs: which columns make an input, and what each output learns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from kerasweep.data.base import Facts
from kerasweep.data.preprocessing import Part, Preprocessing
from kerasweep.data.rows import Array, Features, Rows, are_columns
from kerasweep.data.sources import Raw
from kerasweep.data.targets import Target, decide, encode
from kerasweep.errors import DataError, SpecError, one_of
from kerasweep.spec.columns import Columns, input_problems
from kerasweep.spec.pipeline import DataSpec
from kerasweep.spec.vocabulary import DATASETS, Task

Targets = Target | Mapping[str, Target]
"""How the target is read, or that of each output by its name."""


def named(raw: Raw, spec: DataSpec, source: str) -> Raw:
    """The data with the inputs and outputs that a specification gives them; columns that no input takes are left out.

    Args:
        raw: as it was read.
        spec: its section.
        source: a short label for messages.

    Raises:
        SpecError: an input names a column that there is not.
        DataError: the data bring names of their own.
    """
    if spec.outputs is not None:
        raw = replace(raw, y=outputs_of(raw.where, raw.y, spec))
    if spec.inputs is None:
        return raw
    if isinstance(raw.x, Mapping) and not are_columns(raw.x):
        raise _twice(raw.where, "arrays by name are inputs", "inputs", raw.x)
    columns = _columns(raw.x, raw.renamed, spec, source)
    if problems := list(input_problems(spec.inputs, columns)):
        raise SpecError(problems)
    inputs = {name: tuple(map(columns.position, chosen)) for name, chosen in spec.inputs.items()}
    if not isinstance(raw.x, Mapping):
        return replace(raw, inputs=inputs)
    taken = sorted({position for positions in inputs.values() for position in positions})
    names = list(raw.x)
    return replace(
        raw,
        x={names[position]: raw.x[names[position]] for position in taken},
        inputs={name: tuple(map(taken.index, positions)) for name, positions in inputs.items()},
    )


def outputs_of(where: str, y: Features, spec: DataSpec) -> Features:
    """The target of each output: its own column, or the same one of all.

    Raises:
        DataError: the data bring outputs of their own.
    """
    if spec.outputs is None or isinstance(spec.outputs, Mapping):
        return y
    if isinstance(y, Mapping):
        raise _twice(where, "targets by name are outputs", "outputs", y)
    return dict.fromkeys(spec.outputs, y)


def _twice(where: str, what: str, key: str, names: Mapping[str, Any]) -> DataError:
    return DataError(f"{where}: {what} already, so {key} must be left out. Received: both, for {', '.join(names)}")


def _columns(x: Rows, renamed: Mapping[str, str], spec: DataSpec, source: str) -> Columns:
    """The raw columns, by the names that the user knows."""
    if isinstance(x, Mapping):
        return Columns(source, len(x), tuple(renamed.get(name, name) for name in x))
    names = DATASETS[spec.name].columns if spec.name is not None else ()
    return Columns(source, x[0].size, names)


def shared_out(preprocessing: Preprocessing, raw: Raw) -> Preprocessing:
    """The preprocessing with its features shared out among the inputs of the data."""
    names = tuple(raw.x) if isinstance(raw.x, Mapping) else ()
    parts = tuple(Part(name, features_at(preprocessing, names, places)) for name, places in raw.inputs.items())
    return replace(preprocessing, parts=parts)


def features_at(preprocessing: Preprocessing, names: Sequence[str], positions: Sequence[int]) -> tuple[int, ...]:
    """The features of columns, in their order; a column's one-hot ones go with it.

    Args:
        preprocessing: of all columns.
        names: of the inputs that the columns are; empty for an array.
        positions: of the columns.
    """
    if not names:
        return tuple(positions)
    return tuple(feature for at in positions for feature in preprocessing.features_of(names[at]))


def targets_of(raw: Raw, spec: DataSpec) -> Targets:
    """How the target is read, or that of each output; ``targets.decide`` has the rules.

    Raises:
        DataError: see there; or the specification has a task for another output.
    """
    if not isinstance(raw.y, Mapping):
        if isinstance(spec.task, Mapping):
            raise DataError(f"{raw.where}: a task for each output needs targets by name. Received: one target")
        declared = raw.task if spec.task == "auto" else Task(spec.task)
        return decide(raw.where, raw.y, declared, names=raw.targets, classes=raw.classes)
    tasks = spec.task if isinstance(spec.task, Mapping) else dict.fromkeys(raw.y, spec.task)
    for name in tasks:
        if name not in raw.y:
            raise DataError(f"{raw.where}: task: {one_of('an output', name, raw.y)}")
    found = {}
    for name, y in raw.y.items():
        task = tasks.get(name, "auto")
        declared = raw.task if task == "auto" else Task(task)
        found[name] = decide(f"{raw.where}: output {name!r}", y, declared, classes=raw.classes)
    return found


def encoded(where: str, y: Features, targets: Targets) -> Features:
    """Targets in the layout of ``Split.y``.

    Raises:
        DataError: see ``targets.encode``; or the outputs are others.
    """
    if isinstance(targets, Target):
        if isinstance(y, Mapping):
            raise DataError(f"{where}: the target must be one array, as of the training rows. Received: several")
        return encode(where, y, targets)
    if not isinstance(y, Mapping) or set(y) != set(targets):
        received = ", ".join(y) if isinstance(y, Mapping) else "one target"
        raise DataError(f"{where}: the outputs must be the training data's, {', '.join(targets)}. Received: {received}")
    return {name: encode(f"{where}: output {name!r}", y[name], target) for name, target in targets.items()}


def main_of(y: Features, targets: Targets) -> tuple[Array, Target]:
    """The target and how it is read; of several outputs the first one's, which stands for the study."""
    if not isinstance(targets, Target):
        name = next(iter(targets))
        y, targets = y[name] if isinstance(y, Mapping) else y, targets[name]
    if isinstance(y, Mapping):
        raise ValueError(f"targets by name need a rule for each. Received: one rule for {', '.join(y)}")
    return y, targets


def facts_of(raw: Raw, targets: Targets) -> Facts:
    """What a network must know of the data."""
    columns = tuple(raw.x) if isinstance(raw.x, Mapping) and are_columns(raw.x) else ()
    if isinstance(targets, Target):
        return _facts(targets, raw.targets, columns)
    outputs = {name: _facts(target, (name,)) for name, target in targets.items()}
    return replace(next(iter(outputs.values())), targets=tuple(outputs), columns=columns, heads=outputs)


def _facts(target: Target, names: tuple[str, ...], columns: tuple[str, ...] = ()) -> Facts:
    return Facts(target.task, target.outputs, target.classes, columns, names)
