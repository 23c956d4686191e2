"""Preprocessing: fitted with NumPy, run by stock Keras layers, the same wherever it is loaded."""

from __future__ import annotations

import logging
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasweep.data.columns import canonical_columns, input_names
from kerasweep.data.preprocessing import MAX_LEVELS, Preprocessing, as_inputs, fit, transform
from kerasweep.data.rows import Rows
from kerasweep.errors import DataError


def columns(**values: Any) -> Rows:
    return canonical_columns("d", values)[0]


def fitted(values: dict[str, Any]) -> tuple[Preprocessing, Rows]:
    rows, sources = canonical_columns("d", values)
    return fit(rows, sources=sources), rows


def test_arrays_are_standardised_as_keras_does() -> None:
    import keras

    x = np.random.default_rng(0).normal([5, -3, 0.01], [2, 30, 0.001], (500, 3)).astype(np.float32)
    layer = keras.layers.Normalization()
    layer.adapt(x)
    np.testing.assert_allclose(transform(fit(x), x), np.asarray(layer(x)), atol=2e-4)


def test_sequences_are_standardised_along_the_last_axis_as_keras_does() -> None:
    import keras

    x = np.random.default_rng(0).normal([5, -3], [2, 30], (50, 7, 2)).astype(np.float32)
    preprocessing = fit(x)
    layer = keras.layers.Normalization()
    layer.adapt(x)
    assert preprocessing.feature_shape == (7, 2)
    np.testing.assert_allclose(transform(preprocessing, x), np.asarray(layer(x)), atol=2e-4)


def test_a_constant_feature_becomes_zero_and_stays_harmless() -> None:
    x = np.array([[1.0, 0.1], [2.0, 0.1], [3.0, 0.1]])
    features = transform(fit(x), np.array([[2.0, 0.1], [2.0, 1.1]]))
    np.testing.assert_allclose(features, [[0, 0], [0, 1]], atol=1e-6)


def test_features_in_tiny_units_are_standardised_too() -> None:
    x = np.random.default_rng(0).normal(3e-9, 1e-9, (1000, 1))
    features = transform(fit(x), x)
    np.testing.assert_allclose([features.mean(), features.std()], [0, 1], atol=1e-5)


def test_images_of_bytes_are_scaled_to_one_and_keep_their_shape() -> None:
    x = np.random.default_rng(0).integers(0, 256, (5, 28, 28)).astype(np.uint8)
    preprocessing = fit(x)
    assert preprocessing.feature_shape == (28, 28)
    np.testing.assert_allclose(transform(preprocessing, x), x / 255, atol=1e-7)


def test_integers_in_a_table_are_numbers_not_images() -> None:
    x = np.array([[1, 2], [3, 4]], np.uint8)
    np.testing.assert_allclose(transform(fit(x), x), [[-1, -1], [1, 1]], atol=1e-6)


def test_none_passes_an_array_on_as_it_is() -> None:
    x = np.array([[1, np.nan], [3, 4]])
    np.testing.assert_array_equal(transform(fit(x, automatic=False), x), x.astype(np.float32))


def test_none_concatenates_columns_of_numbers_and_refuses_text() -> None:
    rows = columns(a=[1, 2], b=[True, False], c=[0.5, None])
    features = transform(fit(rows, automatic=False), rows)
    np.testing.assert_array_equal(features, np.array([[1, 1, 0.5], [2, 0, np.nan]], np.float32))
    with pytest.raises(DataError, match=r"columns of numbers only. Received: text in 't'"):
        fit(columns(t=["x", "y"]), automatic=False)


