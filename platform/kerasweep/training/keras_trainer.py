"""Trains a cohort of one with ``Model.fit``."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
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
from kerasweep.training.failures import reason
from kerasweep.training.order import epoch_order
from kerasweep.training.progress import MemberProgress
from kerasweep.training.snapshots import best_weights, named_best

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
        if member.changes:
            raise ValueError(
                f"hyperparameters change within a stack only. Received: trial {member.number}, trained alone"
            )
        run = _Run(member, self.schedule, validated=data.validation is not None)
        try:
            run.fit(self.models, data, report, resume)
        except Exception as error:
            return (run.outcome(Status.FAILED, reason(error)),)
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
        if resume is not None and self.member.number in resume.decision.stop:
            self.status = Status.STOPPED
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
            _batches(data, batch_size, range(done, self.schedule.epochs), self.schedule.order_seed),
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
        ended = (self.outcome(self.status),) if last else ()
        decision = report(EpochReport(epoch, {number: metrics}, lambda: self._snapshot(model), last, ended))
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
        arrays |= named_best(self.member.number, self.best)
        return Snapshot(arrays, self.progress.to_state())

    def _restore(self, model: keras.Model, snapshot: Snapshot) -> None:
        model.optimizer.build(model.trainable_variables)
        _assign(model.variables, snapshot, "variable")
        _assign(model.optimizer.variables, snapshot, "optimizer")
        self.best = best_weights(snapshot, self.member.number)
        self.progress.restore(snapshot.state)


def _assign(variables: Iterable[keras.Variable], snapshot: Snapshot, kind: str) -> None:
    for i, variable in enumerate(variables):
        variable.assign(snapshot.arrays[f"{kind}_{i}"])


def _batches(data: TrainingArrays, batch_size: int, epochs: range, order_seed: int) -> tf.data.Dataset:
    """All batches of all epochs, each epoch in an order of its own that depends only on the seed and the epoch."""
    import tensorflow as tf

    count = len(data.x)
    arrays = [data.x, data.y] if data.weights is None else [data.x, data.y, data.weights]
    tensors = [tf.convert_to_tensor(array) for array in arrays]

    def epoch_of_indices(epoch: tf.Tensor) -> tf.data.Dataset:
        order = tf.numpy_function(lambda at: epoch_order(order_seed, int(at), count), [epoch], tf.int32)
        return tf.data.Dataset.from_tensor_slices(tf.ensure_shape(order, (count,))).batch(batch_size)

    return (
        tf.data.Dataset.range(epochs.start, epochs.stop)
        .flat_map(epoch_of_indices)
        .map(lambda order: tuple(tf.gather(tensor, order) for tensor in tensors))
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
