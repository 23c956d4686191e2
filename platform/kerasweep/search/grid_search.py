"""Grid search."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kerasweep.records import Candidate, Trial
from kerasweep.search.proposals import Proposals
from kerasweep.space import Space


class GridSearcher:
    """Every configuration of a grid once, in a random order.

    The order is a seeded shuffle, drawn one step at a time so that the grid may be of any size. A grid walked in
    lexicographic order shows nothing but the last parameter's effect until it is nearly done; the beginning of a
    shuffled one is a fair sample of the whole, so that a budget smaller than the grid still tries all values of all
    parameters, and so does every bracket of a scheduler. ``space.Lattice`` says which values the grid has.
    It learns nothing from what it is told.

    Args:
        space: what to search.
        steps: values of a number that has more than that.
        seed: of the shuffle.
    """

    def __init__(self, space: Space, steps: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self._rng = rng
        self._lattice = space.lattice(steps)
        self._proposals = Proposals(space, rng)
        # The ranks that a Fisher-Yates shuffle has moved so far; every other rank is still in its own place.
        self._moved: dict[int, int] = {}

    def ask(self, n: int) -> list[Candidate]:
        n = min(n, self._lattice.size - self._proposals.count)
        return [self._proposals.issue(self._lattice.configuration(self._next_rank())) for _ in range(n)]

    def tell(self, trials: Sequence[Trial]) -> None:
        for trial in trials:
            self._proposals.close(trial)

    def _next_rank(self) -> int:
        place = self._proposals.count
        left = self._lattice.size - place
        # Eight bytes more than the number needs leave no bias worth speaking of, whatever its size.
        other = place + int.from_bytes(self._rng.bytes(left.bit_length() // 8 + 9), "big") % left
        rank = self._moved.pop(other, other)
        if other != place:
            self._moved[other] = self._moved.pop(place, place)
        return rank
