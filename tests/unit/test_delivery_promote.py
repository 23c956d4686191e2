from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasweep.data import Facts
from kerasweep.delivery import TEST_METRICS, decide, headline_metric
from kerasweep.records import Direction, Objective
from kerasweep.spec.vocabulary import Task, known_direction

numbers = st.floats(-1e6, 1e6)


@pytest.mark.parametrize(
    ("metric", "task", "expected"),
    [
        ("val_loss", Task.REGRESSION, ("mse", Direction.MINIMIZE)),
        ("val_mae", Task.REGRESSION, ("mae", Direction.MINIMIZE)),
        ("val_rmse", Task.REGRESSION, ("rmse", Direction.MINIMIZE)),
        ("val_r2", Task.REGRESSION, ("r2", Direction.MAXIMIZE)),
        ("val_accuracy", Task.REGRESSION, ("mse", Direction.MINIMIZE)),
        ("val_loss", Task.MULTICLASS, ("loss", Direction.MINIMIZE)),
        ("val_accuracy", Task.MULTICLASS, ("accuracy", Direction.MAXIMIZE)),
        ("val_auc", Task.BINARY, ("auc", Direction.MAXIMIZE)),
        ("val_auc", Task.MULTILABEL, ("auc", Direction.MAXIMIZE)),
        ("val_profit", Task.BINARY, ("loss", Direction.MINIMIZE)),
    ],
)
def test_the_headline_metric_stands_for_the_objective(metric: str, task: Task, expected: tuple[str, Direction]) -> None:
    assert headline_metric(Objective(metric, Direction.MAXIMIZE), Facts(task, 1)) == expected


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("val_loss", ("main_mse", Direction.MINIMIZE)),
        ("val_main_mae", ("main_mae", Direction.MINIMIZE)),
        ("val_main_loss", ("main_mse", Direction.MINIMIZE)),
        ("val_main_2_loss", ("main_2_loss", Direction.MINIMIZE)),
        ("val_main_2_accuracy", ("main_2_accuracy", Direction.MAXIMIZE)),
        ("val_mae", ("main_mae", Direction.MINIMIZE)),
    ],
)
def test_of_several_outputs_the_one_that_the_objective_names_speaks_or_the_first(
    metric: str, expected: tuple[str, Direction]
) -> None:
    heads = {"main": Facts(Task.REGRESSION, 1), "main_2": Facts(Task.MULTICLASS, 3)}
    facts = Facts(Task.REGRESSION, 1, heads=heads)
    assert headline_metric(Objective(metric, Direction.MINIMIZE), facts) == expected


def test_the_directions_are_those_the_names_imply() -> None:
    for metrics in TEST_METRICS.values():
        for name, direction in metrics.items():
            assert known_direction(name) == direction


@given(numbers, numbers, st.sampled_from(Direction))
def test_the_alias_moves_exactly_to_what_is_at_least_as_good(new: float, old: float, direction: Direction) -> None:
    moves, reason = decide({"m": new}, {"m": old}, "m", direction)
    assert moves == (new <= old if direction is Direction.MINIMIZE else new >= old)
    assert moves == (reason == "")


def test_the_first_model_gets_the_alias() -> None:
    assert decide({"mse": 1e9}, None, "mse", Direction.MINIMIZE) == (True, "")


@pytest.mark.parametrize("old", [None, {"mse": 1.0}, {"mse": math.nan}, {}])
@pytest.mark.parametrize("new", [{"mse": math.nan}, {"mse": -math.inf}, {}])
def test_what_is_not_a_number_never_wins(new: dict[str, float], old: dict[str, float] | None) -> None:
    moves, reason = decide(new, old, "mse", Direction.MINIMIZE)
    assert not moves
    assert reason.startswith("the new model's test mse must be a finite number. Received: ")


def test_a_holder_that_predicts_nan_gives_way() -> None:
    assert decide({"mse": 5.0}, {"mse": math.nan}, "mse", Direction.MINIMIZE) == (True, "")


def test_a_better_holder_keeps_the_alias_and_the_reason_says_by_how_much() -> None:
    moves, reason = decide({"accuracy": 0.88}, {"accuracy": 0.91}, "accuracy", Direction.MAXIMIZE)
    assert not moves
    assert reason == "the model that holds the alias is better: test accuracy 0.91, the new one's 0.88"


def test_a_holder_without_the_metric_keeps_the_alias_and_the_reason_says_what_to_do() -> None:
    moves, reason = decide({"mse": 0.25}, {"loss": 0.3}, "mse", Direction.MINIMIZE)
    assert not moves
    assert "has no test mse to compare with (0.25 is the new one's)" in reason
    assert "move the alias by hand" in reason
