"""Scikit-optimize's models, in our spaces and batches."""

from __future__ import annotations

import math
import pickle
import warnings
from collections.abc import Callable

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError
from scipy.stats import norm
from skopt.learning import ExtraTreesRegressor

from kerasweep.records import Candidate, Direction, Objective, Params, Status, Trial
from kerasweep.search import Searcher, make_searcher
from kerasweep.search.base import Brief
from kerasweep.search.skopt_search import Acquisition, ForestSearcher, ForestSurrogate, GpSearcher, Portfolio
from kerasweep.search.surrogate import SurrogateSearcher, standardised
from kerasweep.space import Space
from kerasweep.spec.parameters import Choice, Float, Int
from kerasweep.spec.searchers import ForestSearch, GpSearch, RandomSearch, SearcherSpec

LOSS = Objective("val_loss", Direction.MINIMIZE)
SQUARE = Space.of(x=Float(min=0.0, max=1.0), y=Float(min=0.0, max=1.0))
MIXED = Space.of(
    x=Float(min=-5.0, max=5.0),
    rate=Float(min=1e-5, max=1.0, log=True),
    n=Int(min=0, max=50),
    kind=Choice(values=["a", "b", "c"]),
    shift=Float(min=-1.0, max=1.0, when={"kind": ["b"]}),
)
SPECS: dict[str, SearcherSpec] = {
    "hedge": GpSearch(),
    "ei": GpSearch(acquisition="ei"),
    "extra trees": ForestSearch(),
    "random forest": ForestSearch(trees="random_forest"),
}


def distance(params: Params) -> float:
    """From the optimum, which has the kind b."""
    total = ((float(params["x"]) - 2) / 5) ** 2 + ((math.log10(float(params["rate"])) + 3) / 2) ** 2
    total += ((float(params["n"]) - 40) / 25) ** 2
    return total + ((float(params["shift"]) - 0.5) ** 2 if "shift" in params else 1.0)


def bowl(params: Params) -> float:
    return (float(params["x"]) - 0.7) ** 2 + (float(params["y"]) - 0.2) ** 2


def ended(candidate: Candidate, value: float, status: Status = Status.FINISHED) -> Trial:
    return Trial(candidate.number, candidate.params, 0, status, value=value, epoch=1)


def run(search: Searcher, trials: int, value: Callable[[Params], float], batch: int = 4) -> list[float]:
    values: list[float] = []
    while len(values) < trials:
        asked = search.ask(batch)
        search.tell([ended(candidate, value(candidate.params)) for candidate in asked])
        values += [value(candidate.params) for candidate in asked]
    return values


def told(spec: SearcherSpec, space: Space = SQUARE, value: Callable[[Params], float] = bowl) -> SurrogateSearcher:
    """A searcher that knows thirty random trials."""
    search = make_searcher(spec, space, LOSS, 1)
    assert isinstance(search, SurrogateSearcher)
    search.recall([ended(each, value(each.params)) for each in make_searcher(RandomSearch(), space, LOSS, 2).ask(30)])
    return search


@pytest.mark.parametrize("direction", Direction)
@pytest.mark.parametrize("name", ["hedge", "extra trees"])
def test_it_beats_random_search(name: str, direction: Direction) -> None:
    """The mean of eight paired differences in log10(best) lies over three standard errors (sigma) above zero."""
    sign = 1 if direction is Direction.MINIMIZE else -1

    def best(spec: SearcherSpec, seed: int) -> float:
        search = make_searcher(spec, MIXED, Objective("score", direction), seed)
        values = run(search, 40, lambda params: sign * distance(params))
        return math.log10(min(sign * value for value in values))

    gains = np.array([best(RandomSearch(), seed) - best(SPECS[name], seed) for seed in range(8)])
    assert gains.mean() > 3 * gains.std(ddof=1) / np.sqrt(8), gains


