"""Training outside of a search, as a Ray task: the winner's retraining."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kerasweep.dispatch.base import Allocation
from kerasweep.dispatch.worker import arrays_of, configure_device
from kerasweep.records import Decision
from kerasweep.training.base import Cohort, Outcome

if TYPE_CHECKING:
    from kerasweep.data.base import SearchData


def train_cohort(
    packed: bytes, data: SearchData, cohort: Cohort, allocation: Allocation, merge: bool
) -> tuple[Outcome, ...]:
    """Trains one cohort to its end; see ``RaySession.train``."""
    from kerasweep.dispatch.trainable import unpack

    configure_device(allocation.threads, allocation.gpus)
    return unpack(packed).train(cohort, arrays_of(data, merge=merge), lambda report: Decision())
