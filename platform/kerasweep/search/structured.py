"""Several settings for each structure: what lets models of a user's builder train together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from kerasweep.records import Candidate, Trial
from kerasweep.search.base import Narrating, Searcher, Watching


@runtime_checkable
class Varying(Searcher, Protocol):
    """A searcher that can also hold a part of a candidate.

    ``vary(candidate, free)`` proposes a new candidate whose values are those of the given one, but for the parameters
    in ``free``, which the searcher chooses as it always does. None if it has no other.
    """

    def vary(self, candidate: Candidate, free: frozenset[str]) -> Candidate | None: ...


class StructuredSearcher:
    """Lets another searcher draw a structure first, and then several settings within it.

    Models train as one program only if they are the same but for numbers such as the learning rate. Of a builder that
    is not known before models are built, the parameters of type ``float`` are taken for such numbers and all others
    for structure. So each structure is also tried with several learning rates, as it should be. A structure begins
    and ends within one ``ask``.

    Args:
        searcher: proposes, and learns from all candidates alike.
        free: the parameters that vary within a structure.
        settings: candidates of each structure, at least 1.
    """

    def __init__(self, searcher: Varying, free: frozenset[str], settings: int) -> None:
        self._searcher = searcher
        self._free = free
        self._settings = settings

    def ask(self, n: int) -> list[Candidate]:
        candidates: list[Candidate] = []
        while len(candidates) < n:
            first = self._searcher.ask(1)
            if not first:
                break
            candidates += first
            for _ in range(min(self._settings - 1, n - len(candidates))):
                varied = self._searcher.vary(first[0], self._free)
                if varied is None:
                    break
                candidates.append(varied)
        return candidates

    def tell(self, trials: Sequence[Trial]) -> None:
        self._searcher.tell(trials)

    def notes(self) -> list[str]:
        """See ``base.Narrating``."""
        return self._searcher.notes() if isinstance(self._searcher, Narrating) else []

    def watch(self, trials: Sequence[Trial]) -> None:
        """See ``base.Watching``."""
        if isinstance(self._searcher, Watching):
            self._searcher.watch(trials)

    def recall(self, trials: Sequence[Trial]) -> None:
        self._searcher.recall(trials)