def test_columns_give_numbers_then_indicators_then_categories() -> None:
    preprocessing, rows = fitted(
        {
            "city": ["Rome", "Oslo", None, "Rome"],
            "age": [1.0, None, 3.0, 2.0],
            "member": [True, None, False, True],
            "size": [1, 3, 1, 3],
            "plan": ["a", "b", "b", "a"],
        }
    )
    age, sd = 2.0, np.sqrt(2 / 3)
    expected = [
        # age, member, size | age missing, member missing | city: unknown, missing, Rome, Oslo | plan: unknown, a, b
        [(1 - age) / sd, 1, -1, 0, 0, 0, 0, 1, 0, 0, 1, 0],
        [0, 2 / 3, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1],
        [(3 - age) / sd, 0, -1, 0, 0, 0, 1, 0, 0, 0, 0, 1],
        [(2 - age) / sd, 1, 1, 0, 0, 0, 0, 1, 0, 0, 1, 0],
    ]
    assert preprocessing.feature_shape == (12,)
    np.testing.assert_allclose(transform(preprocessing, rows), expected, atol=1e-6)
    unseen = columns(city=["Bonn"], age=[2.0], member=[True], size=[3], plan=[None])
    np.testing.assert_allclose(transform(preprocessing, unseen)[0, 5:], [1, 0, 0, 0, 1, 0, 0], atol=1e-6)


def test_a_number_missing_for_the_first_time_becomes_the_mean() -> None:
    preprocessing, _ = fitted({"a": [1.0, 3.0]})
    np.testing.assert_allclose(transform(preprocessing, columns(a=[np.nan, 3.0])), [[0], [1]], atol=1e-6)


def test_categories_are_those_that_keras_adapts_to() -> None:
    import keras
    import tensorflow as tf

    values = ["b", "a", "c", "b", "c", "b"]
    preprocessing, rows = fitted({"t": values})
    layer = keras.layers.StringLookup(output_mode="one_hot")
    layer.adapt(tf.constant(values))
    assert ("[UNK]", *preprocessing.categories[0].levels) == tuple(layer.get_vocabulary())
    np.testing.assert_array_equal(transform(preprocessing, rows), np.asarray(layer(tf.constant(values)[:, None])))


def test_ties_in_frequency_are_broken_by_name() -> None:
    assert fitted({"t": ["z", "a", "m", "a", "z"]})[0].categories[0].levels == ("a", "z", "m")


def test_rare_categories_beyond_the_limit_count_as_unknown_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    values = [f"v{index:03d}" for index in range(MAX_LEVELS + 20)] + ["v110"] * 3
    with caplog.at_level(logging.WARNING):
        preprocessing, _ = fitted({"t": values})
    assert preprocessing.feature_shape == (MAX_LEVELS + 1,)
    assert preprocessing.categories[0].levels[0] == "v110"
    assert "column 't' has 120 categories" in caplog.text
    np.testing.assert_array_equal(transform(preprocessing, columns(t=["v119"]))[0, :2], [1, 0])


def test_odd_categories_are_told_apart() -> None:
    values = ["[UNK]", "two\nlines", "ü", " ", "[[UNK]]", ","]
    preprocessing, rows = fitted({"t": values})
    features = transform(preprocessing, rows)
    assert features[:, 0].sum() == 0
    assert (features.sum(axis=0)[1:] == 1).all()


def test_a_column_without_any_value_is_refused() -> None:
    with pytest.raises(DataError, match=r"must have a value in the training split. Received: none in 'a'"):
        fit(columns(a=[None, None]))


AWKWARD = [
    "sepal length (cm)",
    "class",
    "where",
    "isnan",
    "features",
    "scaled_numbers",
    "self",
    "a",
    "A",
    "ü",
    "1st",
    "x/y",
]


def test_awkward_column_names_survive_saving_and_export(tmp_path: Path) -> None:
    import keras
    import tensorflow as tf

    values: dict[str, Any] = {name: [1.0, None, 3.0] for name in AWKWARD}
    values["city"] = ["x", None, "y"]
    preprocessing, rows = fitted(values)
    features = transform(preprocessing, rows)
    inputs = as_inputs(rows, preprocessing)
    model = preprocessing.model()
    model.save(tmp_path / "m.keras")
    model.export(tmp_path / "saved", verbose=False)
    loaded = keras.models.load_model(tmp_path / "m.keras", safe_mode=True)
    np.testing.assert_array_equal(loaded(inputs), features)
    np.testing.assert_array_equal(loaded.predict(inputs, verbose=0), features)
    np.testing.assert_array_equal(tf.saved_model.load(tmp_path / "saved").serve(inputs), features)
    np.testing.assert_array_equal(transform(preprocessing, rows), features)


