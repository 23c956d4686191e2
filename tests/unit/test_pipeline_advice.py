"""What common advice has against a space."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kerasweep.pipeline import plan
from kerasweep.pipeline.advice import advice
from kerasweep.spec import load_pipeline, load_space, pipeline_from_mapping

SPACES = sorted((Path(__file__).parents[2] / "search_spaces").glob("*.yaml"))

RATE = {"type": "float", "min": 1e-4, "max": 1e-1, "log": True}
WIDTH = {"type": "int", "min": 8, "max": 64, "log": True}


def said(parameters: dict[str, Any], **sections: Any) -> list[str]:
    mapping = {
        "name": "tiny",
        "data": {"name": "wine"},
        "model": {"family": "mlp"},
        "space": {"parameters": {**({} if "n_neurons_1" in parameters else {"n_neurons": WIDTH}), **parameters}},
        **sections,
    }
    return list(advice(pipeline_from_mapping(mapping, Path()).spec))


def test_a_sound_space_is_passed_over() -> None:
    assert said({"learning_rate": RATE, "batch_size": {"type": "choice", "values": [32, 64]}}) == []


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({}, "learning_rate is left at the optimiser's default"),
        (
            {"learning_rate": {"type": "float", "min": 1e-4, "max": 1e-1}},
            "learning_rate from 0.0001 to 0.1 is drawn evenly",
        ),
        ({"learning_rate": RATE, "batch_size": {"type": "int", "min": 64, "max": 256}}, "batch_size is 64 or more"),
        (
            {
                "learning_rate": RATE,
                "n_hidden": {"type": "fixed", "value": 2},
                "n_neurons_1": WIDTH,
                "n_neurons_2": WIDTH,
            },
            "2 hidden layers have a width of their own",
        ),
        (
            {
                "learning_rate": RATE,
                "n_hidden": {"type": "int", "min": 1, "max": 6},
                "activation": {"type": "choice", "values": ["sigmoid", "tanh"]},
            },
            "up to 6 hidden layers of sigmoid, tanh: gradients vanish",
        ),
        ({"learning_rate": RATE, "activation": {"type": "fixed", "value": "selu"}}, "selu normalises itself"),
        ({"learning_rate": RATE, "dropout": {"type": "float", "min": 0.0, "max": 0.8}}, "dropout goes up to 0.8"),
        ({"learning_rate": RATE, "optimizer": {"type": "fixed", "value": "sgd"}}, "sgd has no momentum"),
    ],
)
def test_each_rule_speaks_up_alone_and_names_its_source(parameters: dict[str, Any], words: str) -> None:
    (sentence,) = said(parameters)
    assert words in sentence
    assert any(year in sentence for year in ("2010)", "2012)", "2014)", "2017)", "2018)", "ch. 10)", "ch. 11)"))


def test_large_batches_with_a_slow_beginning_are_fine() -> None:
    large = {"learning_rate": RATE, "batch_size": {"type": "fixed", "value": 512}}
    assert said(large, training={"schedule": {"name": "cosine", "warmup_epochs": 2}}) == []
    assert said(large, training={"schedule": "one_cycle"}) == []
    assert said({**large, "warmup_epochs": {"type": "float", "min": 0.0, "max": 3.0}}) == []
    assert len(said(large, training={"schedule": "cosine"})) == 1


def test_training_to_the_end_is_advised_against_where_nothing_stops_a_trial() -> None:
    sections = {"training": {"early_stopping": None}, "search": {"scheduler": "none", "max_epochs": 50}}
    (sentence,) = said({"learning_rate": RATE}, **sections)
    assert sentence.startswith("every trial trains all 50 epochs")
    sections["search"] = {"scheduler": "hyperband", "max_epochs": 50}
    assert said({"learning_rate": RATE}, **sections) == []


def test_layers_that_are_frozen_to_the_end_should_be_so_on_purpose() -> None:
    def frozen(freeze: int | str) -> list[str]:
        initial = {"from": "churn", "layers": 1, "freeze": freeze}
        return said({"learning_rate": RATE}, model={"family": "mlp", "initial_weights": initial})

    assert frozen(29) == frozen("all") == []
    (sentence,) = frozen(30)
    assert sentence.startswith("layers are frozen for 30 of at most 30 epochs")


def test_nothing_is_advised_where_nothing_is_searched() -> None:
    assert said({"n_neurons": {"type": "fixed", "value": 30}, "optimizer": {"type": "fixed", "value": "sgd"}}) == []


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.stem)
def test_the_shipped_spaces_follow_it(path: Path) -> None:
    space = load_space(path)
    mapping = {
        "name": "tiny",
        "data": {"name": "digits"},
        "model": {"family": "mlp"},
        "space": {"parameters": {name: each.model_dump() for name, each in space.parameters.items()}},
    }
    assert list(advice(pipeline_from_mapping(mapping, Path()).spec)) == []


@pytest.mark.parametrize("name", ["classification", "images", "multilabel", "regression"])
def test_every_line_of_a_tasks_space_says_whose_advice_it_is(name: str) -> None:
    lines = (SPACES[0].parent / f"{name}.yaml").read_text().splitlines()
    sources = ("G:", "G =", "et al.", "and Luschi", "and Bengio", "and Ba", "and Hutter", "Polyak", "Smith", "Caruana")
    for number, line in enumerate(lines):
        if line.startswith("  ") and ": {" in line:
            above = []
            for before in reversed(lines[:number]):
                if not before.startswith("  #"):
                    break
                above.append(before)
            follows_switch = "when:" in line and name == "multilabel"
            assert follows_switch or any(source in " ".join(above) for source in sources), line


def test_plan_tells_it(tmp_path: Path) -> None:
    file = tmp_path / "wine.yaml"
    file.write_text(
        "name: w\ndata: {name: wine}\nmodel: {family: mlp}\n"
        "space: {parameters: {n_neurons: {type: int, min: 8, max: 64}}}\n"
    )
    assert [sentence.split(" is left")[0] for sentence in plan(load_pipeline(file)).advice] == ["learning_rate"]
