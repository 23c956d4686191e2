"""The contract of tracking: one writer, for which nobody waits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from kerasweep.records import Metrics, Objective, StudyRecord, Trial


@dataclass(frozen=True)
class StudyHeader:
    """What is known of a study when it begins.

    Attributes:
        id: ``name@xxxxxxxx``.
        name: the pipeline's name.
        started: seconds since the Unix epoch.
        objective: what is optimised.
        spec: the normalised pipeline file, as JSON text.
        source: the pipeline file as the user wrote it, empty for a study made in Python.
        directory: from which relative paths in the spec count.
        seed: of the study.
        dataset: name, fingerprint, and rows per split.
        versions: package -> version.
        git_commit: of the working directory, None outside a repository.
    """

    id: str
    name: str
    started: float
    objective: Objective
    spec: str
    source: str
    directory: str
    seed: int
    dataset: Mapping[str, str | int]
    versions: Mapping[str, str]
    git_commit: str | None


class Tracker(Protocol):
    """Keeps one study. Every method returns at once; the writing happens in the background, in batches.

    A trial shows in the store some seconds after it began, or when it has ended. ``close`` returns when everything was
    written, and raises TrackingError if anything could not be. When the process is killed instead, what it told until
    then is kept, and the study ends as interrupted.

    A study that the store holds already is gone on with, and so are its trials: what they are told again is there once,
    and in the end the store holds what it would have held without the interruption.
    """

    def start(self, header: StudyHeader) -> None:
        """Begins the parent run, or makes the one of this study run again."""
        ...

    def begin_trial(self, trial: Trial) -> None:
        """Begins a child run with the trial's parameters, or makes the one of this trial run again."""
        ...

    def log_epochs(self, number: int, first_epoch: int, metrics: Sequence[Metrics]) -> None:
        """Adds a running trial's metrics; ``first_epoch`` is the 1-based epoch of ``metrics[0]``."""
        ...

    def end_trial(self, trial: Trial) -> None:
        """Ends a child run: status, reason, best value and epoch, duration, and any epoch not yet logged.

        A trial that the store holds with the same end already costs nothing.
        """
        ...

    def log_files(self, files: Sequence[Path], folder: str, trial: int | None = None) -> None:
        """Copies files into the artifacts of the study, or of one trial; the files may vanish afterwards."""
        ...

    def log_summary(self, summary: Mapping[str, object]) -> None:
        """Adds to the study's summary; numbers become metrics of the parent run too."""
        ...

    def end(self, status: str) -> None:
        """Ends the parent run: ``finished``, ``interrupted`` or ``failed``."""
        ...

    def flush(self, trials: bool = True) -> None:
        """Returns when everything so far was written, or has failed; what failed is raised by ``close``.

        Without ``trials``, when the study's own run is there; trials that have ended may still wait to be written.
        """
        ...

    def close(self) -> None: ...


class StudyStore(Protocol):
    """Reads studies back, finished or not."""

    def list(self) -> tuple[StudyRecord, ...]:
        """All studies, newest first, without their trials and specs."""
        ...

    def load(self, study: str) -> StudyRecord:
        """One study with its trials, by id or by name (the newest of that name).

        Raises:
            StudyNotFound: the store holds none; the message lists the nearest names.
        """
        ...

    def fetch_files(self, study_id: str, folder: str, into: Path, trial: int | None = None) -> tuple[Path, ...]:
        """Copies artifacts out of the store; empty when there are none."""
        ...
