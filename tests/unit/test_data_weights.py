"""How much rows weigh in training: read, multiplied, split and merged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.utils.class_weight import compute_class_weight

from kerasweep.data import IN_MEMORY, SearchData, load_folds, load_search, load_test
from kerasweep.data.base import Array
from kerasweep.data.weights import canonical_weights, weighted
from kerasweep.delivery import merged
from kerasweep.dispatch.worker import arrays_of
from kerasweep.errors import DataError, SpecError
from kerasweep.spec.pipeline import DataSpec

ROWS = 60


def spec(**options: Any) -> DataSpec:
    return DataSpec.model_validate(options)


def numbered() -> tuple[Array, Array, Array]:
    """Rows, unequal classes and weights that tell which row is which."""
    x = np.arange(2.0 * ROWS).reshape(ROWS, 2)
    y = np.array(["rare" if i % 6 == 0 else "often" if i % 2 else "usual" for i in range(ROWS)], object)
    return x, y, x[:, 0] / 10


def sources(folder: Path) -> dict[str, tuple[DataSpec, Any]]:
    x, y, w = numbered()
    pd.DataFrame({"a": x[:, 0], "w": w, "y": y, "b": x[:, 1]}).to_csv(folder / "d.csv", index=False)
    text = "import numpy as np\nx = np.arange(120.0).reshape(60, 2)\n"
    text += "names = ['rare' if i % 6 == 0 else 'often' if i % 2 else 'usual' for i in range(60)]\n"
    text += "def load(): return x, names, x[:, 0] / 10\n"
    (folder / "weighty.py").write_text(text)
    codes = np.array([["often", "rare", "usual"].index(each) for each in y])
    for name in ("w", "sample_weight"):
        np.savez(folder / f"{name}.npz", x=x, y=codes, **{name: w})
    return {
        "csv": (spec(csv="d.csv", target="y", weights="w"), None),
        "w": (spec(npz="w.npz", task="multiclass"), None),
        "sample_weight": (spec(npz="sample_weight.npz", task="multiclass"), None),
        "python": (spec(python="weighty:load"), None),
        "memory": (spec(python=IN_MEMORY), (x, y, w)),
        "column": (spec(python=IN_MEMORY), (x, y, w[:, None])),
    }


@pytest.mark.parametrize("kind", ["csv", "w", "sample_weight", "python", "memory", "column"])
def test_weights_stay_with_their_rows_and_are_no_feature(kind: str, tmp_path: Path) -> None:
    given, memory = sources(tmp_path)[kind]
    data = load_search(given, tmp_path, memory)
    test = load_test(given, tmp_path, data, memory)
    assert data.preprocessing.feature_shape == (2,)
    for part in (data.train, data.validation, test):
        first = part.x["a"] if isinstance(part.x, dict) else part.x[:, 0]  # type: ignore[call-overload]
        assert part.weights is not None
        assert part.weights.dtype == np.float32
        np.testing.assert_allclose(part.weights, first / 10, rtol=1e-6)


def test_an_archive_with_a_test_split_has_weights_for_training_rows(tmp_path: Path) -> None:
    x, _, w = numbered()
    arrays = {"x_train": x, "y_train": w, "x_test": x[:4], "y_test": w[:4] + 0.05}
    np.savez(tmp_path / "d.npz", **arrays, w_train=w, w=w[:3])  # w is another name's array here
    data = load_search(spec(npz="d.npz", task="regression"), tmp_path)
    assert data.train.weights is not None
    np.testing.assert_allclose(data.train.weights, data.train.x[:, 0] / 10, rtol=1e-6)  # type: ignore[call-overload]
    assert load_test(spec(npz="d.npz", task="regression"), tmp_path, data).weights is None
    np.savez(tmp_path / "d.npz", **arrays, w_train=w, sample_weight_train=w)
    with pytest.raises(DataError, match=r"one array of weights\. Received: w_train and sample_weight_train"):
        load_search(spec(npz="d.npz", task="regression"), tmp_path)


@pytest.mark.parametrize(
    ("given", "received"),
    [
        ([1, 2], r"one weight a row, 3 in all. Received: shape \(2,\)"),
        ([[1, 1], [1, 1], [1, 1]], r"one weight a row, 3 in all. Received: shape \(3, 2\)"),
        ([1, -0.5, 1], "at least 0. Received: -0.5 in row 1"),
        ([1, 1, np.nan], "at least 0. Received: none in row 2"),
        ([1, None, 1], "at least 0. Received: none in row 1"),
        ([1e39, 1, 1], r"at least 0. Received: 1e\+39 in row 0"),
        (["1", "2", "3"], "at least 0. Received: '1' in row 0"),
        (np.array(["2020-01-01"] * 3, "M8[D]"), "a weight must be a finite number"),
        ([0, 0, 0], "at least one weight must be over 0. Received: 0 in every row"),
    ],
)
def test_what_cannot_be_a_weight(given: Any, received: str) -> None:
    with pytest.raises(DataError, match=f"^here: .*{received}"):
        canonical_weights("here", given, 3)


@pytest.mark.parametrize(
    "given", [[1, 0, 2], [True, False, 2], (1.0, 0.0, 2.0), pd.Series([1, 0, 2]), np.uint8([1, 0, 2])]
)
def test_what_can_be_weights(given: Any) -> None:
    np.testing.assert_array_equal(canonical_weights("here", given, 3), np.array([1, 0, 2], np.float32))


def unequal(weights: bool, task: str = "multiclass") -> SearchData:
    x, y, w = numbered()
    y = np.where(y == "rare", "rare", "usual").astype(object) if task == "binary" else y
    return load_search(spec(python=IN_MEMORY), Path(), (x, y, w) if weights else (x, y))


@pytest.mark.parametrize("task", ["binary", "multiclass"])
@pytest.mark.parametrize("own", [False, True])
def test_balanced_is_scikit_learns_times_the_rows_own(own: bool, task: str) -> None:
    plain, found = unequal(own, task), weighted(unequal(own, task), "balanced")
    classes = np.unique(plain.train.y)
    expected = compute_class_weight(
        "balanced", classes=classes, y=plain.train.y.ravel(), sample_weight=plain.train.weights
    )
    for part, before in ((found.train, plain.train), (found.validation, plain.validation)):
        rows = 1 if before.weights is None else before.weights
        assert part.weights is not None
        np.testing.assert_allclose(part.weights, rows * expected[before.y.ravel().astype(int)], rtol=1e-6)
    sums = [found.train.weights[plain.train.y.ravel() == each].sum() for each in classes]  # type: ignore[index]
    np.testing.assert_allclose(sums, sums[0], rtol=1e-5)


def test_named_classes_weigh_what_is_said_and_others_one() -> None:
    found = weighted(unequal(weights=True), {"rare": 4.0, "often": 0.0})
    plain = unequal(weights=True)
    assert plain.facts.classes == ("often", "rare", "usual")
    np.testing.assert_allclose(found.train.weights, plain.train.weights * np.array([0, 4, 1])[plain.train.y])  # type: ignore[operator,arg-type]


def test_without_weights_nothing_changes() -> None:
    data = unequal(weights=False)
    assert weighted(data, None) is data
    arrays = arrays_of(data), arrays_of(data, merge=True)
    assert [each.weights for each in arrays] == [None, None]
    assert merged(data).weights is None


def test_merged_rows_keep_their_weights() -> None:
    data = weighted(unequal(weights=True), "balanced")
    both = np.concatenate([data.train.weights, data.validation.weights])  # type: ignore[list-item]
    np.testing.assert_array_equal(arrays_of(data).weights, data.train.weights)
    np.testing.assert_array_equal(arrays_of(data, merge=True).weights, both)
    np.testing.assert_array_equal(merged(data).weights, both)


def test_folds_train_with_the_weights_of_their_rows() -> None:
    x, y, w = numbered()
    given = spec(python=IN_MEMORY, preprocess="none")
    for data in (load_search(given, Path(), (x, y, w), folds=3), load_folds(given, (x, y, w), 3)):
        arrays = arrays_of(data)
        assert len(arrays.folds) == 3
        for fold in arrays.folds:
            np.testing.assert_allclose(fold.weights, fold.x[:, 0] / 10, rtol=1e-6)
        balanced = arrays_of(weighted(data, "balanced")).folds[0]
        assert len(np.unique(balanced.weights[1:] / arrays.folds[0].weights[1:]).round(4)) >= 3  # type: ignore[index]


def test_a_class_that_is_not_there_is_told_with_the_nearest() -> None:
    with pytest.raises(SpecError) as caught:
        weighted(unequal(weights=False), {"raer": 2.0, "usual": 1.0})
    (problem,) = caught.value.problems
    assert problem.path == ("training", "class_weight", "raer")
    assert problem.message == "a class must be one of often, rare, usual. Did you mean 'rare'? Received: 'raer'"


def test_a_task_without_classes_has_no_class_weights() -> None:
    x, _, w = numbered()
    labels = np.stack([np.arange(ROWS) % 2, np.arange(ROWS) % 3 > 0], axis=1).astype(int)
    for y, task in ((w, "regression"), (labels, "multilabel")):
        data = load_search(spec(python=IN_MEMORY, task=task), Path(), (x, y))
        with pytest.raises(SpecError, match=f"one class a row: a binary or multiclass task. Received: {task}"):
            weighted(data, "balanced")


def test_some_training_row_must_weigh_something() -> None:
    with pytest.raises(DataError, match="at least one training row must weigh more than 0"):
        weighted(unequal(weights=False), dict.fromkeys(("often", "rare", "usual"), 0.0))
