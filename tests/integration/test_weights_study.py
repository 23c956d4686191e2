"""Weights from the first trial to the delivered model, and the decision boundary in the store."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kerasweep import Fixed, Float, Study
from kerasweep.data.base import Array
from kerasweep.errors import SpecError
from kerasweep.pipeline import run
from kerasweep.spec import load_pipeline


def mislabelled(rows: int = 600) -> tuple[Array, Array, Array, Array]:
    """Points whose class is the sign of their first coordinate; two thirds bear the wrong label, and weigh nothing."""
    rng = np.random.default_rng(4)
    x = rng.uniform(-3, 3, (rows, 2))
    right = x[:, 0] > 0
    lies = rng.permutation(rows) % 3 > 0
    return x, np.where(right ^ lies, "plus", "minus").astype(object), (~lies).astype(float), right


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_rows_of_no_weight_teach_nothing_in_the_search_or_after_it(project: Path) -> None:
    from mlflow import MlflowClient

    x, y, weights, right = mislabelled()
    space = {"learning_rate": Float(min=0.02, max=0.05), "n_neurons": Fixed(value=8)}
    search = {"trials": 2, "max_epochs": 6, "searcher": "random", "scheduler": "none"}
    training = {"class_weight": {"plus": 1.5}, "early_stopping": None}
    with Study("lies", data=(x, y, weights), model="mlp", space=space, search=search, training=training) as study:
        study.run()
        searched = study.model.predict(x, verbose=0)[:, 0] > 0.5
        model = study.retrain(seeds=1)
        retrained = model.predict(x, verbose=0)[:, 0] > 0.5
        # Measured as the rows are, lies included: a third of the labels is right.
        assert study.evaluate().test["accuracy"] == pytest.approx(1 / 3, abs=0.15)
    for predicted in (searched, retrained):
        assert (predicted == right).mean() > 0.9
    client = MlflowClient(f"sqlite:///{project}/mlruns/mlflow.db")
    (experiment,) = (each for each in client.search_experiments() if each.name == "lies")
    (parent,) = client.search_runs([experiment.experiment_id], "tags.`kerasweep.kind` = 'study'")
    figures = {Path(each.path).name for each in client.list_artifacts(parent.info.run_id, "figures")}
    assert "decision_boundary.png" in figures
    assert len(figures) == 6


def test_a_class_that_is_not_there_is_an_error_with_its_place(project: Path) -> None:
    file = project / "flowers.yaml"
    file.write_text(
        "name: flowers\ndata: {name: iris}\nmodel: {family: mlp}\n"
        "space: {parameters: {n_neurons: {type: int, min: 4, max: 8}}}\n"
        "training: {class_weight: {setosa: 1.0, virginia: 2.0}}\n"
    )
    with pytest.raises(SpecError, match=r"flowers.yaml:5:50: training.class_weight.virginia: .* mean 'virginica'"):
        run(load_pipeline(file))
    assert not (project / "mlruns").exists()
