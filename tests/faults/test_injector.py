"""Kills of real processes change nothing; `injector.py` does more of them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from injector import Injector
from lab import lab
from verdict import differences, examine

from kerasweep.tracking import layout


@pytest.mark.slow
@pytest.mark.timeout(3600)  # for twenty, five minutes on two free cores
@pytest.mark.parametrize(("kills", "kinds", "resumes"), [(10, 2, 0), (20, 3, 1)])  # of the latter at least
def test_kills_change_nothing_and_what_is_not_the_same_is_noticed(kills: int, kinds: int, resumes: int) -> None:
    from mlflow import MlflowClient

    with lab(cluster=True) as there:
        report = Injector(there, 1, kills, math.inf, print).run()
        assert report.differences == []
        assert report.kills.total() == kills
        assert report.resumes >= resumes
        assert len(report.kills) >= kinds

        name, folder = "undisturbed", there.folder / "00"
        before = examine(there.server.uri, name, folder)
        assert differences(before, before) == []
        client = MlflowClient(there.server.uri)
        experiment = client.get_experiment_by_name(name).experiment_id
        run = client.search_runs([experiment], f"tags.`{layout.TRIAL}` = '3'")[0].info.run_id
        client.log_metric(run, "loss", 0.5, step=1)
        client.create_run(experiment, tags={layout.KIND: "trial", layout.TRIAL: "3"})
        (weights,) = Path(before.journal.parent, "weights", str(before.retold.summary["best"]["trial"])).iterdir()
        weights.with_suffix(".npz.partial").touch()
        (folder / "mlruns" / "exports" / before.journal.parent.name / ".writing-1").mkdir()
        lines = "\n".join(differences(before, examine(there.server.uri, name, folder)))
        assert "MLflow has the runs {'study': 1, 'trial': 25}" in lines
        assert "trial 3: points of loss was" in lines
        assert ".npz.partial" in lines
        assert ".writing-1" in lines
