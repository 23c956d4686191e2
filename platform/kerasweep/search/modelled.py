"""What searchers that learn have in common; each adds its mathematics only."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np
from threadpoolctl import threadpool_limits

from kerasweep.records import Candidate, Direction, Params, Status, Trial
from kerasweep.search.base import Brief
from kerasweep.search.proposals import Proposals
from kerasweep.seeds import derive

# Proposals of a model in a row that may turn out to be old ones before a random configuration takes their place.
_ATTEMPTS = 10


class ModelledSearcher(ABC):
    """Numbers, points, priors, random beginnings and repetitions; a subclass proposes and learns.

    The first candidates are the brief's points and the configuration of all priors; candidates are then random until
    ``startup`` trials with a finite value are known. Where the model insists on old configurations, random ones take
    their place, so that a finite space is used up to its last configuration.

    Args:
        brief: what to search.
        startup: trials before the model is asked.
    """

    def __init__(self, brief: Brief, startup: int) -> None:
        self.space = brief.space
        self.objective = brief.objective
        self.rng = np.random.default_rng(derive(brief.seed, "random"))
        self.pending: dict[int, Params] = {}  # the candidates that are out, by number
        self._startup = startup
        self._known = 0  # trials with a finite value
        self._proposals = Proposals(brief.space, self.rng, brief.points)

    @abstractmethod
    def propose(self, n: int) -> Iterator[Params]:
        """Configurations by the model, the best first; ``n`` new ones are wanted.

        The caller takes one after the other. Each new one is in ``pending`` before the next one is taken, so that a
        model can spread a batch; it stops after too many old ones in a row.
        """

    @abstractmethod
    def learn(self, trial: Trial, cost: float) -> None:
        """Takes in a trial with a finite value.

        Args:
            trial: that ended, of this study or of an earlier one.
            cost: its value, the lower the better.
        """

    def failed(self, trial: Trial) -> None:  # noqa: B027  # a hook that most models leave as it is
        """Takes in a trial that failed or has no finite value; a model learns nothing from it unless it says so."""

    def issued(self, candidate: Candidate) -> None:  # noqa: B027  # likewise
        """Takes note of any candidate that is handed out, the random ones too."""

    def ask(self, n: int) -> list[Candidate]:
        candidates: list[Candidate] = []
        while len(candidates) < n and (params := self._proposals.first()) is not None:
            candidates.append(self._issue(params))
        if self._known >= self._startup and len(candidates) < n and not self._proposals.used_up:
            # The matrices are small: threads would cost more than they gain, and round differently on every machine.
            with threadpool_limits(1, "blas"):
                candidates += self._modelled(n - len(candidates))
        while len(candidates) < n and (params := self._proposals.draw()) is not None:
            candidates.append(self._issue(params))
        return candidates

    def vary(self, candidate: Candidate, free: frozenset[str]) -> Candidate | None:
        """See ``structured.Varying``; what varies is drawn at random."""
        params = self._proposals.varied(candidate.params, free)
        return None if params is None else self._issue(params)

    def tell(self, trials: Sequence[Trial]) -> None:
        for trial in trials:
            self._proposals.close(trial)
            del self.pending[trial.number]
            self._take(trial)

    def recall(self, trials: Sequence[Trial]) -> None:
        for trial in trials:
            self._take(trial)

    def cost(self, value: float) -> float:
        """A value of the objective, the lower the better."""
        return value if self.objective.direction is Direction.MINIMIZE else -value

    def _take(self, trial: Trial) -> None:
        if trial.status is Status.FAILED or trial.value is None or not math.isfinite(trial.value):
            self.failed(trial)
        else:
            self._known += 1
            self.learn(trial, self.cost(trial.value))

    def _modelled(self, n: int) -> list[Candidate]:
        candidates: list[Candidate] = []
        old = 0
        for params in self.propose(n):
            if self._proposals.is_new(params):
                candidates.append(self._issue(params))
                old = 0
            else:
                old += 1
            if len(candidates) == n or old == _ATTEMPTS or self._proposals.used_up:
                break
        return candidates

    def _issue(self, params: Params) -> Candidate:
        candidate = self._proposals.issue(params)
        self.pending[candidate.number] = params
        self.issued(candidate)
        return candidate
