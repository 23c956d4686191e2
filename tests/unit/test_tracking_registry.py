"""Registered models take raw rows, and their test metrics read back."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest

from kerasweep.errors import DeliveryError, StudyNotFound, TrackingError
from kerasweep.records import Direction, Objective
from kerasweep.tracking import StudyHeader, open_registry, open_tracker
from kerasweep.tracking.model_folder import Delivered
from kerasweep.tracking.registry import Champion, Registry

STUDY = "homes@00000001"
TABLE = pd.DataFrame(
    {
        "rooms": [3, 5, 2],
        "area": [70.5, np.nan, 40.0],
        "near": ["sea", None, "hill"],
        "code": [1, 2, 1],
    }
)


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    uri = f"sqlite:///{tmp_path_factory.mktemp('registry')}/mlflow.db"
    tracker = open_tracker(uri, "homes")
    objective = Objective("val_loss", Direction.MINIMIZE)
    tracker.start(StudyHeader(STUDY, "homes", 1.75e9, objective, "{}", "", "", 1, {"name": "homes"}, {}, None))
    tracker.end("finished")
    tracker.close()
    return uri


@pytest.fixture
def registry(uri: str) -> Registry:
    return open_registry(uri)


@pytest.fixture(scope="module")
def table_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Named columns: two numbers (missing ones become 0), text, and a category written as a number."""
    inputs = {
        "rooms": keras.Input((1,), name="rooms"),
        "area": keras.Input((1,), name="area"),
        "near": keras.Input((1,), name="near", dtype="string"),
        "code": keras.Input((1,), name="code", dtype="string"),
    }
    near = keras.layers.StringLookup(vocabulary=["sea", "hill"], output_mode="one_hot")(inputs["near"])
    code = keras.layers.StringLookup(vocabulary=["1", "2"], output_mode="one_hot")(inputs["code"])
    area = keras.ops.nan_to_num(inputs["area"])
    joined = keras.layers.Concatenate()([inputs["rooms"], area, near, code])
    weights = [np.array([[1.0], [0.5], [100.0], [10.0], [20.0], [3.0], [5.0], [7.0]]), np.zeros(1)]
    dense = keras.layers.Dense(1)
    model = keras.Model(inputs, dense(joined))
    dense.set_weights(weights)
    path = tmp_path_factory.mktemp("models") / "table.keras"
    model.save(path)
    return path


EXPECTED = [3 + 70.5 / 2 + 10 + 5, 5 + 0 + 100 + 7, 2 + 20 + 20 + 5]


def served(uri: str, model: str) -> object:
    import mlflow

    mlflow.set_tracking_uri(uri)
    return mlflow.pyfunc.load_model(model)


def test_a_table_model_takes_raw_rows_of_any_number_type(uri: str, registry: Registry, table_model: Path) -> None:
    version = registry.register("homes", Delivered(STUDY, table_model, TABLE, (), {"mse": 0.25}))
    model = served(uri, f"models:/homes/{version}")
    predicted = model.predict(TABLE)
    assert list(predicted.columns) == ["prediction"]
    np.testing.assert_allclose(predicted["prediction"], EXPECTED)
    loose = TABLE.astype({"rooms": float, "area": object, "near": object, "code": float}).astype({"code": object})
    np.testing.assert_allclose(model.predict(loose.iloc[::-1])["prediction"], EXPECTED[::-1])
    whole = pd.DataFrame({"rooms": [3], "area": [70], "near": ["nowhere"], "code": ["2.0"]})
    np.testing.assert_allclose(model.predict(whole)["prediction"], [3 + 35 + 100 + 7])
    columns = {spec.name: str(spec.type) for spec in model.metadata.signature.inputs}
    assert columns["near"].endswith("string")


def test_a_column_that_is_not_numbers_is_named(uri: str, registry: Registry, table_model: Path) -> None:
    version = registry.register("strict", Delivered(STUDY, table_model, TABLE, (), {}))
    with pytest.raises(ValueError, match=r"'rooms' must hold numbers\. Received: \['many'"):
        served(uri, f"models:/strict/{version}").predict(TABLE.assign(rooms=["many", "few", "none"]))


def test_an_array_model_takes_arrays_and_names_its_classes(uri: str, registry: Registry, tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((2, 2)), keras.layers.Flatten(), keras.layers.Dense(3, "softmax")])
    model.save(tmp_path / "array.keras")
    rows = np.arange(40, dtype=np.float64).reshape(10, 2, 2)
    version = registry.register("images", Delivered(STUDY, tmp_path / "array.keras", rows, ("a", "b", "c"), {}))
    loaded = served(uri, f"models:/images/{version}")
    tensor = loaded.metadata.signature.inputs.inputs[0]
    assert tensor.shape == (-1, 2, 2)
    np.testing.assert_allclose(loaded.predict(rows.astype("float32")), model.predict(rows, verbose=0), rtol=1e-6)


