"""Population-based training: who copies whom, and what becomes of the hyperparameters."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasweep.records import Decision, Direction, Objective, Params, ParamValue, Standing
from kerasweep.scheduling import Scheduler, make_scheduler
from kerasweep.scheduling.exploration import Exploration
from kerasweep.space import Space
from kerasweep.spec.families import MUTABLE_PARAMETERS, OPTIMIZER_PARAMETERS, mutable_parameters
from kerasweep.spec.parameters import Choice, Fixed, Float, Int
from kerasweep.spec.schedulers import NoScheduler, PbtScheduler

LOSS = Objective("val_loss", Direction.MINIMIZE)
SPACE = Space.of(
    optimizer=Choice(values=["sgd", "adam"]),
    momentum=Float(min=0.0, max=0.95, when={"optimizer": ["sgd"]}),
    n_neurons=Int(min=8, max=64),
    learning_rate=Float(min=1e-4, max=1e-1, log=True),
    dropout=Float(min=0.0, max=0.5, step=0.1),
    l2=Float(min=0.0, max=0.1),
    clipnorm=Fixed(value=1.0),
    epsilon=Choice(values=[1e-7, 1e-3]),
)
SGD: Params = {
    "optimizer": "sgd", "momentum": 0.9, "n_neurons": 16, "learning_rate": 0.01,
    "dropout": 0.2, "l2": 0.01, "clipnorm": 1.0, "epsilon": 1e-3, "batch_size": 32,
}  # fmt: skip
ADAM: Params = {name: value for name, value in {**SGD, "optimizer": "adam"}.items() if name != "momentum"}


def made(epochs: int = 20, seed: int = 5, space: Space = SPACE, objective: Objective = LOSS, **options) -> Scheduler:
    return make_scheduler(PbtScheduler(**options), epochs, objective, seed, space)


def population(size: int, epoch: int, params: Params = SGD) -> dict[int, Standing]:
    """Lower numbers are better."""
    return {number: Standing((float(number),) * epoch, params) for number in range(size)}


@pytest.mark.parametrize(("size", "copying"), [(1, 0), (2, 1), (3, 1), (4, 1), (5, 2), (8, 2), (9, 3), (20, 5)])
def test_the_last_quantile_copies_the_first(size: int, copying: int) -> None:
    members = population(size, 4)
    decision = made().decide(4, members, frozenset(members))
    assert decision.stop == frozenset()
    assert decision.copies.keys() == set(range(size - copying, size))
    assert {copy.source for copy in decision.copies.values()} <= set(range(copying))


def test_only_every_interval_and_never_after_the_last_epoch() -> None:
    pbt = made(epochs=20, interval=5)
    acted = []
    for epoch in range(1, 21):
        members = population(8, epoch)
        if pbt.decide(epoch, members, frozenset(members)).copies:
            acted.append(epoch)
    assert acted == [5, 10, 15]


def test_ranked_by_the_last_value_and_in_the_objective_s_direction() -> None:
    members = {number: Standing((0.0, 0.0, 0.0, value), SGD) for number, value in enumerate([3.0, 1.0, 4.0, 2.0])}
    ((number, copy),) = made().decide(4, members, frozenset(members)).copies.items()
    assert (number, copy.source) == (2, 1)
    upwards = made(objective=Objective("val_accuracy", Direction.MAXIMIZE))
    ((number, copy),) = upwards.decide(4, members, frozenset(members)).copies.items()
    assert (number, copy.source) == (1, 2)


def test_members_that_have_ended_are_neither_copied_nor_copy() -> None:
    members = population(8, 4)
    decision = made().decide(4, members, frozenset(range(2, 7)))
    assert decision.copies.keys() == {5, 6}
    assert {copy.source for copy in decision.copies.values()} <= {2, 3}


def test_sources_are_drawn_uniformly_and_anew_for_every_seed_epoch_and_member() -> None:
    drawn: Counter[int] = Counter()
    for seed in range(200):
        members = population(16, 4)
        drawn.update(copy.source for copy in made(seed=seed).decide(4, members, frozenset(members)).copies.values())
    assert drawn.keys() == {0, 1, 2, 3}
    # 800 draws of 1/4 each: within four standard deviations (sigma = 12.2).
    assert all(abs(count - 200) < 4 * 12.3 for count in drawn.values())
    explored = {
        (epoch, number): copy.params["learning_rate"]
        for epoch in (4, 8)
        for number, copy in made(resample=1).decide(epoch, population(8, epoch), frozenset(range(8))).copies.items()
    }
    assert len(set(explored.values())) == len(explored) == 4


class TestPrograms:
    @pytest.mark.parametrize(
        "other",
        [ADAM, {**SGD, "n_neurons": 17}, {**SGD, "batch_size": 64}, {**SGD, "dropout": 0.0}, {**SGD, "l2": 0.0}],
    )
    def test_only_the_state_of_a_member_with_the_same_program_is_copied(self, other: Params) -> None:
        members = population(4, 4)
        members[0] = Standing(members[0].values, other)
        assert made().decide(4, members, frozenset(members)) == Decision()

    def test_among_several_the_one_that_fits_is_taken(self) -> None:
        members = population(12, 4)
        for number in (0, 2):
            members[number] = Standing(members[number].values, ADAM)
        members[11] = Standing(members[11].values, ADAM)
        copies = made().decide(4, members, frozenset(members)).copies
        assert (copies[9].source, copies[10].source) == (1, 1)
        assert copies[11].source in (0, 2)
        assert "momentum" in copies[9].params
        assert "momentum" not in copies[11].params

    @pytest.mark.parametrize("name", ["learning_rate", "momentum", "epsilon", "l2", "dropout"])
    def test_what_may_change_need_not_be_the_same(self, name: str) -> None:
        members = population(4, 4)
        better = {"learning_rate": 0.05, "momentum": 0.0, "epsilon": 1e-7, "l2": 0.02, "dropout": 0.5}[name]
        members[0] = Standing(members[0].values, {**SGD, name: better})
        assert made().decide(4, members, frozenset(members)).copies[3].source == 0

    def test_a_parameter_that_switches_others_is_part_of_the_program(self) -> None:
        space = Space.of(
            optimizer=Fixed(value="sgd"),
            momentum=Choice(values=[0.0, 0.9]),
            nesterov=Choice(values=[True, False], when={"momentum": [0.9]}),
            learning_rate=Float(min=1e-3, max=1e-1),
        )
        with_it = {"optimizer": "sgd", "momentum": 0.9, "nesterov": True, "learning_rate": 0.01}
        without = {"optimizer": "sgd", "momentum": 0.0, "learning_rate": 0.01}
        exploration = Exploration(space, MUTABLE_PARAMETERS, (0.8, 1.2), 0.0)
        assert exploration.program(with_it) != exploration.program(without)
        assert exploration.explored(with_it, random.Random(0)).keys() == {"learning_rate"}


def explored(params: Params, seed: int = 0, factors: tuple[float, ...] = (0.8, 1.2), resample: float = 0.0) -> Params:
    return Exploration(SPACE, MUTABLE_PARAMETERS, factors, resample).explored(params, random.Random(seed))


class TestExploring:
    def test_everything_of_the_space_that_may_change_is_told_and_ranges_are_perturbed(self) -> None:
        new = explored(SGD, factors=(1.2,))
        assert new == {
            "momentum": 0.95,  # 1.08, clipped
            "learning_rate": pytest.approx(0.012),
            "dropout": pytest.approx(0.3),  # 0.24 is nearest to where it was: one step at least
            "l2": pytest.approx(0.012),
            "clipnorm": 1.0,
            "epsilon": 1e-3,
        }
        assert explored(SGD, factors=(0.5,))["momentum"] == pytest.approx(0.45)

    @given(
        seed=st.integers(0, 10**6),
        dropout=st.sampled_from([0.0, 0.1, 0.2, 0.3, 0.4, 0.5]),
        l2=st.floats(0, 0.1),
        rate=st.floats(1e-4, 1e-1),
        momentum=st.floats(0, 0.95),
        factors=st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=3),
        resample=st.floats(0, 1),
    )
    def test_values_stay_in_the_space_and_never_cross_to_or_from_none(
        self, seed: int, dropout: float, l2: float, rate: float, momentum: float, factors: list[float], resample: float
    ) -> None:
        source = {**SGD, "dropout": dropout, "l2": l2, "learning_rate": rate, "momentum": momentum}
        new = explored(source, seed, tuple(factors), resample)
        changed = {name: value for name, value in {**source, **new}.items() if name != "batch_size"}
        assert SPACE.problems(changed) == []
        assert all((new[name] > 0) == (source[name] > 0) for name in ("dropout", "l2"))
        exploration = Exploration(SPACE, MUTABLE_PARAMETERS, tuple(factors), resample)
        assert exploration.program({**source, **new}) == exploration.program(source)

    def test_drawn_anew_on_the_parameter_s_scale(self) -> None:
        rates = sorted(float(explored(SGD, seed, resample=1.0)["learning_rate"]) for seed in range(400))
        below = sum(rate < 10**-2.5 for rate in rates)  # the middle of the logarithmic scale
        assert abs(below - 200) < 4 * 10  # four sigma
        assert 1e-4 <= rates[0] < 2e-4
        assert 5e-2 < rates[-1] <= 1e-1

    def test_how_often_drawn_anew(self) -> None:
        rates = [explored(SGD, seed, resample=0.25)["learning_rate"] for seed in range(400)]
        anew = sum(rate not in (0.01 * 0.8, 0.01 * 1.2) for rate in rates)
        assert abs(anew - 100) < 4 * 8.7  # four sigma

    @pytest.mark.parametrize(
        ("parameter", "value", "factor", "expected"),
        [
            (Int(min=1, max=10), 2, 1.2, 3),
            (Int(min=1, max=10), 2, 0.8, 1),
            (Int(min=1, max=10), 10, 1.2, 10),
            (Int(min=1, max=10), 1, 0.8, 1),
            (Int(min=1, max=10), 5, 1.0, 5),
            (Int(min=1, max=100, step=3, log=True), 40, 1.2, 49),
            (Float(min=0.1, max=0.9, step=0.2), 0.5, 1.2, 0.7),
            (Float(min=0.1, max=0.9, step=0.2), 0.9, 0.5, 0.5),
            (Float(min=0.1, max=0.9), 0.5, 3.0, 0.9),
            (Float(min=0.1, max=0.9), 0.5, 0.1, 0.1),
        ],
    )
    def test_perturbed_within_range_and_steps(
        self, parameter: Int | Float, value: ParamValue, factor: float, expected: ParamValue
    ) -> None:
        exploration = Exploration(Space.of(learning_rate=parameter), MUTABLE_PARAMETERS, (factor,), 0.0)
        new = exploration.explored({"learning_rate": value}, random.Random(0))["learning_rate"]
        assert new == expected
        assert type(new) is type(expected)


def test_a_user_s_builder_keeps_what_it_takes_and_what_only_a_family_knows() -> None:
    assert mutable_parameters("mlp") == tuple(name for name in MUTABLE_PARAMETERS if name != "l1")
    assert mutable_parameters("linear") == tuple(name for name in MUTABLE_PARAMETERS if name != "dropout")
    assert mutable_parameters(None, ["learning_rate", "units"]) == tuple(
        name for name in MUTABLE_PARAMETERS if name in OPTIMIZER_PARAMETERS and name != "learning_rate"
    )
    pbt = make_scheduler(PbtScheduler(), 20, LOSS, 5, SPACE, mutable_parameters(None))
    members = population(4, 4)
    copied = pbt.decide(4, members, frozenset(members)).copies[3].params
    assert copied.keys() == {"learning_rate", "momentum", "clipnorm", "epsilon"}


def test_without_a_space_there_is_nothing_to_explore() -> None:
    with pytest.raises(ValueError, match=r"pbt must have the space that it explores\. Received: None"):
        make_scheduler(PbtScheduler(), 20, LOSS, 5)
    assert make_scheduler(NoScheduler(), 20, LOSS, 5).decide(1, {}, frozenset()) == Decision()
