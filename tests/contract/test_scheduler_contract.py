"""What every scheduler within a cohort keeps. A new scheduler is one more line in SCHEDULERS."""

from __future__ import annotations

import math
import pickle
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasweep.records import Decision, Direction, Objective, Params, Standing
from kerasweep.scheduling import SCHEDULERS as REGISTERED
from kerasweep.scheduling import Scheduler, make_scheduler
from kerasweep.space import Space
from kerasweep.spec.parameters import Choice, Float
from kerasweep.spec.schedulers import (
    AshaScheduler,
    AutoScheduler,
    HyperbandScheduler,
    MedianScheduler,
    NoScheduler,
    Pb2Scheduler,
    PbtScheduler,
    SchedulerSpec,
)

EPOCHS = 9
SPACE = Space.of(
    optimizer=Choice(values=["sgd", "adam"]),
    learning_rate=Float(min=1e-4, max=1e-1, log=True),
    dropout=Float(min=0.0, max=0.5, step=0.1),
)
SCHEDULERS: dict[str, SchedulerSpec] = {
    "none": NoScheduler(),
    "hyperband": HyperbandScheduler(eta=3),
    "hyperband-2": HyperbandScheduler(eta=2),
    "asha": AshaScheduler(),
    "asha-brackets": AshaScheduler(grace=2, eta=2, brackets=2),
    "median": MedianScheduler(grace=2, min_trials=2),
    "pbt": PbtScheduler(interval=2),
    "pbt-half": PbtScheduler(interval=1, quantile=0.5, resample=1),
    "pb2": Pb2Scheduler(interval=2),
    "pb2-half": Pb2Scheduler(interval=1, quantile=0.5),
    "auto": AutoScheduler(eta=2),
}
OBJECTIVES = [Objective("val_loss", Direction.MINIMIZE), Objective("val_accuracy", Direction.MAXIMIZE)]
NOT_FINITE = [math.nan, math.inf, -math.inf]


def made(name: str, objective: Objective = OBJECTIVES[0], seed: int = 7) -> Scheduler:
    return make_scheduler(SCHEDULERS[name], EPOCHS, objective, seed, SPACE)


def params(rng: random.Random) -> Params:
    """A configuration of the space, and a parameter beside it that is the same for all."""
    return {
        "optimizer": rng.choice(["sgd", "adam"]),
        "learning_rate": 10 ** rng.uniform(-4, -1),
        "dropout": rng.choice([0.0, 0.1, 0.2, 0.3, 0.4, 0.5]),
        "batch_size": 32,
    }


@dataclass(frozen=True)
class Asked:
    """One question to a scheduler, and its answer."""

    epoch: int
    members: Mapping[int, Standing]
    living: frozenset[int]
    decision: Decision


def train(scheduler: Scheduler, size: int, seed: int = 0, broken: float = 0.1, first: int = 0) -> Iterator[Asked]:
    """A cohort with random curves, some of whose members end by themselves, up to and including the last epoch.

    Args:
        scheduler: is obeyed.
        size: of the cohort.
        seed: of curves and configurations.
        broken: how likely a member ends by itself at an epoch, or has a value that is not finite.
        first: the lowest number of a member.
    """
    rng = random.Random(seed)
    numbers = range(first, first + size)
    values: dict[int, list[float]] = {number: [] for number in numbers}
    now = {number: params(rng) for number in numbers}
    living = frozenset(numbers)
    for epoch in range(1, EPOCHS + 1):
        for number in sorted(living):
            values[number].append(rng.choice(NOT_FINITE) if rng.random() < broken else rng.gauss(1.0, 0.5))
        living -= {number for number in sorted(living) if rng.random() < broken}
        members = {number: Standing(tuple(values[number]), dict(now[number])) for number in numbers}
        decision = scheduler.decide(epoch, members, living)
        yield Asked(epoch, members, living, decision)
        living -= decision.stop
        before = dict(now)
        for number, copy in decision.copies.items():
            now[number] = {**before[copy.source], **copy.params}


