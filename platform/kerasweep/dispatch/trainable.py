"""A Ray Tune trial: one cohort."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import ray.cloudpickle
from ray import tune
from ray.tune.result import DONE, SHOULD_CHECKPOINT

from kerasweep.dispatch.base import Allocation, Work
from kerasweep.dispatch.worker import CohortRun, arrays_of, configure_device
from kerasweep.training import snapshots
from kerasweep.training.base import Snapshot, Trainer, TrainingArrays

# The keys of a result that the driver reads; everything else in it is Ray's.
OBJECTIVE = "objective"
METRICS = "metrics"
EPOCH = "epoch"
ENDED = "ended"
SECONDS = "seconds"  # of this step, the worker's start not counted
COHORT = "cohort"

# A worker that dies costs at most this much training, whatever an epoch takes.
_CHECKPOINT_SECONDS = 30.0


class CohortTrainable(tune.Trainable):  # type: ignore[misc]  # Ray's class has no types
    """Trains one cohort an epoch a step; a reused actor keeps TensorFlow and its arrays for the next cohort."""

    def setup(self, config: dict[str, Any], packed: bytes, data: Any, allocation: Allocation, objective: str) -> None:
        """Called by Ray once an actor.

        It leaves the slow part, TensorFlow, to the first step: while an actor is being set up, Ray Tune gives its trial
        to any other actor that falls free and throws the new one away, so with trials shorter than the set-up there
        would never be a second actor.

        Args:
            config: holds the cohort under ``COHORT``.
            packed: the pickled ``Work`` without its data, and the paths to import the user's modules from.
            data: the ``SearchData``, from Ray's object store.
            allocation: this worker's share of the machine.
            objective: the metric that Ray's schedulers are to see.
        """
        self._packed, self._data, self._allocation, self._objective = packed, data, allocation, objective
        self._training: tuple[Trainer, TrainingArrays] | None = None
        self._run: CohortRun | None = None
        self._begin(None)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Takes the next cohort into the same process."""
        self._abandon()
        self.config = new_config
        self._begin(None)
        return True

    def step(self) -> dict[str, Any]:
        if self._run is None:
            self._run = self._started()
        begun = time.monotonic()
        report, outcomes = self._run.step()
        spent = time.monotonic() - begun
        result: dict[str, Any] = {METRICS: {}, ENDED: {}, SECONDS: spent, DONE: outcomes is not None}
        if report is not None:
            result[EPOCH] = report.epoch
            result[METRICS] = {str(number): dict(metrics) for number, metrics in report.metrics.items()}
            if len(report.metrics) == 1:  # Ray's schedulers compare cohorts of one; larger ones hold their own rungs
                (metrics,) = report.metrics.values()
                result[OBJECTIVE] = metrics[self._objective]
        for outcome in outcomes or ():
            result[ENDED][str(outcome.number)] = [outcome.status.value, outcome.reason]
        if time.monotonic() - self._saved > _CHECKPOINT_SECONDS:
            result[SHOULD_CHECKPOINT] = True
        return result

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Writes the cohort's state, if it has any yet."""
        self._saved = time.monotonic()
        snapshot = self._run.snapshot() if self._run else self._resume
        if snapshot is not None:
            snapshots.save(snapshot, Path(checkpoint_dir))

    def load_checkpoint(self, checkpoint: str) -> None:
        """Goes on from a saved state."""
        self._abandon()
        try:
            self._begin(snapshots.load(Path(checkpoint)))
        except FileNotFoundError:  # saved before its first epoch
            self._begin(None)

    def cleanup(self) -> None:
        """Called by Ray when the actor ends."""
        self._abandon()

    def _begin(self, resume: Snapshot | None) -> None:
        self._run = None
        self._resume = resume
        self._saved = time.monotonic()

    def _abandon(self) -> None:
        if self._run is not None:
            self._run.abandon()

    def _started(self) -> CohortRun:
        if self._training is None:
            configure_device(self._allocation.threads, self._allocation.gpus_per_trial)
            self._training = unpack(self._packed), arrays_of(self._data)
        trainer, arrays = self._training
        return CohortRun(trainer, self.config[COHORT], arrays, self._resume)


def pack(work: Work) -> bytes:
    """A trainer, and the paths that the user's modules in it are imported from."""
    return bytes(ray.cloudpickle.dumps((work.paths, ray.cloudpickle.dumps(work.trainer))))


def unpack(packed: bytes) -> Trainer:
    """The trainer; the paths are on ``sys.path`` before it is unpickled, and stay there."""
    paths, trainer = ray.cloudpickle.loads(packed)
    sys.path[:0] = [path for path in paths if path not in sys.path]
    loaded: Trainer = ray.cloudpickle.loads(trainer)
    return loaded
