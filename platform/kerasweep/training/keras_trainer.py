"""Trains a cohort of one with ``Model.fit``."""

from __future__ import annotations

import math
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kerasweep.models.base import ModelBuilder
from kerasweep.records import Status
from kerasweep.spec.families import TRAINING_PARAMETERS
from kerasweep.training.base import (
    Array,
    Cohort,
    EpochReport,
    Member,
    Outcome,
    Report,
    Schedule,
    Snapshot,
    TrainingArrays,
)
from kerasweep.training.progress import MemberProgress
from kerasweep.training.snapshots import best_weights

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

# Validation needs no gradients, so its batches only have to be large enough to keep the processor busy.
_VALIDATION_BATCH = 1024


@dataclass(frozen=True)
class KerasTrainer:
    """The ``Trainer`` that every Keras model can use.

    One ``Model.fit`` call covers all epochs, and one call of its compiled function a whole epoch
    (``steps_per_execution``): on small networks that is several times faster than a call a step, and the numbers are
    the same.
    """

    models: ModelBuilder
    schedule: Schedule

    def train(
        self, cohort: Cohort, data: TrainingArrays, report: Report, resume: Snapshot | None = None
    ) -> tuple[Outcome, ...]:
        """See ``Trainer``.

        Raises:
            ValueError: the cohort has more than one member.
        """
        if len(cohort.members) != 1:
            raise ValueError(f"a cohort must have one member to be trained by fit. Received: {len(cohort.members)}")
        member = cohort.members[0]
        run = _Run(member, self.schedule, validated=data.validation is not None)
        try:
            run.fit(self.models, data, report, resume)
        except Exception as error:
            return (run.outcome(Status.FAILED, _reason(error)),)
        return (run.outcome(run.status),)


class _Run:
    """One member on its way through ``Model.fit``."""

    def __init__(self, member: Member, schedule: Schedule, validated: bool) -> None:
        self.member = member
        self.schedule = schedule
        self.progress = MemberProgress(schedule, validated)
        self.best: tuple[Array, ...] = ()
        self.status = Status.FINISHED

    def fit(self, models: ModelBuilder, data: TrainingArrays, report: Report, resume: Snapshot | None) -> None:
        import keras

        model = models.build(self.member.params, self.member.seed)
        if resume is not None:
            self._restore(model, resume)
        done = len(self.progress.history)
        if done >= self.schedule.epochs or self.progress.stopped_early:
            return
        batch_size = int(self.member.params.get("batch_size", TRAINING_PARAMETERS["batch_size"].default or 32))
        steps = math.ceil(len(data.x) / batch_size)
        if not model.run_eagerly:
            model.steps_per_execution = steps
        run = self

        class EpochEnd(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
            def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
                metrics = {name: float(value) for name, value in (logs or {}).items()}
                run.epoch_ended(model, epoch + 1, metrics, report)

        model.fit(
            _batches(data.x, data.y, batch_size, range(done, self.schedule.epochs), self.schedule.order_seed),
            initial_epoch=done,
            epochs=self.schedule.epochs,
            steps_per_epoch=steps,
            validation_data=None if data.validation is None else _in_order(*data.validation),
            callbacks=[EpochEnd()],
            shuffle=False,
            verbose=0,
        )

    def epoch_ended(self, model: keras.Model, epoch: int, metrics: dict[str, float], report: Report) -> None:
        """Records the epoch, reports it, and obeys the answer."""
        if self.progress.add(metrics):
            self.best = tuple(model.get_weights())
        last = epoch >= self.schedule.epochs or self.progress.stopped_early
        number = self.member.number
        decision = report(EpochReport(epoch, {number: metrics}, lambda: self._snapshot(model), last))
        if last:
            model.stop_training = True
        elif number in decision.stop:
            self.status = Status.STOPPED
            model.stop_training = True

    def outcome(self, status: Status, reason: str = "") -> Outcome:
        failed = status is Status.FAILED
        return Outcome(
            number=self.member.number,
            status=status,
            reason=reason,
            weights=() if failed else self.best,
            history=tuple(self.progress.history),
            epoch=self.progress.best_epoch,
            value=self.progress.best_value,
        )

    def _snapshot(self, model: keras.Model) -> Snapshot:
        arrays = {f"variable_{i}": np.asarray(v) for i, v in enumerate(model.variables)}
        arrays |= {f"optimizer_{i}": np.asarray(v) for i, v in enumerate(model.optimizer.variables)}
        arrays |= {f"best_{i}": weight for i, weight in enumerate(self.best)}
        return Snapshot(arrays, self.progress.to_state())

    def _restore(self, model: keras.Model, snapshot: Snapshot) -> None:
        model.optimizer.build(model.trainable_variables)
        _assign(model.variables, snapshot, "variable")
        _assign(model.optimizer.variables, snapshot, "optimizer")
        self.best = best_weights(snapshot)
        self.progress.restore(snapshot.state)


def _assign(variables: Iterable[keras.Variable], snapshot: Snapshot, kind: str) -> None:
    for i, variable in enumerate(variables):
        variable.assign(snapshot.arrays[f"{kind}_{i}"])


def _batches(x: Array, y: Array, batch_size: int, epochs: range, order_seed: int) -> tf.data.Dataset:
    """All batches of all epochs, each epoch in an order of its own that depends only on the seed and the epoch."""
    import tensorflow as tf

    features, targets = tf.convert_to_tensor(x), tf.convert_to_tensor(y)
    rows = tf.range(len(x))

    def epoch_of_indices(epoch: tf.Tensor) -> tf.data.Dataset:
        seed = tf.stack([tf.constant(order_seed, tf.int64), epoch])
        order = tf.random.experimental.stateless_shuffle(rows, seed)
        return tf.data.Dataset.from_tensor_slices(order).batch(batch_size)

    return (
        tf.data.Dataset.range(epochs.start, epochs.stop)
        .flat_map(epoch_of_indices)
        .map(lambda order: (tf.gather(features, order), tf.gather(targets, order)))
        .with_options(_single_threaded())
        .prefetch(8)
    )


def _in_order(x: Array, y: Array) -> tf.data.Dataset:
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices((x, y)).batch(_VALIDATION_BATCH).cache().with_options(_single_threaded())


def _single_threaded() -> tf.data.Options:
    """Input pipelines of concurrent trials must not fight over cores; slicing an array needs no more than one."""
    import tensorflow as tf

    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    options.threading.max_intra_op_parallelism = 1
    options.deterministic = True
    return options


def _reason(error: Exception) -> str:
    """The error's type and message in one line, and the place in the user's code where there is one."""
    message = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    text = ": ".join(part for part in (type(error).__name__, " ".join(message.split())) if part)[:600]
    ours = Path(__file__).parent.parent
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if "site-packages" not in path.parts and ours not in path.parents:
            return f"{text} ({path.name}:{frame.lineno})"
    return text
