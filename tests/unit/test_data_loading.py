"""The named datasets, the fingerprint and what may be done with rows."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kerasweep.data import Facts, load_search, load_test
from kerasweep.data.fingerprint import fingerprint
from kerasweep.data.named import DATA_VARIABLE
from kerasweep.data.preprocessing import fit, transform
from kerasweep.data.rows import concatenate, head, row_count, take, to_frame
from kerasweep.errors import DataError
from kerasweep.spec.pipeline import DataSpec
from kerasweep.spec.vocabulary import Task

HERE = Path()


@pytest.mark.parametrize(
    ("name", "task", "sizes", "features", "outputs", "classes"),
    [
        ("california_housing", Task.REGRESSION, (11610, 3870, 5160), 8, 1, ()),
        ("iris", Task.MULTICLASS, (84, 28, 38), 4, 3, ("setosa", "versicolor", "virginica")),
        ("wine", Task.MULTICLASS, (100, 34, 44), 13, 3, ("class_0", "class_1", "class_2")),
        ("breast_cancer", Task.BINARY, (320, 107, 142), 30, 1, ("malignant", "benign")),
        ("digits", Task.MULTICLASS, (1011, 337, 449), 64, 10, tuple("0123456789")),
        ("diabetes", Task.REGRESSION, (249, 83, 110), 10, 1, ()),
    ],
)
def test_bundled_datasets(
    name: str, task: Task, sizes: tuple[int, ...], features: int, outputs: int, classes: tuple[str, ...]
) -> None:
    spec = DataSpec(name=name)
    data = load_search(spec, HERE)
    test = load_test(spec, HERE, data)
    facts = data.facts
    assert (facts.task, facts.outputs, facts.classes, data.source) == (task, outputs, classes, name)
    assert (len(data.train), len(data.validation), len(test)) == sizes
    assert data.preprocessing.feature_shape == (features,)
    rows = np.concatenate([data.train.x, data.validation.x, test.x])
    targets = np.concatenate([data.train.y, data.validation.y, test.y])
    order = np.lexsort(rows.T)
    everything, labels = whole(name)
    np.testing.assert_array_equal(rows[order], everything[np.lexsort(everything.T)])
    np.testing.assert_allclose(np.sort(targets.ravel()), np.sort(labels), rtol=1e-6)


def whole(name: str) -> tuple[Any, Any]:
    from sklearn import datasets

    from kerasweep import data

    if name == "california_housing":
        archive = np.load(Path(str(data.__file__)).parent / "bundled" / "california_housing.npz")
        return archive["X"], archive["y"]
    return getattr(datasets, f"load_{name}")(return_X_y=True)


def test_the_preprocessing_is_fitted_on_the_training_split_alone() -> None:
    data = load_search(DataSpec(name="wine"), HERE)
    features = transform(data.preprocessing, data.train.x)
    np.testing.assert_allclose(features.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(features.std(axis=0), 1, atol=1e-5)
    assert data.preprocessing == fit(data.train.x)


@pytest.mark.skipif(not os.environ.get(DATA_VARIABLE), reason=f"{DATA_VARIABLE} names no folder with the image sets")
@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_image_sets(name: str) -> None:
    spec = DataSpec(name=name)
    data = load_search(spec, HERE)
    test = load_test(spec, HERE, data)
    assert (len(data.train), len(data.validation), len(test)) == (55000, 5000, 10000)
    assert (test.x.shape, test.x.dtype) == ((10000, 28, 28), np.uint8)  # type: ignore[union-attr]
    assert (data.facts.task, data.facts.outputs, data.preprocessing.feature_shape) == (Task.MULTICLASS, 10, (28, 28))
    assert np.bincount(test.y).tolist() == [1000] * 10 or name == "mnist"


def test_a_declared_task_is_checked_against_the_data() -> None:
    with pytest.raises(DataError, match=r"iris: a binary target must have two different values. Received: 3"):
        load_search(DataSpec(name="iris", task=Task.BINARY), HERE)
    assert load_search(DataSpec(name="digits", task=Task.REGRESSION), HERE).facts.outputs == 1


BASE = (np.arange(6.0).reshape(3, 2), np.array([0, 1, 1]))


@pytest.mark.parametrize(
    ("x", "y", "options"),
    [
        (BASE[0] + 1e-12, BASE[1], {}),
        (BASE[0].astype(np.float32), BASE[1], {}),
        (BASE[0].reshape(3, 2, 1), BASE[1], {}),
        (BASE[0], BASE[1][::-1], {}),
        (BASE[0], np.array(["0", "1", "1"], object), {}),
        ({"a": BASE[0][:, 0]}, BASE[1], {}),
        ({"b": BASE[0][:, 0]}, BASE[1], {}),
        ({"a": np.array(["x", None, "y"], object)}, BASE[1], {}),
        ({"a": np.array(["x", "", "y"], object)}, BASE[1], {}),
        ({"a": np.array([True, None, False], object)}, BASE[1], {}),
        ({"a": np.array(["True", None, "False"], object)}, BASE[1], {}),
        (*BASE, {"seed": 1}),
        (*BASE, {"test": 0.3}),
        (*BASE, {"validation": 0.3}),
    ],
)
def test_whatever_differs_has_another_fingerprint(x: Any, y: Any, options: dict[str, Any]) -> None:
    base = fingerprint(*BASE, DataSpec(name="iris"))
    assert fingerprint(x, y, DataSpec(name="iris", **options)) not in ("", base)
    assert fingerprint(x, y, DataSpec(name="iris", **options)) == fingerprint(x, y, DataSpec(name="iris", **options))


def test_weights_belong_to_the_fingerprint() -> None:
    options, weights = DataSpec(name="iris"), np.ones(3, np.float32)
    base = fingerprint(*BASE, options)
    assert len({base, fingerprint(*BASE, options, weights), fingerprint(*BASE, options, 2 * weights)}) == 3


def test_the_fingerprint_does_not_depend_on_byte_order_memory_layout_or_origin() -> None:
    base = fingerprint(*BASE, DataSpec(name="iris"))
    assert fingerprint(np.asfortranarray(BASE[0]).astype(">f8"), BASE[1], DataSpec(name="wine")) == base


def test_the_fingerprint_is_the_same_in_another_process() -> None:
    script = (
        "from pathlib import Path\nfrom kerasweep.data import load_search\n"
        "from kerasweep.spec.pipeline import DataSpec\n"
        "print(load_search(DataSpec(name='california_housing'), Path()).fingerprint)"
    )
    environment = {"PYTHONPATH": ":".join(filter(None, sys.path)), "PYTHONHASHSEED": "7"}
    printed = subprocess.run(
        [sys.executable, "-c", script], check=True, env=environment, capture_output=True, text=True
    ).stdout.strip()
    assert printed == load_search(DataSpec(name="california_housing"), HERE).fingerprint


def test_loading_needs_no_tensorflow() -> None:
    script = (
        "import sys\nfrom pathlib import Path\nfrom kerasweep.data import load_search\n"
        "from kerasweep.spec.pipeline import DataSpec\nload_search(DataSpec(name='california_housing'), Path())\n"
        "sys.exit(bool({'tensorflow', 'keras', 'sklearn', 'pandas'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", script], check=True, env={"PYTHONPATH": ":".join(filter(None, sys.path))})


@given(hnp.arrays(np.float64, st.tuples(st.integers(1, 12), st.integers(1, 3))), st.integers(-2, 20))
def test_rows_can_be_taken_and_joined(x: Any, n: int) -> None:
    columns = {"a": x[:, 0], "b": x[:, -1]}
    for rows in (x, columns):
        first = head(rows, n)
        assert row_count(first) == min(max(n, 0), len(x))
        rest = take(rows, np.arange(row_count(first), len(x)))
        joined = concatenate(first, rest)
        if isinstance(joined, dict):
            np.testing.assert_array_equal(joined["b"], x[:, -1])
        else:
            np.testing.assert_array_equal(joined, x)


def test_only_alike_rows_can_be_joined() -> None:
    x = np.zeros((2, 2))
    for a, b, message in (
        (x, np.zeros((2, 3)), "the same shape"),
        (x, {"a": x[:, 0]}, "both be arrays or both be named columns"),
        ({"b": x[:, 0]}, {"a": x[:, 0]}, "the same columns"),
    ):
        with pytest.raises(DataError, match=message):
            concatenate(a, b)


def test_rows_as_a_table() -> None:
    columns = {"a": np.array([1.5, np.nan]), "t": np.array(["x", None], object)}
    table = to_frame(columns, Facts(Task.REGRESSION, 1, columns=("t", "a")))
    assert list(table.columns) == ["t", "a"]
    assert table["t"].isna().tolist() == [False, True]
    pixels = to_frame(np.arange(8).reshape(2, 2, 2), Facts(Task.REGRESSION, 1))
    assert (list(pixels.columns), pixels.iloc[1].tolist()) == (["x0", "x1", "x2", "x3"], [4, 5, 6, 7])
    assert row_count({}) == 0
