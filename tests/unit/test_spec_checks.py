"""Checks across sections that the case files do not show: what must *not* be refused, and the finer points."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kerasweep.errors import SpecError
from kerasweep.spec import pipeline_from_mapping

PBT = {"search": {"scheduler": "pbt"}}
RATE = {"type": "float", "min": 0.001, "max": 0.1, "log": True}


def problems(directory: Path, parameters: dict[str, Any], **sections: Any) -> list[str]:
    given = {
        "name": "case",
        "data": {"name": "iris"},
        "model": {"family": "mlp"},
        "space": {"parameters": {"learning_rate": RATE, **parameters}},
    } | sections
    try:
        pipeline_from_mapping(given, directory)
    except SpecError as error:
        return [problem.message for problem in error.problems]
    return []


def choice(*values: Any, **when: list[Any]) -> dict[str, Any]:
    return {"type": "choice", "values": list(values)} | ({"when": when} if when else {})


def test_nested_conditions_reach_the_optimizer(tmp_path: Path) -> None:
    nested = {
        "optimizer": choice("sgd", "adam"),
        "momentum": {"type": "float", "min": 0.1, "max": 0.9, "when": {"optimizer": ["sgd"]}},
        "nesterov": choice(True, False, momentum=[0.1, 0.9]),
    }
    assert problems(tmp_path, nested) == []


def test_the_default_optimizer_takes_its_own_parameters(tmp_path: Path) -> None:
    assert problems(tmp_path, {"beta_1": {"type": "float", "min": 0.8, "max": 0.99}}) == []


def test_a_fixed_parameter_of_some_optimizers_is_shown_as_it_should_be(tmp_path: Path) -> None:
    (message,) = problems(tmp_path, {"optimizer": choice("sgd", "adam")}, training={"fixed": {"momentum": 0.9}})
    assert "put momentum: {type: fixed, value: 0.9, when: {optimizer: [sgd]}} into the space" in message


def test_very_many_layers_are_checked_at_once(tmp_path: Path) -> None:
    deep = {"n_hidden": {"type": "int", "min": 1, "max": 10**15}, "n_neurons_1": {"type": "int", "min": 1, "max": 9}}
    (message,) = problems(tmp_path, deep)
    assert "n_neurons_2 is required" in message


def test_a_long_chain_of_conditions(tmp_path: Path) -> None:
    names = [f"p{number}" for number in range(1500)]
    chain = {name: choice(1, 2, **({names[i - 1]: [1]} if i else {})) for i, name in enumerate(names)}
    (tmp_path / "nets.py").write_text("def build(**parameters): ...")
    assert problems(tmp_path, chain, model={"builder": "nets:build"}) == []
    chain["p0"] = choice(1, 2, p1499=[1])
    (message,) = problems(tmp_path, chain, model={"builder": "nets:build"})
    assert message.startswith("conditions must not form a cycle")


class TestBuilder:
    @pytest.fixture
    def directory(self, tmp_path: Path) -> Path:
        (tmp_path / "nets.py").write_text("def build(units, input_shape, *, momentum=0.0, n_outputs=1): ...")
        return tmp_path

    def test_training_parameters_and_facts_need_not_be_arguments(self, directory: Path) -> None:
        given = {"units": choice(1, 2), "batch_size": choice(8, 16), "momentum": choice(0.1, 0.9)}
        assert problems(directory, given, model={"builder": "nets:build"}) == []

    def test_a_required_argument_is_always_set(self, directory: Path) -> None:
        given = {"units": choice(1, 2, optimizer=["sgd"]), "optimizer": choice("sgd", "adam")}
        assert problems(directory, given, model={"builder": "nets:build"}) == [
            "units must not have a condition, as build has no default for it. Received: a condition"
        ]

    def test_optimizer_rules_hold_for_what_the_builder_does_not_take(self, directory: Path) -> None:
        given = {"units": choice(1, 2), "rho": choice(0.8, 0.9)}
        assert problems(directory, given, model={"builder": "nets:build"}) == [
            "rho needs one of the optimizers rmsprop, adadelta. Received: rho with adam"
        ]

    def test_metrics_are_the_builders_own(self, directory: Path) -> None:
        search = {"objective": {"metric": "val_gap", "direction": "minimize"}}
        assert problems(directory, {"units": choice(1)}, model={"builder": "nets:build"}, search=search) == []


class TestPopulation:
    def test_one_range_of_what_may_change_is_enough(self, tmp_path: Path) -> None:
        assert problems(tmp_path, {"n_hidden": choice(1, 2)}, **PBT) == []
        assert problems(tmp_path, {}, **PBT, resources={"cohort": 2}) == []

    def test_bandits_need_the_same(self, tmp_path: Path) -> None:
        search = {"scheduler": {"name": "pb2", "interval": 4}, "trials": 1, "max_epochs": 4}
        assert problems(tmp_path, {"learning_rate": choice(0.1)}, search=search, resources={"cohort": "off"}) == [
            "pb2 needs trials that train together: auto, or a number of at least 2. Received: off",
            "pb2 needs at least 2 trials. Received: 1",
            "interval < max_epochs must hold. Received: interval=4, max_epochs=4",
            "pb2 needs a range of what may change while a trial trains, and that no condition names, in the space: "
            "learning_rate, momentum, rho, beta_1, beta_2, epsilon, weight_decay, clipnorm, dropout, l2. "
            "Received: none",
        ]

    def test_a_switch_is_no_such_range(self, tmp_path: Path) -> None:
        given = {"optimizer": choice("sgd"), "momentum": choice(0.5, learning_rate=[0.01])}
        (message,) = problems(tmp_path, given, **PBT)
        assert message.startswith("pbt needs a range of what may change while a trial trains")

    def test_a_range_that_is_wrong_is_not_missing(self, tmp_path: Path) -> None:
        (message,) = problems(tmp_path, {"learning_rate": RATE | {"max": 1e-4}}, **PBT)
        assert message.startswith("min <= max must hold")

    def test_what_a_builder_takes_itself_cannot_change(self, tmp_path: Path) -> None:
        source = "def build(units, learning_rate, dropout): ...\ndef open(**others): ..."
        (tmp_path / "nets.py").write_text(source)
        given = {"units": choice(1, 2), "dropout": {"type": "float", "min": 0.1, "max": 0.5}}
        (message,) = problems(tmp_path, given, **PBT, model={"builder": "nets:build"})
        listed = "momentum, rho, beta_1, beta_2, epsilon, weight_decay, clipnorm. Received: none"
        assert message.endswith(f"in the space: {listed}")
        assert problems(tmp_path, given, **PBT, model={"builder": "nets:open"}) == []


class TestFiles:
    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "must begin with a header line"),
            (b"a,b,a\n", "must have different names. Received: 'a' twice"),
            (b"price\n", "at least one feature beside the target"),
            (b"pri\xffce,a\n", "must be UTF-8 text. Received: byte 0xff"),
            (b"a,b\n", "a column must be in the header of d.csv: a, b. Received: 'price'"),
            (b"x" * 200_000, "must be a CSV file"),
        ],
    )
    def test_broken_header(self, tmp_path: Path, content: bytes, message: str) -> None:
        (tmp_path / "d.csv").write_bytes(content)
        found = problems(tmp_path, {}, data={"csv": "d.csv", "target": "price"})
        assert any(message in each for each in found), found

    def test_quoted_header_over_two_lines_with_byte_order_mark(self, tmp_path: Path) -> None:
        (tmp_path / "d.csv").write_bytes('\ufeff"price","living\narea, m²"\r\n1,2\r\n'.encode())
        data = {"csv": "d.csv", "target": "price", "features": ["living\narea, m²"]}
        assert problems(tmp_path, {}, data=data) == []

    def test_archives(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "good.npz", X=np.zeros(2), y=np.zeros(2))
        (tmp_path / "bad.npz").write_bytes(b"no archive")
        assert problems(tmp_path, {}, data={"npz": "good.npz"}) == []
        assert problems(tmp_path, {}, data={"npz": str(tmp_path / "good.npz")}) == []
        np.savez(tmp_path / "split.npz", **{f"{name}_{part}": [1] for name in "xy" for part in ("train", "test")})
        assert problems(tmp_path, {}, data={"npz": "split.npz"}) == []
        (message,) = problems(tmp_path, {}, data={"npz": "bad.npz"})
        assert message.startswith("bad.npz must be a NumPy archive. Received: ")
        (message,) = problems(tmp_path, {}, data={"npz": "."})
        assert message == "a data file must exist. Received: the directory '.'"
