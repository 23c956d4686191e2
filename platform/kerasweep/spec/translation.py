"""What pydantic finds wrong, in kerasweep's words: the rule first, then what was received."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from kerasweep.errors import Problem, one_of
from kerasweep.spec.base import RuleError

Path = tuple[str | int, ...]

# What a value of the right type is called.
_TYPES: Mapping[str, str] = {
    "bool_type": "true or false",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "string_type": "text",
    "path_type": "a path",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}
_LIMITS: Mapping[str, tuple[str, str]] = {
    "greater_than": (">", "gt"),
    "greater_than_equal": (">=", "ge"),
    "less_than": ("<", "lt"),
    "less_than_equal": ("<=", "le"),
}
_QUOTED = re.compile(r"'([^']*)'")


@dataclass(frozen=True)
class Finding:
    """A translated error.

    Attributes:
        problem: the message and the path in the document; its place is unknown here.
        unknown_key: whether the rule broken is that the key at the path's end means nothing.
        nearest: for an unknown key, the valid one that was most likely meant.
    """

    problem: Problem
    unknown_key: bool = False
    nearest: str | None = None


def translate(errors: Sequence[ErrorDetails], model: type[BaseModel], document: object) -> list[Finding]:
    """Errors of ``model.model_validate(document)`` as findings, in the order of their first appearance.

    Args:
        errors: ``ValidationError.errors()``.
        model: the class that was validated.
        document: what was validated: mappings, lists and scalars.
    """
    grouped: dict[Path, list[tuple[ErrorDetails, list[str]]]] = {}
    for error in errors:
        path, keys = _resolve(model, error["loc"])
        grouped.setdefault(path, []).append((error, keys))
    # A union of a scalar and a list or mapping complains about both; what is wrong deeper inside is what was meant.
    branches = {path for path in grouped if any(path != deeper and deeper[: len(path)] == path for deeper in grouped)}
    return [
        finding
        for path, group in grouped.items()
        if not (path in branches and all(error["type"] in (*_TYPES, "literal_error", "enum") for error, _ in group))
        for finding in _findings(path, group, document)
    ]


def shown(value: object) -> str:
    """A received value as a user would write it, cut where it becomes too long to read."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        text = "{" + ", ".join(f"{key}: {shown(item)}" for key, item in list(value.items())[:8]) + "}"
    elif isinstance(value, list):
        text = "[" + ", ".join(shown(item) for item in value[:8]) + "]"
    else:
        text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _findings(path: Path, group: list[tuple[ErrorDetails, list[str]]], document: object) -> Iterator[Finding]:
    error, keys = group[0]
    kind = error["type"]
    name = _label(path)
    received = _value_at(document, path)
    if kind == "extra_forbidden":
        section = _label(path[:-1]) if len(path) > 1 else "the file"
        message = one_of(f"a key of {section}", path[-1], keys)
        hint = re.search(r"Did you mean '(\w+)'\?", message)
        yield Finding(Problem(message, path), True, hint.group(1) if hint else None)
    elif kind == "missing":
        yield Finding(Problem(f"{name} is required. Received: nothing", path))
    elif kind == "value_error":
        yield from (Finding(problem) for problem in _own(path, error))
    elif kind in ("union_tag_invalid", "union_tag_not_found") and isinstance(received, Mapping):
        tag, valid = _tag(keys)
        if tag in received:
            yield Finding(Problem(one_of(f"{name}'s {tag}", received[tag], valid), (*path, tag)))
        else:
            yield Finding(Problem(f"{name}'s {tag} must be one of {', '.join(valid)}. Received: no {tag}", path))
    elif kind in ("union_tag_invalid", "union_tag_not_found", "model_attributes_type") and keys:
        yield Finding(Problem(_member_message(name, *_tag(keys), received), path))
    else:
        yield Finding(Problem(_scalar_message(name, [error for error, _ in group], received), path))


def _member_message(name: str, tag: str, valid: list[str], received: object) -> str:
    """The message for something that should have been a member of a tagged union, and is no mapping."""
    if tag == "name" and isinstance(received, str):
        return one_of(name, received, valid)
    either = f"one of {', '.join(valid)}, or " if tag == "name" else ""
    return (
        f"{name} must be {either}a mapping with a {tag}, such as {{{tag}: {valid[0]}, …}}. Received: {shown(received)}"
    )


def _own(path: Path, error: ErrorDetails) -> Iterator[Problem]:
    """The message of one of our own validators."""
    raised = error.get("ctx", {}).get("error")
    if isinstance(raised, RuleError):
        for problem in raised.problems:
            yield Problem(problem.message, (*path, *problem.path))
    else:
        yield Problem(str(raised), path)


