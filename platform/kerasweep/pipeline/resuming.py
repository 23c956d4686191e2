"""Goes on with a study whose driver died, was interrupted, or had too small a budget."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kerasweep.errors import SpecError, StorageError, StudyError
from kerasweep.pipeline.result import PipelineResult, Registered
from kerasweep.pipeline.running import deliver
from kerasweep.records import Status, winner
from kerasweep.spec import LoadedPipeline, pipeline_from_mapping
from kerasweep.study.changes import check_changes
from kerasweep.study.environment import recordable
from kerasweep.study.events import Observer, Silent
from kerasweep.study.folder import find, storage_root, studies
from kerasweep.study.journal import whole
from kerasweep.study.origin import Destination, Origin
from kerasweep.study.recording import Recording
from kerasweep.study.replay import outline


@dataclass(frozen=True)
class Resumable:
    """A study that this process may go on with.

    Attributes:
        loaded: what is to be done, with the budget that it has now.
        source: the pipeline file as its author wrote it; empty for a study made in Python.
        recording: of the study, held by this process.
    """

    loaded: LoadedPipeline
    source: str
    recording: Recording

    @property
    def metric(self) -> str:
        """Of the objective."""
        return self.loaded.spec.objective.metric

    def run(
        self, *, observer: Observer | None = None, ray_address: str | None = None, tracking_uri: str | None = None
    ) -> PipelineResult:
        """Goes on; see ``pipeline.run``. A study that is finished is left as it is, unless its budget grew."""
        recording, spec = self.recording, self.loaded.spec
        if recording.finished(spec):
            result = _finished(recording)
            recording.close()
            return result
        try:
            recording.address(tracking_uri or spec.tracking.uri)
        except StudyError:
            recording.close()
            raise
        destination = Destination(ray_address, tracking_uri, observer or Silent())
        return deliver(self.loaded, Origin(self.loaded.directory, self.source), destination, recording)


def resume(study: str, *, overrides: Sequence[str] = (), storage: str = "auto") -> Resumable:
    """Finds a study and reads what it has done.

    Args:
        study: its id, or its name for the newest of that name.
        overrides: ``path.to.key=value`` each; only the budget may change, and what does not touch a trial.
        storage: where studies have their folders, as ``resources.storage``.

    Raises:
        StudyNotFound: there is no such study there.
        StorageError: another process drives it, or its journal is damaged.
        SpecError: more than the budget would change; old and new are named.
    """
    recording = Recording(find(storage_root(storage), study), begins=False)
    try:
        before = recording.spec
        header = recording.header
        mapping = json.loads(before.model_dump_json(by_alias=True))
        loaded = pipeline_from_mapping(mapping, Path(header.directory), overrides=overrides)
        check_changes(before, recordable(loaded.spec))
    except BaseException:
        recording.close()
        raise
    return Resumable(loaded, header.source, recording)


def unfinished(loaded: LoadedPipeline) -> str | None:
    """The newest study of a pipeline file that was cut off and can go on; None if there is none.

    Args:
        loaded: the file, with its overrides.
    """
    for folder in studies(storage_root(loaded.spec.resources.storage), loaded.spec.name):
        try:
            folder.lock().release()
            spec, status = outline(whole(folder.journal).events)
            check_changes(spec, recordable(loaded.spec))
        except (StorageError, SpecError):  # it has a driver, is damaged, or is another one of the same name
            continue
        return folder.path.name if status in ("", "interrupted") else None
    return None


def _finished(recording: Recording) -> PipelineResult:
    """The outcome of a study that has nothing left to do."""
    trials, summary = recording.trials, recording.summary
    counts = Counter(trial.status for trial in trials)
    model = summary.get("model")
    return PipelineResult(
        study=recording.header.id,
        status="finished",
        best=winner(trials, recording.header.objective),
        trials={status.value: counts[status] for status in (Status.FINISHED, Status.STOPPED, Status.FAILED)},
        test=summary.get("test", {}),
        spread={metric: tuple(values) for metric, values in summary.get("spread", {}).items()},
        baselines=summary.get("baselines", {}),
        exports=summary.get("exports", {}),
        model=model and Registered(**{name: value for name, value in model.items() if name != "uri"}),
        seconds=summary.get("seconds", {}),
    )
