"""How much a search may spend, and in what portions it asks for trials."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from kerasweep.dispatch import Allocation
from kerasweep.scheduling import Overlap, expected_epochs, generations, last_epochs, overlap
from kerasweep.space import Space
from kerasweep.spec.pipeline import PipelineSpec


@dataclass(frozen=True)
class Budget:
    """How much a search may spend.

    Attributes:
        trials: at most.
        epochs: at most, of each trial.
        seconds: of the whole search; None for no limit.
        cohort: members of a cohort at most.
        last_epochs: the epoch at which a trial's scheduler ends it even if it is the best, by trial number; trials
            beyond the end go round again. Empty when that is ``epochs`` for all.
        expected_epochs: an estimate of the sum over all trials.
        overlap: what need not be known when a generation is asked for.
    """

    trials: int
    epochs: int
    seconds: float | None
    cohort: int = 1
    last_epochs: Sequence[int] = ()
    expected_epochs: float = 0.0
    overlap: Overlap = field(default_factory=Overlap)

    def last_epoch(self, number: int) -> int:
        return self.last_epochs[number % len(self.last_epochs)] if self.last_epochs else self.epochs


def search_size(spec: PipelineSpec) -> int:
    """The number of trials: what was asked for, if the space has as many configurations."""
    return min(spec.search.trials, Space(spec.space).size() or spec.search.trials)


def budget_of(spec: PipelineSpec, allocation: Allocation) -> Budget:
    """What a search may spend."""
    settings, trials, cohort = spec.search, search_size(spec), allocation.cohort
    low, high = expected_epochs(settings.scheduler, trials, settings.max_epochs, cohort)
    return Budget(
        trials=trials,
        epochs=settings.max_epochs,
        seconds=settings.time_limit,
        cohort=cohort,
        overlap=overlap(settings.scheduler, settings.max_epochs, allocation.concurrency, cohort),
        last_epochs=last_epochs(settings.scheduler, settings.max_epochs, cohort),
        expected_epochs=(low + high) / 2,
    )


def sizes(spec: PipelineSpec, allocation: Allocation, asked: int = 0) -> Iterator[int]:
    """Of the generations of a search, after so many trials that it has asked for already."""
    settings = spec.search
    left = search_size(spec) - asked
    return generations(settings.scheduler, left, settings.max_epochs, allocation.concurrency, allocation.cohort)
