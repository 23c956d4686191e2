"""Names that would be paths, and files that would be programs: neither gets outside or gets run.

A name that a specification takes begins with a letter or a digit and holds nothing else that means something in a path.
What Windows reserves (CON, NUL) is a name like any other: kerasweep is for Linux.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kerasweep import Choice, Study
from kerasweep.data import load_search
from kerasweep.errors import DataError, DeliveryError, SpecError, StudyNotFound
from kerasweep.spec import load_pipeline
from kerasweep.spec.pipeline import DataSpec
from kerasweep.tracking import open_registry, open_store
from kerasweep.tracking.board import board_folder
from kerasweep.tracking.opening import connect
from kerasweep.training import snapshots

NAMES = (
    "../outside", "..", ".", ".hidden", "/etc/passwd", "a/b", "a/../../b", "..\\b", "C:\\b", "\\\\host\\share", "a\0b",
    "\0", "a\nb", "a\rb", "a\tb", "a b", " a/", "", "x" * 101, "-rf", "~root", "$HOME", "a;b", "a|b", "a*", "a?",
    "%2e%2e", "é", "\uff41", "a\u202eb", "file:a", "http://a", "'; DROP TABLE runs; --",
)  # fmt: skip
PLACES = ("name", "tracking.experiment", "register.name", "register.alias")
SOURCES = (
    "../x", "models:/", "models:/../x/1", "models:/x/-1", "x/trials/../1", f"x/trials/{'9' * 5000}", "/etc/passwd",
    "a\0",
)  # fmt: skip
REFERENCES = (
    "models:/..@champion", "models:/secret@..", "models:/a\0@b", f"models:/{'x' * 5000}/1", "models:/a/999999999",
)  # fmt: skip

PIPELINE = """name: fine
data: {{name: iris}}
model: {{family: mlp{model}}}
space: {{parameters: {{l2: {{type: float, min: 0.0, max: 0.1}}}}}}
{rest}
"""


def refused(path: Path, text: str, override: str | None = None) -> str:
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        load_pipeline(path, () if override is None else [override])
    return str(caught.value)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", NAMES)
def test_no_name_of_a_file_is_a_path(project: Path, place: str, name: str) -> None:
    section, _, key = place.partition(".")
    quoted = json.dumps(name)
    if key:
        said = refused(project / "p.yaml", PIPELINE.format(model="", rest=f"{section}: {{{key}: {quoted}}}"))
        assert said.startswith("p.yaml:5:") or f"{project}/p.yaml:5:" in said
    else:
        said = refused(project / "p.yaml", PIPELINE.format(model="", rest="").replace("fine", quoted))
        assert "p.yaml:1:7: name: " in said
    assert "a name must start with a letter or digit" in said
    assert sorted(path.name for path in project.iterdir()) == ["p.yaml"]


@pytest.mark.parametrize("name", NAMES)
def test_no_name_in_python_is_a_path(name: str) -> None:
    with pytest.raises(SpecError, match="a name must start with a letter or digit"):
        Study(name, data="iris", model="mlp", space={"activation": Choice(values=["relu"])})


@pytest.mark.parametrize("source", SOURCES)
def test_weights_come_from_studies_and_registered_models_only(project: Path, source: str) -> None:
    initial = f", initial_weights: {{from: {json.dumps(source)}, layers: 1}}"
    said = refused(project / "p.yaml", PIPELINE.format(model=initial, rest=""))
    assert "a trained model must be named as models:/NAME@ALIAS" in said


@pytest.mark.parametrize("name", ["../iris", "/etc/passwd", "iris\0", "iris/../wine", ""])
def test_no_dataset_is_a_path(project: Path, name: str) -> None:
    said = refused(project / "p.yaml", PIPELINE.format(model="", rest="").replace("iris", json.dumps(name)))
    assert "data.name: a dataset's name must be one of " in said


@pytest.mark.parametrize("name", ["a", "0", "a..b", "a...", "a.-_", "x" * 100, "CON"])
def test_the_names_that_are_taken_stay_inside(project: Path, name: str) -> None:
    path = project / "p.yaml"
    rest = "tracking: {tensorboard: true}"
    path.write_text(PIPELINE.format(model="", rest=rest).replace("fine", f"'{name}'"))
    spec = load_pipeline(path).spec
    assert spec.name == name
    folder = board_folder(spec.tracking.tensorboard, project, f"{name}@01234567")
    assert folder is not None
    assert folder.resolve().parent == project / "mlruns" / "tensorboard"


def test_a_store_is_asked_for_nothing_outside_it(project: Path) -> None:
    uri = f"sqlite:///{project}/mlruns/mlflow.db"
    connect(uri, create=True)
    (project / "secret").mkdir()
    (project / "secret" / "spec").write_text("kept")
    for name in (*NAMES, "../secret", str(project / "secret")):
        with pytest.raises(StudyNotFound):
            open_store(uri).load(name)
        with pytest.raises(StudyNotFound):
            open_store(uri).fetch_files(name, "spec", project / "fetched")
    for reference in REFERENCES:
        with pytest.raises(DeliveryError):
            open_registry(uri).fetch(reference, project / "fetched")
    assert not (project / "fetched").exists()


# --- files that would be programs -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hostile_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ``.keras`` file with a layer of Python code, which leaves a file behind when it is run."""
    import keras

    folder = tmp_path_factory.mktemp("hostile")
    layer = keras.layers.Lambda(lambda rows: (Path("evidence").touch(), rows)[1])
    path = folder / "model.keras"
    keras.Sequential([keras.Input((2,)), layer]).save(path)
    Path("evidence").unlink()
    return path


def test_code_in_a_keras_file_is_not_run_as_initial_weights(hostile_model: Path, project: Path) -> None:
    from kerasweep.study.initial import _loaded

    with pytest.raises(DeliveryError, match=r"models:/x@y must load from its \.keras file"):
        _loaded(hostile_model, "models:/x@y")
    assert list(project.iterdir()) == []


def test_code_in_a_keras_file_is_not_run_where_it_is_registered(hostile_model: Path, project: Path) -> None:
    import numpy as np

    from kerasweep.tracking.model_folder import Delivered, save

    delivered = Delivered("x@1", hostile_model, np.zeros((1, 2), "float32"), (), {})
    with pytest.raises(DeliveryError, match=r"a model to register must load from its \.keras file"):
        save(project / "model", delivered, "run", "model")
    assert list(project.iterdir()) == []


def test_objects_in_an_archive_are_not_unpickled(project: Path) -> None:
    import numpy as np

    class Program:
        def __reduce__(self) -> tuple[object, tuple[str, str]]:
            return (open, ("evidence", "w"))

    held = np.array([Program(), None], dtype=object)
    np.savez(project / "data.npz", x=np.zeros((2, 1)), y=held)
    with pytest.raises(DataError):
        load_search(DataSpec(npz=Path("data.npz")), project)
    (project / "data.npz").rename(project / "cohort.npz")
    with pytest.raises(ValueError, match="a snapshot must be whole"):
        snapshots.load(project)
    assert [path.name for path in project.iterdir()] == ["cohort.npz"]
