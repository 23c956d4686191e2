"""Workers that go on for ever without an epoch."""

from __future__ import annotations

import time
from typing import Any

import ray
from ray.tune.experiment import Trial

_START_SECONDS = 120.0  # that a worker has in addition before its first epoch, to import TensorFlow and to compile


class Watchdog:
    """Ends the worker of a trial that has not finished an epoch for too long; Ray Tune then takes it for one that died.

    Args:
        seconds: between two epochs; None waits for ever.
    """

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._seen: dict[str, tuple[tuple[int, int], float]] = {}  # trial -> (failures, epoch), and until when
        self._ended: dict[str, int] = {}  # trial -> how often it had died before

    def look(self, trials: list[Trial]) -> None:
        """Looks at the trials that have not ended; to be called again and again."""
        if self._seconds is None:
            return
        now = time.monotonic()
        for trial in trials:
            if trial.status != Trial.RUNNING:
                self._seen.pop(trial.trial_id, None)
                continue
            metadata = trial.run_metadata
            step = metadata.num_failures, int(metadata.last_result.get("training_iteration", 0))
            known, until = self._seen.get(trial.trial_id, (None, now))
            if known != step:
                goes_on = known is not None and known[0] == step[0]
                self._seen[trial.trial_id] = step, now + self._seconds + (0.0 if goes_on else _START_SECONDS)
            elif now > until and trial.temporary_state.ray_actor is not None:
                self._ended[trial.trial_id] = metadata.num_failures
                del self._seen[trial.trial_id]
                ray.kill(trial.temporary_state.ray_actor)

    def reason(self, trial: Any) -> str:
        """Why it ended a trial's worker, if it did so the last time that this died; else empty."""
        if self._ended.get(trial.trial_id) != trial.run_metadata.num_failures - 1:
            return ""
        return f"no epoch for {self._seconds:g} seconds"