def _scalar_message(name: str, errors: list[ErrorDetails], received: object) -> str:
    """One message for a value that fits none of the types it may have."""
    for error in errors:
        kind, context = error["type"], error.get("ctx", {})
        if kind in _LIMITS:
            sign, key = _LIMITS[kind]
            return f"{name} must be {sign} {context[key]:g}. Received: {shown(received)}"
        if kind == "finite_number":
            return f"{name} must be a finite number. Received: {received}"
    expected = [_TYPES[error["type"]] for error in errors if error["type"] in _TYPES]
    literals = [
        literal
        for error in errors
        if error["type"] in ("literal_error", "enum")
        for literal in _QUOTED.findall(str(error.get("ctx", {}).get("expected", "")))
    ]
    if literals and isinstance(received, str) and (not expected or (len(literals) > 1 and expected == ["a mapping"])):
        return one_of(name, received, literals)
    if "a number" in expected and "a whole number" in expected:
        expected.remove("a whole number")
    expected = list(dict.fromkeys([*expected, *literals]))
    if not expected:
        expected = [errors[0]["msg"].lower()]
    rule = " or ".join(expected) if len(expected) < 3 else f"{', '.join(expected[1:])}, or {expected[0]}"
    return f"{name} must be {rule}. Received: {shown(received)}"


def _label(path: Path) -> str:
    """How a message calls the value at a path."""
    if not path:
        return "the file"
    *before, last = path
    return f"each of {_label(tuple(before))}" if isinstance(last, int) else last


def _value_at(document: object, path: Path) -> object:
    for part in path:
        if isinstance(document, Mapping):
            document = document.get(part)
        elif isinstance(document, list) and isinstance(part, int) and part < len(document):
            document = document[part]
        else:
            return None
    return document


def _tag(keys: list[str]) -> tuple[str, list[str]]:
    """The key that tells a union's members apart, and its values."""
    return keys[0], keys[1:]


def _resolve(model: type[BaseModel], location: tuple[str | int, ...]) -> tuple[Path, list[str]]:
    """Where in the document an error is: pydantic's location without its names of union members.

    Returns:
        the path; and what belongs there: when the location ends at a tagged union, the tag's key and its values, else
        the valid keys of the mapping that the last part stands in.
    """
    path: list[str | int] = []
    annotation: Any = model
    keys: list[str] = []
    for part in location:
        members = list(_models(annotation))
        container = _container(annotation)
        if get_origin(container) is dict and sum(each is not types.NoneType for each in _parts(annotation)) > 1:
            annotation = container  # this part names a member of a union of a scalar and a mapping
            continue
        if len(members) > 1:
            tag, tagged = _members(members)
            if part in tagged:
                annotation = tagged[str(part)]
                continue
        if members:
            fields = _fields(members[0])
            path.append(part)
            keys = list(fields)
            annotation = fields[str(part)].annotation if part in fields else None
        elif container is not None and (isinstance(part, int) or get_origin(container) is dict):
            path.append(part)
            annotation = get_args(container)[-1]
        # else: the name of a member of a union of scalars, or of the list in "text or a list"
    members = list(_models(annotation))
    if len(members) > 1:
        tag, tagged = _members(members)
        keys = [tag, *tagged]
    return tuple(path), keys


def _fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _parts(annotation: Any) -> Iterator[Any]:
    """The members of a union, or the annotation itself, without ``Annotated``."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _parts(get_args(annotation)[0])
    elif origin in (Union, types.UnionType):
        for member in get_args(annotation):
            yield from _parts(member)
    else:
        yield annotation


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    for part in _parts(annotation):
        if isinstance(part, type) and issubclass(part, BaseModel):
            yield part


def _container(annotation: Any) -> Any:
    return next((part for part in _parts(annotation) if get_origin(part) in (dict, list)), None)


def _members(models: list[type[BaseModel]]) -> tuple[str, dict[str, type[BaseModel]]]:
    """The key that tells a union's members apart, and the members by their value of it."""
    for name in ("type", "name"):
        fields = [model.model_fields.get(name) for model in models]
        if all(field is not None and get_origin(field.annotation) is Literal for field in fields):
            return name, {
                str(get_args(field.annotation)[0]): model
                for field, model in zip(fields, models, strict=True)
                if field is not None
            }
    raise TypeError(f"members of a union must differ in a literal. Received: {models}")
