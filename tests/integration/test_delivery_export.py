"""Every export format, written, read back and compared, on real small models."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasweep.data.base import Facts, Rows
from kerasweep.data.preprocessing import Preprocessing, fit
from kerasweep.delivery import assemble, check_formats, clear_drafts, compare, export, predict
from kerasweep.delivery.formats import FORMATS
from kerasweep.errors import DeliveryError
from kerasweep.models import FamilyBuilder, Inputs
from kerasweep.models.supervised import delivered
from kerasweep.spec.vocabulary import EXPORT_FORMATS, Task

PRICE = Facts(Task.REGRESSION, 1, targets=("price",))


def _numbers(rows: int = 60) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    columns = {"age": rng.normal(40, 10, rows), "rooms": rng.integers(1, 9, rows), "year": rng.normal(1990, 20, rows)}
    columns["age"][::7] = np.nan
    return columns


def _mixed(rows: int = 60) -> dict[str, np.ndarray]:
    city = np.array([("Bonn", "Ulm", None)[i % 3] for i in range(rows)], object)
    street = np.array([f"street {i % 12}" for i in range(rows)], object)
    return {**_numbers(rows), "city": city, "street": street}


def _images(rows: int = 20) -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, (rows, 8, 8), dtype=np.uint8)


def _body(preprocessing: Preprocessing, outputs: int = 1, activation: str | None = None, seed: int = 1) -> keras.Model:
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input(preprocessing.feature_shape),
            keras.layers.Flatten(),
            keras.layers.Dense(6, "selu"),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(outputs, activation=activation),
        ]
    )


def _model(rows: Rows, outputs: int = 1, activation: str | None = None, seed: int = 1) -> keras.Model:
    preprocessing = fit(rows)
    return assemble(preprocessing, _body(preprocessing, outputs, activation, seed))


def _convolutional(rows: Rows) -> keras.Model:
    preprocessing = fit(rows)
    layers = keras.layers
    body = keras.Sequential(
        [
            keras.Input(preprocessing.feature_shape),
            layers.Reshape((*preprocessing.feature_shape, 1)),
            layers.Conv2D(4, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(5, activation="softmax"),
        ]
    )
    return assemble(preprocessing, body)


def _wide_and_deep(rows: Rows) -> keras.Model:
    """The family's, whose auxiliary output is not delivered."""
    preprocessing = fit(rows)
    inputs = Inputs(preprocessing.feature_shape, Task.REGRESSION, 1, wide=(0, 1), deep=(3, 2, 1))
    return assemble(preprocessing, delivered(FamilyBuilder("wide_deep", inputs).build({"aux_weight": 0.2}, 0)))


@pytest.mark.parametrize(
    ("rows", "build", "facts", "formats"),
    [
        (_mixed(), _model, PRICE, ("keras", "saved_model", "litert")),
        (_numbers(), partial(_model, outputs=2), Facts(Task.REGRESSION, 2, targets=("a", "b")), EXPORT_FORMATS),
        (_numbers(), _wide_and_deep, PRICE, EXPORT_FORMATS),
        (_images(), _convolutional, Facts(Task.MULTICLASS, 5, tuple("abcde")), EXPORT_FORMATS),
    ],
    ids=["text and gaps", "two outputs", "wide and deep", "images"],
)
def test_every_format_gives_the_same_predictions(
    rows: Rows, build: Callable[[Rows], keras.Model], facts: Facts, formats: tuple[str, ...], tmp_path: Path
) -> None:
    model = build(rows)
    paths = export(model, formats, tmp_path / "exports", rows, facts)
    assert paths == {name: tmp_path / "exports" / FORMATS[name].file for name in formats}
    largest = np.abs(predict(model, rows)).max()
    for name, path in paths.items():
        assert compare(model, name, path, rows) <= 1e-4 * largest
    assert {path.name for path in (tmp_path / "exports").iterdir()} == {FORMATS[name].file for name in formats}


@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated")
def test_inputs_and_output_go_by_the_names_of_columns_and_target(tmp_path: Path) -> None:
    rows = _numbers()
    paths = export(_model(rows), EXPORT_FORMATS, tmp_path, rows, PRICE)
    served = tf.saved_model.load(str(paths["saved_model"])).signatures["serving_default"]
    assert set(served.structured_input_signature[1]) == set(rows)
    assert set(served.structured_outputs) == {"price"}

    import onnxruntime

    session = onnxruntime.InferenceSession(str(paths["onnx"]), providers=["CPUExecutionProvider"])
    assert {given.name for given in session.get_inputs()} == set(rows)
    assert [given.name for given in session.get_outputs()] == ["price"]
    runner = tf.lite.Interpreter(model_content=paths["litert"].read_bytes()).get_signature_runner()
    assert set(runner.get_input_details()) == set(rows)
    assert set(runner.get_output_details()) == {"price"}


@pytest.mark.parametrize("name", EXPORT_FORMATS)
def test_an_export_of_another_model_is_found_out(name: str, tmp_path: Path) -> None:
    rows = _numbers()
    path = export(_model(rows, seed=1), [name], tmp_path, rows, PRICE)[name]
    with pytest.raises(DeliveryError, match=r"must predict what the model predicts .* differ by up to "):
        compare(_model(rows, seed=2), name, path, rows)
    with pytest.raises(DeliveryError, match=r"predictions of shape \(60, 2\) .* Received: \(60, 1\)"):
        compare(_model(rows, outputs=2), name, path, rows)


