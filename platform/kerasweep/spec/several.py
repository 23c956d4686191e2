"""Several named inputs and outputs of a builder's models: what a specification may say of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from kerasweep.errors import Problem, one_of

if TYPE_CHECKING:
    from kerasweep.spec.pipeline import DataSpec, ModelSpec, TrainingSpec

_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]*")

# Said of class weights where there are several outputs.
NO_CLASS_WEIGHT = "class_weight needs one output: with several, a row has a class for each"


def name_problem(what: str, name: object) -> str | None:
    """The rule that an input's or output's name breaks, None if it is one that every export format can hold."""
    if isinstance(name, str) and _IDENTIFIER.fullmatch(name):
        return None
    return f"the name of {what} must be a letter, then letters, digits and underscores. Received: {name!r}"


def own_problems(data: DataSpec) -> Iterator[Problem]:
    """What is wrong with the inputs and outputs of a ``data`` section by itself; paths begin below it."""
    if data.inputs is not None:
        yield from _input_problems(data.inputs)
    if data.outputs is not None:
        yield from _output_problems(data)
    if isinstance(data.task, Mapping):
        names = None if data.outputs is None else list(data.outputs)
        for name in data.task:
            if names is not None and name not in names:
                yield Problem(one_of("an output", name, names), ("task", name))
        if names is None and data.python is None:
            yield Problem("a task for each output needs outputs. Received: none", ("task",))


def _input_problems(inputs: Mapping[str, Sequence[int | str]]) -> Iterator[Problem]:
    if not inputs:
        yield Problem("inputs must name an input, or be left out. Received: {}", ("inputs",))
    for name, columns in inputs.items():
        if problem := name_problem("an input", name):
            yield Problem(problem, ("inputs", name))
        if not columns:
            yield Problem("an input must choose a column. Received: none", ("inputs", name))


def _output_problems(data: DataSpec) -> Iterator[Problem]:
    names = list(data.outputs or ())
    if twice := [name for name in names if names.count(name) > 1]:
        yield Problem(f"every output must have a name of its own. Received: {twice[0]!r} twice", ("outputs",))
    elif len(names) < 2:
        rule = "outputs must name two or more, or be left out"
        yield Problem(f"{rule}. Received: {', '.join(names) or 'none'}", ("outputs",))
    for name in names:
        if problem := name_problem("an output", name):
            yield Problem(problem, ("outputs",))
    if not isinstance(data.outputs, Mapping):
        return
    if data.csv is None:
        rule = "outputs with columns of their own belong to csv data; of other data, all learn its one target"
        yield Problem(f"{rule}, as in outputs: [{', '.join(names)}]. Received: {data.source} data", ("outputs",))
    elif data.target:
        yield Problem("outputs with columns of their own stand for target. Received: both", ("target",))
    for name, columns in data.outputs.items():
        if not columns:
            yield Problem("an output must have a target column. Received: none", ("outputs", name))


def check_several(data: DataSpec, model: ModelSpec | None, training: TrainingSpec | None) -> Iterator[Problem]:
    """What goes with several inputs and outputs in other sections."""
    for key in ("inputs", "outputs"):
        if getattr(data, key) is not None and model is not None and model.family is not None:
            yield Problem(f"{family_rule(key)}. Received: the family {model.family}", ("data", key))
    if data.outputs is not None and training is not None and training.class_weight is not None:
        yield Problem(f"{NO_CLASS_WEIGHT}. Received: {', '.join(data.outputs)}", ("training", "class_weight"))


def family_rule(key: str) -> str:
    """Said of ``inputs`` or ``outputs`` beside a built-in family."""
    hint = " (wide_deep takes its columns as model.wide and model.deep)" if key == "inputs" else ""
    return f"{key} belong to a builder: a built-in family has one input and one output{hint}"
