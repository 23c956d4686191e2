"""A narrowed space as the text of a space file, with comments that say why."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from kerasweep.records import ParamValue, StudyRecord
from kerasweep.report.narrowing import NextSpace
from kerasweep.spec.parameters import Parameter

# What YAML takes for text without quotes, in either of its versions.
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_WORDS = {"true", "false", "yes", "no", "on", "off", "y", "n", "null", "nan", "inf"}


def space_file(record: StudyRecord, narrowed: NextSpace, keep: float) -> str:
    """The text of a space file, to be used with ``space: FILE``.

    Args:
        record: the study whose trials it is from.
        narrowed: what is left of that study's space.
        keep: the share of the trials that counted as the best.
    """
    return "\n".join(_lines(record, narrowed, keep)) + "\n"


def _lines(record: StudyRecord, narrowed: NextSpace, keep: float) -> Iterator[str]:
    goal = f"{record.objective.metric}, {record.objective.direction}d"
    best = f"the best {narrowed.best} of its {narrowed.trials} trials"
    yield f"# The space of {record.id}, narrowed around {best} ({goal})"
    yield f"# by `kerasweep narrow --keep {keep:g}`. {narrowed.volume:.2g} of its volume is left."
    yield "# A range goes from the lowest to the highest value of the best trials, and a margin beyond; a choice keeps"
    yield "# what they use, and what was tried too seldom to tell; each prior is the best trial's value."
    yield "parameters:"
    for each in narrowed.parameters:
        yield f"  # {each.name}: {_comment(each.why)}"
        if each.hint:
            yield f"  # {_comment(each.hint)}"
        if each.parameter is not None:
            yield f"  {_scalar(each.name)}: {{{_entries(each.parameter)}}}"


def _entries(parameter: Parameter) -> str:
    """A parameter's keys and values; those that have their default are left out."""
    given = {"type": parameter.type, **parameter.model_dump(exclude_defaults=True)}
    return ", ".join(f"{key}: {_value(value)}" for key, value in given.items())


def _value(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_scalar(key)}: {_value(each)}' for key, each in value.items())}}}"
    if isinstance(value, bool | int | float | str):
        return _scalar(value)
    raise TypeError(f"a parameter must be made of lists, mappings and plain values. Received: {value!r}")


def _scalar(value: ParamValue) -> str:
    """A value that YAML reads back unchanged, with its type."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        mantissa, _, exponent = repr(value).partition("e")
        mantissa = mantissa if "." in mantissa else f"{mantissa}.0"  # else YAML 1.1 takes 1e-05 for text
        return f"{mantissa}e{exponent}" if exponent else mantissa
    if isinstance(value, str) and not (_PLAIN.fullmatch(value) and value.lower() not in _WORDS):
        return json.dumps(value)
    return str(value)


def _comment(text: str) -> str:
    """Text on one line, as a comment must be."""
    return " ".join(text.split())
