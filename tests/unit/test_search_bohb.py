"""BOHB's model: which trials it is made of, what its densities are, and what it proposes."""

from __future__ import annotations

import math
import pickle
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from kerasweep.records import Candidate, Direction, Objective, Params, Status, Trial
from kerasweep.scheduling import paper_brackets
from kerasweep.search import Searcher, make_searcher
from kerasweep.search.density import Density
from kerasweep.search.structured import Varying
from kerasweep.space import Space
from kerasweep.spec.parameters import Choice, Float, Int
from kerasweep.spec.searchers import BohbSearch, RandomSearch, SearcherSpec

LOSS = Objective("val_loss", Direction.MINIMIZE)
LINE = Space.of(x=Float(min=0.0, max=1.0))
MIXED = Space.of(
    x=Float(min=0.0, max=1.0),
    kind=Choice(values=["a", "b", "c"]),
    n=Int(min=1, max=9, when={"kind": ["a"]}),
)


def made(space: Space = LINE, seed: int = 3, objective: Objective = LOSS, **options: object) -> Searcher:
    return make_searcher(BohbSearch(**{"random": 0.0, **options}), space, objective, seed, max_epochs=27)


def trial(candidate: Candidate, curve: Sequence[float], status: Status = Status.STOPPED) -> Trial:
    best = min(range(len(curve)), key=lambda epoch: curve[epoch])
    history = tuple({"val_loss": value} for value in curve)
    return Trial(candidate.number, candidate.params, 0, status, "", history, curve[best], best + 1)


def failed(candidate: Candidate) -> Trial:
    return Trial(candidate.number, candidate.params, 0, Status.FAILED, "NaN loss", ({"val_loss": math.nan},))


def proposed(searcher: Searcher, n: int = 40) -> np.ndarray:
    return np.array([float(candidate.params["x"]) for candidate in searcher.ask(n)])


def x(candidate: Candidate) -> float:
    return float(candidate.params["x"])


class TestRungs:
    """After one epoch the trials near 0.2 look best, and near 0.8 after three."""

    def early(self, candidate: Candidate) -> float:
        return 1 + abs(x(candidate) - 0.2)

    def late(self, candidate: Candidate) -> float:
        return abs(x(candidate) - 0.8)

    def told(self, long: int, **options: object) -> Searcher:
        searcher = made(**options)
        for candidate in searcher.ask(40):
            curve = [self.early(candidate)]
            curve += [9.0, self.late(candidate)] if candidate.number < long else []
            searcher.tell([trial(candidate, curve)])
        return searcher

    def test_the_highest_one_with_two_more_than_it_needs_is_the_model_s(self) -> None:
        assert abs(np.median(proposed(self.told(long=13, startup=12))) - 0.2) < 0.15
        assert abs(np.median(proposed(self.told(long=40))) - 0.8) < 0.15
        assert abs(np.median(proposed(self.told(long=14, startup=12))) - 0.2) > 0.2

    def test_until_then_candidates_are_random(self) -> None:
        searcher = made(seed=5, startup=39)
        searcher.tell([trial(candidate, [self.early(candidate)]) for candidate in searcher.ask(40)])
        assert proposed(searcher, 200).std() > 0.25  # uniform: 0.289

    def test_a_trial_that_ended_by_itself_is_at_every_later_rung(self) -> None:
        searcher = made()
        for candidate in searcher.ask(40):
            if candidate.number < 20:  # as good as the others ever get, and at once
                searcher.tell([trial(candidate, [self.late(candidate)], Status.FINISHED)])
            elif candidate.number < 23:
                searcher.tell([trial(candidate, [9.0, 9.0, 5.0])])
            else:
                searcher.tell([trial(candidate, [self.early(candidate)])])
        assert abs(np.median(proposed(searcher)) - 0.8) < 0.15

    def test_values_that_are_not_finite_on_the_way_are_passed_over(self) -> None:
        searcher = made()
        for candidate in searcher.ask(30):
            searcher.tell([trial(candidate, [math.inf, math.nan, self.late(candidate)])])
        assert abs(np.median(proposed(searcher)) - 0.8) < 0.15

    def test_trials_of_earlier_studies_count_with_and_without_their_curves(self) -> None:
        earlier = make_searcher(RandomSearch(), LINE, LOSS, 1).ask(30)
        for curves in (True, False):
            searcher = made()
            searcher.recall(
                [
                    trial(candidate, [9.0, self.late(candidate)])
                    if curves
                    else Trial(
                        candidate.number, candidate.params, 0, Status.STOPPED, value=self.late(candidate), epoch=2
                    )
                    for candidate in earlier
                ]
            )
            assert abs(np.median(proposed(searcher)) - 0.8) < 0.15


