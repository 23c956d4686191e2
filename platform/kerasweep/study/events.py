"""What a running study tells whoever watches it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from kerasweep.records import Trial


@dataclass(frozen=True)
class Progress:
    """How a search stands.

    Attributes:
        total: trials asked for.
        finished: trained to their end or to their own early stopping.
        stopped: ended by the scheduler, the time limit or an interrupt.
        failed: see their reasons.
        running: in training or paused.
        best: the best trial so far, with its value and epoch as they stand; None before the first report.
        seconds: since the search began.
        seconds_left: an estimate, None while nothing can be said.
        epochs: that all trials together have trained.
    """

    total: int
    finished: int
    stopped: int
    failed: int
    running: int
    best: Trial | None
    seconds: float
    seconds_left: float | None
    epochs: int = 0


class Observer(Protocol):
    """Watches a pipeline. Calls come from one thread at a time; an observer must be quick and must not raise."""

    def stage(self, name: str, detail: str) -> None:
        """A stage begins: ``search``, ``retrain``, ``evaluate``, ``export``, ``register``; ``detail`` for people."""
        ...

    def progress(self, progress: Progress) -> None:
        """How the search stands, at every report of a cohort and when trials end without one."""
        ...

    def trial_ended(self, trial: Trial) -> None:
        """A trial finished, was stopped, or failed."""
        ...

    def note(self, message: str) -> None:
        """Something a user should read once: a fallback and its reason, a retry, an alias that did not move."""
        ...


class Silent:
    """An observer that ignores everything."""

    def stage(self, name: str, detail: str) -> None:
        """Ignored."""

    def progress(self, progress: Progress) -> None:
        """Ignored."""

    def trial_ended(self, trial: Trial) -> None:
        """Ignored."""

    def note(self, message: str) -> None:
        """Ignored."""
