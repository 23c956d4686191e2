"""A Ray Tune trial: one cohort."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import ray.cloudpickle
from ray import tune
from ray.tune.result import DONE, SHOULD_CHECKPOINT

from kerasweep.dispatch.base import Allocation, Past, Work
from kerasweep.dispatch.checkpoints import state_of
from kerasweep.dispatch.results import encode
from kerasweep.dispatch.standings import Standings
from kerasweep.dispatch.worker import CohortRun, Step, arrays_of, configure_device, import_ahead
from kerasweep.scheduling.base import Scheduler
from kerasweep.training import snapshots
from kerasweep.training.base import EpochReport, Snapshot, Trainer, TrainingArrays

# Of a trial's config.
COHORT = "cohort"
PAST = "past"

# The file of a checkpoint without a state.
_TELLING = "telling"

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
        begun = time.monotonic()
        if (step := self._told()) is None:
            if self._run is None:
                self._run = self._started()
                begun = time.monotonic()
            step = self._run.step()
        result = encode(step, time.monotonic() - begun, self._objective)
        result[DONE] = step.over
        if time.monotonic() - self._saved > _CHECKPOINT_SECONDS:
            result[SHOULD_CHECKPOINT] = True
        return result

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Writes the cohort's state, if it has any yet."""
        self._saved = time.monotonic()
        snapshot = self._run.snapshot() if self._run else self._resume
        if snapshot is not None:
            snapshots.save(snapshot, Path(checkpoint_dir))
        else:
            Path(checkpoint_dir, _TELLING).write_text(str(self._telling))

    def load_checkpoint(self, checkpoint: str) -> None:
        """Goes on from a saved state."""
        self._abandon()
        try:
            self._begin(snapshots.load(Path(checkpoint)))
        except FileNotFoundError:  # saved before its first epoch
            self._begin(None)
            self._telling = int(Path(checkpoint, _TELLING).read_text())

    def cleanup(self) -> None:
        """Called by Ray when the actor ends."""
        self._abandon()

    def _begin(self, resume: Snapshot | None) -> None:
        self._run = None
        self._resume = resume
        self._saved = time.monotonic()
        self._telling = 0  # epochs that another driver's worker trained, of those that were told again

    def _told(self) -> Step | None:
        """The next of the epochs that another driver's worker trained, told once more; None if there is none left."""
        past: Past | None = self.config[PAST]
        if self._run is not None or self._resume is not None or past is None:
            return None
        if self._telling == len(past.told):
            return Step(None, {}, {}, True) if past.over else None
        metrics = {member.number: past.told[self._telling] for member in self.config[COHORT].members}
        self._telling += 1
        over = past.over and self._telling == len(past.told)
        return Step(EpochReport(self._telling, metrics, lambda: Snapshot({}, {}), over), {}, {}, over)

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
        if self._resume is None:
            self._resume = state_of(self.config[PAST])
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