def test_failed_trials_are_bad_and_never_good() -> None:
    """All that finished are equally good; those over 0.5 failed."""
    searcher = made()
    candidates = searcher.ask(60)
    searcher.tell([trial(each, [1.0], Status.FINISHED) if x(each) < 0.5 else failed(each) for each in candidates])
    assert (proposed(searcher) < 0.5).mean() > 0.9


def test_only_failures_leave_it_random() -> None:
    searcher = made()
    searcher.tell([failed(candidate) for candidate in searcher.ask(40)])
    assert proposed(searcher, 200).std() > 0.25


def test_the_share_of_random_candidates() -> None:
    """With a share of 0.5, about half lie outside the narrow good region: within four sigma."""
    searcher = made(random=0.5)
    searcher.tell([trial(each, [abs(x(each) - 0.8)]) for each in searcher.ask(200)])
    far = (np.abs(proposed(searcher, 200) - 0.8) > 0.25).sum()
    assert abs(far - 200 * 0.5 * 0.55) < 4 * math.sqrt(200 * 0.275 * 0.725)


def test_a_batch_spreads_and_repeats_nothing() -> None:
    searcher = made(Space.of(n=Int(min=1, max=60)))
    first = searcher.ask(10)
    searcher.tell([trial(candidate, [abs(int(candidate.params["n"]) - 30.0)]) for candidate in first])
    batch = searcher.ask(30)
    assert len({candidate.params["n"] for candidate in [*first, *batch]}) == 40
    assert np.median([abs(int(candidate.params["n"]) - 30) for candidate in batch]) < 12


def test_choices_and_conditions_follow_the_good_trials() -> None:
    def cost(params: Params) -> float:
        return abs(float(params["n"]) - 7) / 9 if "n" in params else 3.0

    searcher = made(MIXED)
    searcher.tell([trial(candidate, [cost(candidate.params)]) for candidate in searcher.ask(80)])
    batch = [candidate.params for candidate in searcher.ask(30)]
    assert Counter(params["kind"] for params in batch)["a"] > 20
    assert abs(np.median([int(params["n"]) for params in batch if "n" in params]) - 7) <= 1
    assert all(MIXED.contains(params) for params in batch)


def test_what_varies_within_a_structure_is_chosen_by_the_model() -> None:
    searcher = made(MIXED)
    assert isinstance(searcher, Varying)
    searcher.tell([trial(candidate, [abs(x(candidate) - 0.3)]) for candidate in searcher.ask(60)])
    (first,) = searcher.ask(1)
    varied = [searcher.vary(first, frozenset({"x"})) for _ in range(20)]
    others = {name: value for name, value in first.params.items() if name != "x"}
    for candidate in varied:
        assert candidate is not None
        assert {name: value for name, value in candidate.params.items() if name != "x"} == others
    assert abs(np.median([x(candidate) for candidate in varied if candidate]) - 0.3) < 0.1
    assert pickle.loads(pickle.dumps(searcher)).vary(first, frozenset({"x"})) == searcher.vary(first, frozenset({"x"}))


def test_both_directions_are_mirror_images() -> None:
    down = made(MIXED)
    up = made(MIXED, objective=Objective("val_loss", Direction.MAXIMIZE))
    for _ in range(4):
        batch = down.ask(6)
        assert up.ask(6) == batch
        told = [trial(candidate, [x(candidate)]) for candidate in batch]
        down.tell(told)
        up.tell([replace(each, value=-each.value, history=({"val_loss": -each.value},)) for each in told])


