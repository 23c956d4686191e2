"""The median stopping rule within a cohort."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kerasweep.records import Decision, Direction, Objective, Standing
from kerasweep.scheduling.ranking import best_first


@dataclass(frozen=True)
class MedianRule:
    """Stops members whose best is worse than the median of the others' averages (Golovin et al. 2017, Google Vizier).

    From epoch ``grace`` on, a member's best value so far is compared with the running averages, each the mean of the
    values up to this epoch, of all other members that trained to this epoch, among them those that have just ended by
    themselves. Values that are not finite are left out of averages; a member that has no finite one has no average,
    and is worse than any median. The last epoch decides nothing, and when all living members would be stopped
    (better ones have just ended), the best of them goes on.

    Attributes:
        grace: no member is stopped before this epoch.
        min_trials: averages of others that a median needs.
        max_epochs: of a trial.
        objective: which values are good.
    """

    grace: int
    min_trials: int
    max_epochs: int
    objective: Objective

    def decide(self, epoch: int, members: Mapping[int, Standing], living: frozenset[int]) -> Decision:
        if not self.grace <= epoch < self.max_epochs:
            return Decision()
        averages = {
            number: statistics.fmean(finite)
            for number, standing in members.items()
            if len(standing.values) >= epoch and (finite := _finite(standing.values[:epoch]))
        }
        stop = {number for number in living if self._is_worse(number, members[number].values[:epoch], averages)}
        if stop == living:
            stop -= set(best_first(living, epoch, members, self.objective)[:1])
        return Decision(frozenset(stop))

    def _is_worse(self, number: int, values: Sequence[float], averages: Mapping[int, float]) -> bool:
        others = [average for other, average in averages.items() if other != number]
        if len(others) < self.min_trials:
            return False
        finite = _finite(values)
        best = min if self.objective.direction is Direction.MINIMIZE else max
        return not finite or self.objective.direction.better(statistics.median(others), best(finite))


def _finite(values: Sequence[float]) -> list[float]:
    return [value for value in values if math.isfinite(value)]
