"""Training outside of a search: the winner's retraining, in a Ray task or in this process."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from kerasweep.dispatch.base import Allocation, Work
from kerasweep.dispatch.worker import arrays_of, configure_device
from kerasweep.models import import_tensorflow
from kerasweep.records import Decision
from kerasweep.training.base import Cohort, Outcome

if TYPE_CHECKING:
    from kerasweep.data.base import SearchData


def train_cohort(
    packed: bytes, data: SearchData, cohort: Cohort, allocation: Allocation, merge: bool
) -> tuple[Outcome, ...]:
    """Trains one cohort to its end in a Ray task; see ``RaySession.train``."""
    from kerasweep.dispatch.trainable import unpack

    configure_device(allocation.threads, allocation.gpus)
    return unpack(packed).train(cohort, arrays_of(data, merge=merge), lambda report: Decision())


def cards_hidden(threads: int) -> bool:
    """Whether this process has no card to train on, so that it can take a CPU worker's place; then it is made ready.

    Args:
        threads: of its arithmetic. A process that has computed with TensorFlow before keeps the threads it has.
    """
    import_tensorflow()
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        return False
    with suppress(RuntimeError):
        configure_device(threads, 0.0)
    return True


def train_here(work: Work, cohort: Cohort, *, merge: bool) -> tuple[Outcome, ...]:
    """Trains one cohort to its end in this process."""
    return work.trainer.train(cohort, arrays_of(work.data, merge=merge), lambda report: Decision())
