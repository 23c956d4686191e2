"""The JSON Schemas of pipeline and space files, with which editors complete and check them.

They are generated from the classes of ``spec`` and shipped beside them. ``python -m kerasweep.spec.schema`` writes them
anew. What only a look at several keys can tell is not in them; ``load_pipeline`` checks that.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kerasweep.spec.parameters import SpaceSpec
from kerasweep.spec.pipeline import PipelineSpec
from kerasweep.spec.vocabulary import DATASETS, EXPORT_FORMATS, objective_metrics

Schema = dict[str, Any]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_NAME = {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"}
_REFERENCE = {"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_]*$"}
_DURATION = {"type": "string", "pattern": "^ *([0-9]+d)? *([0-9]+h)? *([0-9]+m)? *([0-9]+s)? *$"}


def pipeline_schema() -> Schema:
    """Of a pipeline file."""
    schema = _generated(PipelineSpec, "A kerasweep pipeline")
    sections = schema["$defs"]
    space = sections["SpaceSpec"]
    schema["properties"]["space"] = {
        "description": "The parameters to search, or the path of a file that holds them, counted from this file; left "
        "out, the family auto's, or a KerasTuner model's own.",
        "anyOf": [{"type": "string"}, {"$ref": "#/$defs/SpaceSpec"}, {"type": "null"}],
    }
    space["title"] = "A search space"
    _set(schema, "name", _NAME)
    _set(sections["TrackingSpec"], "experiment", _or_null(_NAME))
    board = {"anyOf": [{"type": "boolean"}, {"type": "string"}, {"$ref": "#/$defs/TensorBoardSpec"}, {"type": "null"}]}
    _set(sections["TrackingSpec"], "tensorboard", board)
    _set(sections["RegisterSpec"], "name", _or_null(_NAME))
    _set(sections["RegisterSpec"], "alias", _NAME)
    _set(sections["DataSpec"], "name", _or_null({"enum": list(DATASETS)}))
    _set(sections["DataSpec"], "python", _or_null(_REFERENCE))
    _set(sections["ModelSpec"], "builder", _or_null(_REFERENCE))
    _set(sections["ExportSpec"], "formats", {"type": "array", "items": {"enum": list(EXPORT_FORMATS)}})
    _set(sections["CallbackSpec"], "name", _REFERENCE)
    callback = {"anyOf": [_REFERENCE, {"$ref": "#/$defs/CallbackSpec"}]}
    _set(sections["TrainingSpec"], "callbacks", {"type": "array", "items": callback})
    known = {"anyOf": [{"enum": list(objective_metrics(None))}, {"type": "string", "pattern": "^val_"}]}
    _set(sections["ObjectiveSpec"], "metric", known)
    search = sections["SearchSpec"]
    limit = {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, _DURATION, {"type": "null"}]}
    for section, key in ((search, "time_limit"), (sections["ResourcesSpec"], "epoch_timeout")):
        _set(section, key, limit)
    training = sections["TrainingSpec"]
    for section, key in ((search, "searcher"), (search, "scheduler"), (training, "method"), (training, "schedule")):
        members = section["properties"][key].pop("oneOf")
        names = [sections[member["$ref"].rpartition("/")[2]]["properties"]["name"]["const"] for member in members]
        section["properties"][key]["anyOf"] = [{"enum": names}, *members]
    return schema


def space_schema() -> Schema:
    """Of a space file."""
    return _generated(SpaceSpec, "A kerasweep search space")


SCHEMAS: Mapping[str, Callable[[], Schema]] = {
    "pipeline.schema.json": pipeline_schema,
    "space.schema.json": space_schema,
}


def text_of(schema: Schema) -> str:
    """A schema as it stands in its file."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _generated(model: type[PipelineSpec] | type[SpaceSpec], title: str) -> Schema:
    schema = {"$schema": _DIALECT, **model.model_json_schema(by_alias=True)}
    for each in (schema, *schema.get("$defs", {}).values()):
        _tidy(each)
    schema["title"] = title
    return schema


def _tidy(section: Schema) -> None:
    """Drops titles that only repeat a key's name, and requires the key that tells the members of a union apart."""
    section.pop("title", None)
    for name, value in section.get("properties", {}).items():
        value.pop("title", None)
        if "const" in value:
            value.pop("default", None)
            section["required"] = [name, *section.get("required", [])]


def _set(section: Schema, key: str, rule: Schema) -> None:
    """Replaces what a key may be, and keeps its description and default."""
    old = section["properties"][key]
    section["properties"][key] = {name: old[name] for name in ("description", "default") if name in old} | rule


def _or_null(rule: Schema) -> Schema:
    return {"anyOf": [rule, {"type": "null"}]}


if __name__ == "__main__":
    for name, build in SCHEMAS.items():
        Path(__file__).with_name(name).write_text(text_of(build()), encoding="utf-8")
