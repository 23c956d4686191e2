"""A normal distribution that follows the good trials."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable

import numpy as np
import pytest

from kerasweep.errors import SpecError
from kerasweep.records import Candidate, Direction, Objective, Params, Status, Trial
from kerasweep.search import Searcher, make_searcher
from kerasweep.search.base import Brief
from kerasweep.search.cmaes_search import CmaesSearcher
from kerasweep.space import Space
from kerasweep.spec.parameters import Choice, Fixed, Float, Int, Parameter
from kerasweep.spec.searchers import CmaesSearch, RandomSearch, SearcherSpec

LOSS = Objective("val_loss", Direction.MINIMIZE)
SPACE = Space.of(
    x=Float(min=-5.0, max=5.0),
    rate=Float(min=1e-5, max=1.0, log=True),
    n=Int(min=0, max=50),
    units=Int(min=8, max=512, step=8, log=True),
    dropout=Float(min=0.0, max=0.9, step=0.1),
)
UNIT = Space.of(x=Float(min=0.0, max=1.0), y=Float(min=0.0, max=1.0))


def distance(params: Params) -> float:
    """From the optimum, in which the parameters depend on each other."""
    x, rate, n, units, dropout = (float(value) for value in params.values())
    z = np.array(
        [(x - 2) / 5, (math.log10(rate) + 3) / 2, (n - 40) / 25, (math.log2(units) - 5) / 3, 2 * dropout - 0.6]
    )
    return float(z @ z + 0.5 * z[0] * z[1]) + 1e-6


def ended(candidate: Candidate, value: float | None, status: Status = Status.FINISHED) -> Trial:
    if value is None:
        return Trial(candidate.number, candidate.params, 0, Status.FAILED, reason="NaN loss")
    return Trial(candidate.number, candidate.params, 0, status, value=value, epoch=1)


def run(
    search: Searcher, trials: int, value: Callable[[Params], float | None], batch: int = 4
) -> tuple[list[Params], list[float]]:
    """What was proposed, and the finite values."""
    proposed: list[Params] = []
    values: list[float] = []
    while len(proposed) < trials:
        asked = search.ask(min(batch, trials - len(proposed)))
        told = [ended(candidate, value(candidate.params)) for candidate in asked]
        search.tell(told)
        proposed += [candidate.params for candidate in asked]
        values += [trial.value for trial in told if trial.value is not None]
    return proposed, values


def cmaes(space: Space = UNIT, seed: int = 0, **options: float) -> CmaesSearcher:
    return CmaesSearcher(Brief(space, LOSS, seed), CmaesSearch.model_validate(options))


@pytest.mark.parametrize("direction", Direction)
@pytest.mark.parametrize("batch", [1, 40])
def test_it_beats_random_search(direction: Direction, batch: int) -> None:
    """The mean of ten paired differences in log10(best) lies over three standard errors (sigma) above zero."""
    sign = 1 if direction is Direction.MINIMIZE else -1

    def best(spec: SearcherSpec, seed: int) -> float:
        search = make_searcher(spec, SPACE, Objective("score", direction), seed)
        _, values = run(search, 120, lambda params: sign * distance(params), batch)
        return math.log10(min(sign * value for value in values))

    gains = np.array([best(RandomSearch(), seed) - best(CmaesSearch(), seed) for seed in range(10)])
    assert gains.mean() > 3 * gains.std(ddof=1) / np.sqrt(10)


def test_what_it_cannot_search_is_named() -> None:
    space = Space.of(
        kind=Choice(values=["a", "b"]),
        x=Float(min=0.0, max=1.0),
        y=Float(min=0.0, max=1.0, when={"kind": ["b"]}),
        n=Int(min=0, max=3),
        m=Int(min=0, max=3, when={"n": [1, 2]}),
        f=Fixed(value=1, when={"m": [1]}),
    )
    with pytest.raises(SpecError) as caught:
        cmaes(space)
    (problem,) = caught.value.problems
    assert problem.path == ("search", "searcher", "name")
    assert problem.message == (
        "cmaes searches numbers only, without conditions; auto, tpe and others search all spaces. "
        "Received: kind (a choice), y (depends on kind), m (depends on n)"
    )


@pytest.mark.parametrize(
    "parameter",
    [Choice(values=["adam"]), Fixed(value="adam"), Int(min=2, max=2)],
    ids=["choice", "fixed", "int"],
)
def test_what_does_not_vary_is_no_obstacle(parameter: Parameter) -> None:
    condition = {"pinned": ["adam"]} if not isinstance(parameter, Int) else {"pinned": [2]}
    space = Space.of(pinned=parameter, x=Float(min=0.0, max=1.0, when=condition))
    proposed, _ = run(cmaes(space), 20, lambda params: float(params["x"]))
    assert all(space.contains(params) for params in proposed)


def test_generations_fill_in_whatever_order_trials_are_told() -> None:
    search = cmaes(population=6)
    asked = search.ask(20)
    for candidate in reversed(asked[2:]):
        search.tell([ended(candidate, float(candidate.params["x"]))])
    assert search._cma is not None
    assert search._cma.generation == 3
    search.tell([ended(candidate, float(candidate.params["x"])) for candidate in asked[:2]])
    assert search._cma.generation == 3
    search.tell([ended(candidate, float(candidate.params["x"])) for candidate in search.ask(64)])
    assert search._cma.generation == 5  # one large batch makes two


def test_a_collapsed_distribution_makes_room_for_another() -> None:
    search = cmaes()
    seen = 0
    for _ in range(80):
        _, values = run(search, 10, lambda params: (float(params["x"]) - 0.3) ** 2 + (float(params["y"]) - 0.6) ** 2)
        seen += max(values) < 1e-9
        if seen and max(values) > 0.01:
            return
    pytest.fail("it never left the optimum" if seen else "it never found the optimum")


@pytest.mark.parametrize("direction", Direction)
def test_earlier_trials_are_where_it_begins(direction: Direction) -> None:
    rng = np.random.default_rng(4)
    good = [{"x": float(x), "y": float(y)} for x, y in rng.normal([0.9, 0.1], 0.02, size=(20, 2)).clip(0, 1)]
    trials = [Trial(i, params, 0, Status.STOPPED, value=0.5, epoch=1) for i, params in enumerate(good)]
    sign = 1 if direction is Direction.MINIMIZE else -1
    trials += [
        Trial(20 + i, UNIT.sample(rng), 0, Status.FINISHED, value=0.5 + sign * rng.random(), epoch=1)
        for i in range(180)
    ]
    search = make_searcher(CmaesSearch(), UNIT, Objective("score", direction), 1)
    search.recall(trials)
    points = np.array([UNIT.to_unit(candidate.params) for candidate in search.ask(30)])
    assert np.abs(points.mean(axis=0) - [0.9, 0.1]).max() < 0.1
    assert points.std(axis=0).max() < 0.2


def test_it_begins_around_the_best_of_the_points() -> None:
    points = ({"x": 0.1, "y": 0.9}, {"x": 0.8, "y": 0.2})
    search = CmaesSearcher(Brief(UNIT, LOSS, 1, points=points), CmaesSearch(sigma=0.01))
    first = search.ask(2)
    search.tell([ended(candidate, float(candidate.params["x"])) for candidate in first])
    points_then = np.array([UNIT.to_unit(candidate.params) for candidate in search.ask(10)])
    assert np.abs(points_then - [0.1, 0.9]).max() < 0.05


def test_it_leaves_a_region_that_fails() -> None:
    """Over the first half of the unit square nothing can be trained, elsewhere all is alike."""
    search = cmaes(seed=2)
    run(search, 60, lambda params: None if params["x"] < 0.5 else 1.0)
    proposed, _ = run(search, 60, lambda params: None if params["x"] < 0.5 else 1.0)
    # Of 60 fair draws, 30 +- 3.9 would fail; less than half of that is four sigma away.
    assert sum(params["x"] < 0.5 for params in proposed) < 15


def test_a_stopped_trial_counts_with_its_best_value() -> None:
    histories = []
    for status in (Status.FINISHED, Status.STOPPED):
        search = cmaes(SPACE)
        for _ in range(5):
            search.tell([ended(candidate, distance(candidate.params), status) for candidate in search.ask(8)])
        histories.append(search.ask(8))
    assert histories[0] == histories[1]


def test_pickling_changes_no_digit_over_many_generations() -> None:
    """The library keeps one triangle of its matrix; what is lost must be lost by all."""
    kept, pickled = cmaes(SPACE, population=5, startup=12), cmaes(SPACE, population=5, startup=12)
    for _ in range(80):
        expected = kept.ask(2)
        pickled = pickle.loads(pickle.dumps(pickled))
        assert pickled.ask(2) == expected
        pickled = pickle.loads(pickle.dumps(pickled))
        for search in (kept, pickled):
            search.tell([ended(candidate, distance(candidate.params)) for candidate in expected])


def test_what_varies_within_a_structure_is_sampled_and_learnt_from() -> None:
    search = cmaes(SPACE, population=6)
    (first,) = search.ask(1)
    varied = [search.vary(first, frozenset({"x", "rate"})) for _ in range(5)]
    for candidate in varied:
        assert candidate is not None
        assert SPACE.contains(candidate.params)
        assert [candidate.params[name] for name in ("n", "units", "dropout")] == [
            first.params[name] for name in ("n", "units", "dropout")
        ]
    search.tell([ended(candidate, distance(candidate.params)) for candidate in (first, *varied) if candidate])
    assert search._cma is not None
    assert search._cma.generation == 1
