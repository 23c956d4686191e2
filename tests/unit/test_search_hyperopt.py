"""Hyperopt's models, in our spaces."""

from __future__ import annotations

import logging
import math
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import hyperopt
import numpy as np
import pytest
from hyperopt import hp
from hyperopt.base import Domain, trials_from_docs
from pydantic import TypeAdapter, ValidationError

from kerasweep.records import Candidate, Direction, Objective, Params, ParamValue, Status, Trial
from kerasweep.search import Searcher, make_searcher
from kerasweep.search.base import Brief
from kerasweep.search.hyperopt_search import HyperoptSearcher
from kerasweep.space import Space
from kerasweep.spec.parameters import Choice, Float, Int, Parameter
from kerasweep.spec.searchers import HyperoptSearch, RandomSearch, SearcherSpec

LOSS = Objective("val_loss", Direction.MINIMIZE)
MIXED = Space.of(
    x=Float(min=-5.0, max=5.0),
    rate=Float(min=1e-5, max=1.0, log=True),
    n=Int(min=0, max=50),
    kind=Choice(values=["a", "b", "c"]),
    shift=Float(min=-1.0, max=1.0, when={"kind": ["b"]}),
)


def distance(params: Params) -> float:
    """From the optimum, which has the kind b."""
    total = ((float(params["x"]) - 2) / 5) ** 2 + ((math.log10(float(params["rate"])) + 3) / 2) ** 2
    total += ((float(params["n"]) - 40) / 25) ** 2
    return total + ((float(params["shift"]) - 0.5) ** 2 if "shift" in params else 1.0)


def ended(candidate: Candidate, value: float | None, status: Status = Status.FINISHED) -> Trial:
    if value is None:
        return Trial(candidate.number, candidate.params, 0, Status.FAILED, reason="NaN loss")
    return Trial(candidate.number, candidate.params, 0, status, value=value, epoch=1)


def run(search: Searcher, trials: int, value: Callable[[Params], float | None], batch: int = 4) -> list[Trial]:
    told: list[Trial] = []
    while len(told) < trials:
        asked = search.ask(min(batch, trials - len(told)))
        told += (new := [ended(candidate, value(candidate.params)) for candidate in asked])
        search.tell(new)
    return told


def searcher(space: Space, seed: int = 0, **options: Any) -> HyperoptSearcher:
    return HyperoptSearcher(Brief(space, LOSS, seed), HyperoptSearch.model_validate(options))


@pytest.mark.parametrize("direction", Direction)
@pytest.mark.parametrize("algorithm", ["tpe", "anneal"])
def test_it_beats_random_search(algorithm: str, direction: Direction) -> None:
    """The mean of eight paired differences in log10(best) lies over three standard errors (sigma) above zero."""
    sign = 1 if direction is Direction.MINIMIZE else -1

    def best(spec: SearcherSpec, seed: int) -> float:
        search = make_searcher(spec, MIXED, Objective("score", direction), seed)
        told = run(search, 80, lambda params: sign * distance(params))
        return math.log10(min(sign * trial.value for trial in told if trial.value is not None))

    spec = HyperoptSearch.model_validate({"algorithm": algorithm})
    gains = np.array([best(RandomSearch(), seed) - best(spec, seed) for seed in range(8)])
    assert gains.mean() > 3 * gains.std(ddof=1) / np.sqrt(8)


@pytest.mark.parametrize("algorithm", ["tpe", "anneal"])
@pytest.mark.parametrize(
    ("parameter", "native", "place"),
    [
        (Float(min=-5.0, max=3.0), hp.uniform("p", -5, 3), float),
        (Float(min=1e-4, max=10.0, log=True), hp.loguniform("p", math.log(1e-4), math.log(10)), float),
        (Int(min=0, max=9), hp.quniform("p", -0.5, 9.5, 1), float),
        (Choice(values=[0, 1, 2, 3]), hp.choice("p", [0, 1, 2, 3]), int),
    ],
    ids=["uniform", "loguniform", "quniform", "choice"],
)
def test_it_proposes_what_hyperopt_proposes(
    algorithm: str, parameter: Parameter, native: Any, place: Callable[[ParamValue], float]
) -> None:
    """The same trials and seed, once through our places and once through Hyperopt's own distribution."""
    space = Space.of(p=parameter)
    search = searcher(space, seed=3, algorithm=algorithm)
    rng = np.random.default_rng(5)
    told = [
        Trial(i, params, 0, Status.FINISHED, value=abs(float(params["p"]) - 2.2), epoch=1)
        for i, params in enumerate(space.sample(rng) for _ in range(30))
    ]
    search.recall(told)
    documents = [
        {
            "tid": number,
            "state": 2,
            "spec": None,
            "result": {"status": hyperopt.STATUS_OK, "loss": trial.value},
            "misc": {"tid": number, "idxs": {"p": [number]}, "vals": {"p": [place(trial.params["p"])]}},
        }
        for number, trial in enumerate(told)
    ]
    for _ in range(5):
        seed = int(pickle.loads(pickle.dumps(search.rng)).integers(2**31))
        options = {"n_startup_jobs": 0} if algorithm == "tpe" else {}
        trials = trials_from_docs(documents, validate=False)
        suggest = getattr(hyperopt, algorithm).suggest
        (document,) = suggest([len(documents)], Domain(None, native), trials, seed, **options)
        proposed = next(search.propose(1))
        assert float(proposed["p"]) == pytest.approx(float(document["misc"]["vals"]["p"][0]), rel=1e-9)


