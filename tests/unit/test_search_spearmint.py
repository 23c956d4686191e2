"""Gaussian processes averaged over hyperparameters, fantasies and seconds."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import kstest, qmc
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern

from kerasweep.records import Candidate, Direction, Objective, Params, Status, Trial
from kerasweep.search import Searcher, make_searcher
from kerasweep.search.base import Brief
from kerasweep.search.spearmint_search import Ensemble, Hyperposterior, SpearmintSearcher, slice_sampled
from kerasweep.seeds import derive
from kerasweep.space import Space
from kerasweep.spec.parameters import Choice, Float, Int
from kerasweep.spec.searchers import RandomSearch, SearcherSpec, SpearmintSearch

LOSS = Objective("val_loss", Direction.MINIMIZE)
SQUARE = Space.of(x=Float(min=0.0, max=1.0), y=Float(min=0.0, max=1.0))
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


def bowl(params: Params) -> float:
    return (float(params["x"]) - 0.7) ** 2 + (float(params["y"]) - 0.2) ** 2


def ended(candidate: Candidate, value: float, seconds: float = 0.0) -> Trial:
    return Trial(candidate.number, candidate.params, 0, Status.FINISHED, value=value, epoch=1, seconds=seconds)


def searcher(space: Space = SQUARE, seed: int = 0, **options: int | bool) -> SpearmintSearcher:
    return SpearmintSearcher(Brief(space, LOSS, seed, max_epochs=10), SpearmintSearch.model_validate(options))


def run(search: Searcher, trials: int, value: Callable[[Params], float], batch: int = 4) -> list[float]:
    values: list[float] = []
    while len(values) < trials:
        asked = search.ask(batch)
        search.tell([ended(candidate, value(candidate.params)) for candidate in asked])
        values += [value(candidate.params) for candidate in asked]
    return values


@pytest.mark.parametrize("direction", Direction)
def test_it_beats_random_search(direction: Direction) -> None:
    """The mean of eight paired differences in log10(best) lies over three standard errors (sigma) above zero."""
    sign = 1 if direction is Direction.MINIMIZE else -1

    def best(spec: SearcherSpec, seed: int) -> float:
        search = make_searcher(spec, MIXED, Objective("score", direction), seed)
        values = run(search, 40, lambda params: sign * distance(params))
        return math.log10(min(sign * value for value in values))

    gains = np.array([best(RandomSearch(), seed) - best(SpearmintSearch(samples=5), seed) for seed in range(8)])
    assert gains.mean() > 3 * gains.std(ddof=1) / np.sqrt(8), gains


def test_slice_sampling_draws_from_its_density() -> None:
    """Of a normal and of an exponential number that depend on each other; every 10th of the chain."""
    rng = np.random.default_rng(0)

    def density(state: np.ndarray) -> float:
        a, b = state.tolist()
        return -math.inf if b < 0 else -0.5 * (a - b) ** 2 - b

    state = np.array([0.0, 1.0])
    chain = []
    for _ in range(10_000):
        state = slice_sampled(state, density, rng)
        chain.append(state)
    kept = np.array(chain[::10])
    # Both tests would fail once in a thousand seeds if the draws were independent and right.
    assert kstest(kept[:, 1], "expon").pvalue > 1e-3
    assert kstest(kept[:, 0] - kept[:, 1], "norm").pvalue > 1e-3


def test_hyperparameters_have_the_density_they_should() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.random((12, 3)), rng.standard_normal(12)
    density = Hyperposterior(x, y, np.array([0, 1, 1]))
    vector = np.array([0.3, math.log(1.7), math.log(0.02), math.log(0.4), math.log(0.9)])
    prior = density.prior(vector)
    np.testing.assert_allclose(prior.lengths, [0.4, 0.9, 0.9])
    kernel = ConstantKernel(1.7) * Matern([0.4, 0.9, 0.9], nu=2.5)
    model = GaussianProcessRegressor(kernel, alpha=prior.nugget, optimizer=None).fit(x, y - 0.3)
    priors = -0.5 * (0.3**2 + math.log(1.7) ** 2) + math.log(math.log(1 + 0.01 / 0.02))
    jacobian = vector[2:].sum()
    np.testing.assert_allclose(density(vector), model.log_marginal_likelihood() + priors + jacobian, rtol=1e-9)
    for place, value in ((3, math.log(2.01)), (2, -30.0), (1, 11.0)):
        outside = vector.copy()
        outside[place] = value
        assert density(outside) == -math.inf


def test_drawn_length_scales_tell_what_matters() -> None:
    rng = np.random.default_rng(0)
    x = rng.random((40, 2))
    ensemble = Ensemble(np.array([0, 1]), 20, rng)
    processes = ensemble.processes(x, np.sin(8 * x[:, 0]) * 1.4)
    lengths = np.array([process.prior.lengths for process in processes])
    assert len(lengths) == 20
    assert np.all(lengths <= 2)
    assert np.median(lengths[:, 1]) > 2 * np.median(lengths[:, 0])


def test_hyperparameters_are_drawn_anew_when_more_is_known_only() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.random((10, 2)), rng.standard_normal(10)
    ensemble = Ensemble(np.array([0, 1]), 3, rng)
    first = [process.prior for process in ensemble.processes(x[:9], y[:9])]
    assert [process.prior for process in ensemble.processes(x[:9], y[:9])] == first
    assert [process.prior for process in ensemble.processes(x, y)] != first


def test_it_begins_with_sobol_points() -> None:
    search = searcher(seed=4, startup=6)
    expected = qmc.Sobol(2, rng=derive(4, "sobol")).random(8)[:7]
    first = search.ask(4)
    search.tell([ended(candidate, bowl(candidate.params)) for candidate in first])
    points = [SQUARE.to_unit(candidate.params) for candidate in first + search.ask(3)]
    np.testing.assert_allclose(points, expected, atol=1e-12)


def test_fantasies_spread_a_batch() -> None:
    search = searcher(seed=1)
    run(search, 16, lambda params: bowl(params) + 0.1 * math.sin(1000 * float(params["x"])))
    at_once = np.array([SQUARE.to_unit(candidate.params) for candidate in search.ask(8)])
    one_by_one = np.array([SQUARE.to_unit(search.ask(1)[0].params) for _ in range(4)])
    points = np.vstack([at_once, one_by_one])
    apart = np.linalg.norm(points[:, None] - points[None], axis=2) + np.eye(len(points))
    assert apart.min() > 0.02
    assert np.median(apart.min(axis=1)) > 0.05


def test_little_is_expected_where_a_trial_is_out() -> None:
    search = searcher(seed=1, samples=4)
    run(search, 12, bowl)
    pool = search.cube.spread(8, np.random.default_rng(0))
    surrogate = search.surrogate(pool)
    place, _ = surrogate.best(np.ones(len(pool), dtype=bool), refine=False)
    before = surrogate._height(pool[[place]])[0]
    surrogate.pretend(pool[[place]])
    assert surrogate._height(pool[[place]])[0] < 0.2 * before


def test_more_fantasies_and_samples_are_imagined() -> None:
    search = searcher(samples=3, fantasies=7)
    run(search, 8, bowl)
    pool = search.cube.spread(4, np.random.default_rng(0))
    surrogate = search.surrogate(pool)
    surrogate.pretend(pool[:2])
    assert [field.predict()[0].shape for field in surrogate._fields] == [(16, 7)] * 3


def test_per_second_prefers_what_is_cheap() -> None:
    """Two equal basins, of which one takes thirty times as long. Both have a share of half if seconds do not count."""

    def basins(params: Params) -> float:
        x, y = float(params["x"]), float(params["y"])
        return min((x - 0.2) ** 2, (x - 0.8) ** 2) + (y - 0.5) ** 2

    def cheap(per_second: bool, seed: int) -> float:
        search = searcher(seed=seed, per_second=per_second, samples=4)
        xs: list[float] = []
        while len(xs) < 24:
            asked = search.ask(4)
            xs += [float(candidate.params["x"]) for candidate in asked]
            search.tell([ended(c, basins(c.params), 1.0 if float(c.params["x"]) < 0.5 else 30.0) for c in asked])
        return float(np.mean(np.array(xs[8:]) < 0.5))

    gains = np.array([cheap(True, seed) - cheap(False, seed) for seed in range(8)])
    # The mean lies over three standard errors (sigma) above zero.
    assert gains.mean() > 3 * gains.std(ddof=1) / np.sqrt(8), gains


def test_seconds_count_for_all_epochs() -> None:
    search = searcher(per_second=True)
    trial = ended(search.ask(1)[0], 1.0, seconds=6.0)
    history = tuple({"val_loss": 1.0} for _ in range(3))
    stopped = replace(trial, status=Status.STOPPED, history=history)
    for known, seconds in (
        (trial, 6.0),
        (replace(trial, history=history), 6.0),  # it stopped by itself
        (stopped, 20.0),
        (replace(stopped, history=()), None),
        (replace(trial, seconds=0.0), None),
        (replace(trial, seconds=math.inf), None),
    ):
        search.recall([known])
        assert search._log_seconds[-1] == (None if seconds is None else pytest.approx(math.log(seconds)))


def test_without_seconds_the_improvement_decides_alone() -> None:
    plain, timed = searcher(), searcher(per_second=True)
    for search in (plain, timed):
        run(search, 8, bowl)
    assert plain.ask(3) == timed.ask(3)


def test_a_stopped_trial_counts_with_its_best_value() -> None:
    finished, stopped = searcher(), searcher()
    for search, status in ((finished, Status.FINISHED), (stopped, Status.STOPPED)):
        for _ in range(3):
            asked = search.ask(4)
            search.tell([replace(ended(each, bowl(each.params)), status=status) for each in asked])
    assert finished.ask(3) == stopped.ask(3)
