"""The contract of a searcher: ask for configurations, tell how they went."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from kerasweep.records import Candidate, Objective, Params, Trial
from kerasweep.space import Space


@dataclass(frozen=True)
class Brief:
    """What every searcher is told at the start.

    Attributes:
        space: what to search.
        objective: which values are good.
        seed: of all draws, e.g. ``derive(study_seed, "searcher")``.
        max_epochs: the most that a trial trains.
        points: configurations to propose before all others, in this order; parameters that one leaves out are drawn.
    """

    space: Space
    objective: Objective
    seed: int
    max_epochs: int = 1
    points: tuple[Params, ...] = ()


class Searcher(Protocol):
    """Proposes configurations of one space, for one objective.

    - ``ask(n)`` returns at most ``n`` new candidates, numbered on from the last one, whose params the space contains
      (active parameters only). It never repeats a configuration that it proposed before unless the space cannot
      give another; fewer than ``n`` (possibly none) means that the space is used up. The points of the brief come
      first, then, if the space has priors and the searcher draws, the configuration of all priors.
    - ``tell(trials)`` takes ended trials of any status, once each and in any order. A failed trial, or one without a
      finite value, never counts as good; what a searcher learns from those and from stopped ones, its docstring says.
    - ``recall(trials)`` takes ended trials of earlier studies, whose params the space contains, before the first
      ``ask``. The searcher learns from them as from its own; it may propose their configurations again.
    - The same space, options, seed and history of calls give the same candidates; pickling in between changes nothing.
    """

    def ask(self, n: int) -> list[Candidate]: ...

    def tell(self, trials: Sequence[Trial]) -> None: ...

    def recall(self, trials: Sequence[Trial]) -> None: ...


@runtime_checkable
class Narrating(Searcher, Protocol):
    """A searcher that has something to say about how it goes on.

    ``notes()`` gives what a user should read, one line each, and every line once. Lines come to be in ``ask``.
    """

    def notes(self) -> list[str]: ...


@runtime_checkable
class Watching(Searcher, Protocol):
    """A searcher that also learns from trials that are still in training.

    ``watch(trials)`` takes trials that were asked for and not told yet, as they stood after the same number of epochs.
    They are told later on as all others are.
    """

    def watch(self, trials: Sequence[Trial]) -> None: ...
