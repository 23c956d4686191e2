"""Population-based training within a cohort."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass

from kerasweep.records import Copy, Decision, Objective, Standing
from kerasweep.scheduling.exploration import Exploration
from kerasweep.scheduling.ranking import best_first, value_at
from kerasweep.seeds import derive


@dataclass(frozen=True)
class PopulationBased:
    """Truncation selection: weak members go on from copies of strong ones (Jaderberg et al. 2017).

    Every ``interval`` epochs, and not after the last one, the living members are ranked by their last value. Each of
    the last ``quantile`` (rounded up, at most half of the members) copies one of the first ``quantile``, drawn
    uniformly, and then explores (the paper's exploit and explore). It draws only among those whose state fits its own
    program, equal in all that cannot change and finite; without any it goes on as it is. Nobody is stopped.

    Attributes:
        interval: epochs; the paper's condition "ready".
        quantile: of the members.
        max_epochs: of a trial.
        seed: of all draws; each member and epoch has its own.
        objective: which values are good.
        exploration: what changes.
    """

    interval: int
    quantile: float
    max_epochs: int
    seed: int
    objective: Objective
    exploration: Exploration

    def decide(self, epoch: int, members: Mapping[int, Standing], living: frozenset[int]) -> Decision:
        if epoch % self.interval or epoch >= self.max_epochs:
            return Decision()
        ranked = best_first(living, epoch, members, self.objective)
        size = min(math.ceil(len(ranked) * self.quantile - 1e-9), len(ranked) // 2)
        strong = [number for number in ranked[:size] if math.isfinite(value_at(epoch, members[number]))]
        copies = {}
        for number in ranked[len(ranked) - size :]:
            own = self.exploration.program(members[number].params)
            sources = [other for other in strong if self.exploration.program(members[other].params) == own]
            if sources:
                rng = random.Random(derive(self.seed, "pbt", epoch, number))
                source = rng.choice(sources)
                copies[number] = Copy(source, self.exploration.explored(members[source].params, rng))
        return Decision(copies=copies)
