"""What every searcher keeps, whatever its mathematics. A new searcher is one more line in SEARCHERS."""

from __future__ import annotations

import logging
import math
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import optuna
import pytest

from kerasweep.errors import SpecError
from kerasweep.records import Candidate, Direction, Objective, Params, Status, Trial
from kerasweep.search import Searcher, make_searcher
from kerasweep.search.zoom_search import ZoomSearcher
from kerasweep.space import Space
from kerasweep.spec.parameters import Choice, Fixed, Float, Int
from kerasweep.spec.searchers import (
    AutoSearch,
    BohbSearch,
    CmaesSearch,
    EvolutionSearch,
    ForestSearch,
    GpSearch,
    GridSearch,
    HyperoptSearch,
    KerasTunerSearch,
    RandomSearch,
    SearcherSpec,
    SobolSearch,
    SpearmintSearch,
    TpeSearch,
    ZoomSearch,
)

LOSS = Objective("val_loss", Direction.MINIMIZE)

SEARCHERS: dict[str, SearcherSpec] = {
    "random": RandomSearch(),
    "sobol": SobolSearch(),
    "grid": GridSearch(steps=6),
    "tpe": TpeSearch(startup=4),
    "tpe-from-the-first": TpeSearch(startup=1, candidates=8),
    "hyperopt": HyperoptSearch(startup=4),
    "hyperopt-anneal": HyperoptSearch(algorithm="anneal"),
    "gp": GpSearch(startup=4),
    "gp-lcb": GpSearch(startup=4, acquisition="lcb"),
    "forest": ForestSearch(startup=4),
    "random-forest": ForestSearch(startup=4, trees="random_forest", acquisition="pi"),
    "spearmint": SpearmintSearch(startup=4, samples=2, fantasies=2),
    "keras_tuner": KerasTunerSearch(startup=4),
    "keras_tuner-random": KerasTunerSearch(oracle="random"),
    "keras_tuner-hyperband": KerasTunerSearch(oracle="hyperband"),
    "evolution": EvolutionSearch(population=6),
    "cmaes": CmaesSearch(population=4),
    "bohb": BohbSearch(startup=5),
    "zoom": ZoomSearch(trials=8, rounds=2, top=3),
    "auto": AutoSearch(),
}


def refuses(spec: SearcherSpec, space: Space) -> bool:
    """Whether a searcher cannot search a space, and says so before anything runs."""
    parameters = space.spec.parameters.values()
    return spec.name == "cmaes" and any(each.when or isinstance(each, Choice) for each in parameters)


SPACES = {
    "mixed": Space.of(
        n_hidden=Int(min=0, max=3),
        optimizer=Choice(values=["sgd", "adam", "rmsprop"]),
        momentum=Float(min=0.0, max=0.99, when={"optimizer": ["sgd", "rmsprop"]}),
        nesterov=Choice(values=[True, False], when={"optimizer": ["sgd"]}),
        warmup=Int(min=10, max=1000, log=True, when={"nesterov": [True], "n_hidden": [1, 2, 3]}),
        learning_rate=Float(min=3e-4, max=3e-2, log=True),
        batch_size=Int(min=32, max=512, step=32, log=True),
        dropout=Float(min=0.0, max=0.5, step=0.1),
        tag=Fixed(value="x"),
    ),
    "one float": Space.of(x=Float(min=-1.0, max=1.0)),
    "one int": Space.of(x=Int(min=1, max=10_000, log=True)),
    "mixed types": Space.of(value=Choice(values=[True, 1, "1", False, 0, "true", 2.5]), y=Float(min=0.0, max=1.0)),
    "float steps": Space.of(a=Float(min=0.1, max=0.7, step=0.1), b=Float(min=0.001, max=1.0, step=0.001, log=True)),
    "priors": Space.of(
        a=Float(min=1e-5, max=1.0, log=True, prior=3e-3),
        b=Int(min=0, max=100, prior=42),
        c=Choice(values=["x", "y"], prior="y"),
        d=Float(min=0.0, max=1.0, prior=0.37, when={"c": ["y"]}),
    ),
}

