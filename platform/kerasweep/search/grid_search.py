"""Grid search."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kerasweep.records import Candidate, Params, Trial
from kerasweep.search.base import Brief
from kerasweep.search.proposals import Proposals
from kerasweep.spec.searchers import GridSearch


class GridSearcher:
    """Every configuration of a grid once, in a random order.

    The order is a seeded shuffle, drawn one step at a time so that the grid may be of any size. A grid walked in
    lexicographic order shows nothing but the last parameter's effect until it is nearly done; the beginning of a
    shuffled one is a fair sample of the whole, so that a budget smaller than the grid still tries all values of all
    parameters, and so does every bracket of a scheduler. ``space.Lattice`` says which values the grid has.
    Points to begin with need not lie on it. It learns nothing from what it is told.

    Args:
        brief: what to search; the seed is the shuffle's.
        spec: its options.
    """

    def __init__(self, brief: Brief, spec: GridSearch) -> None:
        rng = np.random.default_rng(brief.seed)
        self._rng = rng
        self._lattice = brief.space.lattice(spec.steps)
        self._proposals = Proposals(brief.space, rng, brief.points)
        self._walked = 0
        # The ranks that a Fisher-Yates shuffle has moved so far; every other rank is still in its own place.
        self._moved: dict[int, int] = {}

    def ask(self, n: int) -> list[Candidate]:
        candidates: list[Candidate] = []
        while len(candidates) < n:
            params = self._proposals.point() or self._next()
            if params is None:
                break
            candidates.append(self._proposals.issue(params))
        return candidates

    def tell(self, trials: Sequence[Trial]) -> None:
        for trial in trials:
            self._proposals.close(trial)

    def recall(self, trials: Sequence[Trial]) -> None:
        pass

    def _next(self) -> Params | None:
        """The next configuration of the grid that was no point."""
        while self._walked < self._lattice.size:
            params = self._lattice.configuration(self._next_rank())
            if self._proposals.is_new(params):
                return params
        return None

    def _next_rank(self) -> int:
        place = self._walked
        self._walked += 1
        left = self._lattice.size - place
        # Eight bytes more than the number needs leave no bias worth speaking of, whatever its size.
        other = place + int.from_bytes(self._rng.bytes(left.bit_length() // 8 + 9), "big") % left
        rank = self._moved.pop(other, other)
        if other != place:
            self._moved[other] = self._moved.pop(place, place)
        return rank
