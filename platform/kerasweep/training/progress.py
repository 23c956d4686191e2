"""How one member stands: its history, its best epoch, its early stopping."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from kerasweep.records import Metrics, Status
from kerasweep.training.base import Array, Outcome, Schedule


class MemberProgress:
    """Follows one member through its epochs, with Keras's own rule of early stopping.

    ``wait`` counts the epochs since the objective last improved by more than ``min_delta``; the member has stopped
    when it reaches ``patience``. The best epoch is the one with the best value, however small its lead. Without
    validation data (while retraining) the objective is absent and the last epoch is the best.
    """

    def __init__(self, schedule: Schedule, validated: bool) -> None:
        self._schedule = schedule
        self._validated = validated
        self.history: list[Metrics] = []
        self.best_value: float | None = None
        self.best_epoch: int | None = None
        self._reference: float | None = None
        self._wait = 0
        self._stopped = False

    def stop(self) -> None:
        """Ends the member here: the user's own code wants it."""
        self._stopped = True

    def follow(self, source: MemberProgress) -> None:
        """Goes on from another member's state: patience counts anew from where that one stands."""
        self._reference, self._wait = source._reference, 0

    def add(self, metrics: Metrics) -> bool:
        """Takes the metrics of one more epoch; returns whether it is the best so far.

        Raises:
            KeyError: the objective is not among the metrics; the message lists those that are.
            FloatingPointError: the loss or the objective is NaN or infinite.
        """
        metric, direction = self._schedule.objective.metric, self._schedule.objective.direction
        epoch = len(self.history) + 1
        for name in ("loss", "val_loss", metric):
            if name in metrics and not math.isfinite(metrics[name]):
                raise FloatingPointError(f"{name} is {metrics[name]} at epoch {epoch}")
        if self._validated and metric not in metrics:
            raise KeyError(f"the objective must be a metric of the model ({', '.join(metrics)}). Received: {metric}")
        self.history.append(metrics)
        if not self._validated:
            self.best_epoch = epoch
            return True
        value = metrics[metric]
        delta = self._schedule.early_stopping.min_delta if self._schedule.early_stopping else 0.0
        signed = -delta if direction == "minimize" else delta
        if self._reference is None or direction.better(value, self._reference + signed):
            self._reference, self._wait = value, 0
        else:
            self._wait += 1
        if self.best_value is not None and not direction.better(value, self.best_value):
            return False
        self.best_value, self.best_epoch = value, epoch
        return True

    @property
    def stopped_early(self) -> bool:
        stopping = self._schedule.early_stopping
        waited = self._validated and stopping is not None and self._wait >= stopping.patience
        return waited or self._stopped

    def outcome(self, number: int, status: Status, reason: str = "", weights: tuple[Array, ...] = ()) -> Outcome:
        """How the member ends, with what it has come to."""
        return Outcome(number, status, reason, weights, tuple(self.history), self.best_epoch, self.best_value)

    def to_state(self) -> dict[str, Any]:
        """Everything, as JSON values."""
        return {
            "history": [dict(metrics) for metrics in self.history],
            "best_value": self.best_value,
            "best_epoch": self.best_epoch,
            "reference": self._reference,
            "wait": self._wait,
            "stopped": self._stopped,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Takes over what ``to_state`` gave."""
        self.history = list(state["history"])
        self.best_value, self.best_epoch = state["best_value"], state["best_epoch"]
        self._reference, self._wait, self._stopped = state["reference"], state["wait"], state["stopped"]