FINITE = {
    "conditions": Space.of(
        a=Choice(values=["x", "y", "z"]),
        b=Int(min=1, max=3, when={"a": ["x"]}),
        c=Choice(values=[True, 1], when={"b": [2]}),
        d=Float(min=0.0, max=1.0, step=0.5, when={"a": ["x", "y"]}),
    ),
    "single": Space.of(a=Fixed(value=3), b=Int(min=2, max=2)),
    "log steps": Space.of(a=Int(min=1, max=31, step=10, log=True), b=Choice(values=["p", "q"])),
}
SIZES = {"conditions": (2 + 2) * 3 + 3 + 1, "single": 1, "log steps": 8}


def loss(params: Params) -> float:
    """A smooth function of whatever is there."""
    total = 0.0
    for name, value in params.items():
        number = float(value) if isinstance(value, int | float) else float(len(value))
        total += math.log1p(abs(number - 0.3)) * (1 + len(name) % 3)
    return total


def ended(candidate: Candidate, status: Status = Status.FINISHED, value: float | None = None) -> Trial:
    """A trial with a learning curve, of nine epochs if it finished and of three if it was stopped."""
    value = loss(candidate.params) if value is None else value
    epochs = 9 if status is Status.FINISHED else 3
    history = tuple({"val_loss": value + 1 / epoch - 1 / epochs} for epoch in range(1, epochs + 1))
    return Trial(candidate.number, candidate.params, seed=0, status=status, history=history, value=value, epoch=epochs)


def failed(candidate: Candidate) -> Trial:
    return Trial(candidate.number, candidate.params, seed=0, status=Status.FAILED, reason="NaN loss")


@pytest.fixture(params=SEARCHERS)
def searcher(request: pytest.FixtureRequest) -> Callable[..., Searcher]:
    def make(space: Space, seed: int = 7, points: tuple[Params, ...] = ()) -> Searcher:
        spec = SEARCHERS[request.param]
        if refuses(spec, space):
            with pytest.raises(SpecError, match="Received: "):
                make_searcher(spec, space, LOSS, seed)
            pytest.skip("the searcher refuses this space, as it should")
        return make_searcher(spec, space, LOSS, seed, max_epochs=9, points=points)

    return make


def noise(candidate: Candidate) -> float:
    """A value that has nothing to do with the parameters."""
    return candidate.number * 0.618 % 1


def run(
    searcher: Searcher, trials: int, batch: int = 3, value: Callable[[Candidate], float] | None = None
) -> list[Candidate]:
    candidates: list[Candidate] = []
    while len(candidates) < trials:
        asked = searcher.ask(min(batch, trials - len(candidates)))
        if not asked:
            break
        searcher.tell([ended(candidate, value=value(candidate) if value else None) for candidate in asked])
        candidates += asked
    return candidates


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_candidates_are_numbered_configurations_of_the_space_and_never_repeat(searcher, space: Space) -> None:
    candidates = run(searcher(space), 16)
    assert [candidate.number for candidate in candidates] == list(range(len(candidates)))
    for candidate in candidates:
        assert space.problems(candidate.params) == []
        assert tuple(candidate.params) == space.active(candidate.params)
    assert len({space.key(candidate.params) for candidate in candidates}) == len(candidates)


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_the_same_seed_gives_the_same_candidates_and_another_one_others(searcher, space: Space) -> None:
    first, second, other = (run(searcher(space, seed), 9) for seed in (7, 7, 8))
    assert first == second
    assert first != other


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_pickling_in_between_changes_nothing(searcher, space: Space) -> None:
    kept, pickled = searcher(space), searcher(space)
    expected, received = [], []
    for _ in range(4):
        asked = kept.ask(3)
        expected += asked
        pickled = pickle.loads(pickle.dumps(pickled))
        received += pickled.ask(3)
        pickled = pickle.loads(pickle.dumps(pickled))
        kept.tell([ended(candidate) for candidate in asked[:2]])  # the third stays out
        pickled.tell([ended(candidate) for candidate in asked[:2]])
    assert received == expected


@pytest.mark.parametrize("name", FINITE)
def test_a_finite_space_is_used_up_with_each_configuration_once(searcher, name: str) -> None:
    space = FINITE[name]
    search = searcher(space)
    candidates = run(search, 100, batch=4)
    assert len(candidates) == SIZES[name] == space.size()
    assert len({space.key(candidate.params) for candidate in candidates}) == SIZES[name]
    assert search.ask(1) == []