def test_a_conditional_parameter_is_learnt_where_it_is_active() -> None:
    """Every other configuration lacks it; its best value is in the others, far from the middle of its range."""
    space = Space.of(kind=Choice(values=["a", "b"]), z=Float(min=0.0, max=1.0, when={"kind": ["b"]}))
    told = run(searcher(space), 100, lambda params: abs(float(params["z"]) - 0.9) if "z" in params else 0.5)
    late = [abs(float(trial.params["z"]) - 0.9) for trial in told[60:] if "z" in trial.params]
    assert len(late) > 30
    # Of 40 random ones, the mean distance would be 0.41 +- 0.04.
    assert np.mean(late) < 0.29


def test_tpe_leaves_a_region_that_fails() -> None:
    """Over one half nothing can be trained, elsewhere all is alike."""
    space = Space.of(x=Float(min=0.0, max=1.0))
    told = run(
        searcher(space, startup=10), 100, lambda params: None if params["x"] < 0.5 else 1 + float(params["x"]) % 0.01
    )
    # Of 60 fair draws, 30 +- 3.9 would fail; less than half of that is four sigma away.
    assert sum(trial.status is Status.FAILED for trial in told[40:]) < 15


def test_annealing_draws_near_good_trials_only() -> None:
    """What failed and what is still out neither attracts nor narrows: after one trial, 1 / 1.1 of the range is left."""
    search = searcher(Space.of(x=Float(min=0.0, max=1.0)), algorithm="anneal")
    search.recall([Trial(i, {"x": 1.0 - i / 100}, 0, Status.FAILED) for i in range(9)])
    search.recall([Trial(9, {"x": 0.0}, 0, Status.FINISHED, value=1.0, epoch=1)])
    proposed = [float(candidate.params["x"]) for candidate in search.ask(100)]
    assert 0.8 < max(proposed) < 1 / 1.1


@pytest.mark.parametrize("algorithm", ["tpe", "anneal"])
def test_a_stopped_trial_counts_with_its_best_value(algorithm: str) -> None:
    asked = []
    for status in (Status.FINISHED, Status.STOPPED):
        search = searcher(MIXED, algorithm=algorithm)
        for _ in range(4):
            search.tell([ended(candidate, distance(candidate.params), status) for candidate in search.ask(8)])
        asked.append(search.ask(4))
    assert asked[0] == asked[1]


@pytest.mark.parametrize("algorithm", ["tpe", "anneal"])
def test_earlier_trials_are_learnt_from(algorithm: str) -> None:
    space = Space.of(x=Float(min=0.0, max=1.0))
    search = searcher(space, algorithm=algorithm)
    search.recall([Trial(i, {"x": i / 100}, 0, Status.FINISHED, value=abs(i - 90.0), epoch=1) for i in range(100)])
    proposed = [float(candidate.params["x"]) for candidate in search.ask(20)]
    assert abs(np.median(proposed) - 0.9) < 0.1


def test_what_varies_within_a_structure_is_suggested() -> None:
    search = searcher(MIXED, seed=1)
    run(search, 80, distance)
    (first,) = search.ask(1)
    varied = [search.vary(first, frozenset({"x", "rate", "shift"})) for _ in range(20)]
    for candidate in varied:
        assert candidate is not None
        assert MIXED.contains(candidate.params)
        assert all(candidate.params[name] == first.params[name] for name in ("n", "kind"))
    # Uniform in [-5, 5] and 2 is best: the mean distance of 20 random ones is 3.7 +- 0.5.
    assert np.mean([abs(float(candidate.params["x"]) - 2) for candidate in varied if candidate]) < 2


@pytest.mark.parametrize("algorithm", ["tpe", "anneal"])
def test_it_says_and_logs_nothing(algorithm: str, capfd: pytest.CaptureFixture[str], caplog: Any) -> None:
    with warnings.catch_warnings(), caplog.at_level(logging.DEBUG):
        warnings.simplefilter("error")
        run(searcher(MIXED, algorithm=algorithm), 40, distance)
    captured = capfd.readouterr()
    assert captured.out + captured.err + caplog.text == ""


@pytest.mark.parametrize(("key", "value"), [("startup", 20), ("candidates", 24), ("gamma", 0.25)])
def test_options_of_tpe_are_refused_for_annealing(key: str, value: float) -> None:
    message = f"{key} is for the algorithm tpe only. Received: algorithm=anneal"
    with pytest.raises(ValidationError, match=message):
        HyperoptSearch.model_validate({"algorithm": "anneal", key: value})


@pytest.mark.parametrize("algorithm", ["tpe", "anneal"])
def test_a_record_that_spells_out_all_options_can_be_read_again(algorithm: str) -> None:
    spec = HyperoptSearch.model_validate({"algorithm": algorithm})
    specs: TypeAdapter[HyperoptSearch] = TypeAdapter(HyperoptSearch)
    assert specs.validate_json(spec.model_dump_json()) == spec
