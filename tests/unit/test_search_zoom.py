"""Random search in rounds: when a round begins, what its ranges are, and what it says of them."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from kerasweep.errors import SpecError
from kerasweep.records import Candidate, Direction, Objective, Params, Status, Trial
from kerasweep.search import Searcher, make_searcher
from kerasweep.search.base import Narrating
from kerasweep.search.structured import Varying
from kerasweep.space import Space
from kerasweep.spec import pipeline_from_mapping
from kerasweep.spec.parameters import Choice, Fixed, Float, Int
from kerasweep.spec.searchers import RandomSearch, SearcherSpec, ZoomSearch

LOSS = Objective("val_loss", Direction.MINIMIZE)
SPACE = Space.of(
    learning_rate=Float(min=1e-4, max=1.0, log=True),
    n_neurons=Int(min=1, max=100),
    batch_size=Int(min=16, max=256, step=16, log=True),
    optimizer=Choice(values=["sgd", "adam", "rmsprop"]),
    momentum=Float(min=0.0, max=0.9, when={"optimizer": ["sgd"]}),
    tag=Fixed(value="x"),
)
Value = Callable[[Params], float]


def made(space: Space = SPACE, seed: int = 3, **options: object) -> Searcher:
    return make_searcher(ZoomSearch(**options), space, LOSS, seed)


def near(params: Params) -> float:
    """Lowest at a learning rate of 0.01 and 60 neurons, with Adam."""
    distance = abs(math.log10(float(params["learning_rate"])) + 2) / 4 + abs(int(params["n_neurons"]) - 60) / 100
    return distance + (params["optimizer"] != "adam")


def ended(candidates: Sequence[Candidate], value: Value = near) -> list[Trial]:
    return [
        Trial(each.number, each.params, 0, Status.FINISHED, value=value(each.params), epoch=1) for each in candidates
    ]


def failed(candidates: Sequence[Candidate]) -> list[Trial]:
    return [Trial(candidate.number, candidate.params, 0, Status.FAILED, "NaN loss") for candidate in candidates]


def rounds_of(searcher: Searcher) -> list[int]:
    """Of each note, the trial from which on its round is."""
    assert isinstance(searcher, Narrating)
    starts = []
    for note in searcher.notes():
        head = note.partition(":")[0]
        starts.append(int(head.split("from trial ")[1].split()[0]) if "from trial" in head else 0)
    return starts


class TestRanges:
    def test_each_round_holds_the_best_so_far_and_a_margin(self) -> None:
        searcher = made(trials=20, top=4, margin=0.1)
        known: list[Candidate] = []
        low, high = 0.0, 1.0
        axis = SPACE.axes["learning_rate"]
        for _ in range(3):
            candidates = searcher.ask(20)
            searcher.tell(ended(candidates))
            places = [axis.coordinate(candidate.params["learning_rate"]) for candidate in candidates]
            assert low - 1e-9 <= min(places) <= max(places) <= high + 1e-9
            assert max(places) - min(places) > 0.6 * (high - low)
            known += candidates
            best = sorted(known, key=lambda candidate: near(candidate.params))[:4]
            held = [axis.coordinate(candidate.params["learning_rate"]) for candidate in best]
            margin = 0.1 * (high - low)
            low, high = max(min(held) - margin, 0.0), min(max(held) + margin, 1.0)
        assert high - low < 0.5

    def test_steps_and_choices(self) -> None:
        searcher = made(trials=40, top=5)
        first = searcher.ask(40)
        searcher.tell(ended(first))
        best = sorted((candidate.params for candidate in first), key=near)[:5]
        later = [candidate.params for candidate in searcher.ask(300)]
        neurons = [int(params["n_neurons"]) for params in best]
        assert min(int(params["n_neurons"]) for params in later) == max(min(neurons) - 10, 1)
        assert max(int(params["n_neurons"]) for params in later) == min(max(neurons) + 10, 100)
        assert {params["optimizer"] for params in later} == {params["optimizer"] for params in best} == {"adam"}
        assert all(SPACE.contains(params) for params in later)

    def test_uniform_in_the_parameter_s_scale(self) -> None:
        """Every value of the round as often as its cell is wide: within four sigma."""
        space = Space.of(n=Int(min=1, max=40, log=True), other=Float(min=0.0, max=1.0))
        searcher = made(space, trials=40, top=10, margin=0.0)
        first = searcher.ask(40)
        searcher.tell(ended(first, lambda params: abs(int(params["n"]) - 6)))
        best = sorted((int(candidate.params["n"]) for candidate in first), key=lambda n: abs(n - 6))[:10]
        drawn = [int(candidate.params["n"]) for candidate in searcher.ask(2000)]
        axis = space.axes["n"]
        cells = {n: axis.cell(n - 1) for n in range(min(best), max(best) + 1)}
        width = cells[max(best)][1] - cells[min(best)][0]
        assert set(drawn) == set(cells)
        for n, (start, end) in cells.items():
            share = (end - start) / width
            assert abs(drawn.count(n) - 2000 * share) < 4 * math.sqrt(2000 * share * (1 - share)), n

    def test_what_a_single_one_of_the_best_has_stays_as_it_was(self) -> None:
        searcher = made(trials=40, top=3)
        first = searcher.ask(40)
        one = next(candidate.params for candidate in first if "momentum" in candidate.params)
        searcher.tell(ended(first, lambda params: 0.0 if params == one else 1.0 + ("momentum" in params)))
        momenta = [float(each.params["momentum"]) for each in searcher.ask(200) if "momentum" in each.params]
        assert min(momenta) < 0.1
        assert max(momenta) > 0.8

    def test_the_only_best_one_is_enough_if_no_more_are_asked_for(self) -> None:
        searcher = made(trials=20, top=1, margin=0.0)
        first = searcher.ask(20)
        searcher.tell(ended(first))
        best = min((candidate.params for candidate in first), key=near)
        searcher.ask(1)
        assert isinstance(searcher, Narrating)
        assert f", n_neurons {best['n_neurons']}, batch_size {best['batch_size']}," in searcher.notes()[1]

    def test_trials_of_earlier_studies_count_among_the_best(self) -> None:
        earlier = [{**c.params, "learning_rate": 0.5} for c in make_searcher(RandomSearch(), SPACE, LOSS, 9).ask(5)]
        searcher = made(trials=10, top=5, margin=0.0)
        searcher.recall(
            ended([Candidate(number, params) for number, params in enumerate(earlier)], lambda params: -1.0)
        )
        first = searcher.ask(10)
        assert (
            len({candidate.params["learning_rate"] for candidate in first}) == 10
        )  # the first round is as wide as ever
        searcher.tell(ended(first))
        assert {round(float(candidate.params["learning_rate"]), 9) for candidate in searcher.ask(10)} == {0.5}

    def test_ranges_without_anything_new_give_way_to_the_space(self) -> None:
        space = Space.of(n=Int(min=1, max=40))
        searcher = made(space, trials=10, top=2, margin=0.0, rounds=2)
        values: list[int] = []
        while candidates := searcher.ask(5):
            values += [int(candidate.params["n"]) for candidate in candidates]
            searcher.tell(ended(candidates, lambda params: abs(int(params["n"]) - 30)))
        assert sorted(values) == list(range(1, 41))

    def test_what_varies_within_a_structure_is_drawn_within_the_ranges(self) -> None:
        searcher = made(trials=40, top=4)
        assert isinstance(searcher, Varying)
        searcher.tell(ended(searcher.ask(40)))
        ranged = [float(candidate.params["learning_rate"]) for candidate in searcher.ask(200)]
        (first,) = searcher.ask(1)
        for _ in range(100):
            varied = searcher.vary(first, frozenset({"learning_rate"}))
            assert varied is not None
            assert 0.9 * min(ranged) < float(varied.params["learning_rate"]) < 1.1 * max(ranged)
            assert varied.params["n_neurons"] == first.params["n_neurons"]


class TestRounds:
    def test_one_begins_when_half_of_the_one_before_has_ended(self) -> None:
        searcher = made(trials=8, top=3, rounds=3)
        first = searcher.ask(8)
        searcher.tell(ended(first[:3]))
        searcher.ask(4)
        assert rounds_of(searcher) == [0]
        searcher.tell(ended(first[3:4]))
        searcher.ask(4)
        assert rounds_of(searcher) == [12]

    def test_one_is_left_within_a_batch(self) -> None:
        searcher = made(trials=6, top=2, rounds=3)
        searcher.tell(ended(searcher.ask(5)))
        assert len(searcher.ask(20)) == 20
        assert rounds_of(searcher) == [0, 6]  # and the third one cannot begin before trials of the second have ended

    def test_large_batches_never_wait_and_never_narrow_on_guesses(self) -> None:
        searcher = made(trials=5, top=2, rounds=4)
        batches = [searcher.ask(30)]
        for _ in range(4):  # as a study does: the batch before the last has ended
            batches.append(searcher.ask(30))
            searcher.tell(ended(batches[-2]))
        assert [len(batch) for batch in batches] == [30] * 5
        assert rounds_of(searcher) == [0, 60, 120]  # at 30 nothing was known, at 90 nothing of the second round

    def test_the_last_one_takes_what_is_left(self) -> None:
        searcher = made(trials=5, top=2, rounds=2)
        for _ in range(20):
            searcher.tell(ended(searcher.ask(5)))
        assert rounds_of(searcher) == [0, 5]

    def test_none_begins_before_enough_are_good(self) -> None:
        searcher = made(trials=6, top=3)
        searcher.tell(failed(searcher.ask(10)))
        searcher.tell(ended(searcher.ask(2)))
        searcher.ask(1)
        assert rounds_of(searcher) == [0]
        searcher.tell(ended(searcher.ask(1)))
        searcher.ask(1)
        assert rounds_of(searcher) == [14]


class TestNotes:
    def test_every_round_says_once_what_it_draws_from(self) -> None:
        space = Space.of(
            learning_rate=Float(min=1e-4, max=1.0, log=True),
            momentum=Float(min=0.0, max=0.9),
            n_hidden=Int(min=0, max=3),
            nesterov=Choice(values=[True, False]),
            activation=Choice(values=["relu", "elu", "selu"]),
        )
        points: list[Params] = [
            {"learning_rate": 0.01, "momentum": 0.3, "n_hidden": 2, "nesterov": True, "activation": "selu"},
            {"learning_rate": 0.1, "momentum": 0.45, "n_hidden": 3, "nesterov": True, "activation": "relu"},
        ]
        searcher = make_searcher(ZoomSearch(trials=4, top=2), space, LOSS, 3, points=tuple(points))
        assert isinstance(searcher, Narrating)
        assert searcher.notes() == ["round 1 of 3: the whole space"]
        searcher.tell(ended(searcher.ask(4), lambda params: 0.0 if params in points else 1.0))
        assert searcher.notes() == []
        searcher = pickle.loads(pickle.dumps(searcher))
        searcher.ask(1)
        searcher = pickle.loads(pickle.dumps(searcher))
        assert searcher.notes() == [
            "round 2 of 3, from trial 4 on: learning_rate 0.00398 to 0.251 (logarithmic), momentum 0.21 to 0.54, "
            "n_hidden 2 to 3, nesterov True, activation relu or selu"
        ]
        searcher.ask(1)
        assert searcher.notes() == []

    def test_others_narrate_nothing(self) -> None:
        assert not isinstance(make_searcher(RandomSearch(), SPACE, LOSS, 3), Narrating)


class TestSpec:
    def problems(self, searcher: dict[str, object], trials: int) -> list[str]:
        given = {
            "name": "case",
            "data": {"name": "iris"},
            "model": {"family": "mlp"},
            "space": {"parameters": {"learning_rate": {"type": "float", "min": 0.001, "max": 0.1}}},
            "search": {"searcher": {"name": "zoom", **searcher}, "trials": trials},
        }
        try:
            pipeline_from_mapping(given, Path.cwd())
        except SpecError as error:
            return [str(problem) for problem in error.problems]
        return []

    def test_a_round_narrows_something(self) -> None:
        assert self.problems({"trials": 5, "top": 5}, 50) == [
            "search.searcher.top: top < trials must hold, or no round narrows anything. Received: top=5, trials=5"
        ]

    def test_the_last_round_begins(self) -> None:
        assert self.problems({"rounds": 3, "trials": 10}, 20) == [
            "search.searcher.trials: (rounds - 1) * trials < search.trials must hold, or the last round never begins. "
            "Received: rounds=3, trials=10, search.trials=20"
        ]
        assert self.problems({"rounds": 3, "trials": 10}, 21) == []


def _best(spec: SearcherSpec, seed: int) -> float:
    searcher = make_searcher(spec, SPACE, LOSS, seed)
    best = math.inf
    for _ in range(15):
        candidates = searcher.ask(4)
        searcher.tell(ended(candidates))
        best = min([best, *(near(candidate.params) for candidate in candidates)])
    return math.log10(best)


def test_it_beats_random_search() -> None:
    """The mean of twenty paired differences in log10(best) lies over three standard errors (sigma) above zero."""
    gains = np.array([_best(RandomSearch(), seed) - _best(ZoomSearch(), seed) for seed in range(20)])
    assert gains.mean() > 3 * gains.std(ddof=1) / math.sqrt(20), gains