@pytest.mark.parametrize("name", FINITE)
def test_one_large_batch_is_the_rest_of_a_finite_space(searcher, name: str) -> None:
    search = searcher(FINITE[name])
    assert len(search.ask(1)) == 1
    assert len(search.ask(1000)) == SIZES[name] - 1
    assert search.ask(0) == []


def test_both_ends_are_proposed(searcher) -> None:
    space = Space.of(
        i=Int(min=-2, max=2),
        log=Int(min=1, max=9, log=True),
        step=Float(min=0.1, max=0.7, step=0.1),
        c=Choice(values=["first", "middle", "last"]),
    )
    search = searcher(space)
    if isinstance(search, ZoomSearcher):
        pytest.skip("later rounds are narrower than the space, on purpose; its own test looks at their ends")
    candidates = run(search, 120, value=noise)
    for name, low, high in (("i", -2, 2), ("log", 1, 9), ("step", 0.1, 0.7), ("c", "first", "last")):
        assert {low, high} <= {candidate.params[name] for candidate in candidates}, name


def test_failed_nan_and_stopped_trials_are_taken(searcher) -> None:
    space = SPACES["mixed"]
    search = searcher(space)
    for _ in range(6):
        a, b, c, d, e = search.ask(5)
        search.tell([ended(e, Status.STOPPED), failed(d)])
        search.tell([ended(a), replace(ended(b), value=None), ended(c, value=math.nan)])
    assert all(space.contains(candidate.params) for candidate in search.ask(5))


def test_nothing_but_failures_still_gives_new_candidates(searcher) -> None:
    search = searcher(FINITE["conditions"])
    candidates = []
    while asked := search.ask(2):
        candidates += asked
        search.tell([failed(candidate) for candidate in asked])
    assert len(candidates) == SIZES["conditions"]


def test_trials_may_end_in_any_order_and_late(searcher) -> None:
    search = searcher(SPACES["mixed"])
    early = search.ask(6)
    later = search.ask(6)
    search.tell([ended(candidate) for candidate in reversed(later)])
    search.tell([ended(candidate) for candidate in reversed(early)])
    assert [candidate.number for candidate in search.ask(2)] == [12, 13]


def test_a_trial_is_told_once_and_must_have_been_asked_for(searcher) -> None:
    search = searcher(SPACES["one float"])
    (candidate,) = search.ask(1)
    search.tell([ended(candidate)])
    with pytest.raises(ValueError, match=r"a trial must have been asked for, and can be told once. Received: trial 0"):
        search.tell([ended(candidate)])
    with pytest.raises(ValueError, match="Received: trial 99"):
        search.tell([replace(ended(candidate), number=99)])


def test_conditional_parameters_of_every_depth_are_proposed(searcher) -> None:
    candidates = run(searcher(SPACES["mixed"]), 60, value=noise)
    assert any("warmup" in candidate.params for candidate in candidates)
    assert any("momentum" not in candidate.params for candidate in candidates)


def test_values_of_different_types_stay_apart(searcher) -> None:
    space = Space.of(value=Choice(values=[True, 1, 1.0, "1", False, 0]))
    values = [candidate.params["value"] for candidate in run(searcher(space), 10)]
    assert {(type(value), value) for value in values} == {
        (bool, True), (int, 1), (float, 1.0), (str, "1"), (bool, False), (int, 0)
    }  # fmt: skip


def test_values_are_native_python(searcher) -> None:
    for candidate in run(searcher(SPACES["mixed"]), 30):
        types = {name: type(value) for name, value in candidate.params.items()}
        expected = {"n_hidden": int, "optimizer": str, "momentum": float, "nesterov": bool, "warmup": int}
        expected |= {"learning_rate": float, "batch_size": int, "dropout": float, "tag": str}
        assert types == {name: expected[name] for name in types}


def test_points_come_first_and_what_they_leave_out_is_filled_in(searcher) -> None:
    space = Space.of(
        x=Float(min=-1.0, max=1.0), n=Int(min=1, max=100, log=True, prior=7), z=Float(min=0.0, max=1.0, step=0.25)
    )
    whole = {"x": 0.123, "n": 42, "z": 0.25}
    search = searcher(space, points=(whole, {"x": 0.5}))
    first, second, *_ = search.ask(4)
    assert first.params == whole
    assert second.params["x"] == 0.5
    assert second.params["n"] == 7  # its prior
    assert space.contains(second.params)
    search.tell([ended(second)])
    assert whole not in [candidate.params for candidate in run(search, 10)]


