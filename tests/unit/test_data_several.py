"""Several named inputs and outputs: from columns, from arrays by name, and what is said of those that do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kerasweep.data import IN_MEMORY, load_search, load_test, transform
from kerasweep.data.base import SearchData, Split
from kerasweep.data.fingerprint import fingerprint
from kerasweep.errors import DataError, SpecError
from kerasweep.spec.pipeline import DataSpec
from kerasweep.spec.vocabulary import Task

HERE = Path()
RNG = np.random.default_rng(5)
X = RNG.normal(size=(80, 4))
PRICE = X[:, 0] + X[:, 3]
KIND = np.where(X[:, 1] > 0, "house", "flat").astype(object)


def loaded(x: Any, y: Any, **options: Any) -> tuple[SearchData, Split]:
    spec = DataSpec(python=IN_MEMORY, **options)
    data = load_search(spec, HERE, (x, y))
    return data, load_test(spec, HERE, data, (x, y))


def test_arrays_by_name_become_inputs_and_outputs() -> None:
    images = RNG.integers(0, 256, (80, 5, 5), dtype=np.uint8)
    data, test = loaded({"image": images, "size": X[:, 2]}, {"price": PRICE, "kind": KIND})
    assert data.preprocessing.shapes == {"image": (5, 5), "size": (1,)}
    assert (data.facts.task, data.facts.outputs, data.facts.columns) == (Task.REGRESSION, 1, ())
    assert {name: (head.task, head.classes) for name, head in data.facts.heads.items()} == {
        "price": (Task.REGRESSION, ()),
        "kind": (Task.BINARY, ("flat", "house")),
    }
    features = transform(data.preprocessing, data.train.x)
    assert isinstance(features, dict)
    assert isinstance(data.train.x, dict)
    np.testing.assert_allclose(features["image"], data.train.x["image"] / 255, rtol=1e-6)
    np.testing.assert_allclose(features["size"].mean(), 0, atol=1e-6)
    assert isinstance(test.y, dict)
    assert {name: (y.shape, y.dtype) for name, y in test.y.items()} == dict.fromkeys(
        ("price", "kind"), ((20, 1), np.dtype("float32"))
    )


def test_inputs_share_out_the_columns_of_an_array() -> None:
    data, test = loaded(X, PRICE, inputs={"wide": [3, 0], "deep": [0, 1, 2]})
    assert data.preprocessing.shapes == {"wide": (2,), "deep": (3,)}
    features = transform(data.preprocessing, test.x)
    assert isinstance(features, dict)
    assert isinstance(data.train.x, np.ndarray)
    scaled = (test.x - data.train.x.mean(0)) / data.train.x.std(0)
    np.testing.assert_allclose(features["wide"], scaled[:, [3, 0]], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(features["deep"], scaled[:, [0, 1, 2]], rtol=1e-4, atol=1e-5)


def test_a_column_s_features_go_with_it_and_a_column_of_no_input_is_left_out(tmp_path: Path) -> None:
    table = pd.DataFrame({"area": X[:, 0], "kind": KIND, "age": X[:, 1], "town": KIND, "price": PRICE, "rent": X[:, 2]})
    table.loc[::9, "age"] = np.nan
    table.to_csv(tmp_path / "houses.csv", index=False)
    spec = DataSpec(
        csv=Path("houses.csv"),
        inputs={"wide": ["kind", "age"], "deep": [0, "age"]},
        outputs={"both": ["price", "rent"], "rent": "rent", "type": "town"},
    )
    data = load_search(spec, tmp_path)
    assert data.facts.columns == ("area", "kind", "age")
    # A number and whether it is missing; a category: unknown, flat, house.
    assert data.preprocessing.shapes == {"wide": (5,), "deep": (3,)}
    assert {name: head.outputs for name, head in data.facts.heads.items()} == {"both": 2, "rent": 1, "type": 1}
    features = transform(data.preprocessing, data.train.x)
    assert isinstance(features, dict)
    assert isinstance(data.train.x, dict)
    missing = np.isnan(data.train.x["age"])
    np.testing.assert_array_equal(features["wide"][:, 4], missing)
    np.testing.assert_array_equal(features["deep"][:, 2], missing)
    np.testing.assert_array_equal(features["deep"][:, 1], features["wide"][:, 3])
    np.testing.assert_array_equal(features["wide"][:, :3].sum(axis=1), 1)
    test = load_test(spec, tmp_path, data)
    assert isinstance(test.x, dict)
    assert tuple(test.x) == data.facts.columns


def test_all_outputs_may_learn_the_one_target_and_folds_share_the_parts() -> None:
    spec = DataSpec(name="california_housing", inputs={"wide": ["MedInc"], "deep": [6, 7]}, outputs=["main", "aux"])
    data = load_search(spec, HERE, folds=3)
    assert isinstance(data.train.y, dict)
    np.testing.assert_array_equal(data.train.y["main"], data.train.y["aux"])
    assert [fold.preprocessing.shapes for fold in data.folds] == [{"wide": (1,), "deep": (2,)}] * 3


def test_rows_are_split_by_the_classes_of_the_first_output() -> None:
    data, test = loaded({"x": X}, {"kind": KIND, "price": PRICE})
    parts = []
    for split in (data.train, data.validation, test):
        assert isinstance(split.y, dict)
        parts.append(float(split.y["kind"].mean()))
    assert max(parts) - min(parts) < 0.05


def test_outputs_belong_to_the_fingerprint() -> None:
    def of(y: Any) -> str:
        return fingerprint(X, y, DataSpec(python=IN_MEMORY))

    assert (
        len({of(PRICE), of({"a": PRICE, "b": PRICE}), of({"a": PRICE, "c": PRICE}), of({"a": PRICE, "b": X[:, 1]})})
        == 4
    )


A, B = X[:, :2], X[:, 2:]


@pytest.mark.parametrize(
    ("x", "y", "options", "message"),
    [
        ({"a": A, "b": B[:-1]}, PRICE, {}, r"all inputs must have as many rows. Received: {'a': 80, 'b': 79}"),
        ({"a": A, "b c": B}, PRICE, {}, "the name of an input must be a letter, .* Received: 'b c'"),
        ({"a": A, "b": KIND}, PRICE, {}, "input 'b': rows in one array must be numbers"),
        ({"a": A, "b": np.full((80, 1), np.nan)}, PRICE, {}, "input 'b': missing values need named columns"),
        (
            {"a": A},
            {"p": PRICE, "k": KIND[:-1]},
            {},
            r"the targets of all outputs must have as many rows. Received: {'p'",
        ),
        ({"a": A}, {"p": PRICE[:-1], "k": KIND[:-1]}, {}, "one target a row. Received: 80 rows and 79 targets"),
        (X, {"p": PRICE}, {}, "targets by name must be two or more .* Received: p"),
        (X, {"p": PRICE, "2": KIND}, {}, "the name of an output must be a letter, .* Received: '2'"),
        (X, {"p": PRICE, "k": np.ones(80)}, {}, "output 'k': the target must vary"),
        (
            X,
            {"p": PRICE, "k": np.arange(80) % 5},
            {},
            "output 'k': a target of whole numbers may be classes or amounts",
        ),
        (X, {"p": PRICE, "k": KIND}, {"task": {"q": "binary"}}, "task: an output must be one of p, k. Received: 'q'"),
        (X, PRICE, {"task": {"p": "regression"}}, "a task for each output needs targets by name. Received: one target"),
        ({"a": A}, PRICE, {"inputs": {"b": [0]}}, "arrays by name are inputs already, so inputs must be left out"),
        (X, {"p": PRICE, "k": KIND}, {"outputs": ["p", "k"]}, "targets by name are outputs already"),
    ],
)
def test_names_and_row_counts_are_checked(x: Any, y: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        loaded(x, y, **options)


def test_each_output_may_have_a_task_of_its_own() -> None:
    data, _ = loaded(X, {"p": PRICE, "k": np.arange(80) % 5}, task={"k": "multiclass"})
    assert [head.task for head in data.facts.heads.values()] == [Task.REGRESSION, Task.MULTICLASS]


def test_a_column_that_arrays_do_not_have_is_told_when_they_are_read() -> None:
    with pytest.raises(
        SpecError, match=r"data.inputs.wide.1: a column's position in arrays in memory must be from 0 to 3"
    ):
        loaded(X, PRICE, inputs={"wide": [0, 4]})
