"""Brings the tracking store to what a study's journal says."""

from __future__ import annotations

from pathlib import Path

from kerasweep.spec.pipeline import PipelineSpec
from kerasweep.study.folder import find, storage_root
from kerasweep.study.recording import Recording
from kerasweep.tracking import open_tracker, resolve_uri
from kerasweep.tracking.projection import project


def sync(study: str, *, tracking_uri: str | None = None, storage: str = "auto") -> tuple[str, int]:
    """Adds to the tracking store what it lacks of a study, and puts right what is wrong there.

    All trials with their curves, the weights of the best ones and the summary are in the journal's folder. Figures and
    registered models are not; ``resume`` makes them.

    Args:
        study: its id, or its name for the newest of that name.
        tracking_uri: of the MLflow server or database; the study's own by default.
        storage: where studies have their folders, as ``resources.storage``.

    Returns:
        The study's id, and how many trials it has.

    Raises:
        StudyNotFound: there is no such study there.
        StorageError: another process drives it, or its journal is damaged.
        TrackingError: the store does not answer.
    """
    recording = Recording(find(storage_root(storage), study), begins=False)
    try:
        spec: PipelineSpec = recording.spec
        tracker = open_tracker(
            resolve_uri(recording.address(tracking_uri or spec.tracking.uri), Path.cwd()),
            spec.experiment,
            uploads=recording.folder.uploads,
        )
        try:
            project(tracker, recording.header, recording.trials)
            for folder in sorted(recording.folder.weights.glob("*")):
                tracker.log_files(tuple(folder.iterdir()), "weights", int(folder.name))
            tracker.log_summary(recording.summary)
            tracker.end(recording.told_status)
        finally:
            tracker.close()
        return recording.header.id, len(recording.trials)
    finally:
        recording.close()