@pytest.mark.parametrize("name", EXPORT_FORMATS)
def test_a_damaged_export_is_found_out(name: str, tmp_path: Path) -> None:
    rows = _numbers()
    model = _model(rows)
    path = export(model, [name], tmp_path, rows, PRICE)[name]
    file = path / "saved_model.pb" if path.is_dir() else path
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(DeliveryError, match=f"an export as {name} must be readable"):
        compare(model, name, path, rows)


@pytest.mark.parametrize("name", EXPORT_FORMATS)
def test_an_export_replaces_the_one_before_as_a_whole(name: str, tmp_path: Path) -> None:
    rows = _numbers()
    export(_model(rows, seed=1), [name], tmp_path, rows, PRICE)
    final = tmp_path / FORMATS[name].file
    if final.is_dir():
        (final / "left over").touch()
    newer = _model(rows, seed=2)
    assert export(newer, [name], tmp_path, rows, PRICE) == {name: final}
    compare(newer, name, final, rows)
    assert [path.name for path in tmp_path.iterdir()] == [final.name]
    assert not (final / "left over").exists()


@keras.saving.register_keras_serializable("tests")
class Moody(keras.layers.Layer):
    """Answers otherwise when it is traced: no export of it can be faithful."""

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return x if tf.executing_eagerly() else x + 1.0


def test_what_a_killed_process_was_writing_is_cleared_away(tmp_path: Path) -> None:
    rows = _numbers()
    path = export(_model(rows), ["keras"], tmp_path, rows, PRICE)["keras"]
    (tmp_path / ".writing-12ab").mkdir()
    (tmp_path / ".writing-12ab" / "model.keras").write_bytes(b"half")
    clear_drafts(tmp_path)
    assert list(tmp_path.iterdir()) == [path]
    clear_drafts(tmp_path / "missing")


def test_an_unfaithful_export_never_takes_the_place_of_a_faithful_one(tmp_path: Path) -> None:
    rows = _numbers()
    good = _model(rows)
    paths = export(good, ["keras", "saved_model"], tmp_path, rows, PRICE)
    preprocessing = fit(rows)
    moody = assemble(preprocessing, keras.Sequential([_body(preprocessing, seed=2), Moody()]))
    with pytest.raises(DeliveryError) as caught:
        export(moody, ["saved_model", "onnx", "keras"], tmp_path, rows, PRICE)
    first, second, third = str(caught.value).splitlines()
    assert first.startswith("saved_model must predict what the model predicts when it is read back. Received: ")
    assert second.startswith("model.onnx must predict")
    assert third == f"In place: {paths['keras']}."  # .keras runs the layer's own code, so it is faithful
    compare(good, "saved_model", paths["saved_model"], rows)
    assert {path.name for path in tmp_path.iterdir()} == {"saved_model", "model.keras"}


def test_a_model_that_predicts_nan_is_still_exported_faithfully(tmp_path: Path) -> None:
    rows = np.array([[1.0, 2.0], [np.nan, 1.0]], "float32")
    preprocessing = fit(rows, automatic=False)
    model = assemble(preprocessing, _body(preprocessing))
    assert np.isnan(predict(model, rows)).tolist() == [[False], [True]]
    paths = export(model, ["keras", "saved_model"], tmp_path, rows, PRICE)
    assert set(paths) == {"keras", "saved_model"}


def test_text_and_onnx_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    rows = _mixed()
    with pytest.raises(DeliveryError, match=r"need one of the formats keras, saved_model, litert\. Received: onnx"):
        export(_model(rows), ["keras", "onnx"], tmp_path / "exports", rows, PRICE)
    assert not (tmp_path / "exports").exists()


class Plain(keras.Model):
    """A user's own class, without what a file needs to make one again."""

    def __init__(self, out: keras.layers.Layer) -> None:
        super().__init__()
        self.out = out

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return self.out(x)


@keras.saving.register_keras_serializable("tests")
class Registered(keras.Model):
    """A user's own class, done as Keras asks."""

    def __init__(self, units: int = 3, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.hidden, self.out = keras.layers.Dense(units, "relu"), keras.layers.Dense(1)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return self.out(self.hidden(x))

    def get_config(self) -> dict[str, object]:
        return {**super().get_config(), "units": self.units}


def test_a_subclassed_body_is_exported_as_graph_but_not_as_keras(tmp_path: Path) -> None:
    rows = _numbers()
    body = Plain(keras.layers.Dense(1))
    model = assemble(fit(rows), body)
    others = ["saved_model", "onnx", "litert"]
    check_formats(others, body=body)
    with pytest.raises(DeliveryError, match=r"must be made of Keras's own layers, .* Received: Plain: "):
        check_formats(["keras", *others], body=body)
    assert set(export(model, others, tmp_path, rows, PRICE)) == set(others)


def test_a_registered_body_is_exported_in_every_format(tmp_path: Path) -> None:
    rows = _numbers()
    body = Registered()
    model = assemble(fit(rows), body)
    check_formats(EXPORT_FORMATS, body=body)
    assert set(export(model, EXPORT_FORMATS, tmp_path, rows, PRICE)) == set(EXPORT_FORMATS)


def test_a_lambda_is_refused_for_keras_as_safe_mode_would_refuse_it(tmp_path: Path) -> None:
    rows = _numbers()
    doubled = keras.layers.Lambda(lambda x: 2 * x)
    body = keras.Sequential([keras.Input(fit(rows).feature_shape), doubled, keras.layers.Dense(1)])
    with pytest.raises(DeliveryError, match="Lambda"):
        check_formats(["keras"], body=body)
    with pytest.raises(DeliveryError, match="an export as keras must be readable") as caught:
        export(assemble(fit(rows), body), ["keras"], tmp_path, rows, PRICE)
    assert str(caught.value).endswith("Nothing was put in place.")
    assert list(tmp_path.iterdir()) == []
