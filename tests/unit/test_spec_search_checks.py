"""Which searchers, schedulers, points and spaces go together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kerasweep.errors import SpecError
from kerasweep.spec import pipeline_from_mapping

RATE = {"type": "float", "min": 0.001, "max": 0.1, "log": True}
NEURONS = {"type": "int", "min": 8, "max": 64, "step": 8}
OPTIMIZER = {"type": "choice", "values": ["sgd", "adam"]}


def problems(directory: Path, space: dict[str, Any] | None = None, **search: Any) -> list[tuple[str, str]]:
    given = {
        "name": "case",
        "data": {"name": "iris"},
        "model": {"family": "mlp"},
        "space": {"parameters": {"learning_rate": RATE, "n_neurons": NEURONS, **(space or {})}},
        "search": search,
    }
    try:
        pipeline_from_mapping(given, directory)
    except SpecError as error:
        return [(".".join(map(str, problem.path)), problem.message) for problem in error.problems]
    return []


@pytest.mark.parametrize("scheduler", ["none", "median", "pbt"])
def test_bohb_needs_rungs(tmp_path: Path, scheduler: str) -> None:
    (problem,) = problems(tmp_path, searcher="bohb", scheduler=scheduler)
    assert problem[0] == "search.scheduler.name"
    assert "hyperband (as in its paper), asha or auto" in problem[1]
    assert problem[1].endswith(f"Received: {scheduler}")


@pytest.mark.parametrize("scheduler", ["hyperband", "asha", "auto"])
def test_bohb_goes_with_every_scheduler_that_has_rungs(tmp_path: Path, scheduler: str) -> None:
    assert problems(tmp_path, searcher="bohb", scheduler=scheduler) == []


def test_the_oracle_hyperband_needs_the_same_brackets(tmp_path: Path) -> None:
    oracle = {"name": "keras_tuner", "oracle": "hyperband"}
    assert problems(tmp_path, searcher=oracle, scheduler="hyperband") == []
    assert problems(tmp_path, searcher="keras_tuner", scheduler="none") == []
    (other,) = problems(tmp_path, searcher=oracle, scheduler="asha")
    assert other[0] == "search.scheduler.name"
    assert other[1].endswith("use the oracle random. Received: asha")
    (uneven,) = problems(tmp_path, searcher=oracle, scheduler={"name": "hyperband", "eta": 4})
    assert uneven == (
        "search.searcher.factor",
        "the oracle's factor and the scheduler's eta must be the same. Received: factor=3, eta=4",
    )


def test_cmaes_names_what_it_cannot_search(tmp_path: Path) -> None:
    assert problems(tmp_path, searcher="cmaes") == []
    (problem,) = problems(tmp_path, {"optimizer": OPTIMIZER}, searcher="cmaes")
    assert problem[0] == "search.searcher.name"
    assert "auto, tpe" in problem[1]
    single = {"optimizer": {"type": "choice", "values": ["sgd"]}, "momentum": {**RATE, "when": {"optimizer": ["sgd"]}}}
    assert problems(tmp_path, single, searcher="cmaes") == []  # always active
    assert problem[1].endswith("Received: optimizer (a choice)")


def test_zoom_must_have_trials_for_its_last_round(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, searcher={"name": "zoom", "trials": 25}, trials=50)
    assert problem[0] == "search.searcher.trials"


def test_points_must_lie_in_the_space(tmp_path: Path) -> None:
    good = {"learning_rate": 0.01, "n_neurons": 16}
    assert problems(tmp_path, points=[good, {"n_neurons": 8}]) == []
    found = problems(tmp_path, points=[good, {"n_neurons": 9, "learning_rat": 0.01}, {"learning_rate": 1.0}])
    assert found == [
        (
            "search.points.1.n_neurons",
            "a point must lie in the space: n_neurons goes from 8 to 64 in steps of 8. Received: 9",
        ),
        (
            "search.points.1.learning_rat",
            "a point's parameter must be one of learning_rate, n_neurons. Did you mean 'learning_rate'? "
            "Received: 'learning_rat'",
        ),
        (
            "search.points.2.learning_rate",
            "a point must lie in the space: learning_rate goes from 0.001 to 0.1. Received: 1.0",
        ),
    ]