def test_trials_of_earlier_studies_are_taken_before_the_first_ask(searcher) -> None:
    space = SPACES["mixed"]
    earlier = run(make_searcher(RandomSearch(), space, LOSS, 5), 12)
    trials = [ended(candidate, Status.STOPPED if candidate.number % 3 else Status.FINISHED) for candidate in earlier]
    trials[4] = failed(earlier[4])
    search = searcher(space)
    search.recall(trials)
    asked = search.ask(4)
    assert [candidate.number for candidate in asked] == [0, 1, 2, 3]
    assert all(space.contains(candidate.params) for candidate in asked)
    search.tell([ended(candidate) for candidate in asked])
    assert pickle.loads(pickle.dumps(search)).ask(3) == search.ask(3)


@pytest.mark.parametrize("name", ["random", "tpe"])
def test_the_first_candidate_takes_the_priors(name: str) -> None:
    (candidate,) = make_searcher(SEARCHERS[name], SPACES["priors"], LOSS, 0).ask(1)
    assert candidate.params == {"a": 3e-3, "b": 42, "c": "y", "d": 0.37}


def test_the_grid_holds_the_priors() -> None:
    candidates = run(make_searcher(GridSearch(steps=2), SPACES["priors"], LOSS, 0), 1000)
    assert {"a": 3e-3, "b": 42, "c": "y", "d": 0.37} in [candidate.params for candidate in candidates]
    assert len(candidates) == 3 * 3 * (1 + 3)


def test_the_same_candidates_under_another_hash_seed() -> None:
    """Optuna keeps groups of parameters in sets of names; their order must not matter."""
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from test_searcher_contract import *\n"
        "print(run(make_searcher(SEARCHERS['tpe'], SPACES['mixed'], LOSS, 3), 24)[-4:])"
    )
    printed = [
        subprocess.run(
            [sys.executable, "-c", script, os.path.dirname(__file__)],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2")
    ]  # fmt: skip
    assert printed[0] == printed[1] != ""


def test_optuna_keeps_the_users_verbosity_and_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(logging.DEBUG)
    try:
        run(make_searcher(SEARCHERS["tpe"], SPACES["mixed"], LOSS, 3), 12)
        assert optuna.logging.get_verbosity() == logging.DEBUG
    finally:
        optuna.logging.set_verbosity(before)
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


def _best(name: str, seed: int, direction: Direction) -> float:
    """The best log10 distance from the optimum after 60 trials, asked for in batches of 4."""
    space = Space.of(
        x=Float(min=-5.0, max=5.0),
        rate=Float(min=1e-5, max=1.0, log=True),
        n=Int(min=0, max=50),
        kind=Choice(values=["a", "b", "c"]),
        shift=Float(min=-1.0, max=1.0, when={"kind": ["b"]}),
    )
    sign = 1 if direction is Direction.MINIMIZE else -1

    def distance(params: Params) -> float:
        x, rate, n = float(params["x"]), float(params["rate"]), float(params["n"])
        kind = (float(params["shift"]) - 0.5) ** 2 if "shift" in params else 1.0
        return (x - 2) ** 2 / 10 + (math.log10(rate) + 3) ** 2 / 2 + ((n - 40) / 20) ** 2 + kind

    search = make_searcher(SEARCHERS[name], space, Objective("val_score", direction), seed)
    best = math.inf
    for _ in range(15):
        asked = search.ask(4)
        distances = [distance(candidate.params) for candidate in asked]
        search.tell([ended(each, value=sign * d) for each, d in zip(asked, distances, strict=True)])
        best = min(best, *distances)
    return math.log10(best)


@pytest.mark.parametrize("direction", Direction)
def test_tpe_beats_random_search(direction: Direction) -> None:
    """The mean of ten paired differences in log10(best) lies over three standard errors (sigma) below zero."""
    gains = [_best("random", seed, direction) - _best("tpe", seed, direction) for seed in range(10)]
    mean = sum(gains) / 10
    sigma = math.sqrt(sum((gain - mean) ** 2 for gain in gains) / 9 / 10)
    assert mean > 3 * sigma, (mean, sigma)
