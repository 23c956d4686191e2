"""Population-based training within a cohort."""

from __future__ import annotations

import math
import random
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from kerasweep.records import Copy, Decision, Objective, Params, Standing
from kerasweep.scheduling.exploration import Exploration, Scope
from kerasweep.scheduling.ranking import best_first, value_at
from kerasweep.seeds import derive


@dataclass(frozen=True)
class Truncation(ABC):
    """Truncation selection: weak members go on from copies of strong ones; a subclass changes what they copy.

    Every ``interval`` epochs, and not after the last one, the living members are ranked by their last value. Each of
    the last ``quantile`` (rounded up, at most half of the members) copies one of the first ``quantile``, drawn
    uniformly, and then explores (the exploit and explore of Jaderberg et al. 2017). It draws only among those whose
    state fits its own program, equal in all that cannot change and finite; without any it goes on as it is. Nobody is
    stopped.

    Attributes:
        interval: epochs; the paper's condition "ready".
        quantile: of the members.
        max_epochs: of a trial.
        seed: of all draws; each member and epoch has its own.
        objective: which values are good.
        exploration: what may change.
    """

    interval: int
    quantile: float
    max_epochs: int
    seed: int
    objective: Objective
    exploration: Scope

    def decide(self, epoch: int, members: Mapping[int, Standing], living: frozenset[int]) -> Decision:
        if epoch % self.interval or epoch >= self.max_epochs:
            return Decision()
        ranked = best_first(living, epoch, members, self.objective)
        size = min(math.ceil(len(ranked) * self.quantile - 1e-9), len(ranked) // 2)
        strong = [number for number in ranked[:size] if math.isfinite(value_at(epoch, members[number]))]
        sources: dict[int, int] = {}
        for number in ranked[len(ranked) - size :]:
            own = self.exploration.program(members[number].params)
            fitting = [other for other in strong if self.exploration.program(members[other].params) == own]
            if fitting:
                sources[number] = random.Random(derive(self.seed, "copy", epoch, number)).choice(fitting)
        explored = self.explored(epoch, members, living, sources)
        return Decision(copies={number: Copy(source, explored[number]) for number, source in sources.items()})

    @abstractmethod
    def explored(
        self, epoch: int, members: Mapping[int, Standing], living: frozenset[int], sources: Mapping[int, int]
    ) -> Mapping[int, Params]:
        """Values for all parameters that may change, for each member that copies.

        Args:
            epoch: as in ``decide``, like the next two.
            members: all of the cohort.
            living: the members that can go on.
            sources: number of each member that copies -> number of the one that it copies.
        """


@dataclass(frozen=True)
class PopulationBased(Truncation):
    """Population-based training: what is copied is perturbed or drawn anew (Jaderberg et al. 2017).

    Attributes:
        exploration: how.
    """

    exploration: Exploration

    def explored(
        self, epoch: int, members: Mapping[int, Standing], living: frozenset[int], sources: Mapping[int, int]
    ) -> Mapping[int, Params]:
        return {
            number: self.exploration.explored(
                members[source].params, random.Random(derive(self.seed, "explore", epoch, number))
            )
            for number, source in sources.items()
        }
