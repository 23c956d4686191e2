"""The contract of a searcher: ask for configurations, tell how they went."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from kerasweep.records import Candidate, Trial


class Searcher(Protocol):
    """Proposes configurations of one space, for one objective.

    - ``ask(n)`` returns at most ``n`` new candidates, numbered on from the last one, whose params the space contains
      (active parameters only). It never repeats a configuration that it proposed before unless the space cannot
      give another; fewer than ``n`` (possibly none) means that the space is used up.
    - ``tell(trials)`` takes ended trials of any status, once each and in any order. A failed trial, or one without a
      finite value, never counts as good; what a searcher learns from those and from stopped ones, its docstring says.
    - The same space, options, seed and history of calls give the same candidates; pickling in between changes nothing.
    """

    def ask(self, n: int) -> list[Candidate]: ...

    def tell(self, trials: Sequence[Trial]) -> None: ...