class TestDensity:
    POINTS = np.array([[0.0, 0.0, 2.0], [0.9, 0.3, 2.0], [0.2, 0.35, 1.0], [1.0, 0.9, 2.0]])
    SIZES = np.array([0, 0, 3])

    @pytest.mark.parametrize("narrowest", [1e-3, 0.3, 1.0])
    def test_its_mass_is_one(self, narrowest: float) -> None:
        density = Density.of(self.POINTS, self.SIZES, narrowest)
        line = (np.arange(400) + 0.5) / 400
        grid = np.array([[a, b, c] for a in line for b in line for c in range(3)])
        assert np.exp(density.log(grid)).sum() / 400**2 == pytest.approx(1, abs=2e-3)
        inactive = np.array([[math.nan, math.nan, c] for c in range(3)])  # their density is that of the choice alone
        assert np.exp(density.log(inactive)).sum() == pytest.approx(1)

    def test_bandwidths_follow_the_normal_reference_rule(self) -> None:
        density = Density.of(self.POINTS, self.SIZES, 1e-3)
        shrunk = 1.06 * 4 ** (-1 / 7)
        spread = [self.POINTS[:, 0].std(), self.POINTS[:, 1].std(), math.sqrt(0.25 * 0.75)]  # of 1, 1, 0, 1
        assert density.widths == pytest.approx([shrunk * each for each in spread])
        same = Density.of(np.repeat(self.POINTS[:1], 4, axis=0), self.SIZES, 0.05)
        assert same.widths == pytest.approx([0.05, 0.05, 0.05])
        assert Density.of(self.POINTS, self.SIZES, 1.0).widths == pytest.approx([1, 1, 2 / 3])

    def test_draws_follow_it(self) -> None:
        """Chi-squared over eighteen cells of 9,000 draws, 17 degrees of freedom: 99.99 % lie below 46."""
        density = Density.of(self.POINTS, self.SIZES, 0.2)
        rng = np.random.default_rng(0)
        drawn = np.array([density.drawn(1.0, rng) for _ in range(9000)])
        assert drawn[:, :2].min() >= 0
        assert drawn[:, :2].max() <= 1
        line = (np.arange(90) + 0.5) / 90
        grid = np.array([[a, b, c] for a in line for b in line for c in range(3)])
        cells = (grid[:, 0] * 3).astype(int) * 6 + (grid[:, 1] * 2).astype(int) * 3 + grid[:, 2].astype(int)
        expected = np.bincount(cells, np.exp(density.log(grid)) / 90**2) * 9000
        found = (
            np.minimum(drawn[:, 0] * 3, 2).astype(int) * 6 + np.minimum(drawn[:, 1] * 2, 1).astype(int) * 3
        ) + drawn[:, 2].astype(int)
        assert ((np.bincount(found, minlength=18) - expected) ** 2 / expected).sum() < 46

    def test_very_wide_is_uniform(self) -> None:
        density = Density.of(self.POINTS, self.SIZES, 1e-3)
        rng = np.random.default_rng(0)
        drawn = np.array([density.drawn(1e30, rng) for _ in range(2000)])
        assert drawn[:, 0].std() == pytest.approx(math.sqrt(1 / 12), abs=0.01)
        counts = np.bincount(drawn[:, 2].astype(int), minlength=3)
        assert np.all(np.abs(counts - 2000 / 3) < 4 * math.sqrt(2000 * 2 / 9))  # four sigma


def _best(spec: SearcherSpec, seed: int) -> float:
    """The best log10 of the excess after five brackets of Hyperband, of curves that cross early and noisily."""
    space = Space.of(
        rate=Float(min=1e-5, max=1.0, log=True),
        momentum=Float(min=0.0, max=0.99),
        units=Int(min=4, max=512, log=True),
        depth=Int(min=0, max=6),
        kind=Choice(values=["a", "b", "c", "d"]),
        dropout=Float(min=0.0, max=0.8, step=0.1),
    )
    optimum = {"rate": 0.6, "momentum": 0.8, "units": 0.7, "depth": 0.35, "dropout": 0.2}
    rng = np.random.default_rng(seed)
    searcher = make_searcher(spec, space, LOSS, seed, max_epochs=27)
    best = math.inf
    brackets = paper_brackets(27, 3)
    for bracket in (*brackets, brackets[0]):
        candidates = searcher.ask(bracket.trials)
        curves = {}
        for candidate in candidates:
            places = {name: space.axes[name].coordinate(candidate.params[name]) for name in optimum}
            final = sum((places[name] - optimum[name]) ** 2 for name in optimum)
            final += 0.1 * "abcd".index(str(candidate.params["kind"]))
            decay = np.exp(-(0.1 + 0.4 * places["rate"]) * np.arange(1, 28))
            curves[candidate.number] = final + decay + rng.normal(0, 0.01, 27)
            curves[candidate.number][-1] = final
        lengths = {}
        left = list(curves)
        for rung, keep in zip(bracket.rungs, (*bracket.survivors[1:], 0), strict=True):
            lengths |= dict.fromkeys(left, rung)
            best = min([best, *(curves[number][-1] for number in left if rung == 27)])
            left = sorted(left, key=lambda number: curves[number][rung - 1])[:keep]
        searcher.tell(
            [
                trial(each, curves[each.number][: lengths[each.number]].tolist(), _status(lengths[each.number]))
                for each in candidates
            ]
        )
    return math.log10(best)


def _status(length: int) -> Status:
    return Status.FINISHED if length == 27 else Status.STOPPED


def test_it_beats_random_search_under_hyperband() -> None:
    """The mean of ten paired differences in log10(best) lies over three standard errors (sigma) above zero."""
    gains = np.array([_best(RandomSearch(), seed) - _best(BohbSearch(), seed) for seed in range(10)])
    assert gains.mean() > 3 * gains.std(ddof=1) / math.sqrt(10), gains
