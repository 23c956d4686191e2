"""Successive halving with a pace."""

from __future__ import annotations

import math

import pytest

from kerasweep.records import Direction, Objective, Standing
from kerasweep.scheduling import auto_rungs, make_scheduler
from kerasweep.spec.schedulers import AutoScheduler

LOSS = Objective("val_loss", Direction.MINIMIZE)
ACCURACY = Objective("val_accuracy", Direction.MAXIMIZE)


def test_rungs_are_full_training_over_powers_of_eta() -> None:
    assert auto_rungs(52, 3) == (2, 6, 17)
    assert auto_rungs(30, 3) == (1, 3, 10)
    assert auto_rungs(10, 3) == (1, 3)
    assert auto_rungs(200, 2) == (25, 50, 100)
    assert auto_rungs(1, 3) == ()


def members(values: list[list[float]], **pace: dict[int, float]) -> dict[int, Standing]:
    return {
        number: Standing(tuple(curve), {}, pace=pace.get(f"of_{number}", {})) for number, curve in enumerate(values)
    }


def test_the_best_third_go_on_at_a_rung_and_all_elsewhere() -> None:
    scheduler = make_scheduler(AutoScheduler(), 30, LOSS, seed=0)
    standings = members([[9.0 - number] * 3 for number in range(9)])
    assert scheduler.decide(3, standings, frozenset(range(9))).stop == frozenset(range(6))
    assert scheduler.decide(2, standings, frozenset(range(9))).stop == frozenset()
    assert scheduler.decide(30, standings, frozenset(range(9))).stop == frozenset()


def test_every_third_cohort_passes_the_first_rung() -> None:
    scheduler = make_scheduler(AutoScheduler(), 30, LOSS, seed=0)

    def stopped(epoch: int, first: int) -> int:
        cohort = {first + number: Standing((9.0 - number,) * epoch, {}) for number in range(9)}
        return len(scheduler.decide(epoch, cohort, frozenset(cohort)).stop)

    assert [stopped(1, first) for first in (0, 9, 18, 27, 36, 45)] == [6, 6, 0, 6, 6, 0]
    assert [stopped(3, first) for first in (0, 9, 18)] == [6, 6, 6]


def test_the_only_rung_is_passed_by_none() -> None:
    scheduler = make_scheduler(AutoScheduler(), 3, LOSS, seed=0)
    cohort = {number: Standing((float(number),), {}) for number in range(18, 27)}
    assert len(scheduler.decide(1, cohort, frozenset(cohort)).stop) == 6


@pytest.mark.parametrize("objective", [LOSS, ACCURACY], ids=lambda objective: objective.metric)
def test_whoever_is_behind_its_pace_is_stopped_though_it_is_the_best(objective: Objective) -> None:
    sign = 1 if objective is LOSS else -1
    scheduler = make_scheduler(AutoScheduler(), 30, objective, seed=0)
    curves = [[sign * 0.5, sign * 0.7, sign * 0.6], [sign * 0.9] * 3]
    behind = members(curves, of_0={3: sign * 0.4})
    assert scheduler.decide(3, behind, frozenset({0, 1})).stop == {0, 1}
    ahead = members(curves, of_0={3: sign * 0.6})  # by its value there
    assert scheduler.decide(3, ahead, frozenset({0, 1})).stop == {1}


def test_a_pace_for_another_epoch_or_without_a_value_stops_nobody() -> None:
    scheduler = make_scheduler(AutoScheduler(), 30, LOSS, seed=0)
    assert scheduler.decide(3, members([[0.5] * 3], of_0={10: 0.1}), frozenset({0})).stop == frozenset()
    assert scheduler.decide(3, members([[math.nan] * 3], of_0={3: 0.1}), frozenset({0})).stop == frozenset()
