"""What a pipeline gave, as JSON."""

from __future__ import annotations

import json

import pytest

from kerasweep.pipeline import PipelineResult, Registered
from kerasweep.records import Trial


def test_a_whole_result_is_json_that_reads_back() -> None:
    trial = Trial(4, {"units": 3, "rate": 0.1, "on": True}, seed=1, value=0.25, epoch=7)
    result = PipelineResult(
        study="a@00000000",
        status="finished",
        best=trial,
        trials={"finished": 5, "stopped": 2, "failed": 1},
        test={"rmse": 0.5},
        spread={"rmse": (0.4, 0.5, 0.6)},
        baselines={"linear": {"rmse": 0.7}},
        exports={"keras": "/x/model.keras"},
        model=Registered("a", 3, "champion", moved=False, reason="worse"),
        seconds={"search": 1.23456, "total": 2.0},
    )
    assert json.loads(json.dumps(result.to_json())) == {
        "study": "a@00000000",
        "status": "finished",
        "best": {"trial": 4, "value": 0.25, "epoch": 7, "params": {"units": 3, "rate": 0.1, "on": True}},
        "trials": {"finished": 5, "stopped": 2, "failed": 1},
        "test": {"rmse": 0.5},
        "spread": {"rmse": [0.4, 0.5, 0.6]},
        "baselines": {"linear": {"rmse": 0.7}},
        "exports": {"keras": "/x/model.keras"},
        "model": {
            "uri": "models:/a/3",
            "name": "a",
            "version": 3,
            "alias": "champion",
            "moved": False,
            "reason": "worse",
        },
        "seconds": {"search": 1.235, "total": 2.0},
    }


def test_what_did_not_happen_is_null_or_empty() -> None:
    told = PipelineResult("a@00000000", "interrupted", None, {}).to_json()
    assert (told["best"], told["model"], told["test"], told["exports"]) == (None, None, {}, {})


@pytest.mark.parametrize(("moved", "uri"), [(True, "models:/a@champion"), (False, "models:/a/3")])
def test_the_alias_is_named_only_if_it_points_here(moved: bool, uri: str) -> None:
    assert Registered("a", 3, "champion", moved).uri == uri
