"""Real small Keras models on raw rows, and scikit-learn's baselines beside them."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from kerasweep.data.base import Array, Facts, Rows, Split
from kerasweep.data.preprocessing import Preprocessing, fit, transform
from kerasweep.delivery import TEST_METRICS, assemble, baselines, evaluate, predict
from kerasweep.errors import DeliveryError
from kerasweep.spec.vocabulary import Task

PRICES = Facts(Task.REGRESSION, 1, columns=("age", "rooms", "city", "new"), targets=("price",))


def _houses(rows: int = 300) -> Split:
    """Named columns with text, truth values and gaps; the price is linear in what the columns say."""
    rng = np.random.default_rng(1)
    age = rng.normal(40, 10, rows)
    rooms = rng.integers(1, 9, rows)
    city = np.array([("Bonn", "Ulm", None)[i % 3] for i in range(rows)], object)
    new = np.array([None if i % 10 == 0 else bool(i % 2) for i in range(rows)], object)
    price = 0.1 * age + rooms + 5 * (city == "Ulm")
    age[::7] = np.nan
    return Split({"age": age, "rooms": rooms, "city": city, "new": new}, price[:, None].astype("float32"))


def _body(preprocessing: Preprocessing, outputs: int, activation: str | None = None) -> keras.Model:
    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [
            keras.Input(preprocessing.feature_shape),
            keras.layers.Flatten(),
            keras.layers.Dense(6, "relu"),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(outputs, activation=activation),
        ]
    )


class TwoTowers(keras.Model):
    """A body of a user's own class."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = keras.layers.Dense(4, "relu"), keras.layers.Dense(4, "tanh")
        self.out = keras.layers.Dense(1)

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        return self.out(keras.ops.concatenate([self.left(x), self.right(x)], axis=1))


@pytest.mark.parametrize("kind", ["sequential", "functional", "subclassed"])
def test_the_assembled_model_predicts_from_raw_rows_what_the_body_predicts_from_features(kind: str) -> None:
    houses = _houses()
    preprocessing = fit(houses.x)
    body = _body(preprocessing, 1)
    if kind == "functional":
        features = keras.Input(preprocessing.feature_shape)
        body = keras.Model(features, body(features))
    elif kind == "subclassed":
        body = TwoTowers()
    model = assemble(preprocessing, body)
    assert set(model.input) == set(PRICES.columns)
    features = transform(preprocessing, houses.x)
    np.testing.assert_allclose(predict(model, houses.x), body(features, training=False), rtol=1e-5, atol=1e-5)
    weights = [weight + 1 for weight in body.get_weights()]
    body.set_weights(weights)
    np.testing.assert_allclose(predict(model, houses.x), body(features, training=False), rtol=1e-5, atol=1e-5)


def test_the_assembled_model_loads_in_safe_mode_without_kerasweep(tmp_path: Path) -> None:
    houses = _houses()
    preprocessing = fit(houses.x)
    model = assemble(preprocessing, _body(preprocessing, 1))
    model.save(tmp_path / "model.keras")
    program = """
import sys, numpy as np, keras, tensorflow as tf
model = keras.models.load_model("model.keras", safe_mode=True)
rows = {"age": [[30.0]], "rooms": [[4.0]], "city": [["Ulm"]], "new": [[1.0]]}
print(float(model.predict({name: tf.constant(value) for name, value in rows.items()}, verbose=0)[0, 0]))
sys.exit(any(name.startswith("kerasweep") for name in sys.modules))
"""
    done = subprocess.run(
        [sys.executable, "-I", "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    row = {"age": np.array([30.0]), "rooms": np.array([4]), "city": np.array(["Ulm"], object), "new": np.array([True])}
    assert float(done.stdout.split()[-1]) == pytest.approx(predict(model, row)[0, 0], rel=1e-4)


def test_a_body_may_have_the_name_of_a_column() -> None:
    rows = {"sequential": np.arange(6.0), "network": np.arange(6.0), "other": np.arange(6.0)}
    preprocessing = fit(rows)
    body = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)], name="sequential")
    assert predict(assemble(preprocessing, body), rows).shape == (6, 1)


def test_a_body_for_other_features_is_refused() -> None:
    houses = _houses()
    body = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    with pytest.raises(DeliveryError, match=r"a model must accept the preprocessed features of shape \(None, 9\)"):
        assemble(fit(houses.x), body)


def test_a_body_with_two_outputs_is_refused() -> None:
    rows = np.zeros((4, 3), "float32")
    features = keras.Input((3,))
    body = keras.Model(features, [keras.layers.Dense(1)(features), keras.layers.Dense(1)(features)])
    with pytest.raises(DeliveryError, match="must return one array of predictions"):
        assemble(fit(rows), body)


def test_predict_does_many_rows_in_batches_and_says_which_columns_lack() -> None:
    houses = _houses(2500)
    preprocessing = fit(houses.x)
    model = assemble(preprocessing, _body(preprocessing, 1))
    together = predict(model, houses.x)
    assert together.dtype == np.float64
    last = {name: column[-3:] for name, column in houses.x.items()}
    np.testing.assert_allclose(together[-3:], predict(model, last), rtol=1e-5, atol=1e-5)
    with pytest.raises(DeliveryError, match="Received: none called rooms, city"):
        predict(model, {"age": houses.x["age"], "new": houses.x["new"]})
    with pytest.raises(DeliveryError, match="this model takes columns or arrays by name"):
        predict(model, np.zeros((3, 4)))
    with pytest.raises(DeliveryError, match="at least one row"):
        predict(model, {name: column[:0] for name, column in houses.x.items()})


