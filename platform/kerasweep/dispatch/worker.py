"""What runs inside a worker: its device settings, its arrays, and a cohort in training."""

from __future__ import annotations

import functools
import gc
import os
import queue
import subprocess
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from kerasweep.training.base import (
    Cohort,
    Decision,
    EpochReport,
    Outcome,
    Snapshot,
    Trainer,
    TrainingArrays,
)

if TYPE_CHECKING:
    from kerasweep.data.base import SearchData


@functools.cache  # a process that is reused was configured already, and TensorFlow does not allow it twice
def configure_device(threads: int, gpus: float) -> None:
    """Limits this process to its share of the machine. To be called before TensorFlow computes anything.

    Args:
        threads: of the arithmetic of one operation; operations run one after another.
        gpus: a share below one of a card is a limit on its memory, so that trials on one card do not take it whole;
            otherwise memory grows as it is needed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    # What TensorFlow's import made lives as long as the process; without it in the way, collections while a model is
    # traced cost a tenth less of a short trial.
    gc.collect()
    gc.freeze()
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    cards = tf.config.list_physical_devices("GPU")
    if not gpus:
        tf.config.set_visible_devices([], "GPU")
        return
    for card in cards:
        if gpus < 1:
            limit = tf.config.LogicalDeviceConfiguration(memory_limit=int(gpus * _card_memory()))
            tf.config.set_logical_device_configuration(card, [limit])
        else:
            tf.config.experimental.set_memory_growth(card, True)


def _card_memory() -> float:
    """Memory of this worker's first card in MiB, as the driver's own tool tells it."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    query = ["nvidia-smi", f"--id={visible}", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    return float(subprocess.run(query, check=True, capture_output=True, text=True).stdout.strip())


def arrays_of(data: SearchData, *, merge: bool = False) -> TrainingArrays:
    """Features and targets for training.

    Args:
        data: raw rows.
        merge: train on the training and validation rows together, with nothing to validate on.
    """
    import numpy as np

    from kerasweep.data.preprocessing import transform

    train, validation = (transform(data.preprocessing, split.x) for split in (data.train, data.validation))
    if merge:
        return TrainingArrays(
            np.concatenate([train, validation]), np.concatenate([data.train.y, data.validation.y]), None
        )
    return TrainingArrays(train, data.train.y, (validation, data.validation.y))


class _Abandoned(BaseException):
    """Ends the training thread of a cohort that is paused or stopped from outside. Not an Exception, so that no
    trainer takes it for a member's failure."""


class CohortRun:
    """A cohort in training, one epoch at a time.

    ``Trainer.train`` calls back after each epoch; Ray wants a step per call. So training runs in a thread of its own
    that waits inside each report until the next ``step``.
    """

    def __init__(self, trainer: Trainer, cohort: Cohort, data: TrainingArrays, resume: Snapshot | None) -> None:
        self._trainer = trainer
        self._cohort = cohort
        self._data = data
        self._resume = resume
        self._events: queue.Queue[EpochReport | tuple[Outcome, ...] | BaseException] = queue.Queue()
        self._answers: queue.Queue[Decision | None] = queue.Queue()
        self._thread = threading.Thread(target=self._train, daemon=True)
        self._snapshot: Callable[[], Snapshot] | None = None

    def step(self) -> tuple[EpochReport | None, tuple[Outcome, ...] | None]:
        """Trains one more epoch.

        Returns:
            The epoch's report, if one was finished; and the outcomes, if the cohort has ended.
        """
        if not self._thread.is_alive():
            self._thread.start()
        else:
            self._answers.put(Decision())
        event = self._take()
        if not isinstance(event, EpochReport):
            return None, event
        self._snapshot = event.snapshot
        if not event.last:
            return event, None
        final = event.snapshot()
        self._snapshot = lambda: final
        self._answers.put(Decision())
        outcomes = self._take()
        if isinstance(outcomes, EpochReport):
            raise RuntimeError(f"a trainer must end after its last report. Received: epoch {outcomes.epoch}")
        return event, outcomes

    def snapshot(self) -> Snapshot | None:
        """The state after the last finished epoch, None before the first."""
        return self._snapshot() if self._snapshot else self._resume

    def abandon(self) -> None:
        """Ends training without an outcome."""
        self._answers.put(None)
        if self._thread.is_alive():
            self._thread.join()

    def _take(self) -> EpochReport | tuple[Outcome, ...]:
        event = self._events.get()
        if isinstance(event, BaseException):
            raise event
        return event

    def _train(self) -> None:
        try:
            self._events.put(self._trainer.train(self._cohort, self._data, self._report, self._resume))
        except _Abandoned:
            pass
        except BaseException as error:  # handed to the thread that waits for the next event
            self._events.put(error)

    def _report(self, report: EpochReport) -> Decision:
        self._events.put(report)
        answer = self._answers.get()
        if answer is None:
            raise _Abandoned
        return answer