def test_a_frame_of_an_array_model_has_named_columns_and_classes(uri: str, registry: Registry, tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((2, 2)), keras.layers.Flatten(), keras.layers.Dense(1, "sigmoid")])
    model.save(tmp_path / "frame.keras")
    rows = np.arange(12, dtype=np.float64).reshape(3, 4)
    frame = pd.DataFrame(rows, columns=["x0", "x1", "x2", "x3"])
    version = registry.register("frames", Delivered(STUDY, tmp_path / "frame.keras", frame, ("no", "yes"), {}))
    predicted = served(uri, f"models:/frames/{version}").predict(frame)
    assert list(predicted.columns) == ["yes"]
    np.testing.assert_allclose(predicted, model.predict(rows.reshape(3, 2, 2), verbose=0), rtol=1e-6)


def test_the_alias_moves_when_told_and_metrics_read_back(registry: Registry, table_model: Path) -> None:
    assert registry.champion("moving", "champion") is None
    first = registry.register("moving", Delivered(STUDY, table_model, TABLE, (), {"mse": 0.1 + 0.2, "p@0.5": 1e-7}))
    assert registry.champion("moving", "champion") is None
    registry.move_alias("moving", "champion", first)
    assert registry.champion("moving", "champion") == Champion(first, {"mse": 0.1 + 0.2, "p@0.5": 1e-7})
    second = registry.register("moving", Delivered(STUDY, table_model, TABLE, (), {"mse": 0.2}))
    assert second == first + 1
    assert registry.champion("moving", "champion").version == first
    registry.move_alias("moving", "champion", second)
    assert registry.champion("moving", "champion") == Champion(second, {"mse": 0.2})


def test_a_version_is_fetched_as_a_file_by_alias_or_number(
    registry: Registry, table_model: Path, tmp_path: Path
) -> None:
    first = registry.register("fetched", Delivered(STUDY, table_model, TABLE, (), {"mse": 0.25}))
    second = registry.register("fetched", Delivered(STUDY, table_model, TABLE, (), {"mse": 0.2}))
    registry.move_alias("fetched", "champion", second)
    for reference, number in (("models:/fetched@champion", second), (f"models:/fetched/{first}", first)):
        version, file = registry.fetch(reference, tmp_path / str(number))
        assert version == number
        expected = keras.saving.load_model(table_model, compile=False).get_weights()
        for one, other in zip(keras.saving.load_model(file, compile=False).get_weights(), expected, strict=True):
            np.testing.assert_array_equal(one, other)
    for missing in ("models:/fetched@nobody", "models:/fetched/99", "models:/unknown/1"):
        with pytest.raises(DeliveryError, match=rf"{missing} must be registered\. Received: none"):
            registry.fetch(missing, tmp_path)


def test_what_is_registered_can_be_installed_and_traced(uri: str, registry: Registry, table_model: Path) -> None:
    import mlflow
    from mlflow import MlflowClient

    version = registry.register("traced", Delivered(STUDY, table_model, TABLE, (), {}))
    client = MlflowClient(uri)
    entry = client.get_model_version("traced", str(version))
    run = client.get_run(entry.run_id)
    assert run.data.tags["kerasweep.study"] == STUDY
    models = [client.get_logged_model(output.model_id) for output in run.outputs.model_outputs]
    (logged,) = [model for model in models if model.artifact_location == entry.source]
    assert json.loads(logged.tags["mlflow.modelVersions"]) == [{"name": "traced", "version": version}]
    mlflow.set_tracking_uri(uri)
    requirements = Path(mlflow.pyfunc.get_model_dependencies(f"models:/traced/{version}")).read_text().split()
    for package in ("tensorflow", "keras", "numpy", "pandas", "mlflow"):
        assert f"{package}=={importlib.metadata.version(package)}" in requirements


def test_what_cannot_be_registered_says_why(registry: Registry, table_model: Path, tmp_path: Path) -> None:
    with pytest.raises(StudyNotFound):
        registry.register("x", Delivered("nothing@00000001", table_model, TABLE, (), {}))
    with pytest.raises(DeliveryError, match=r"must load from its \.keras file"):
        registry.register("x", Delivered(STUDY, tmp_path / "missing.keras", TABLE, (), {}))
    with pytest.raises(DeliveryError, match="must predict its example rows"):
        registry.register("x", Delivered(STUDY, table_model, TABLE.drop(columns="near"), (), {}))
    with pytest.raises(TrackingError):
        registry.move_alias("x", "champion", 1)


def test_models_that_a_killed_driver_logged_and_did_not_register_are_discarded(
    uri: str, registry: Registry, table_model: Path
) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("homes").experiment_id
    delivered = Delivered(STUDY, table_model, TABLE, (), {"mse": 0.5})
    version = client.get_model_version("killed", str(registry.register("killed", delivered)))
    client.create_logged_model(experiment, "cut-off", version.run_id, {"kerasweep.study": STUDY})
    client.create_logged_model(experiment, "of-someone-else", version.run_id)
    assert "cut-off" in {model.name for model in client.search_logged_models([experiment])}
    registry.discard(STUDY)
    left = client.search_logged_models([experiment])
    assert "cut-off" not in {model.name for model in left}
    assert "of-someone-else" in {model.name for model in left}
    assert version.source in {model.artifact_location for model in left}


def test_a_store_that_does_not_exist_has_no_champion(tmp_path: Path) -> None:
    assert open_registry(f"sqlite:///{tmp_path}/mlflow.db").champion("x", "champion") is None
    assert list(tmp_path.iterdir()) == []
