"""The default searcher and scheduler in real studies: points, a warm start, and what MLflow keeps of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from kerasweep import Float, Int, Study
from kerasweep.records import Status
from kerasweep.study.events import Silent
from kerasweep.tracking import open_store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SPACE = {
    "n_hidden": Int(min=1, max=2),
    "n_neurons": Int(min=8, max=32, prior=16),
    "learning_rate": Float(min=1e-3, max=1e-1, log=True),
}


class Notes(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, message: str) -> None:
        self.said.append(message)


def test_a_study_learns_from_another_one_and_its_points_come_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = f"sqlite:///{tmp_path}/mlflow.db"
    budget = {"trials": 16, "max_epochs": 9}
    common = {
        "data": {"name": "wine"},
        "model": "mlp",
        "tracking": {"uri": store},
        "training": {"early_stopping": None},
    }
    with Study("before", space=SPACE, search={**budget, "searcher": "random", "scheduler": "none"}, **common) as before:
        before.run()
    point = {"n_hidden": 1, "n_neurons": 9, "learning_rate": 0.05}
    narrower = {**SPACE, "n_neurons": Int(min=8, max=24, prior=16)}
    search = {**budget, "points": [point], "warm_start": ["before"]}
    notes = Notes()
    with Study("after", space=narrower, search=search, **common) as after:
        after.run(observer=notes)
        trials = after.trials

    (warm,) = [said for said in notes.said if said.startswith("warm start from before@")]
    fitting = sum(n <= 24 for n in before.trials["n_neurons"])
    assert f"{fitting} of 16 trials fit this space" in warm
    assert f"n_neurons is outside ({16 - fitting})" in warm
    assert {name: trials[name][0] for name in point} == point
    assert (trials["status"] == "stopped").any()
    assert (trials["epochs"] <= 9).all()
    record = open_store(store).load("after")
    assert [trial.params for trial in record.trials][:1] == [point]
    assert {trial.status for trial in record.trials} <= {Status.FINISHED, Status.STOPPED}
