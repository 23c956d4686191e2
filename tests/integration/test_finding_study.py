"""A study whose trials find their learning rates: what is recorded of them, trained again and learnt from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kerasweep import Find, Int, KerasSearchCV
from kerasweep.delivery import retrain_cohort
from kerasweep.pipeline import run
from kerasweep.spec import load_pipeline
from kerasweep.tracking import open_store, resolve_uri
from kerasweep.training import Schedule

TEXT = """
name: xor
data: {name: playground_xor}
model: {family: mlp}
space:
  parameters:
    n_neurons: {type: int, min: 6, max: 12}
    optimizer: {type: choice, values: [sgd, adam]}
    learning_rate: {type: find, min: 1.0e-4, max: 100.0, steps: 150, when: {optimizer: [sgd]}}
search: {searcher: grid, scheduler: none, trials: 4, max_epochs: 2}
resources: {cohort: COHORT}
export: {formats: []}
register: null
"""


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("cohort", ["auto", "'off'"])
def test_found_rates_are_recorded_and_trained_again_with(cohort: str, project: Path) -> None:
    file = project / "xor.yaml"
    file.write_text(TEXT.replace("COHORT", cohort))
    result = run(load_pipeline(file))
    assert result.trials["failed"] == 0
    record = open_store(resolve_uri("auto", Path.cwd())).load(result.study)
    for trial in record.trials:
        assert ("learning_rate" in trial.params) == (trial.params["optimizer"] == "sgd")
    rates = [float(trial.params["learning_rate"]) for trial in record.trials if "learning_rate" in trial.params]
    assert rates
    assert all(1e-4 < rate < 10 for rate in rates)
    assert result.best is not None
    (winner,) = [trial for trial in record.trials if trial.number == result.best.number]
    assert winner.params == result.best.params
    again, _ = retrain_cohort(winner, {}, 1, 1, Schedule(record.objective, 3))
    assert again.members[0].params == winner.params
    assert "retrain" in result.seconds


def test_an_estimator_finds_rates_without_ray() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(90, 3))
    y = x @ np.array([1.0, -2.0, 0.5]) + rng.normal(0, 0.1, 90)
    space = {"n_neurons": Int(min=4, max=8), "learning_rate": Find(min=1e-4, max=100.0, steps=60)}
    search = KerasSearchCV("mlp", space, task="regression", cv=3, trials=2, max_epochs=2).fit(x, y)
    assert 1e-4 < search.best_params_["learning_rate"] < 10
    assert len(search.cv_results_["param_learning_rate"]) == 2
    assert np.isfinite(search.predict(x)).all()
