"""Successive halving at the rungs of ASHA, within a cohort."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from kerasweep.records import Decision, Objective, Standing
from kerasweep.scheduling.ranking import beyond
from kerasweep.scheduling.rungs import best_share, bracket_weights
from kerasweep.seeds import derive


@dataclass(frozen=True)
class Asha:
    """The rungs of ASHA (Li et al. 2020), at which the members of a cohort arrive together.

    So a rung decides once, on all members of the bracket that trained to it: the best 1/eta of them go on, at least
    one, by their values at the rung. One that ends by itself at the rung counts among those that came; those that are
    still living get the places. With several brackets each trial falls into one by a draw of its own, with the
    probabilities that Ray Tune has.

    Attributes:
        ladders: the rungs of each bracket (``asha_rungs``).
        eta: the paper's η.
        max_epochs: the paper's R; nothing is decided there.
        seed: of the draws.
        objective: which values are good.
    """

    ladders: tuple[tuple[int, ...], ...]
    eta: float
    max_epochs: int
    seed: int
    objective: Objective

    def decide(self, epoch: int, members: Mapping[int, Standing], living: frozenset[int]) -> Decision:
        deciding = [index for index, ladder in enumerate(self.ladders) if epoch in ladder]
        if epoch >= self.max_epochs or not deciding:
            return Decision()
        came: dict[int, set[int]] = {index: set() for index in deciding}
        for number, standing in members.items():
            if (number in living or len(standing.values) >= epoch) and (index := self._bracket(number)) in came:
                came[index].add(number)
        stop: set[int] = set()
        for group in came.values():
            stop |= beyond(best_share(len(group), self.eta), living & group, epoch, members, self.objective)
        return Decision(frozenset(stop))

    def _bracket(self, number: int) -> int:
        rng = random.Random(derive(self.seed, "asha", number))
        return rng.choices(range(len(self.ladders)), bracket_weights(self.ladders))[0]