def _cases() -> dict[str, tuple[Rows, Array, Facts]]:
    rng = np.random.default_rng(2)
    table = rng.normal(size=(200, 4)).astype("float32")
    score = table @ rng.normal(size=(4, 3))
    images = rng.integers(0, 256, (200, 6, 6), dtype=np.uint8)
    houses = _houses()
    return {
        "columns": (houses.x, houses.y, PRICES),
        "outputs": (table, score.astype("float32"), Facts(Task.REGRESSION, 3, targets=("a", "b", "c"))),
        "binary": (table, (score[:, :1] > 0).astype("float32"), Facts(Task.BINARY, 1, ("no", "yes"))),
        "classes": (table, score.argmax(axis=1).astype("int32"), Facts(Task.MULTICLASS, 3, ("a", "b", "c"))),
        "labels": (table, (score > 0).astype("float32"), Facts(Task.MULTILABEL, 3, ("a", "b", "c"))),
        "images": (images, (images[:, 0, 0] > 127).astype("int32"), Facts(Task.MULTICLASS, 2, ("dark", "light"))),
    }


@pytest.mark.parametrize("case", _cases())
def test_model_and_baselines_are_measured_alike_on_every_task(case: str) -> None:
    x, y, facts = _cases()[case]
    preprocessing = fit(x)
    activation = {Task.REGRESSION: None, Task.MULTICLASS: "softmax"}.get(facts.task, "sigmoid")
    split = Split(x, y)
    own = evaluate(assemble(preprocessing, _body(preprocessing, facts.outputs, activation)), split, facts)
    others = baselines(split, split, preprocessing, facts)
    assert set(others) == {"linear", "dummy"}
    for metrics in (own, *others.values()):
        assert set(metrics) == set(TEST_METRICS[facts.task])
        assert all(math.isfinite(value) for value in metrics.values())
    headline = next(iter(TEST_METRICS[facts.task]))
    assert others["linear"][headline] < 0.7 * others["dummy"][headline]  # every target here is linear in its rows


def test_evaluate_gives_what_keras_gives() -> None:
    x, y, facts = _cases()["classes"]
    preprocessing = fit(x)
    model = assemble(preprocessing, _body(preprocessing, 3, "softmax"))
    model.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    loss, accuracy = model.evaluate(x, y, verbose=0)
    assert evaluate(model, Split(x, y), facts) == pytest.approx({"loss": loss, "accuracy": accuracy}, rel=1e-5)


def test_the_dummy_knows_the_mean_and_the_shares() -> None:
    x = np.zeros((8, 1), "float32")
    ones = np.ones((4, 1), "float32")
    train = Split(x, np.array([0, 0, 0, 1, 1, 2, 2, 2], "int32"))
    test = Split(x[:2], np.array([0, 1], "int32"))
    dummy = baselines(train, test, fit(x), Facts(Task.MULTICLASS, 4, ("a", "b", "c", "d")))["dummy"]
    assert dummy == pytest.approx({"loss": -(math.log(3 / 8) + math.log(2 / 8)) / 2, "accuracy": 0.5})
    regression = baselines(Split(x[:4], 3 * ones), Split(x[:4], ones), fit(x), Facts(Task.REGRESSION, 1))["dummy"]
    assert regression["mse"] == pytest.approx(4)


def test_baselines_heed_weights() -> None:
    x = np.arange(8, dtype="float32")[:, None]
    y = np.array([0, 0, 0, 1, 1, 1, 1, 1], "int32")
    weights = np.array([1, 1, 1, 1, 0, 0, 0, 0], "float32")
    train, test = Split(x, y, weights), Split(x[:2], np.array([0, 1], "int32"))
    facts = Facts(Task.MULTICLASS, 2, ("a", "b"))
    result = baselines(train, test, fit(x), facts)
    assert result["dummy"]["loss"] == pytest.approx(-(math.log(3 / 4) + math.log(1 / 4)) / 2)
    some = baselines(Split(x[:4], y[:4]), test, fit(x), facts)
    assert result["linear"]["loss"] == pytest.approx(some["linear"]["loss"], rel=1e-3)
    line = Split(x, np.where(weights[:, None] > 0, 2 * x, 0).astype("float32"), weights)
    exact = baselines(line, Split(x, 2 * x), fit(x), Facts(Task.REGRESSION, 1))
    assert exact["linear"]["mse"] == pytest.approx(0, abs=1e-6)
    assert exact["dummy"]["mse"] == pytest.approx(float(((2 * x - 3) ** 2).mean()))


def test_baselines_live_with_gaps_and_with_a_label_that_never_varies() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(60, 2)).astype("float32")
    y = np.stack([x[:, 0] > 0, np.ones(60, bool)], axis=1).astype("float32")
    x[::5, 1] = np.nan
    split = Split(x, y)
    result = baselines(split, split, fit(x, automatic=False), Facts(Task.MULTILABEL, 2, ("a", "b")))
    assert result["linear"]["accuracy"] > 0.9
    assert result["linear"]["auc"] > 0.95


def test_a_large_image_set_is_sampled_and_still_fitted_within_seconds() -> None:
    rng = np.random.default_rng(4)
    y = np.sort(rng.integers(0, 3, 40_000)).astype("int32")  # sorted by class: a sample from the top would miss two
    x = rng.integers(0, 100, (40_000, 28, 28), dtype=np.uint8)
    x[np.arange(40_000), 0, y] += 150
    test = Split(x[::100], y[::100])
    result = baselines(Split(x, y), test, fit(x), Facts(Task.MULTICLASS, 3, ("a", "b", "c")))
    assert result["linear"]["accuracy"] > 0.95