def test_acquisition_functions_are_their_closed_forms() -> None:
    mean, deviation, best = np.array([-1.0, 0.0, 0.5, 3.0]), np.array([0.5, 1.0, 0.1, 2.0]), 0.3
    gain = best - 0.2 - mean
    z = gain / deviation
    expected = {
        "ei": gain * norm.cdf(z) + deviation * norm.pdf(z),
        "pi": norm.cdf(z),
        "lcb": 1.5 * deviation - mean,
    }
    for name, values in expected.items():
        received = Acquisition(name, xi=0.2, kappa=1.5)(mean, deviation, best)
        np.testing.assert_allclose(received, values, rtol=1e-12)


def test_a_portfolio_prefers_those_whose_nominees_were_good() -> None:
    rng = np.random.default_rng(0)
    portfolio = Portfolio([Acquisition(name, xi=0.0, kappa=1.0) for name in ("ei", "pi", "lcb")])
    portfolio.reward(lambda points: points[:, 0])  # nothing was nominated
    assert portfolio.gains.tolist() == [0.0, 0.0, 0.0]
    for _ in range(2):
        portfolio.nominate(np.array([[1.0], [-0.5], [0.0]]))
        portfolio.reward(lambda points: points[:, 0])
        portfolio.reward(lambda points: points[:, 0])  # rewarded once
    np.testing.assert_allclose(portfolio.gains, [-1.8, 0.9, 0.0])  # the first reward has faded to 0.8 of itself
    shares = np.bincount([portfolio.choose(rng) for _ in range(4000)]) / 4000
    weights = np.exp([-1.8, 0.9, 0.0])
    # A share of 4000 has a standard deviation (sigma) of at most 0.008; four of them are allowed for.
    np.testing.assert_allclose(shares, weights / weights.sum(), atol=0.032)


def test_the_process_has_the_likeliest_hyperparameters() -> None:
    space = Space.of(x=Float(min=0.0, max=1.0), idle=Float(min=0.0, max=1.0))
    search = told(GpSearch(), space, lambda params: math.sin(8 * float(params["x"])))
    search.ask(1)
    assert isinstance(search, GpSearcher)
    prior = search._prior
    assert 0.05 < prior.lengths[0] < 1.5
    assert prior.lengths[1] > 10
    assert prior.noise < 1e-3


@pytest.mark.parametrize("name", SPECS)
def test_a_batch_is_spread(name: str) -> None:
    points = np.array([SQUARE.to_unit(each.params) for each in told(SPECS[name]).ask(16)])
    apart = np.linalg.norm(points[:, None] - points[None], axis=2) + np.eye(16)
    assert apart.min() > 0.02


@pytest.mark.parametrize("name", SPECS)
def test_batches_keep_their_distance_from_what_is_out(name: str) -> None:
    search = told(SPECS[name])
    points = np.array([SQUARE.to_unit(each.params) for _ in range(5) for each in search.ask(2)])
    apart = np.linalg.norm(points[:, None] - points[None], axis=2) + np.eye(10)
    assert apart.min() > 0.02


def test_a_forest_takes_a_trial_that_is_out_into_its_leaves() -> None:
    search = told(ForestSearch())
    assert isinstance(search, ForestSearcher)
    features, costs = search.features(), standardised(search.costs)
    forest = ExtraTreesRegressor(n_estimators=20, min_samples_leaf=3, random_state=0).fit(features, costs)
    pool = np.random.default_rng(0).random((200, 2))
    surrogate = ForestSurrogate(search, forest, pool, costs)
    for given, expected in zip(surrogate.predict(), forest.predict(pool, return_std=True), strict=True):
        np.testing.assert_allclose(given, expected, atol=1e-7)

    out = np.array([[0.6, 0.3], [0.61, 0.3], [0.1, 0.9]])
    surrogate.pretend(out[:2])
    surrogate.pretend(out[2:])
    y = np.concatenate([costs, np.full(3, costs.max())])
    leaves, leaves_of_pool = forest.apply(np.vstack([features, out])), forest.apply(pool)
    means, variances = np.empty(leaves_of_pool.shape), np.empty(leaves_of_pool.shape)
    for (point, tree), leaf in np.ndenumerate(leaves_of_pool):
        inside = y[leaves[:, tree] == leaf]
        means[point, tree], variances[point, tree] = inside.mean(), inside.var()
    expected, deviation = surrogate.predict()
    np.testing.assert_allclose(expected, means.mean(axis=1), atol=1e-9)
    np.testing.assert_allclose(deviation**2, variances.mean(axis=1) + means.var(axis=1), atol=1e-9)


