"""Which trainers a study has."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from kerasweep.dispatch import Allocation
from kerasweep.models import ModelBuilder
from kerasweep.spec.parameters import Find
from kerasweep.training import (
    CohortTrainer,
    Evolution,
    FindingTrainer,
    FoldsTrainer,
    KerasTrainer,
    NeuroevolutionTrainer,
    Schedule,
    Trainer,
    UserCallbacks,
)


@dataclass(frozen=True)
class Trainers:
    """Makes the trainers of a study.

    Attributes:
        models: builds its models.
        allocation: of the study.
        find: the learning rate that trials find for themselves, None if they do not.
        evolution: how networks evolve, None if gradients train them.
        callbacks: the user's; there are none with folds or with ``evolution``.
    """

    models: ModelBuilder
    allocation: Allocation
    find: Find | None = None
    evolution: Evolution | None = None
    callbacks: UserCallbacks = field(default_factory=UserCallbacks)

    def plain(self, schedule: Schedule) -> Trainer:
        """Trains members together if the allocation says so, else each by itself."""
        return self._with_threads(schedule, self.allocation.threads)

    def of_search(self, schedule: Schedule, folds: int) -> Trainer:
        """The trainer of the search; ``folds`` is 0 without a cross-validation."""
        threads = self.allocation.threads
        trainer = self.plain(schedule)
        if folds:
            one = self._with_threads(replace(schedule, early_stopping=None), max(1, threads // folds))
            trainer = FoldsTrainer(one, schedule, threads)
        return trainer if self.find is None else FindingTrainer(trainer, self.models, schedule, self.find)

    def _with_threads(self, schedule: Schedule, threads: int) -> Trainer:
        if self.evolution is not None:
            return NeuroevolutionTrainer(self.models, schedule, self.evolution, threads)
        if self.allocation.cohort > 1:
            return CohortTrainer(self.models, schedule, threads)
        return KerasTrainer(self.models, schedule, self.callbacks)
