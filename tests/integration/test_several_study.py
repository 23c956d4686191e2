"""Several inputs and outputs from the first trial to the served model: the book's network on California housing."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import kerasweep
from kerasweep import Float, Int, Study
from kerasweep.data.base import Array
from kerasweep.errors import SpecError, StudyError
from kerasweep.pipeline import run
from kerasweep.spec import load_pipeline
from kerasweep.spec.vocabulary import DATASETS
from kerasweep.study.events import Silent

PIPELINES = Path(__file__).parents[2] / "pipelines"
COLUMNS = DATASETS["california_housing"].columns
SPACE = {"learning_rate": Float(min=1e-3, max=1e-2, log=True), "aux_weight": Float(min=0.0, max=0.3)}
SEARCH = {"trials": 4, "max_epochs": 2, "searcher": "random", "scheduler": "none"}


def houses() -> tuple[Array, Array]:
    """Every twentieth of them."""
    path = resources.files("kerasweep.data") / "bundled" / "california_housing.npz"
    with np.load(str(path)) as archive:
        return archive["X"][::20], archive["y"][::20]


BUILDER = {"builder": "california_models:two_inputs"}


class Noting(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_columns_of_a_file_become_inputs_and_the_model_takes_the_rows_of_the_file(project: Path) -> None:
    x, y = houses()
    table = pd.DataFrame(x, columns=COLUMNS).assign(coast=np.where(x[:, 7] < -120, "north", "south"), price=y)
    table.to_csv(project / "houses.csv", index=False)
    (project / "models.py").write_text((PIPELINES / "california_models.py").read_text())
    (project / "houses.yaml").write_text(
        "name: houses\n"
        "data:\n"
        "  csv: houses.csv\n"
        "  inputs: {wide_input: [MedInc, 1, coast], deep_input: [HouseAge, AveRooms, Latitude, Longitude]}\n"
        "  outputs: {main_output: price, aux_output: price}\n"
        'model: {builder: "models:two_inputs"}\n'
        "space: {parameters: {learning_rate: {type: float, min: 1.0e-3, max: 1.0e-2}}}\n"
        "search: {objective: {metric: val_aux_output_mae}, trials: 2, max_epochs: 2, searcher: random}\n"
        "export: {formats: [keras, saved_model, litert]}\n"
    )
    outcome = run(load_pipeline(project / "houses.yaml"))
    assert outcome.status == "finished"
    metrics = [f"{name}_{metric}" for name in ("main_output", "aux_output") for metric in ("mse", "rmse", "mae", "r2")]
    assert [list(each) for each in (outcome.test, *outcome.baselines.values())] == [metrics] * 3
    assert outcome.test["main_output_mse"] > 0
    assert outcome.baselines["linear"]["main_output_mse"] == outcome.baselines["linear"]["aux_output_mse"]

    rows = table.head(5)
    wanted = {name: tf.constant(rows[[name]].to_numpy(np.float32)) for name in COLUMNS if name not in _UNUSED}
    wanted["coast"] = tf.constant(rows[["coast"]].to_numpy(str))
    loaded = keras.models.load_model(outcome.exports["keras"])
    assert set(loaded.input) == set(wanted)
    predicted = {name: np.asarray(values) for name, values in loaded(wanted).items()}
    assert {name: values.shape for name, values in predicted.items()} == {"main_output": (5, 1), "aux_output": (5, 1)}
    served = tf.saved_model.load(str(outcome.exports["saved_model"])).signatures["serving_default"](**wanted)
    for name, values in predicted.items():
        np.testing.assert_allclose(np.asarray(served[name]), values, rtol=1e-4, atol=1e-5)

    import mlflow

    store = f"sqlite:///{project}/mlruns/mlflow.db"
    mlflow.set_tracking_uri(store)
    found = mlflow.pyfunc.load_model("models:/houses@champion")
    assert [column.name for column in found.metadata.signature.outputs] == ["main_output", "aux_output"]
    answered = found.predict(rows.drop(columns=["price", *_UNUSED]))
    for name, values in predicted.items():
        np.testing.assert_allclose(answered[name], values[:, 0], rtol=1e-4, atol=1e-5)
    again = kerasweep.load_model("houses", tracking_uri=store)
    assert set(again(wanted)) == {"main_output", "aux_output"}


_UNUSED = ("AveBedrms", "Population", "AveOccup")


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_arrays_by_name_train_together_and_are_delivered(project: Path) -> None:
    x, y = houses()
    data = ({"wide_input": x[:, :5], "deep_input": x[:, 2:]}, {"main_output": y, "aux_output": y})
    observer = Noting()
    with Study("arrays", data=data, model=BUILDER, space=SPACE, search=SEARCH, directory=PIPELINES) as study:
        best = study.run(observer=observer)
        assert not [note for note in observer.notes if "Model.fit" in note]
        assert {"val_loss", "val_main_output_loss", "val_aux_output_mae", "main_output_mae"} <= set(best.history[0])
        model = study.retrain()
        test = study.evaluate().test
        exports = study.export(project / "exports", ["keras", "onnx"])
        registered = study.register()
    assert best.history[1]["loss"] < best.history[0]["loss"]
    assert np.isfinite(list(test.values())).all()
    raw = {name: array[:6].astype("float32") for name, array in data[0].items()}
    predicted = model.predict(raw, verbose=0)
    again = keras.models.load_model(exports["keras"]).predict(raw, verbose=0)
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{project}/mlruns/mlflow.db")
    answered = mlflow.pyfunc.load_model(f"models:/arrays/{registered.version}").predict(raw)
    for name in ("main_output", "aux_output"):
        np.testing.assert_allclose(again[name], predicted[name], rtol=1e-5)
        np.testing.assert_allclose(answered[name], predicted[name][:, 0], rtol=1e-5)


def test_a_family_has_one_input_and_one_output(project: Path) -> None:
    x, y = houses()
    data = ({"wide_input": x[:, :5], "deep_input": x[:, 2:]}, {"main_output": y, "aux_output": y})
    study = Study("family", data=data, model="mlp", space={"n_neurons": Int(min=2, max=4)}, search=SEARCH)
    with pytest.raises(SpecError) as caught:
        study.run()
    assert [problem.message.partition(":")[0] for problem in caught.value.problems] == [
        "inputs belong to a builder",
        "outputs belong to a builder",
    ]
    assert not (project / "mlruns").exists()


def test_a_model_of_two_outputs_needs_data_that_name_them(project: Path) -> None:
    x, y = houses()
    data = {"arrays": (x, y), "inputs": {"wide_input": [0], "deep_input": [1, 2]}}
    study = Study("unnamed", data=data, model=BUILDER, space=SPACE, search=SEARCH, directory=PIPELINES)
    with study, pytest.raises(StudyError, match="NamesDiffer: a model of several outputs needs data that name them"):
        study.run()