@pytest.mark.parametrize("name", SPECS)
def test_it_says_nothing_whatever_the_costs(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    for value in (lambda params: 1.0, lambda params: 10.0 ** (300 * float(params["x"])), lambda params: -1e308):
        search = told(SPECS[name], value=value)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            run(search, 8, value)
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


def test_one_diverged_trial_does_not_hide_the_others() -> None:
    search = told(GpSearch(startup=1), value=lambda params: bowl(params) if float(params["x"]) < 0.95 else 1e12)
    assert max(search.costs) == 1e12
    assert min(run(search, 12, bowl)) < 1e-3


@pytest.mark.parametrize("name", SPECS)
def test_one_trial_is_enough_for_a_model(name: str) -> None:
    spec = SPECS[name].model_copy(update={"startup": 1})
    search = make_searcher(spec, MIXED, LOSS, 0)
    run(search, 3, distance, batch=1)
    assert len(pickle.loads(pickle.dumps(search)).ask(5)) == 5


@pytest.mark.parametrize("name", ["gp", "forest"])
@pytest.mark.parametrize(
    ("options", "key", "message"),
    [
        ({"acquisition": "lcb", "xi": 0.001}, "xi", "xi is for the acquisitions .* only. Received: acquisition=lcb"),
        ({"acquisition": "ei", "kappa": 2.0}, "kappa", "kappa is for the .* only. Received: acquisition=ei"),
        ({"acquisition": "pi", "kappa": 1.96}, "kappa", "kappa is for the .* only. Received: acquisition=pi"),
    ],
)
def test_options_of_another_acquisition_are_refused(name: str, options: dict, key: str, message: str) -> None:
    adapter: TypeAdapter[SearcherSpec] = TypeAdapter(SearcherSpec)
    with pytest.raises(ValidationError, match=message) as caught:
        adapter.validate_python({"name": name, **options})
    (problem,) = caught.value.errors()[0]["ctx"]["error"].problems
    assert problem.path == (key,)


@pytest.mark.parametrize("spec", [GpSearch(xi=0.1, kappa=3.0), ForestSearch(acquisition="lcb", kappa=3.0)])
def test_a_spec_that_was_written_out_can_be_read_again(spec: SearcherSpec) -> None:
    assert type(spec).model_validate(spec.model_dump()) == spec


def test_options_change_what_is_proposed() -> None:
    def hills(params: Params) -> float:
        return math.sin(11 * float(params["x"])) * math.cos(9 * float(params["y"]))

    variants = [
        GpSearch(acquisition="ei"),
        GpSearch(acquisition="ei", xi=1.0),
        GpSearch(acquisition="pi"),
        GpSearch(acquisition="lcb"),
        GpSearch(acquisition="lcb", kappa=0.0),
        ForestSearch(),
        ForestSearch(xi=1.0),
        ForestSearch(trees="random_forest"),
        ForestSearch(acquisition="lcb", kappa=0.0),
    ]
    proposed = {tuple(tuple(each.params.values()) for each in told(spec, value=hills).ask(3)) for spec in variants}
    assert len(proposed) == len(variants)


def test_a_brief_of_one_configuration_is_used_up() -> None:
    search = GpSearcher(Brief(Space.of(n=Int(min=3, max=3)), LOSS, 0), GpSearch(startup=1))
    assert len(search.ask(5)) == 1
    assert search.ask(5) == []
