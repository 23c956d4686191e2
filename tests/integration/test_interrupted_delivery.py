"""A study whose search has finished, and whose winner could not be delivered."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_wine

import kerasweep
from kerasweep import pipeline
from kerasweep.spec import load_pipeline
from kerasweep.study.events import Silent
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


class Notes(Silent):
    """What a user is told once."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


@pytest.mark.slow
def test_resume_makes_up_for_a_delivery_that_failed(project: Path) -> None:
    import keras
    from mlflow import MlflowClient

    (project / "pipeline.yaml").write_text(json.dumps(PIPELINE))
    store = f"sqlite:///{project}/kept.db"  # given once, and remembered
    in_the_way = project / "mlruns" / "exports"
    in_the_way.parent.mkdir()
    in_the_way.write_text("")
    with pytest.raises(OSError, match="exports"):
        kerasweep.run(load_pipeline(project / "pipeline.yaml"), tracking_uri=store)
    folder = find(storage_root("auto"), "tiny")
    assert whole(folder.journal).events[-1]["event"] == "summary"
    assert pipeline.unfinished(load_pipeline(project / "pipeline.yaml")) == folder.path.name

    in_the_way.unlink()
    result = pipeline.resume("tiny").run()
    assert (result.status, result.model and result.model.version) == ("finished", 1)
    assert [Path(path).name for path in result.exports.values()] == ["model.keras"]
    assert pipeline.resume("tiny").run().model == result.model
    assert open_store(store).load("tiny").status == "finished"
    assert len(MlflowClient(store).search_model_versions()) == 1

    # Without its weights, and without time to search for them again, the winner is trained once more.
    shutil.rmtree(folder.weights)
    notes = Notes()
    again = pipeline.resume("tiny", overrides=["search.time_limit=1s"]).run(observer=notes)
    assert again.best == result.best
    number = again.best.number if again.best else -1
    assert notes.said[-1:] == [f"the weights of trial {number} were lost with its worker, and it trains again"]
    rows = load_wine().data[:20]
    delivered, kept = (
        model.predict(rows, verbose=0)
        for model in (
            keras.saving.load_model(again.exports["keras"]),
            kerasweep.load_model("tiny", trial=number, tracking_uri=store),
        )
    )
    np.testing.assert_allclose(delivered, kept, rtol=1e-4, atol=1e-5)
