"""A Ray Tune trial: one cohort."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import ray.cloudpickle
from ray import tune
from ray.tune.result import SHOULD_CHECKPOINT

from kerasweep.dispatch.base import Allocation, Work
from kerasweep.dispatch.results import encode
from kerasweep.dispatch.standings import Standings
from kerasweep.dispatch.worker import CohortRun, arrays_of, configure_device, import_ahead
from kerasweep.scheduling.base import Scheduler
from kerasweep.training import snapshots
from kerasweep.training.base import Snapshot, Trainer, TrainingArrays

# Of a trial's config.
COHORT = "cohort"

# A worker that dies costs at most this much training, whatever an epoch takes.
_CHECKPOINT_SECONDS = 30.0


class CohortTrainable(tune.Trainable):  # type: ignore[misc]  # Ray's class has no types
    """Trains one cohort an epoch a step; a reused actor keeps TensorFlow and its arrays for the next cohort."""

    def setup(
        self,
        config: dict[str, Any],
        packed: bytes,
        data: Any,
        allocation: Allocation,
        objective: str,
        within: Scheduler,
    ) -> None:
        """Called by Ray once an actor.

        It does not wait for the slow part, TensorFlow: while an actor is being set up, Ray Tune gives its trial to any
        other actor that falls free and throws the new one away, so with trials shorter than the set-up there would
        never be a second actor. TensorFlow is imported meanwhile, and the first step waits for it.

        Args:
            config: holds the cohort under ``COHORT``.
            packed: the pickled ``Work`` without its data, and the paths to import the user's modules from.
            data: the ``SearchData``, from Ray's object store.
            allocation: this worker's share of the machine.
            objective: the metric that schedulers are to see.
            within: decides within each cohort.
        """
        self._packed, self._data, self._allocation = packed, data, allocation
        self._objective, self._within = objective, within
        import_ahead()
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
        step = self._run.step()
        result = encode(step, time.monotonic() - begun, self._objective)
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
            configure_device(self._allocation.threads, self._allocation.gpus)
            self._training = unpack(self._packed), arrays_of(self._data)
        trainer, arrays = self._training
        cohort = self.config[COHORT]
        standings = Standings(cohort, self._within, self._objective)
        return CohortRun(trainer, cohort, arrays, standings, self._resume)


def pack(work: Work) -> bytes:
    """A trainer, and the paths that the user's modules in it are imported from."""
    return bytes(ray.cloudpickle.dumps((work.paths, ray.cloudpickle.dumps(work.trainer))))


def unpack(packed: bytes) -> Trainer:
    """The trainer; the paths are on ``sys.path`` before it is unpickled, and stay there."""
    paths, trainer = ray.cloudpickle.loads(packed)
    sys.path[:0] = [path for path in paths if path not in sys.path]
    loaded: Trainer = ray.cloudpickle.loads(trainer)
    return loaded
