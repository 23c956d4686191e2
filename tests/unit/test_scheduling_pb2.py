"""Population based bandits: what is learned from a population, and which values follow from it."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasweep.records import Decision, Direction, Objective, Params, Standing, Takeover
from kerasweep.scheduling import Scheduler, make_scheduler
from kerasweep.scheduling.drift import DriftingProcess
from kerasweep.scheduling.exploration import Scope
from kerasweep.space import Space
from kerasweep.spec.families import MUTABLE_PARAMETERS
from kerasweep.spec.parameters import Choice, Fixed, Float, Int
from kerasweep.spec.schedulers import Pb2Scheduler, PbtScheduler, SchedulerSpec

LOSS = Objective("val_loss", Direction.MINIMIZE)
RATE = Space.of(learning_rate=Float(min=1e-4, max=1.0, log=True))
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


def made(space: Space = RATE, epochs: int = 40, seed: int = 5, objective: Objective = LOSS, **options) -> Scheduler:
    return make_scheduler(Pb2Scheduler(**options), epochs, objective, seed, space)


def decided(scheduler: Scheduler, epoch: int, members: dict[int, Standing]) -> Decision:
    return scheduler.decide(epoch, members, frozenset(members))


def exponents(decision: Decision) -> list[float]:
    """log10 of the new learning rates."""
    return [math.log10(float(copy.params["learning_rate"])) for copy in decision.copies.values()]


def population(slope: Callable[[float], float], epochs: int = 8, size: int = 20) -> dict[int, Standing]:
    """Losses that fall by ``slope`` of log10 of the learning rate at each epoch; rates are spread evenly."""
    members = {}
    for number in range(size):
        exponent = -4 + 4 * ((number * 7) % size) / (size - 1)
        values = tuple(10 - slope(exponent) * epoch for epoch in range(1, epochs + 1))
        members[number] = Standing(values, {"learning_rate": 10.0**exponent})
    return members


def bump(middle: float) -> Callable[[float], float]:
    return lambda exponent: math.exp(-((exponent - middle) ** 2))


class TestCopies:
    @pytest.mark.parametrize("size", [1, 2, 5, 12])
    def test_who_copies_whom_is_decided_as_in_population_based_training(self, size: int) -> None:
        members = {number: Standing((float(number),) * 4, SGD) for number in range(size)}
        pbt = decided(make_scheduler(PbtScheduler(), 20, LOSS, 5, SPACE), 4, members)
        pb2 = decided(made(SPACE, 20), 4, members)
        assert {number: copy.source for number, copy in pb2.copies.items()} == {
            number: copy.source for number, copy in pbt.copies.items()
        }
        assert decided(made(SPACE, 20), 3, members) == decided(made(SPACE, 4), 4, members) == Decision()

    def test_everything_that_may_change_is_told_and_what_is_no_range_is_the_source_s(self) -> None:
        members = {number: Standing((float(number),) * 4, SGD) for number in range(8)}
        members[7] = replace(members[7], params={**SGD, "epsilon": 1e-7})
        new = decided(made(SPACE), 4, members).copies[7].params
        assert new.keys() == {"momentum", "learning_rate", "dropout", "l2", "clipnorm", "epsilon"}
        assert (new["clipnorm"], new["epsilon"]) == (1.0, 1e-3)

    def test_without_a_range_in_this_program_the_source_s_values_are_copied(self) -> None:
        space = Space.of(
            optimizer=Choice(values=["sgd", "adam"]),
            momentum=Float(min=0.0, max=0.9, when={"optimizer": ["sgd"]}),
            epsilon=Choice(values=[1e-7, 1e-3], when={"optimizer": ["adam"]}),
        )
        members = {
            number: Standing((float(number),) * 4, {"optimizer": "adam", "epsilon": 1e-3 if number else 1e-7})
            for number in range(4)
        }
        assert decided(made(space), 4, members).copies[3].params == {"epsilon": 1e-7}

    @settings(max_examples=25, deadline=None)
    @given(seed=st.integers(0, 10**6), epoch=st.sampled_from([2, 4, 6]), size=st.integers(2, 12))
    def test_values_stay_in_the_space_and_never_cross_to_or_from_none(self, seed: int, epoch: int, size: int) -> None:
        rng = random.Random(seed)
        members = {
            number: Standing(
                tuple(rng.choice([rng.gauss(1, 1), rng.gauss(1, 1), math.nan, 1e308, -1e308]) for _ in range(epoch)),
                {
                    **SGD,
                    "dropout": rng.choice([0.0, 0.1, 0.4]),
                    "l2": rng.choice([0.0, 0.03]),
                    "learning_rate": 10 ** rng.uniform(-4, -1),
                },
            )
            for number in range(size)
        }
        scope = Scope(SPACE, MUTABLE_PARAMETERS)
        for copy in decided(made(SPACE, interval=2), epoch, members).copies.values():
            source = members[copy.source].params
            changed = {**source, **copy.params}
            assert scope.program(changed) == scope.program(source)
            assert SPACE.problems({name: value for name, value in changed.items() if name != "batch_size"}) == []

    def test_a_space_is_needed(self) -> None:
        with pytest.raises(ValueError, match=r"pb2 must have the space that it explores\. Received: None"):
            make_scheduler(Pb2Scheduler(), 20, LOSS, 5)


class TestLearning:
    @pytest.mark.parametrize("middle", [-3.0, -1.0])
    def test_new_values_lie_where_the_gains_were(self, middle: float) -> None:
        found = exponents(decided(made(), 8, population(bump(middle))))
        assert len(found) == 5
        assert abs(np.median(found) - middle) < 0.6

    def test_those_that_copy_spread(self) -> None:
        found = exponents(decided(made(), 8, population(bump(-2))))
        assert len(set(found)) == 5
        unknown = exponents(decided(made(interval=1), 1, population(bump(-2))))  # before the first stretch has ended
        assert len(set(unknown)) == 5

    def test_what_gained_lately_counts_more_than_what_gained_long_ago(self) -> None:
        early, late = population(bump(-1), 16), population(bump(-3), 16)
        members = {
            number: replace(
                early[number],
                values=(
                    *early[number].values[:8],
                    *(early[number].values[7] + value - late[number].values[7] for value in late[number].values[8:]),
                ),
            )
            for number in early
        }
        assert abs(np.median(exponents(decided(made(), 16, members))) + 3) < 0.6

    def test_a_gain_counts_from_the_state_that_was_copied(self) -> None:
        """At epoch 4 some gave up a bad state for a good one, which their rate made worse until epoch 8."""
        members = population(bump(-3))
        source = min(members, key=lambda number: members[number].values[3])
        for number, standing in members.items():
            if float(standing.params["learning_rate"]) > 0.03:
                values = (50.0, 51.0, 52.0, 53.0, 7.0, 8.0, 9.0, 9.0)
                members[number] = Standing(values, standing.params, (Takeover(4, source, {"learning_rate": 1e-4}),))
        assert np.median(exponents(decided(made(), 8, members))) < -2
        forgotten = {number: replace(standing, takeovers=()) for number, standing in members.items()}
        assert np.median(exponents(decided(made(), 8, forgotten))) > -2

    def test_a_stretch_counts_for_the_values_that_it_was_trained_with(self) -> None:
        members = {
            number: replace(
                standing,
                params={"learning_rate": 10 ** -(4 + math.log10(float(standing.params["learning_rate"])))},
                takeovers=(Takeover(8, number, standing.params),),
            )
            for number, standing in population(bump(-3), 12).items()
        }
        # Until epoch 8 rates near 10^-3 gained most, and from then on, when all were mirrored, those near 10^-1.
        assert np.median(exponents(decided(made(), 12, members))) > -1.5
        unchanged = {number: replace(standing, takeovers=()) for number, standing in members.items()}
        assert abs(np.median(exponents(decided(made(), 12, unchanged))) + 1) < 0.6

    @pytest.mark.parametrize("lost", [(), (9.0, math.nan), (9.0, math.inf), (9.0, 1e300)])
    def test_what_fails_or_diverges_gained_least_and_hides_nothing(self, lost: tuple[float, ...]) -> None:
        """Rates over 0.1 gain most, if they do not fail."""
        members = population(lambda exponent: bump(-3)(exponent) + 3 * (exponent > -1))
        for number, standing in members.items():
            if float(standing.params["learning_rate"]) > 0.1:
                members[number] = replace(standing, values=(*standing.values[:6], *lost), failed=not lost)
        living = frozenset(number for number, standing in members.items() if not standing.failed)
        found = exponents(made().decide(8, members, living))
        assert abs(np.median(found) + 3) < 0.6
        assert max(found) < -0.5

    def test_other_programs_do_not_count(self) -> None:
        space = Space.of(optimizer=Choice(values=["sgd", "adam"]), learning_rate=Float(min=1e-4, max=1.0, log=True))
        members = {}
        for number, (sgd, adam) in enumerate(
            zip(population(bump(-1)).values(), population(bump(-3)).values(), strict=True)
        ):
            members[2 * number] = replace(sgd, params={"optimizer": "sgd", **sgd.params})
            members[2 * number + 1] = replace(adam, params={"optimizer": "adam", **adam.params})
        copies = decided(made(space), 8, members).copies
        for optimizer, middle in (("sgd", -1), ("adam", -3)):
            of_it = Decision(copies={n: c for n, c in copies.items() if members[n].params["optimizer"] == optimizer})
            assert abs(np.median(exponents(of_it)) - middle) < 0.6

    def test_upwards(self) -> None:
        members = {
            number: replace(standing, values=tuple(-value for value in standing.values))
            for number, standing in population(bump(-3)).items()
        }
        upwards = made(objective=Objective("val_accuracy", Direction.MAXIMIZE))
        assert decided(upwards, 8, members) == decided(made(), 8, population(bump(-3)))


class TestDriftingProcess:
    POINTS = np.array([[0.1, 0.2], [0.5, 0.9], [0.8, 0.3], [0.4, 0.4]])
    TIMES = np.array([1.0, 2.0, 2.0, 3.0])
    VALUES = np.array([0.5, -1.0, 1.2, 0.1])

    def process(self, **options: float) -> DriftingProcess:
        return DriftingProcess(self.POINTS, self.TIMES, self.VALUES, (0.5, 0.8), **options)

    def covariance(self, process: DriftingProcess, points: np.ndarray, times: np.ndarray) -> np.ndarray:
        """One number after the other, by the kernel's definition."""
        return np.array(
            [
                [
                    (1 - process.noise)
                    * math.exp(
                        -sum(((a - b) / length) ** 2 for a, b, length in zip(x, y, process.lengths, strict=True)) / 2
                    )
                    * (1 - process.forgetting) ** (abs(s - t) / 2)
                    for y, t in zip(points, times, strict=True)
                ]
                for x, s in zip(points, times, strict=True)
            ]
        )

    def test_likelihood_is_that_of_a_normal_distribution(self) -> None:
        process = self.process(forgetting=0.2, noise=0.3)
        full = self.covariance(process, self.POINTS, self.TIMES) + 0.3 * np.eye(4)
        expected = -self.VALUES @ np.linalg.inv(full) @ self.VALUES / 2
        expected -= math.log(np.linalg.det(full)) / 2 + 2 * math.log(2 * math.pi)
        assert process.likelihood() == pytest.approx(expected)

    def test_the_highest_bound_is_chosen_and_then_pending(self) -> None:
        """Each choice is that of a process to which the ones before were pending from the start."""
        process = self.process(forgetting=0.2, noise=0.3)
        points = np.random.default_rng(0).random((30, 2))
        waiting = np.array([[0.2, 0.2]])
        beliefs = process.beliefs(points, 4.0, waiting)
        for _ in range(4):
            chosen = beliefs.choose(1.5)
            everything = np.concatenate([self.POINTS, waiting, points])
            times = np.concatenate([self.TIMES, np.full(len(waiting) + len(points), 4.0)])
            full = self.covariance(process, everything, times)
            seen, known = len(self.POINTS), len(self.POINTS) + len(waiting)
            mean = full[known:, :seen] @ np.linalg.inv(full[:seen, :seen] + 0.3 * np.eye(seen)) @ self.VALUES
            inverse = np.linalg.inv(full[:known, :known] + 0.3 * np.eye(known))
            variance = np.diag(full[known:, known:] - full[known:, :known] @ inverse @ full[:known, known:])
            assert chosen == np.argmax(mean + 1.5 * np.sqrt(variance))
            waiting = np.concatenate([waiting, points[chosen : chosen + 1]])

    def test_what_matters_is_found(self) -> None:
        rng = np.random.default_rng(1)
        points, times = rng.random((80, 2)), np.repeat(np.arange(4.0), 20)
        fitted = DriftingProcess.fitted(points, times, np.sin(6 * points[:, 0]) + rng.normal(0, 0.1, 80))
        assert fitted.lengths[0] < fitted.lengths[1]
        assert fitted.forgetting == 0
        assert fitted.noise <= 0.2
        moving = DriftingProcess.fitted(points, times, np.sin(6 * points[:, 0] + 2 * times) + rng.normal(0, 0.1, 80))
        assert moving.forgetting >= 0.2

    def test_nothing_is_known_without_observations(self) -> None:
        process = DriftingProcess.fitted(np.zeros((0, 1)), np.zeros(0), np.zeros(0))
        beliefs = process.beliefs(np.array([[0.0], [0.5], [1.0]]), 1.0, np.array([[0.1], [0.4]]))
        assert [beliefs.choose(1.0) for _ in range(2)] == [2, 0]


