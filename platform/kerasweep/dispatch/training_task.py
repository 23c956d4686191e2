"""Training outside of a search, as a Ray task: the winner's retraining."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kerasweep.dispatch.base import Allocation
from kerasweep.dispatch.worker import arrays_of, configure_device
from kerasweep.training.base import Cohort, Decision, Outcome

if TYPE_CHECKING:
    from kerasweep.data.base import SearchData


def train_cohorts(
    packed: bytes, data: SearchData, cohorts: tuple[Cohort, ...], allocation: Allocation, merge: bool
) -> list[Outcome]:
    """Trains cohorts one after another with the whole machine's threads; see ``RaySession.train``."""
    from kerasweep.dispatch.trainable import unpack

    configure_device(allocation.threads * allocation.concurrency, allocation.gpus_per_trial)
    trainer = unpack(packed)
    arrays = arrays_of(data, merge=merge)
    return [outcome for cohort in cohorts for outcome in trainer.train(cohort, arrays, lambda report: Decision())]
