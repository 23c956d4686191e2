"""A study whose search has finished, and whose winner could not be delivered."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import kerasweep
from kerasweep import pipeline
from kerasweep.spec import load_pipeline
from kerasweep.study.folder import find, storage_root
from kerasweep.study.journal import whole
from kerasweep.tracking import open_store

PIPELINE = {
    "name": "tiny",
    "data": {"name": "wine"},
    "model": {"family": "mlp"},
    "space": {"parameters": {"n_neurons": {"type": "int", "min": 2, "max": 12}}},
    "search": {"searcher": "random", "scheduler": "none", "trials": 2, "max_epochs": 2},
    "retrain": None,
    "register": {},
}


@pytest.mark.slow
def test_resume_makes_up_for_a_delivery_that_failed(project: Path) -> None:
    from mlflow import MlflowClient

    (project / "pipeline.yaml").write_text(json.dumps(PIPELINE))
    in_the_way = project / "mlruns" / "exports"
    in_the_way.parent.mkdir()
    in_the_way.write_text("")
    with pytest.raises(OSError, match="exports"):
        kerasweep.run(load_pipeline(project / "pipeline.yaml"))
    folder = find(storage_root("auto"), "tiny")
    assert whole(folder.journal).events[-1]["event"] == "summary"
    assert pipeline.unfinished(load_pipeline(project / "pipeline.yaml")) == folder.path.name

    in_the_way.unlink()
    result = pipeline.resume("tiny").run()
    assert (result.status, result.model and result.model.version) == ("finished", 1)
    assert [Path(path).name for path in result.exports.values()] == ["model.keras"]
    assert pipeline.resume("tiny").run().model == result.model
    assert open_store("auto").load("tiny").status == "finished"
    assert len(MlflowClient(f"sqlite:///{project}/mlruns/mlflow.db").search_model_versions()) == 1
