"""A tracker for searches that nobody wants recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from kerasweep.records import Metrics, Trial
from kerasweep.tracking.base import StudyHeader


class Untracked:
    """A ``Tracker`` that keeps nothing."""

    def start(self, header: StudyHeader) -> None:
        """Ignored."""

    def begin_trial(self, trial: Trial) -> None:
        """Ignored."""

    def log_epochs(self, number: int, first_epoch: int, metrics: Sequence[Metrics]) -> None:
        """Ignored."""

    def end_trial(self, trial: Trial) -> None:
        """Ignored."""

    def log_files(self, files: Sequence[Path], folder: str, trial: int | None = None) -> None:
        """Ignored."""

    def log_summary(self, summary: Mapping[str, object]) -> None:
        """Ignored."""

    def end(self, status: str) -> None:
        """Ignored."""

    def flush(self, trials: bool = True) -> None:
        """Ignored."""

    def close(self) -> None:
        """Ignored."""
