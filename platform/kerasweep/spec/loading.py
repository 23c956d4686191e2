"""From a file, or a mapping, to a checked pipeline; or to every problem at once, each with its place."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from kerasweep.errors import Problem, SpecError
from kerasweep.spec import overrides as setting
from kerasweep.spec.checks import Functions, Sections, check
from kerasweep.spec.document import Node, from_python, parse, read_text
from kerasweep.spec.files import leaves_project, located
from kerasweep.spec.parameters import Parameter, SpaceSpec, space_problems
from kerasweep.spec.pipeline import (
    DataSpec,
    ModelSpec,
    PipelineSpec,
    ResourcesSpec,
    RetrainSpec,
    SearchSpec,
    TrainingSpec,
)
from kerasweep.spec.translation import Finding, translate

_PIPELINE, _SPACE = "a pipeline file", "a space file"
_Section = TypeVar("_Section", bound=BaseModel)
_REPAIRS = 3  # rounds: a key under a misspelt key is seen only once that one is repaired


@dataclass(frozen=True)
class LoadedPipeline:
    """A pipeline that broke no rule.

    Attributes:
        spec: the pipeline, with its space read in.
        text: the file as its author wrote it, before any override; empty if it came from a mapping.
        path: of the file, as it was given; None if it came from a mapping.
        directory: absolute; relative paths in the spec count from here.
    """

    spec: PipelineSpec
    text: str
    path: Path | None
    directory: Path
    _root: Node = field(repr=False, compare=False)

    def problem(self, message: str, *where: str | int) -> Problem:
        """A problem at a path of the spec, e.g. ``("data", "target")``, with its file, line and column.

        A space that stands in a file of its own is pointed at there; what was set by an override, at the override.
        """
        return self._root.place_of(where).problem(message, where)

    def placed(self, error: SpecError) -> SpecError:
        """What was found wrong without the file at hand, such as columns that the data does not have, with places."""
        return SpecError([each if each.file else self.problem(each.message, *each.path) for each in error.problems])


def load_pipeline(path: str | Path, overrides: Sequence[str] = ()) -> LoadedPipeline:
    """Reads and checks a pipeline file.

    Args:
        path: of the file.
        overrides: ``path.to.key=value`` each, applied in order before anything is checked.

    Raises:
        SpecError: with every rule that is broken, each with file, line and column.
    """
    path = Path(path)
    directory = path.parent.resolve()
    reader = _Reader(directory, os.path.dirname(path))
    text = read_text(path, str(path), _PIPELINE)
    root = setting.apply(reader.mapping(text, str(path), _PIPELINE), overrides, reader.space)
    root, spec = _validated(root, reader, {})
    return LoadedPipeline(spec, text, path, directory, root)


def pipeline_from_mapping(
    mapping: Mapping[str, object],
    directory: str | Path,
    *,
    overrides: Sequence[str] = (),
    functions: Functions = MappingProxyType({}),
) -> LoadedPipeline:
    """Checks a pipeline that is written in Python, with the keys of a pipeline file.

    Args:
        mapping: what a pipeline file would hold. ``space`` may be the path of a file here too.
        directory: from which relative paths count.
        overrides: ``path.to.key=value`` each, applied in order before anything is checked.
        functions: those at hand among the functions that the mapping names (``model.builder``, ``data.python``), by
            that name. No source is looked for, and the function's own signature counts; None leaves it unchecked.

    Raises:
        SpecError: with every rule that is broken; without places, except in a space that is a file.
    """
    directory = Path(directory).resolve()
    reader = _Reader(directory, str(directory))
    root, spec = _validated(setting.apply(from_python(mapping), overrides, reader.space), reader, functions)
    return LoadedPipeline(spec, "", None, directory, root)


def load_space(path: str | Path) -> SpaceSpec:
    """Reads and checks a space file.

    Raises:
        SpecError: with every rule that is broken, each with file, line and column.
    """
    reader = _Reader(Path(path).parent.resolve(), "")
    root = reader.mapping(read_text(Path(path), str(path), _SPACE), str(path), _SPACE)
    validation = _validate(root, SpaceSpec)
    problems = list(validation.problems)
    if not isinstance(validation.value, SpaceSpec):
        parameters, invalid = _right_parameters(validation.repaired)
        problems += _below(("parameters",), space_problems(parameters or {}, invalid))
    if problems or reader.problems or not isinstance(validation.value, SpaceSpec):
        raise SpecError(_in_order([*reader.problems, *validation.placed(root, problems)]))
    return validation.value


class _Reader:
    """Reads the files of one pipeline, and collects what is wrong with them as YAML.

    Attributes:
        directory: of the pipeline file; relative paths count from here.
        problems: found so far that did not keep the reader from going on.
    """

    def __init__(self, directory: Path, shown: str) -> None:
        self.directory = directory
        self.problems: list[Problem] = []
        self._shown = shown  # what messages call the directory

    def mapping(self, text: str, shown: str, what: str) -> Node:
        """The tree of a text that must hold a mapping."""
        document = parse(text, shown, what)
        root = document.root
        if not isinstance(root.value, Mapping):
            kind = "a list" if isinstance(root.value, list) else "nothing" if root.value is None else repr(root.value)
            problem = root.place.problem(f"{what} must be a mapping of keys to values. Received: {kind}")
            raise SpecError([*document.problems, problem])
        self.problems += document.problems
        return root

    def space(self, node: Node) -> Node:
        """The tree of the file that a node names."""
        given = str(node.value)
        if message := leaves_project(given, self.directory):
            raise SpecError([node.place.problem(message, ("space",))])
        path = located(given, self.directory)
        if not os.path.isfile(path):  # false for any name, where Path.is_file raises for one that is too long
            message = f"space must be a mapping or the path of a file. Received: {given!r}, which is no file"
            raise SpecError([node.place.problem(message, ("space",))])
        shown = os.path.normpath(os.path.join(self._shown, given))
        return self.mapping(read_text(path, shown, _SPACE), shown, _SPACE)


def _validated(root: Node, reader: _Reader, functions: Functions) -> tuple[Node, PipelineSpec]:
    """The tree with its space read in, and the pipeline it makes."""
    space = root.child("space")
    readable = True
    if space is not None and isinstance(space.value, str):
        try:
            root = root.replaced(["space"], reader.space(space))
        except SpecError as error:
            reader.problems.extend(error.problems)
            readable = False
    validation = _validate(root, PipelineSpec)
    problems = list(validation.problems)
    if not readable:  # said already
        problems = [problem for problem in problems if problem.path[:1] != ("space",)]
    if isinstance(validation.value, PipelineSpec):
        sections = Sections.of(validation.value)
    else:
        sections = _right_sections(validation.repaired)
        if sections.parameters is not None:
            found = space_problems(sections.parameters, sections.invalid)
            problems += _below(("space", "parameters"), found)
    problems += check(sections, reader.directory, functions)
    if problems or reader.problems or not isinstance(validation.value, PipelineSpec):
        raise SpecError(_in_order([*reader.problems, *validation.placed(root, problems)]))
    return root, validation.value.pinned()


def _in_order(problems: Iterable[Problem]) -> list[Problem]:
    """In the order of the document; of several documents, by their names."""
    return sorted(problems, key=lambda each: (each.file or "", each.line or 0, each.column or 0))


def _below(path: tuple[str, ...], problems: Iterable[Problem]) -> Iterator[Problem]:
    return (replace(problem, path=(*path, *problem.path)) for problem in problems)


@dataclass(frozen=True)
class _Validation:
    """What validation makes of a tree.

    Attributes:
        value: of the validated class; None if any rule is broken.
        repaired: the tree with its misspelt keys put right.
        unknown: findings about keys that mean nothing.
        others: the other findings; their paths are those of ``repaired``.
    """

    value: BaseModel | None
    repaired: Node
    unknown: tuple[Finding, ...] = ()
    others: tuple[Finding, ...] = ()

    @property
    def problems(self) -> list[Problem]:
        return [finding.problem for finding in (*self.unknown, *self.others)]

    def placed(self, root: Node, problems: Iterable[Problem]) -> list[Problem]:
        """The problems with their places, each once."""
        unknown = {finding.problem for finding in self.unknown}
        return [
            (
                root.place_of(problem.path, at_key=True) if problem in unknown else self.repaired.place_of(problem.path)
            ).problem(problem.message, problem.path)
            for problem in dict.fromkeys(problems)
        ]


def _validate(root: Node, model: type[BaseModel]) -> _Validation:
    """Everything validation finds.

    A misspelt key hides what is wrong with its value, and makes the key it was meant to be look forgotten. So unknown
    keys are renamed to the nearest valid one, or left out, and the rest is validated again.
    """
    unknown: list[Finding] = []
    found: list[Finding] = []
    for _ in range(_REPAIRS):
        document = root.plain()
        try:
            value = model.model_validate(document)
        except ValidationError as error:
            found = translate(error.errors(include_url=False), model, document)
        else:
            return _Validation(None if unknown else value, root, tuple(unknown))
        new = [finding for finding in found if finding.unknown_key]
        unknown += new
        for finding in new:
            root = _repaired(root, finding)
        if not new:
            break
    return _Validation(None, root, tuple(unknown), tuple(finding for finding in found if not finding.unknown_key))


def _repaired(root: Node, finding: Finding) -> Node:
    """The tree without an unknown key; its value stands under the nearest valid key, unless that is taken."""
    *above, key = finding.problem.path
    holder: Node | None = root
    for part in above:
        holder = holder.child(part) if holder is not None else None
    if holder is None or not isinstance(holder.value, Mapping):
        return root
    entries = dict(holder.value)
    value = entries.pop(str(key))
    if finding.nearest is not None:
        entries.setdefault(finding.nearest, value)
    return root.replaced(above, replace(holder, value=entries))


def _right_sections(root: Node) -> Sections:
    """The sections that are right by themselves."""
    space = root.child("space")
    spaceless = space is None or space.value is None
    retrain = root.child("retrain")
    parameters, invalid = _right_parameters(space) if space is not None and not spaceless else ({}, frozenset[str]())
    return Sections(
        data=_right(DataSpec, root.child("data")),
        model=_right(ModelSpec, root.child("model")),
        search=_right(SearchSpec, root.child("search")),
        training=_right(TrainingSpec, root.child("training")),
        resources=_right(ResourcesSpec, root.child("resources")),
        retrain=_right(RetrainSpec, retrain),
        delivers_trials=retrain is not None and retrain.value is None,
        parameters=parameters,
        invalid=invalid,
        spaceless=spaceless,
    )


def _right(model: type[_Section], node: Node | None) -> _Section | None:
    try:
        return model.model_validate({} if node is None else node.plain())
    except ValidationError:
        return None


@functools.cache  # building it takes longer than all else here, and only a broken space needs it
def _parameter_adapter() -> TypeAdapter[Parameter]:
    return TypeAdapter(Parameter)


def _right_parameters(space: Node) -> tuple[dict[str, Parameter] | None, frozenset[str]]:
    """The parameters of a space that are right by themselves, and the names of the others; None without any."""
    holder = space.child("parameters")
    if holder is None or not isinstance(holder.value, Mapping):
        return None, frozenset()
    right: dict[str, Parameter] = {}
    wrong: set[str] = set()
    for name, node in holder.value.items():
        try:
            right[name] = _parameter_adapter().validate_python(node.plain())
        except ValidationError:
            wrong.add(name)
    return right, frozenset(wrong)
