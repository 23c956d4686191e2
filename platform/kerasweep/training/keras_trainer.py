"""Trains a cohort of one with ``Model.fit``."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kerasweep.data.rows import Features
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
from kerasweep.training.callbacks import UserCallbacks, follows_batches
from kerasweep.training.failures import reason
from kerasweep.training.freezing import FrozenLayers
from kerasweep.training.learning_rates import Factors, check_plain
from kerasweep.training.order import VALIDATION_BATCH, epoch_order
from kerasweep.training.progress import MemberProgress
from kerasweep.training.snapshots import best_weights, named_best

if TYPE_CHECKING:
    import keras
    import tensorflow as tf


@dataclass(frozen=True)
class KerasTrainer:
    """The ``Trainer`` that every Keras model can use.

    One ``Model.fit`` call covers all epochs, and one call of its compiled function a whole epoch
    (``steps_per_execution``): on small networks that is several times faster than a call a step, and the numbers are
    the same. Callbacks of the user's that follow batches are called for each of them all the same.

    The user's callbacks run before ours at the end of an epoch: what they add to its logs is recorded, and if they stop
    training, the trial has finished. One that raises fails the trial. A trial that goes on from a snapshot has new
    instances of them.

    Attributes:
        models: builds the models.
        schedule: of the training.
        callbacks: the user's.
    """

    models: ModelBuilder
    schedule: Schedule
    callbacks: UserCallbacks = field(default_factory=UserCallbacks)

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
            run.fit(self, data, report, resume)
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
        self.frozen: FrozenLayers | None = None

    def fit(self, trainer: KerasTrainer, data: TrainingArrays, report: Report, resume: Snapshot | None) -> None:
        import keras

        model = trainer.models.build(self.member.params, self.member.seed)
        batch_size = int(self.member.params.get("batch_size", TRAINING_PARAMETERS["batch_size"].default or 32))
        steps = math.ceil(len(data) / batch_size)
        if (factors := self.schedule.factors(self.member.params, steps)) is not None:
            follow(model.optimizer, _scheduled(model.optimizer, factors, steps * self.schedule.epochs))
        if resume is not None:
            self._restore(model, resume)
        done = len(self.progress.history)
        if done >= self.schedule.epochs or self.progress.stopped_early:
            return
        if resume is not None and self.member.number in resume.decision.stop:
            self.status = Status.STOPPED
            return
        if self.schedule.freeze is not None and self.schedule.frozen(done):
            self.frozen = FrozenLayers(model, self.schedule.freeze)
        callbacks = trainer.callbacks.made()
        if not model.run_eagerly and not any(map(follows_batches, callbacks)):
            model.steps_per_execution = steps
        run = self

        class Epochs(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
            def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
                run.epoch_begins(epoch)

            def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
                metrics = {name: float(value) for name, value in (logs or {}).items()}
                run.epoch_ended(model, epoch + 1, metrics, report)

        model.fit(
            _batches(data, batch_size, range(done, self.schedule.epochs), self.schedule.order_seed),
            initial_epoch=done,
            epochs=self.schedule.epochs,
            steps_per_epoch=steps,
            validation_data=None if data.validation is None else _in_order(*data.validation),
            callbacks=[*callbacks, Epochs()],
            shuffle=False,
            verbose=0,
        )

    def epoch_begins(self, done: int) -> None:
        """Thaws layers that have been frozen for as long as they should."""
        if self.frozen is not None and not self.schedule.frozen(done):
            self.frozen.thaw()
            self.frozen = None

    def epoch_ended(self, model: keras.Model, epoch: int, metrics: dict[str, float], report: Report) -> None:
        """Records the epoch, reports it, and obeys the answer."""
        if self.frozen is not None:
            metrics = self.frozen.reported(metrics)
        if self.progress.add(metrics):
            self.best = tuple(model.get_weights())
        if model.stop_training:  # by a callback of the user's
            self.progress.stop()
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
        weights = () if status is Status.FAILED else self.best
        return self.progress.outcome(self.member.number, status, reason, weights)

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


def follow(optimizer: keras.optimizers.Optimizer, rates: NDArray[np.float64]) -> None:
    """Gives an optimiser these learning rates, ``(steps,)``, in the place of its own.

    They are looked up in a table on the device, so that a whole epoch stays one call of the compiled function.
    """
    import keras

    table = keras.ops.convert_to_tensor(rates.astype(np.float32))

    class Scheduled(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]  # Keras has no types
        def __call__(self, step: Any) -> Any:
            return keras.ops.take(table, step)

        def get_config(self) -> dict[str, Any]:
            return {"rates": rates.tolist()}

    optimizer.learning_rate = Scheduled()


def _scheduled(optimizer: keras.optimizers.Optimizer, factors: Factors, steps: int) -> NDArray[np.float64]:
    """The learning rates of so many steps: an optimiser's own number, multiplied."""
    import keras

    inner = getattr(optimizer, "inner_optimizer", optimizer)  # a LossScaleOptimizer's
    check_plain(inner._learning_rate, factors)
    return np.asarray(float(keras.ops.convert_to_numpy(inner.learning_rate)) * factors.at(0, steps))


def _assign(variables: Iterable[keras.Variable], snapshot: Snapshot, kind: str) -> None:
    for i, variable in enumerate(variables):
        variable.assign(snapshot.arrays[f"{kind}_{i}"])


def _batches(data: TrainingArrays, batch_size: int, epochs: range, order_seed: int) -> tf.data.Dataset:
    """All batches of all epochs, each epoch in an order of its own that depends only on the seed and the epoch."""
    import tensorflow as tf

    count = len(data)
    arrays = (data.x, data.y) if data.weights is None else (data.x, data.y, data.weights)
    tensors = tf.nest.map_structure(tf.convert_to_tensor, arrays)

    def epoch_of_indices(epoch: tf.Tensor) -> tf.data.Dataset:
        order = tf.numpy_function(lambda at: epoch_order(order_seed, int(at), count), [epoch], tf.int32)
        return tf.data.Dataset.from_tensor_slices(tf.ensure_shape(order, (count,))).batch(batch_size)

    return (
        tf.data.Dataset.range(epochs.start, epochs.stop)
        .flat_map(epoch_of_indices)
        .map(lambda order: tf.nest.map_structure(lambda tensor: tf.gather(tensor, order), tensors))
        .with_options(_single_threaded())
        .prefetch(8)
    )


def _in_order(x: Features, y: Features) -> tf.data.Dataset:
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices((x, y)).batch(VALIDATION_BATCH).cache().with_options(_single_threaded())


def _single_threaded() -> tf.data.Options:
    """Input pipelines of concurrent trials must not fight over cores; slicing an array needs no more than one."""
    import tensorflow as tf

    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    options.threading.max_intra_op_parallelism = 1
    options.deterministic = True
    return options