def test_every_scheduler_is_here() -> None:
    assert {spec.name for spec in SCHEDULERS.values()} == REGISTERED.keys()


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda objective: objective.direction)
def test_pure_and_in_whatever_order_the_members_are_listed(name: str, objective: Objective) -> None:
    scheduler = made(name, objective)
    restored = pickle.loads(pickle.dumps(scheduler))
    asked = list(train(scheduler, 40))
    for question in reversed(asked):  # what was asked before does not matter
        backwards = dict(reversed(question.members.items()))
        assert scheduler.decide(question.epoch, question.members, question.living) == question.decision
        assert restored.decide(question.epoch, question.members, question.living) == question.decision
        assert made(name, objective).decide(question.epoch, backwards, question.living) == question.decision


@pytest.mark.parametrize("name", SCHEDULERS)
@settings(max_examples=60, deadline=None)
@given(
    size=st.integers(1, 40),
    seed=st.integers(0, 2**32),
    broken=st.sampled_from([0.0, 0.05, 0.3, 1.0]),
    first=st.integers(0, 60),
    objective=st.sampled_from(OBJECTIVES),
)
def test_decides_on_the_living_alone_and_leaves_one(
    name: str, size: int, seed: int, broken: float, first: int, objective: Objective
) -> None:
    for question in train(made(name, objective), size, seed, broken, first):
        decision = question.decision
        copying = decision.copies.keys()
        assert decision.stop | copying <= question.living
        assert not decision.stop & copying
        sources = {copy.source for copy in decision.copies.values()}
        assert sources <= question.living
        assert not sources & (decision.stop | copying)
        if question.epoch < EPOCHS:
            assert not question.living or question.living - decision.stop
        else:
            assert not copying


@pytest.mark.parametrize("name", [name for name in SCHEDULERS if name != "asha-brackets"])  # all eight are compared
@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda objective: objective.direction)
@pytest.mark.parametrize("value", [*NOT_FINITE, None], ids=str)
def test_what_is_missing_or_not_finite_is_never_preferred(name: str, objective: Objective, value: float | None) -> None:
    scheduler = made(name, objective)
    for epoch in range(1, EPOCHS + 1):
        broken = () if value is None else (value,) * epoch
        members = {
            number: Standing(broken if number % 2 else (1.0 + number,) * epoch, {"learning_rate": 0.01})
            for number in range(8)
        }
        decision = scheduler.decide(epoch, members, frozenset(members))
        finite, others = {0, 2, 4, 6}, {1, 3, 5, 7}
        assert others <= decision.stop or not decision.stop & finite
        assert others <= decision.copies.keys() or not decision.copies.keys() & finite
        assert {copy.source for copy in decision.copies.values()} <= finite


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("way", Direction)
def test_the_best_member_is_never_stopped_and_never_copies(name: str, way: Direction) -> None:
    """Curves that do not cross: by each member's number, from best to worst."""
    scheduler = made(name, Objective("val_x", way))
    sign = 1 if way is Direction.MINIMIZE else -1
    for epoch in range(1, EPOCHS + 1):
        members = {
            number: Standing(tuple([sign * float(number)] * epoch), {"learning_rate": 0.01}) for number in range(12)
        }
        decision = scheduler.decide(epoch, members, frozenset(members))
        assert 0 not in decision.stop
        assert 0 not in decision.copies


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("number", range(0, 60, 7))
def test_a_cohort_of_one_goes_on_to_its_end(name: str, number: int) -> None:
    for question in train(made(name), 1, seed=number, broken=0.0, first=number):
        assert question.decision == Decision()


@pytest.mark.parametrize("name", SCHEDULERS)
def test_mirrored_values_and_direction_give_the_same_decisions(name: str) -> None:
    loss, score = (made(name, objective) for objective in OBJECTIVES)
    for question in train(loss, 40):
        mirrored = {
            number: Standing(tuple(-value for value in standing.values), standing.params)
            for number, standing in question.members.items()
        }
        assert score.decide(question.epoch, mirrored, question.living) == question.decision


@pytest.mark.parametrize("name", SCHEDULERS)
def test_nobody_at_all_is_no_problem(name: str) -> None:
    for epoch in range(1, EPOCHS + 1):
        assert made(name).decide(epoch, {3: Standing((), {"learning_rate": 0.1})}, frozenset()) == Decision()
