"""Random search."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kerasweep.records import Candidate, Trial
from kerasweep.search.base import Brief
from kerasweep.search.proposals import Proposals
from kerasweep.spec.searchers import RandomSearch


class RandomSearcher:
    """Draws each active parameter uniformly in its scale (Bergstra and Bengio 2012), no configuration twice.

    The first candidate takes the declared priors, if there are any. It learns nothing from what it is told.

    Source: Bergstra, Bengio: Random Search for Hyper-Parameter Optimization, JMLR 13 (2012).

    Args:
        brief: what to search.
        spec: has no options.
    """

    def __init__(self, brief: Brief, spec: RandomSearch) -> None:
        self._proposals = Proposals(brief.space, np.random.default_rng(brief.seed), brief.points)

    def ask(self, n: int) -> list[Candidate]:
        candidates: list[Candidate] = []
        while len(candidates) < n:
            params = self._proposals.first() or self._proposals.draw()
            if params is None:
                break
            candidates.append(self._proposals.issue(params))
        return candidates

    def vary(self, candidate: Candidate, free: frozenset[str]) -> Candidate | None:
        """See ``structured.Varying``."""
        params = self._proposals.varied(candidate.params, free)
        return None if params is None else self._proposals.issue(params)

    def tell(self, trials: Sequence[Trial]) -> None:
        for trial in trials:
            self._proposals.close(trial)

    def recall(self, trials: Sequence[Trial]) -> None:
        pass
