"""The shipped JSON Schemas: current, and agreeing with what is accepted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

import kerasweep.spec
from kerasweep.spec import load_space
from kerasweep.spec.schema import SCHEMAS, text_of

SHIPPED = Path(kerasweep.spec.__file__).parent
ROOT = Path(__file__).parents[2]
PIPELINES = [*sorted(ROOT.glob("pipelines/*.yaml")), *sorted(ROOT.glob("tests/spec_cases/good/*.yaml"))]
SPACES = [*sorted(ROOT.glob("search_spaces/*.yaml")), *sorted(ROOT.glob("tests/spec_cases/good/spaces/*.yaml"))]


def violations(schema: str, document: object) -> list[str]:
    validator = jsonschema.Draft202012Validator(json.loads((SHIPPED / schema).read_text(encoding="utf-8")))
    return [error.message for error in validator.iter_errors(document)]


def plain(path: Path) -> Any:
    return YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", SCHEMAS)
def test_shipped_schema_is_current(name: str) -> None:
    built = SCHEMAS[name]()
    jsonschema.Draft202012Validator.check_schema(built)
    assert (SHIPPED / name).read_text(encoding="utf-8") == text_of(built), "run python -m kerasweep.spec.schema"


@pytest.mark.parametrize("path", PIPELINES, ids=lambda path: path.name)
def test_good_pipelines_agree_with_the_schema(path: Path) -> None:
    assert violations("pipeline.schema.json", plain(path)) == []


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.name)
def test_good_spaces_agree_with_the_schema(path: Path) -> None:
    assert violations("space.schema.json", plain(path)) == []
    assert load_space(path).parameters


@pytest.mark.parametrize(
    "name",
    ["misspelt_key", "unknown_type", "zero_trials", "unknown_dataset", "unknown_scheduler", "bad_durations",
     "bad_names", "builder_form", "unknown_format", "missing_sections", "training_metric", "wrong_types"],
)  # fmt: skip
def test_schema_refuses_what_one_key_alone_makes_wrong(name: str) -> None:
    assert violations("pipeline.schema.json", plain(ROOT / "tests/spec_cases/bad" / f"{name}.yaml"))


@pytest.mark.parametrize("path", [*PIPELINES, *SPACES], ids=lambda path: path.name)
def test_shipped_files_open_with_their_schema(path: Path) -> None:
    if "spec_cases" in path.parts:
        return
    first = path.read_text(encoding="utf-8").splitlines()[0]
    prefix = "# yaml-language-server: $schema="
    assert first.startswith(prefix)
    assert (path.parent / first.removeprefix(prefix)).resolve().parent == SHIPPED
