"""Columns by name and by position."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kerasweep.data import load_search
from kerasweep.errors import SpecError
from kerasweep.pipeline import plan, run
from kerasweep.spec import load_pipeline, pipeline_from_mapping
from kerasweep.spec.columns import Columns, known_columns
from kerasweep.spec.pipeline import DataSpec, PipelineSpec
from kerasweep.spec.vocabulary import DATASETS
from kerasweep.training.inputs import inputs_of

TABLE = """town,rooms,area,price
Lyon,3,70,1
Graz,,50,2
Lyon,4,90,3
Porto,2,40,1
Graz,5,120,4
Lyon,3,60,2
Porto,,80,3
Graz,1,30,1
"""


def spec(data: dict[str, object], **model: object) -> PipelineSpec:
    mapping = {
        "name": "case",
        "data": data,
        "model": {"family": "wide_deep", **model},
        "space": {"parameters": {"learning_rate": {"type": "fixed", "value": 0.1}}},
    }
    return pipeline_from_mapping(mapping, Path.cwd()).spec


def parts(data: dict[str, object], **model: object) -> tuple[object, object]:
    made = spec(data, **model)
    inputs = inputs_of(made, load_search(made.data, Path.cwd()))
    return inputs.wide, inputs.deep


@pytest.mark.parametrize("name", [name for name, facts in DATASETS.items() if facts.columns])
def test_the_columns_of_named_datasets_are_those_of_their_source(name: str) -> None:
    from sklearn import datasets

    facts = DATASETS[name]
    if name != "california_housing" and not name.startswith("playground"):  # scikit-learn downloads it, or has it not
        bunch = getattr(datasets, f"load_{name}")()
        assert facts.columns == tuple(map(str, bunch.feature_names))
    assert load_search(DataSpec(name=name), Path.cwd()).preprocessing.feature_shape == (facts.features,)


def test_images_have_positions_only() -> None:
    images = known_columns(DataSpec(name="mnist"), Path.cwd())
    assert images == Columns("mnist", 784)
    assert images.position(783) == 783
    with pytest.raises(ValueError, match=r"positions only, no names\. Received: 'pixel'"):
        images.position("pixel")


def test_names_and_positions_of_a_named_dataset() -> None:
    data = {"name": "california_housing"}
    assert parts(data) == (None, None)
    assert parts(data, wide=["MedInc", 1], deep=["Longitude", "AveRooms"]) == ((0, 1), (7, 2))


def test_the_features_of_a_column_go_with_it() -> None:
    """Features: rooms, area, whether rooms are missing, then for town the unknown and each level."""
    Path("houses.csv").write_text(TABLE)
    data: dict[str, object] = {"csv": "houses.csv", "target": "price", "task": "regression", "validation": 0.2}
    made = spec(data)
    loaded = load_search(made.data, Path.cwd())
    (town,) = loaded.preprocessing.categories
    assert loaded.preprocessing.numbers[0].indicator
    one_hot = tuple(range(3, 3 + town.width))
    assert parts(data, wide=["town"], deep=["area", "rooms"]) == (one_hot, (1, 0, 2))
    assert parts(data, wide=[0], deep=[2, 1]) == (one_hot, (1, 0, 2))
    assert loaded.preprocessing.feature_shape == (3 + town.width,)


def test_a_name_that_the_input_cannot_have_is_still_the_users() -> None:
    Path("houses.csv").write_text(TABLE.replace("area", "area (m2)"))
    data: dict[str, object] = {"csv": "houses.csv", "target": "price", "task": "regression", "validation": 0.2}
    assert parts(data, wide=["area (m2)"]) == ((1,), None)


def test_columns_that_show_only_when_the_data_is_read_are_checked_then() -> None:
    Path("mine.py").write_text(
        "import numpy as np\n\n\ndef load():\n    x = np.random.rand(40, 3)\n    return x, x[:, 0]\n"
    )
    assert known_columns(DataSpec(python="mine:load"), Path.cwd()) is None
    made = spec({"python": "mine:load", "task": "regression"}, wide=[0, 3], deep=["area", 1, 1])
    with pytest.raises(SpecError) as caught:
        inputs_of(made, load_search(made.data, Path.cwd()))
    assert [(problem.path, problem.message) for problem in caught.value.problems] == [
        (("model", "wide", 1), "a column's position in mine:load must be from 0 to 2. Received: 3"),
        (("model", "deep", 0), "the columns of mine:load have positions only, no names. Received: 'area'"),
        (("model", "deep", 2), "deep must name each column once. Received: 1 and 1"),
    ]


def test_they_are_told_with_their_place_in_the_file_before_anything_is_started() -> None:
    Path("mine.py").write_text(
        "import numpy as np\n\n\ndef load():\n    x = np.random.rand(40, 3)\n    return x, x[:, 0]\n"
    )
    np.savez("rows.npz", x=np.zeros((40, 3)), y=np.arange(40.0))
    for source in ("npz: rows.npz", 'python: "mine:load"'):
        Path("late.yaml").write_text(
            f"name: late\ndata: {{{source}, task: regression}}\nmodel: {{family: wide_deep, deep: [0, 3]}}\n"
            "space: {parameters: {learning_rate: {type: fixed, value: 0.1}}}\n"
        )
        loaded = load_pipeline("late.yaml")
        told = r"late\.yaml:3:\d+: model\.deep\.1: a column's position in .* must be from 0 to 2\. Received: 3"
        if "npz" in source:  # the plan reads files, and runs nothing of the user's
            with pytest.raises(SpecError, match=told):
                plan(loaded)
        with pytest.raises(SpecError, match=told):
            run(loaded)
        assert not Path("mlruns").exists()
