"""Random search in rounds, each in ranges around the best trials so far."""

from __future__ import annotations

from collections.abc import Iterator

from kerasweep.records import Candidate, Params, Trial
from kerasweep.search.base import Brief
from kerasweep.search.modelled import ModelledSearcher
from kerasweep.space.ranges import Range, whole
from kerasweep.spec.searchers import ZoomSearch

# Of a round's trials, those that must have ended before the next round narrows what they were drawn from.
_ENDED = 0.5

# Draws that may turn out to be old ones before what varies is drawn from the whole space.
_ATTEMPTS = 10


class ZoomSearcher(ModelledSearcher):
    """What is often done by hand: a random search, then others in narrower ranges around what was good.

    Every candidate is drawn uniformly, in the parameters' scales, within the ranges of its round. The first round has
    the whole space. Each later one is made of the ``top`` best trials known by then, of whichever round:

    - a number goes from the lowest of their values to the highest, and beyond by ``margin`` of its range in the round
      before, on either side, as far as the space goes; numbers that can be counted as far as whole steps fit in;
    - a choice keeps the values that occur among them;
    - what fewer than two of them have, because a condition made it inactive in the others, stays as it was: a single
      trial says nothing of a range. (If ``top`` is 1, one is enough.)

    A round is over when ``trials`` of its candidates were proposed and half of those have ended; the last one is never
    over. A search that asks on while too many results are out, or that knows fewer than ``top`` good ones at all, is
    given more of the same round. So nothing ever waits, no round begins on guesses, and large batches make fewer and
    longer rounds. When the ranges have no new configuration left, candidates come from the whole space.

    What it learns: from finished and stopped trials their best value; from failed ones nothing but that they ended.

    Args:
        brief: what to search.
        spec: its options.
    """

    def __init__(self, brief: Brief, spec: ZoomSearch) -> None:
        super().__init__(brief, startup=0)
        self._spec = spec
        self._ranges: dict[str, Range] = {name: whole(axis) for name, axis in brief.space.axes.items()}
        self._round = 1
        self._first = 0  # the number of the round's first candidate
        self._results: list[tuple[float, Params]] = []  # the cost of every trial that has one
        self._notes = [f"round 1 of {spec.rounds}: the whole space"]

    def notes(self) -> list[str]:
        """See ``Narrating``; a line for each round that has begun."""
        notes, self._notes = self._notes, []
        return notes

    def learn(self, trial: Trial, cost: float) -> None:
        self._results.append((cost, trial.params))

    def propose(self, n: int) -> Iterator[Params]:
        while True:
            if self._is_over():
                self._narrow()
            yield self._drawn({})

    def vary(self, candidate: Candidate, free: frozenset[str]) -> Candidate | None:
        """See ``structured.Varying``; what varies is drawn within the round's ranges."""
        held = {name: value for name, value in candidate.params.items() if name not in free}
        for _ in range(_ATTEMPTS):
            params = self._drawn(held)
            if self._proposals.is_new(params):
                return self._issue(params)
        return super().vary(candidate, free)

    def _drawn(self, held: Params) -> Params:
        return self.space.compose(lambda name: held[name] if name in held else self._ranges[name].drawn(self.rng))

    def _is_over(self) -> bool:
        if self._round == self._spec.rounds or len(self._results) < self._spec.top:
            return False
        own = range(self._first, self._first + self._spec.trials)
        out = sum(number in own for number in self.pending)
        return self._proposals.count >= own.stop and len(own) - out >= _ENDED * len(own)

    def _narrow(self) -> None:
        """Begins the next round."""
        by_cost = sorted(self._results, key=lambda result: result[0])
        best = [params for _, params in by_cost[: self._spec.top]]
        for name in self.space.dimensions:
            values = [params[name] for params in best if name in params]
            if len(values) >= min(2, self._spec.top):
                self._ranges[name] = self._ranges[name].around(values, self._spec.margin)
        self._round += 1
        self._first = self._proposals.count
        ranges = ", ".join(f"{name} {self._ranges[name]}" for name in self.space.dimensions)
        self._notes.append(f"round {self._round} of {self._spec.rounds}, from trial {self._first} on: {ranges}")
