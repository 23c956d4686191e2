"""Whole studies of KerasTuner models that nothing was changed in: from a pipeline file, and in Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np
import pytest

from kerasweep import Study, load_pipeline, run
from kerasweep.data import load_search
from kerasweep.pipeline import export_trial
from kerasweep.spec.parameters import Choice, Float, Int
from kerasweep.study.events import Silent

# As KerasTuner's guide for beginners has it, but for the shape of the data.
MODULE = """
import keras
from keras import layers


def build_model(hp):
    model = keras.Sequential()
    model.add(layers.Flatten())
    for i in range(hp.Int("num_layers", 1, 3)):
        model.add(
            layers.Dense(
                units=hp.Int(f"units_{i}", min_value=8, max_value=64, step=8),
                activation=hp.Choice("activation", ["relu", "tanh"]),
            )
        )
    if hp.Boolean("dropout"):
        model.add(layers.Dropout(rate=0.25))
    model.add(layers.Dense(10, activation="softmax"))
    learning_rate = hp.Float("lr", min_value=1e-4, max_value=1e-2, sampling="log")
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate=learning_rate),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model
"""

PIPELINE = """
name: tuned
data: {name: digits}
model: {builder: "my_module:build_model"}
search:
  objective: {metric: val_accuracy}
  searcher: {name: keras_tuner, startup: 2}
  scheduler: none
  trials: 4
  max_epochs: 2
export: {formats: [keras]}
register: null
"""

SEARCH = {"objective": {"metric": "val_accuracy"}, "scheduler": "none", "trials": 4, "max_epochs": 2}


class Notes(Silent):
    """Keeps what the user is told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, message: str) -> None:
        self.said.append(message)


class Mine(keras_tuner.HyperModel):
    """Two kinds of network, each with hyperparameters of its own."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes

    def build(self, hp: Any) -> keras.Model:
        kind = hp.Choice("kind", ["wide", "deep"])
        stack = [keras.Input((4,))]
        with hp.conditional_scope("kind", ["wide"]):
            if kind == "wide":
                stack.append(keras.layers.Dense(hp.Int("wide/units", 16, 64, sampling="log"), "relu"))
        with hp.conditional_scope("kind", ["deep"]):
            if kind == "deep":
                stack += [keras.layers.Dense(8, "relu") for _ in range(hp.Int("depth", 2, 4))]
        model = keras.Sequential([*stack, keras.layers.Dense(self.classes, "softmax")])
        rate = hp.Float("learning_rate", 1e-3, 1e-1, sampling="log", default=0.01)
        model.compile(keras.optimizers.SGD(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model


@pytest.mark.slow
def test_a_pipeline_file_that_names_a_builder_and_no_space(project: Path) -> None:
    (project / "my_module.py").write_text(MODULE)
    (project / "pipeline.yaml").write_text(PIPELINE)
    loaded = load_pipeline(project / "pipeline.yaml")
    notes = Notes()
    result = run(loaded, observer=notes)
    names = ["num_layers", "units_0", "activation", "dropout", "lr", "units_1", "units_2"]
    assert result.trials == {"finished": 4, "stopped": 0, "failed": 0}
    assert result.best is not None
    assert list(result.best.params) == names
    assert any(note.endswith(f"builds of the model found the space: {', '.join(names)}") for note in notes.said)

    rows = load_search(loaded.spec.data, project).validation.x[:32]
    model = keras.models.load_model(result.exports["keras"])
    hidden = [layer.units for layer in _layers(model) if isinstance(layer, keras.layers.Dense)][:-1]
    depth = int(result.best.params["num_layers"])
    assert hidden == [result.best.params[f"units_{layer}"] for layer in range(depth)]
    probabilities = model.predict(rows, verbose=0)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)

    # Any other trial, built again from the store's record alone.
    other = next(number for number in range(4) if number != result.best.number)
    paths = export_trial(result.study, ["keras"], project / "out", trial=other)
    assert keras.models.load_model(paths["keras"]).predict(rows, verbose=0).shape == (32, 10)


@pytest.mark.slow
def test_a_study_of_a_hypermodel(project: Path) -> None:
    here = Path(__file__).parent  # where the workers import the class from
    with Study("mine", data="iris", model=Mine(3), search=SEARCH, directory=here) as study:
        study.run()
        table = study.trials
        model = study.model
        paths = study.export(project / "out")
    assert set(table["status"]) == {"finished"}
    assert (table["kind"] == "wide").tolist() == table["wide_units"].notna().tolist()
    assert (table["kind"] == "deep").tolist() == table["depth"].notna().tolist()
    assert table["learning_rate"][0] == 0.01  # the default, which the model states
    rows = np.random.default_rng(0).normal(4.0, 1.0, (8, 4)).astype("float32")
    again = keras.models.load_model(paths["keras"])
    np.testing.assert_allclose(again.predict(rows, verbose=0), model.predict(rows, verbose=0), rtol=1e-5)


@pytest.mark.slow
def test_a_study_of_a_function_of_hp_within_a_narrower_space(project: Path) -> None:
    namespace: dict[str, Any] = {}
    exec(MODULE, namespace)
    space = {
        "num_layers": Int(min=1, max=2),
        "units_0": Int(min=5, max=7),
        "activation": Choice(values=["relu"]),
        "lr": Float(min=1e-3, max=1e-2, log=True),
    }
    notes = Notes()
    fixed = {"units_1": 4, "batch_size": 64}
    with Study(
        "narrow", data="digits", model=namespace["build_model"], space=space, search=SEARCH, training={"fixed": fixed}
    ) as study:
        best = study.run(observer=notes)
        hidden = [layer.units for layer in _layers(study.model) if isinstance(layer, keras.layers.Dense)][:-1]
    assert list(best.params) == list(space)
    assert hidden == [best.params["units_0"], 4][: int(best.params["num_layers"])]
    assert "not in the space, and so at their defaults: dropout at False, units_2 at 8" in notes.said


def _layers(model: keras.Model) -> list[keras.Layer]:
    """Those of the network within a delivered model."""
    return [layer for part in model.layers if isinstance(part, keras.Model) for layer in part.layers]