def test_users_may_use_their_own_column_names_and_tables() -> None:
    values = {"a b": [1.0, 3.0], "class": ["x", "y"], "code": ["1", "2"]}
    preprocessing, rows = fitted(values)
    expected = transform(preprocessing, rows)
    table = pd.DataFrame({"code": [1.0, 2.0], "other": [0, 0], "class": ["x", "y"], "a b": [1, 3]})
    np.testing.assert_array_equal(preprocessing.model()(as_inputs(table, preprocessing)), expected)


def test_missing_values_of_every_library_are_missing() -> None:
    preprocessing, _ = fitted({"n": [1.0, None], "t": ["x", None]})
    for n, t in ((None, None), (np.nan, np.nan), (pd.NA, pd.NA), (np.nan, "")):
        table = pd.DataFrame({"n": pd.Series([n], dtype=object), "t": pd.Series([t], dtype=object)})
        features = preprocessing.model()(as_inputs(table, preprocessing))
        np.testing.assert_array_equal(features, [[0, 1, 0, 1, 0]])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"n": [1.0]}, "the columns the model was trained on. Received: rows without ['t']"),
        ({"n": ["x"], "t": ["x"]}, "column 'n' must hold numbers"),
        ({"n": [1.0, 2.0], "t": ["x"]}, "all columns must have the same length"),
        ({"n": [[1.0, 2.0]], "t": ["x"]}, "must have one value a row. Received: shape (1, 2)"),
        (np.zeros((3, 2)), "the rows must be columns by name"),
    ],
)
def test_rows_that_do_not_fit_are_refused(rows: Any, message: str) -> None:
    preprocessing, _ = fitted({"n": [1.0, 2.0], "t": ["x", "y"]})
    with pytest.raises(DataError) as caught:
        as_inputs(rows, preprocessing)
    assert message in str(caught.value)


def test_an_array_of_another_shape_is_refused() -> None:
    with pytest.raises(DataError, match=r"one numeric array of shape \(rows, 2\). Received: shape \(3, 4\), float64"):
        transform(fit(np.eye(2)), np.zeros((3, 4)))


def test_fitting_and_pickling_need_no_tensorflow() -> None:
    script = (
        "import sys, pickle, numpy as np\n"
        "from kerasweep.data.preprocessing import fit\n"
        "p = fit({'a': np.array([1., np.nan]), 't': np.array(['x', None], object)})\n"
        "assert pickle.loads(pickle.dumps(p)) == p and p.feature_shape == (5,) and len(p.inputs) == 2\n"
        "sys.exit(bool({'tensorflow', 'keras'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", script], check=True, env={"PYTHONPATH": ":".join(filter(None, sys.path))})


def test_the_saved_model_loads_where_kerasweep_is_not(tmp_path: Path) -> None:
    preprocessing, rows = fitted({"n": [1.0, None, 3.0], "t": ["x", None, "y"]})
    preprocessing.model().save(tmp_path / "m.keras")
    np.save(tmp_path / "expected.npy", transform(preprocessing, rows))
    script = (
        "import sys, keras, numpy as np, tensorflow as tf\n"
        "sys.modules['kerasweep'] = None\n"
        "m = keras.models.load_model('m.keras', safe_mode=True)\n"
        "rows = {'n': tf.constant([[1.], [float('nan')], [3.]]), 't': tf.constant([['x'], [''], ['y']])}\n"
        "np.testing.assert_array_equal(m(rows), np.load('expected.npy'))"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=tmp_path, timeout=120)


@given(st.lists(st.text(max_size=8), unique=True, max_size=12))
def test_input_names_are_unique_identifiers_and_keep_good_names(names: list[str]) -> None:
    chosen = input_names(names)
    assert list(chosen) == names
    assert len({name.lower() for name in chosen.values()}) == len(names)
    assert all(name.isascii() and name.isidentifier() and name[0].isalpha() for name in chosen.values())
    assert input_names(chosen.values()) == {name: name for name in chosen.values()}


def test_preprocessing_is_a_value() -> None:
    preprocessing, _ = fitted({"n": [1.0, None], "t": ["x", None]})
    assert pickle.loads(pickle.dumps(preprocessing)) == preprocessing
    assert hash(preprocessing) == hash(pickle.loads(pickle.dumps(preprocessing)))
