"""Good and bad pipeline files, the bad ones with their exact messages."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kerasweep.errors import SpecError
from kerasweep.spec import PipelineSpec, load_pipeline

CASES = Path(__file__).parents[1] / "spec_cases"
ROOT = CASES.parents[1]


def cases(kind: str) -> list[str]:
    found = sorted(path.name for path in (CASES / kind).glob("*.yaml"))
    assert found, f"no {kind} cases"
    return found


@pytest.mark.parametrize("name", cases("bad"))
def test_bad_file_is_refused_with_all_its_problems(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CASES / "bad")
    with pytest.raises(SpecError) as caught:
        load_pipeline(name)
    messages = str(caught.value).replace(str(ROOT), "<root>")
    assert messages + "\n" == Path(name).with_suffix(".txt").read_text(encoding="utf-8")
    for problem in caught.value.problems:
        assert problem.file is not None
        assert problem.line is not None
        assert problem.column is not None


@pytest.mark.parametrize("name", cases("good"))
def test_good_file_is_accepted_and_survives_its_normalised_form(name: str) -> None:
    loaded = load_pipeline(CASES / "good" / name)
    assert loaded.text == (CASES / "good" / name).read_text(encoding="utf-8")
    assert loaded.directory == CASES / "good"
    normalised = loaded.spec.model_dump_json(by_alias=True)
    assert PipelineSpec.model_validate_json(normalised) == loaded.spec


@pytest.mark.parametrize("path", sorted((ROOT / "pipelines").glob("*.yaml")), ids=lambda path: path.name)
def test_shipped_pipeline_is_right_from_any_directory(path: Path) -> None:
    assert load_pipeline(os.path.relpath(path)).spec.name == path.stem.replace("_", "-")
