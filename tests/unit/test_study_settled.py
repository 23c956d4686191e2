"""Whose a name is that training knows, too, where only the builder itself can tell."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from kerasweep.spec import pipeline_from_mapping
from kerasweep.spec.pipeline import PipelineSpec
from kerasweep.study.search import rates_of
from kerasweep.study.settled import settle

_BUILDER = """
import functools


def same(function):
    @functools.wraps(function)
    def inner(**params):
        return function(**params)

    return inner


@same
def build(decay_rate=0.5, units=3):
    raise RuntimeError("not built here")
"""


def _spec(folder: Path, module: str, **space: Any) -> PipelineSpec:
    (folder / f"{module}.py").write_text(_BUILDER)
    given = {
        "name": "wrapped",
        "data": {"name": "iris"},
        "model": {"builder": f"{module}:build"},
        "space": {"parameters": space},
    }
    return pipeline_from_mapping(given, folder).spec


def test_a_decorated_builder_is_asked_for_the_schedule_s_names_that_it_takes(tmp_path: Path) -> None:
    decay = {"type": "float", "min": 0.1, "max": 0.9}
    spec = _spec(tmp_path, "wrapped_with_decay", decay_rate=decay)
    settled = settle(spec, tmp_path, None, images=False)
    assert settled.signature is not None
    rates = rates_of(settled.spec, settled.signature.names)
    assert "decay_rate" not in rates.parameters
    assert rates.of({"decay_rate": 0.3}) == spec.training.schedule  # the builder's own affair
    assert rates.horizon == spec.search.max_epochs


def test_no_other_decorated_builder_is_imported(tmp_path: Path) -> None:
    settled = settle(
        _spec(tmp_path, "wrapped_without", units={"type": "int", "min": 1, "max": 5}), tmp_path, None, images=False
    )
    assert settled.signature is None
    assert "wrapped_without" not in sys.modules
