"""Structures first, and several settings within each."""

from __future__ import annotations

import pickle
from itertools import groupby

import pytest

from kerasweep.records import Candidate, Direction, Objective, Status, Trial
from kerasweep.search import Searcher, by_structure, make_searcher
from kerasweep.space import Space
from kerasweep.spec.parameters import Choice, Float, Int
from kerasweep.spec.searchers import GridSearch, RandomSearch, SearcherSpec, TpeSearch

LOSS = Objective("val_loss", Direction.MINIMIZE)
SPACE = Space.of(
    units=Int(min=1, max=200),
    kind=Choice(values=["a", "b"]),
    learning_rate=Float(min=1e-4, max=1e-1, log=True),
    momentum=Float(min=0.0, max=0.9, when={"kind": ["a"]}),
)


def searcher(spec: SearcherSpec, trials: int = 64) -> Searcher:
    return by_structure(make_searcher(spec, SPACE, LOSS, seed=5), SPACE, trials)


def structure(candidate: Candidate) -> tuple[object, ...]:
    return candidate.params["units"], candidate.params["kind"]


def told(candidates: list[Candidate]) -> list[Trial]:
    return [
        Trial(c.number, c.params, 0, Status.FINISHED, value=abs(float(c.params["learning_rate"]) - 0.01), epoch=1)
        for c in candidates
    ]


@pytest.mark.parametrize("spec", [RandomSearch(), TpeSearch(startup=4)])
def test_each_structure_comes_with_several_settings(spec: SearcherSpec) -> None:
    made = searcher(spec)
    seen: list[Candidate] = []
    for _ in range(3):
        candidates = made.ask(10)
        assert [len(list(group)) for _, group in groupby(candidates, structure)] == [4, 4, 2]
        seen += candidates
        made.tell(told(candidates))
    assert [candidate.number for candidate in seen] == list(range(30))
    assert len({SPACE.key(candidate.params) for candidate in seen}) == 30
    assert all(SPACE.contains(candidate.params) for candidate in seen)
    copy = pickle.loads(pickle.dumps(made))
    assert [c.params for c in copy.ask(6)] == [c.params for c in made.ask(6)]


def test_what_cannot_vary_or_is_listed_stays_as_it_is() -> None:
    plain = make_searcher(GridSearch(), SPACE, LOSS, seed=5)
    assert by_structure(plain, SPACE, 64) is plain
    few = make_searcher(RandomSearch(), SPACE, LOSS, seed=5)
    assert by_structure(few, SPACE, 15) is few
    whole = Space.of(units=Int(min=1, max=3))
    discrete = make_searcher(RandomSearch(), whole, LOSS, seed=5)
    assert by_structure(discrete, whole, 64) is discrete


def test_a_used_up_structure_makes_room_for_the_next() -> None:
    space = Space.of(units=Int(min=1, max=5), rate=Float(min=0.0, max=1.0, step=0.5))
    made = by_structure(make_searcher(RandomSearch(), space, LOSS, seed=1), space, 400)
    candidates = made.ask(30)
    assert len(candidates) == 15 == space.size()
    assert len({space.key(candidate.params) for candidate in candidates}) == 15