def _reached(spec: SchedulerSpec, seed: int) -> float:
    """The best loss of sixteen members after 40 epochs, as its logarithm.

    At each epoch the loss falls by a factor that depends on how near the parameters are to an optimum that moves.
    """
    space = Space.of(
        learning_rate=Float(min=1e-4, max=10.0, log=True),
        momentum=Float(min=0.0, max=0.99),
        weight_decay=Float(min=1e-5, max=1.0, log=True),
    )
    rng = np.random.default_rng(seed)
    scheduler = make_scheduler(spec, 40, LOSS, seed, space)
    params: dict[int, Params] = {number: space.sample(rng) for number in range(16)}
    logs = dict.fromkeys(params, 0.0)
    values: dict[int, list[float]] = {number: [] for number in params}
    takeovers: dict[int, tuple[Takeover, ...]] = dict.fromkeys(params, ())
    start, end = rng.uniform(0.2, 0.8, 3), rng.uniform(0.2, 0.8, 3)
    for epoch in range(1, 41):
        optimum = start + (end - start) * epoch / 40
        for number in params:
            logs[number] -= 0.1 * math.exp(-((space.to_unit(params[number]) - optimum) ** 2).sum() / 0.15)
            values[number].append(math.exp(logs[number] + 0.02 * rng.normal()))
        members = {n: Standing(tuple(values[n]), params[n], takeovers[n]) for n in params}
        before, losses = dict(params), dict(logs)
        for number, copy in decided(scheduler, epoch, members).copies.items():
            takeovers[number] += (Takeover(epoch, copy.source, before[number]),)
            params[number] = {**before[copy.source], **copy.params}
            logs[number] = losses[copy.source]
    return min(logs.values())


def test_it_beats_population_based_training_where_gains_depend_on_the_values() -> None:
    """The mean of twenty paired differences lies over two standard errors (sigma) above zero."""
    gains = np.array([_reached(PbtScheduler(), seed) - _reached(Pb2Scheduler(), seed) for seed in range(20)])
    assert gains.mean() > 2 * gains.std(ddof=1) / math.sqrt(20), gains
