"""How a study lies in MLflow: the tags, and how names and values are written so that they read back unchanged.

A study is a parent run, a trial is a child run of it. There is one truth for each fact: parameters are MLflow
parameters (their types are in one tag), curves are metrics with the epoch as step, everything else is a tag.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kerasweep.records import Change, ParamValue

STUDY = "kerasweep.study"
NAME = "kerasweep.name"
KIND = "kerasweep.kind"
STATUS = "kerasweep.status"
REASON = "kerasweep.reason"
TRIAL = "kerasweep.trial"
TYPES = "kerasweep.types"
SEED = "kerasweep.seed"
METRIC = "kerasweep.metric"
DIRECTION = "kerasweep.direction"
DIRECTORY = "kerasweep.directory"
FINGERPRINT = "kerasweep.fingerprint"
VERSION = "kerasweep.version."
SUMMARY = "kerasweep.summary."
CHANGES = "kerasweep.changes"
PARENT = "mlflow.parentRunId"
GIT_COMMIT = "mlflow.source.git.commit"

BEST_VALUE = "best_value"
BEST_EPOCH = "best_epoch"
SECONDS = "seconds"
EPOCHS = "epochs"
OWN_METRICS = frozenset({BEST_VALUE, BEST_EPOCH, SECONDS, EPOCHS})

SPEC_FILE = "spec/pipeline.json"
SOURCE_FILE = "spec/pipeline.yaml"

# MLflow's limits: https://mlflow.org/docs/latest/api_reference/rest-api.html#request-limits
TAG_CHARACTERS = 8000
DIGEST_CHARACTERS = 36

# A dot in front would look like a path outside; all else that MLflow refuses in a name, and our own escape sign.
_ESCAPED = re.compile(r"^\.|[^\w .-]")
_ESCAPE = re.compile(r":([0-9a-f]+):")
_TYPES: Mapping[str, type[ParamValue]] = {"bool": bool, "int": int, "float": float, "str": str}


def quote(name: str) -> str:
    """A metric's name as MLflow accepts it: characters it refuses become ``:hex:``; ``unquote`` reverses it."""
    return f":{ord(name[0]):x}:{name[1:]}" if name in OWN_METRICS else _escape(name)


def _escape(name: str) -> str:
    return _ESCAPED.sub(lambda match: f":{ord(match[0]):x}:", name)


def unquote(name: str) -> str:
    """The name that ``quote`` was given."""
    return _ESCAPE.sub(lambda match: chr(int(match[1], 16)), name)


def clean(text: str) -> str:
    """Text that every database takes: without NUL and lone surrogates, and within MLflow's limit for a tag."""
    text = text.replace("\x00", "").encode("utf-8", errors="replace").decode("utf-8")
    return text if len(text) <= TAG_CHARACTERS else f"{text[: TAG_CHARACTERS - 1]}…"


def encode_params(params: Mapping[str, ParamValue]) -> tuple[dict[str, str], str]:
    """Parameters as text, and their types as the text of one tag."""
    plain = {name: plain_value(value) for name, value in params.items()}
    types = {name: type(value).__name__ for name, value in plain.items()}
    return {name: str(value) for name, value in plain.items()}, json.dumps(types, separators=(",", ":"))


def decode_params(texts: Mapping[str, str], types: str) -> dict[str, ParamValue]:
    """Parameters with the types they had, in the order they had."""
    names: dict[str, str] = json.loads(types or "{}")
    order = [*(name for name in names if name in texts), *(name for name in texts if name not in names)]
    return {name: _decoded(texts[name], _TYPES[names.get(name, "str")]) for name in order}


def _decoded(text: str, kind: type[ParamValue]) -> ParamValue:
    return text == "True" if kind is bool else kind(text)


def plain_value(value: Any) -> Any:
    """A NumPy scalar as the Python value it stands for; anything else as it is."""
    return value.item() if hasattr(value, "item") else value


def decode_metric(value: float) -> float:
    """Undoes MLflow's storing of infinities as the largest finite float."""
    return float("inf") * value if abs(value) >= sys.float_info.max else value


def summary_tags(key: str, value: object) -> dict[str, str]:
    """One entry of the summary as JSON, over as many tags as it needs.

    Args:
        key: of the summary.
        value: anything JSON can hold; NumPy scalars count as numbers, other objects as their text.
    """
    return _json_tags(f"{SUMMARY}{quote(key)}", value)


def changes_tags(changes: Sequence[Change]) -> dict[str, str]:
    """The changes of a trial's hyperparameters as JSON, over as many tags as it needs; no tag for none."""
    if not changes:
        return {}
    return _json_tags(CHANGES, [[change.epoch, dict(change.params)] for change in changes])


def read_changes(tags: Mapping[str, str]) -> tuple[Change, ...]:
    """The changes that ``changes_tags`` wrote."""
    chunks = {key.partition("/")[2]: text for key, text in tags.items() if whole_tag(key) == CHANGES}
    text = "".join(chunks[number] for number in sorted(chunks, key=lambda number: int(number or 0)))
    return tuple(Change(epoch, params) for epoch, params in json.loads(text or "[]"))


def whole_tag(tag: str) -> str:
    """The tag that a text begins in, which goes on in this one."""
    return tag.partition("/")[0]


def _json_tags(name: str, value: object) -> dict[str, str]:
    text = json.dumps(value, default=_jsonable, separators=(",", ":"))
    chunks = [text[i : i + TAG_CHARACTERS] for i in range(0, len(text), TAG_CHARACTERS)]
    return {f"{name}{f'/{i}' if i else ''}": chunk for i, chunk in enumerate(chunks)}


def _jsonable(value: object) -> object:
    return plain_value(value) if hasattr(value, "item") else str(value)


def read_summary(tags: Mapping[str, str]) -> dict[str, object]:
    """The summary that ``summary_tags`` wrote."""
    chunks: dict[str, dict[int, str]] = {}
    for tag, text in tags.items():
        if tag.startswith(SUMMARY):
            key, _, number = tag.removeprefix(SUMMARY).partition("/")
            chunks.setdefault(unquote(key), {})[int(number or 0)] = text
    return {key: json.loads("".join(parts[i] for i in sorted(parts))) for key, parts in chunks.items()}


def numbers(summary: Mapping[str, object]) -> dict[str, float]:
    """The numbers inside a summary as metrics, named by their path: ``test/mse``, which MLflow's UI groups."""
    return {quote(name) if name in OWN_METRICS else name: value for name, value in _numbers(summary)}


def _numbers(summary: Mapping[str, object]) -> Iterator[tuple[str, float]]:
    for key, value in summary.items():
        plain = plain_value(value)
        if isinstance(value, Mapping):
            for name, number in _numbers(value):
                yield f"{_escape(str(key))}/{name}", number
        elif isinstance(plain, int | float) and not isinstance(plain, bool):
            yield _escape(str(key)), float(plain)
