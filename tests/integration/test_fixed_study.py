"""A pipeline with nothing to search: one configuration, trained once and delivered as it is."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from kerasweep.data import load_search
from kerasweep.pipeline import run
from kerasweep.spec import load_pipeline

TEXT = """
name: xor
data: {name: playground_xor}
model: {family: mlp}
space:
  parameters:
    n_hidden: {type: fixed, value: 1}
    n_neurons: {type: fixed, value: 8}
    learning_rate: {type: fixed, value: 0.03}
search: {objective: {metric: val_accuracy}, trials: 3, max_epochs: 4}
training: {early_stopping: null}
retrain: null
register: null
"""


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_one_configuration_is_trained_and_delivered_as_it_is(project: Path) -> None:
    file = project / "xor.yaml"
    file.write_text(TEXT)
    loaded = load_pipeline(file)
    result = run(loaded)
    assert result.trials == {"finished": 1, "stopped": 0, "failed": 0}
    assert result.best is not None
    assert result.best.params == {"n_hidden": 1, "n_neurons": 8, "learning_rate": 0.03}
    assert len(result.best.history) == 4
    assert "retrain" not in result.seconds
    assert result.spread == {}
    model = keras.saving.load_model(result.exports["keras"])
    rows = load_search(loaded.spec.data, project).validation
    columns = {name: column[:, None] for name, column in rows.x.items()}  # type: ignore[union-attr]
    right = (model.predict(columns, verbose=0) > 0.5) == (rows.y > 0.5)
    assert np.mean(right) == pytest.approx(result.best.value)
    assert result.best.value == max(result.best.curve("val_accuracy"))
