"""Points that are more even than random ones."""

from __future__ import annotations

import numpy as np
from scipy.stats import qmc

from kerasweep.records import Candidate, Direction, Objective, Status, Trial
from kerasweep.search import make_searcher
from kerasweep.space import Space
from kerasweep.spec.parameters import Choice, Float, Int
from kerasweep.spec.searchers import RandomSearch, SearcherSpec, SobolSearch

LOSS = Objective("val_loss", Direction.MINIMIZE)
SPACE = Space.of(
    rate=Float(min=1e-5, max=1.0, log=True),
    units=Int(min=1, max=1000),
    momentum=Float(min=0.0, max=0.99),
    warmup=Int(min=10, max=10_000, log=True),
)


def discrepancy(spec: SearcherSpec, seed: int) -> float:
    """How uneven 64 candidates are in the unit cube."""
    candidates = make_searcher(spec, SPACE, LOSS, seed).ask(64)
    return float(qmc.discrepancy(np.array([SPACE.to_unit(candidate.params) for candidate in candidates])))


def test_it_is_more_even_than_random_search() -> None:
    """The mean of ten paired differences in discrepancy lies over five standard errors (sigma) above zero."""
    gains = np.array([discrepancy(RandomSearch(), seed) - discrepancy(SobolSearch(), seed) for seed in range(10)])
    assert gains.mean() > 5 * gains.std(ddof=1) / np.sqrt(10)


def test_each_choice_is_as_frequent_as_the_others() -> None:
    space = Space.of(a=Choice(values=["p", "q"]), b=Choice(values=[1, 2, 4, 8]), x=Float(min=0.0, max=1.0))
    pairs = [tuple(candidate.params.values())[:2] for candidate in make_searcher(SobolSearch(), space, LOSS, 3).ask(64)]
    assert {pairs.count(pair) for pair in pairs} == {8}


def test_it_learns_nothing() -> None:
    def told(candidate: Candidate, value: float | None) -> Trial:
        status = Status.FAILED if value is None else Status.FINISHED
        return Trial(candidate.number, candidate.params, 0, status, value=value, epoch=1)

    one, other = (make_searcher(SobolSearch(), SPACE, LOSS, 5) for _ in range(2))
    one.recall([Trial(0, SPACE.sample(np.random.default_rng(0)), 0, Status.FINISHED, value=0.0, epoch=1)])
    one.tell([told(candidate, candidate.number) for candidate in one.ask(8)])
    other.tell([told(candidate, None) for candidate in other.ask(8)])
    assert one.ask(8) == other.ask(8)
