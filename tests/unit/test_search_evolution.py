"""Good trials have children."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import numpy as np
import pytest

from kerasweep.records import Candidate, Direction, Objective, Params, Status, Trial
from kerasweep.search import Searcher, make_searcher
from kerasweep.search.base import Brief
from kerasweep.search.evolution_search import EvolutionSearcher
from kerasweep.space import Space
from kerasweep.spec.parameters import Choice, Float, Int
from kerasweep.spec.searchers import EvolutionSearch, RandomSearch, SearcherSpec

LOSS = Objective("val_loss", Direction.MINIMIZE)
MIXED = Space.of(
    x=Float(min=-5.0, max=5.0),
    rate=Float(min=1e-5, max=1.0, log=True),
    n=Int(min=0, max=50),
    units=Int(min=8, max=512, step=8, log=True),
    kind=Choice(values=["a", "b", "c"]),
    shift=Float(min=-1.0, max=1.0, when={"kind": ["b"]}),
)
CHOICES = Space.of(
    a=Choice(values=list(range(100))),
    b=Choice(values=["p", "q"]),
    c=Choice(values=list(range(100)), when={"b": ["p"]}),
    d=Choice(values=list(range(100)), when={"b": ["q"]}),
)


def distance(params: Params) -> float:
    """From the optimum, which has the kind b."""
    total = ((float(params["x"]) - 2) / 5) ** 2 + ((math.log10(float(params["rate"])) + 3) / 2) ** 2
    total += ((float(params["n"]) - 40) / 25) ** 2 + ((math.log2(float(params["units"])) - 5) / 3) ** 2
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


def evolution(space: Space, seed: int = 0, **options: float) -> EvolutionSearcher:
    return EvolutionSearcher(Brief(space, LOSS, seed), EvolutionSearch.model_validate(options))


@pytest.mark.parametrize("direction", Direction)
@pytest.mark.parametrize("batch", [1, 16])
def test_it_beats_random_search(direction: Direction, batch: int) -> None:
    """The mean of ten paired differences in log10(best) lies over three standard errors (sigma) above zero."""
    sign = 1 if direction is Direction.MINIMIZE else -1

    def best(spec: SearcherSpec, seed: int) -> float:
        search = make_searcher(spec, MIXED, Objective("score", direction), seed)
        told = run(search, 120, lambda params: sign * distance(params), batch)
        return math.log10(min(sign * trial.value for trial in told if trial.value is not None))

    gains = np.array([best(RandomSearch(), seed) - best(EvolutionSearch(), seed) for seed in range(10)])
    assert gains.mean() > 3 * gains.std(ddof=1) / np.sqrt(10)


def test_without_mutation_children_have_their_parents_values_the_inactive_ones_too() -> None:
    search = evolution(CHOICES, population=10, crossover=1.0, mutation=0.0)
    run(search, 10, lambda params: float(params["a"]), batch=10)
    children = search.ask(6)
    inherited = [set(values) for values in zip(*(parent.genes for parent in search._parents), strict=True)]
    for candidate in children:
        genes = search._out[candidate.number].genes
        assert all(gene in values for gene, values in zip(genes, inherited, strict=True))
        assert candidate.params in [
            dict(zip("abc", genes[:3], strict=True)),
            dict(zip("abd", (*genes[:2], genes[3]), strict=True)),
        ]


def test_what_no_child_can_give_is_drawn_at_random() -> None:
    search = evolution(CHOICES, population=4, crossover=0.0, mutation=0.0)
    first = run(search, 4, lambda params: float(params["a"]))
    known = {CHOICES.key(trial.params) for trial in first}
    assert not known & {CHOICES.key(candidate.params) for candidate in search.ask(8)}


def test_the_next_generation_begins_when_as_many_were_told_as_are_out() -> None:
    search = evolution(MIXED, population=8)
    run(search, 8, distance, batch=8)
    asked = search.ask(40)
    parents = list(search._parents)
    search.tell([ended(candidate, 0.0) for candidate in asked[:15]])
    asked += search.ask(20)
    assert search._parents == parents
    search.tell([ended(candidate, 0.0) for candidate in asked[15:50]])
    search.ask(20)
    assert {parent.fitness.values for parent in search._parents} == {(0.0,)}


def test_a_region_that_fails_dies_out() -> None:
    space = Space.of(kind=Choice(values=["fails", "trains"]), x=Float(min=0.0, max=1.0))
    told = run(
        evolution(space, mutation=0.05), 100, lambda params: None if params["kind"] == "fails" else float(params["x"])
    )
    # Of 60 fair draws, 30 +- 3.9 would fail; a fifth of them is four sigma away.
    assert sum(trial.status is Status.FAILED for trial in told[40:]) < 12


def test_a_stopped_trial_counts_with_its_best_value() -> None:
    asked = []
    for status in (Status.FINISHED, Status.STOPPED):
        search = evolution(MIXED, population=8)
        for _ in range(5):
            search.tell([ended(candidate, distance(candidate.params), status) for candidate in search.ask(8)])
        asked.append(search.ask(8))
    assert asked[0] == asked[1]


def test_earlier_trials_are_parents() -> None:
    rng = np.random.default_rng(0)
    earlier = [MIXED.sample(rng) for _ in range(30)]
    search = evolution(MIXED, population=10, mutation=1.0)
    search.recall(
        [Trial(i, params, 0, Status.FINISHED, value=distance(params), epoch=1) for i, params in enumerate(earlier)]
    )
    search.ask(1)
    best = sorted(distance(params) for params in earlier)[:10]
    assert sorted(parent.fitness.values[0] for parent in search._parents) == best


def test_the_users_random_numbers_are_theirs() -> None:
    asked = []
    for seed in (1, 2):
        random.seed(seed)
        search = evolution(MIXED, population=8)
        run(search, 30, distance)
        asked.append(search.ask(5))
        drawn = random.random()
        random.seed(seed)
        assert random.random() == drawn
    assert asked[0] == asked[1]


def test_what_varies_within_a_structure_is_bred() -> None:
    """Children without mutation have their parents' numbers, or one between the lowest and the highest."""
    search = evolution(MIXED, population=10, crossover=1.0, mutation=0.0)
    run(search, 60, distance, batch=10)
    (first,) = search.ask(1)
    varied = [search.vary(first, frozenset({"x", "rate", "shift"})) for _ in range(4)]
    xs = [float(parent.genes[0]) for parent in search._parents]
    assert max(xs) - min(xs) < 8  # of 10: a random one would lie outside sooner or later
    for candidate in varied:
        assert candidate is not None
        assert MIXED.contains(candidate.params)
        assert all(candidate.params[name] == first.params[name] for name in ("n", "units", "kind"))
        assert min(xs) <= float(candidate.params["x"]) <= max(xs)
