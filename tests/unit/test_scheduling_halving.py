"""Hyperband, ASHA and the median rule within a cohort: who goes on, in numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pytest

from kerasweep.records import Decision, Direction, Objective, Standing
from kerasweep.scheduling import Scheduler, make_scheduler
from kerasweep.scheduling.rungs import bracket_weights
from kerasweep.spec.schedulers import AshaScheduler, HyperbandScheduler, MedianScheduler, SchedulerSpec

LOSS = Objective("val_loss", Direction.MINIMIZE)
ACCURACY = Objective("val_accuracy", Direction.MAXIMIZE)


def made(spec: SchedulerSpec, epochs: int, objective: Objective = LOSS, seed: int = 1) -> Scheduler:
    return make_scheduler(spec, epochs, objective, seed)


def standings(curves: Mapping[int, Sequence[float]]) -> dict[int, Standing]:
    return {number: Standing(tuple(values), {}) for number, values in curves.items()}


def lengths(
    scheduler: Scheduler, numbers: Sequence[int], epochs: int, ending: Mapping[int, int] = {}
) -> dict[int, int]:
    """How long each member trains when lower numbers are better throughout.

    Args:
        scheduler: is obeyed.
        numbers: of the members.
        epochs: of the cohort.
        ending: the epoch at which a member ends by itself.
    """
    trained = dict.fromkeys(numbers, 0)
    living = frozenset(numbers)
    for epoch in range(1, epochs + 1):
        trained |= dict.fromkeys(living, epoch)
        living -= {number for number in living if ending.get(number) == epoch}
        members = standings({number: [float(number)] * trained[number] for number in numbers})
        living -= scheduler.decide(epoch, members, living).stop
    return trained


def survivors(trained: Mapping[int, int], rungs: Sequence[int]) -> list[int]:
    return [sum(length >= rung for length in trained.values()) for rung in rungs]


class TestHyperband:
    @pytest.mark.parametrize(
        ("first", "rungs", "counts"),
        [
            (0, (1, 3, 9, 27, 81), [81, 27, 9, 3, 1]),
            (81, (3, 9, 27, 81), [34, 11, 3, 1]),
            (81 + 34, (9, 27, 81), [15, 5, 1]),
            (81 + 34 + 15, (27, 81), [8, 2]),
            (81 + 34 + 15 + 8, (81,), [5]),
        ],
    )
    def test_the_paper_s_table(self, first: int, rungs: Sequence[int], counts: list[int]) -> None:
        """Table 1 of Li et al. 2018, R = 81 and η = 3: a cohort for each bracket."""
        numbers = range(first, first + counts[0])
        trained = lengths(made(HyperbandScheduler(eta=3), 81), numbers, 81)
        assert survivors(trained, rungs) == counts
        assert set(trained.values()) <= set(rungs)
        assert trained[first] == 81, "the best one"
        assert list(trained.values()) == sorted(trained.values(), reverse=True), "better ones train longer"

    def test_brackets_and_bands_of_one_cohort_are_halved_each_by_itself(self) -> None:
        """R = 9, η = 3: 9 trials in the first bracket, 5 in the second, 3 in the last; then a new band."""
        trained = lengths(made(HyperbandScheduler(eta=3), 9), range(26), 9)
        first, second, third, again = (
            [trained[number] for number in part] for part in (range(9), range(9, 14), range(14, 17), range(17, 26))
        )
        assert first == again == [9, 3, 3, 1, 1, 1, 1, 1, 1]
        assert second == [9, 3, 3, 3, 3]
        assert third == [9, 9, 9]

    @pytest.mark.parametrize(("size", "counts"), [(1, [1, 1, 1]), (2, [2, 1, 1]), (5, [5, 2, 1]), (8, [8, 3, 1])])
    def test_a_part_of_a_bracket_keeps_the_same_fraction(self, size: int, counts: list[int]) -> None:
        trained = lengths(made(HyperbandScheduler(eta=3), 9), range(9 - size, 9), 9)
        assert survivors(trained, (1, 3, 9)) == counts

    def test_who_ended_by_itself_leaves_its_place_but_makes_no_new_one(self) -> None:
        hyperband = made(HyperbandScheduler(eta=3), 9)
        # Member 0 ends at the first rung: 1, 2 and 3 have the three places.
        assert lengths(hyperband, range(9), 9, {0: 1}) == {0: 1, 1: 9, 2: 3, 3: 3} | dict.fromkeys(range(4, 9), 1)
        # Six end before or at it: the three that live go on, and one of them at the next rung.
        trained = lengths(hyperband, range(9), 9, dict.fromkeys(range(6), 1))
        assert trained == dict.fromkeys(range(6), 1) | {6: 9, 7: 3, 8: 3}
        # All places of the second rung were planned from nine; a lone survivor keeps the one.
        assert lengths(hyperband, range(9), 9, {0: 2, 1: 2})[2] == 9

    def test_ties_go_to_the_lower_number(self) -> None:
        members = standings({number: [1.0] for number in range(9)})
        decision = made(HyperbandScheduler(eta=3), 9).decide(1, members, frozenset(members))
        assert decision.stop == frozenset(range(3, 9))

    def test_it_is_the_value_at_the_rung_that_counts(self) -> None:
        members = standings({number: [5.0, 5.0, 5.0] for number in range(9, 13)} | {13: [0.0, 0.0, 9.0]})
        decision = made(HyperbandScheduler(eta=3), 9).decide(3, members, frozenset(members))
        assert decision.stop == {10, 11, 12, 13}


class TestAsha:
    def test_each_rung_lets_a_share_of_those_that_came_go_on(self) -> None:
        trained = lengths(made(AshaScheduler(grace=2, eta=3), 30), range(20), 30)
        assert survivors(trained, (2, 3, 6, 7, 18, 19, 30)) == [20, 6, 6, 2, 2, 1, 1]

    def test_one_that_ends_at_the_rung_counts_as_come_and_one_that_ended_before_does_not(self) -> None:
        asha = made(AshaScheduler(grace=2, eta=3), 9)
        assert survivors(lengths(asha, range(6), 9, dict.fromkeys([4, 5], 2)), (2, 3)) == [6, 2]
        assert survivors(lengths(asha, range(6), 9, {5: 1}), (2, 3)) == [5, 1]

    def test_nothing_is_decided_at_the_last_epoch(self) -> None:
        members = standings({number: [1.0] * 9 for number in range(6)})
        assert made(AshaScheduler(), 9).decide(9, members, frozenset(members)) == Decision()

    def test_maximised(self) -> None:
        members = standings({0: [0.1], 1: [0.9], 2: [0.5]})
        assert made(AshaScheduler(), 9, ACCURACY).decide(1, members, frozenset(members)).stop == {0, 2}

    def test_brackets_are_drawn_by_seed_and_number_and_compared_each_by_itself(self) -> None:
        spec = AshaScheduler(grace=1, eta=3, brackets=2)
        asha, other = made(spec, 9, seed=1), made(spec, 9, seed=2)
        numbers = range(300)
        stopped = asha.decide(1, standings({number: [float(number)] for number in numbers}), frozenset(numbers)).stop
        # Rungs 1, 3, 9 and 3, 9. Two thirds of the first bracket end at epoch 1; its share is e^3 / (e^3 + e^2).
        first = len(stopped) * 3 / 2
        weights = bracket_weights([(1, 3, 9), (3, 9)])
        share = weights[0] / sum(weights)
        assert abs(first / 300 - share) < 4 * math.sqrt(share * (1 - share) / 300) + 0.01  # four sigma, and rounding
        alone = {n for n in numbers if asha.decide(1, standings({n: [9.0], 0: [0.0]}), frozenset({n, 0})).stop}
        assert stopped <= alone, "only members of the first bracket"
        assert stopped != other.decide(1, standings({n: [float(n)] for n in numbers}), frozenset(numbers)).stop


class TestMedian:
    def test_a_best_worse_than_the_median_of_the_others_averages_ends(self) -> None:
        curves = {0: [4.0, 2.0], 1: [3.0, 3.0], 2: [9.0, 3.5], 3: [3.2, 9.0]}
        # Averages: 3, 3, 6.25, 6.1. Medians of the others: 6.1, 6.1, 3, 3. Bests: 2, 3, 3.5, 3.2.
        median = made(MedianScheduler(grace=1, min_trials=3), 9)
        assert median.decide(2, standings(curves), frozenset(curves)).stop == {2, 3}
        mirrored = {number: [-value for value in values] for number, values in curves.items()}
        other_way = made(MedianScheduler(grace=1, min_trials=3), 9, ACCURACY)
        assert other_way.decide(2, standings(mirrored), frozenset(mirrored)).stop == {2, 3}

    def test_equal_to_the_median_goes_on(self) -> None:
        members = standings({number: [1.0, 1.0] for number in range(6)})
        assert made(MedianScheduler(grace=1), 9).decide(2, members, frozenset(members)) == Decision()

    def test_grace_and_the_last_epoch(self) -> None:
        median = made(MedianScheduler(grace=3, min_trials=2), 5)
        for epoch, stops in [(1, set()), (2, set()), (3, {2}), (4, {2}), (5, set())]:
            members = standings({0: [1.0] * epoch, 1: [1.0] * epoch, 2: [5.0] * epoch})
            assert median.decide(epoch, members, frozenset(members)).stop == stops

    def test_only_others_that_came_so_far_make_a_median(self) -> None:
        curves = {0: [1.0, 1.0], 1: [1.0, 1.0], 2: [5.0, 5.0], 3: [0.0]}
        assert made(MedianScheduler(grace=1, min_trials=3), 9).decide(2, standings(curves), frozenset({0, 1, 2})) == (
            Decision()
        )
        curves[3] = [0.0, 0.0]  # has ended by itself just now
        assert made(MedianScheduler(grace=1, min_trials=3), 9).decide(
            2, standings(curves), frozenset({0, 1, 2})
        ).stop == {2}

    def test_without_a_finite_value_worse_than_any_median(self) -> None:
        curves = {0: [1.0, 1.0], 1: [math.nan, 1.0], 2: [math.nan, math.inf]}
        decision = made(MedianScheduler(grace=1, min_trials=2), 9).decide(2, standings(curves), frozenset(curves))
        assert decision.stop == {2}

    def test_the_best_of_the_living_goes_on_even_if_better_ones_have_just_ended(self) -> None:
        curves = {0: [1.0], 1: [1.0], 2: [1.0], 3: [7.0], 4: [6.0]}
        decision = made(MedianScheduler(grace=1, min_trials=2), 9).decide(1, standings(curves), frozenset({3, 4}))
        assert decision.stop == {3}
