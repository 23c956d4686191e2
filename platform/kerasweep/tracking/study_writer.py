"""Writes one study into MLflow, call by call, in the tracker's thread.

What belongs to a run is buffered and goes out in few large requests: a trial costs one ``create_run``, one
``log_batch`` every two seconds and at its end, and one ``set_terminated``.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from kerasweep.errors import TrackingError
from kerasweep.records import Metrics, Objective, Status, Trial
from kerasweep.tracking import layout
from kerasweep.tracking.base import StudyHeader
from kerasweep.tracking.patience import Patience

if TYPE_CHECKING:
    from mlflow import MlflowClient

# https://mlflow.org/docs/latest/api_reference/rest-api.html#request-limits
_BATCH_ENTITIES = 1000
_BATCH_PARAMS = 100
_BATCH_TAGS = 100
_ENDED = {Status.FINISHED: "FINISHED", Status.STOPPED: "KILLED", Status.FAILED: "FAILED"}
_STUDY_ENDED = {"finished": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}


@dataclass
class _Run:
    """A run being written, and what waits to be sent for it.

    ``epochs`` is what was logged so far of a trial, by 1-based epoch; ``latest`` its last timestamp in milliseconds.
    """

    id: str
    metrics: list[tuple[str, float, int, int]] = field(default_factory=list)
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    epochs: dict[int, Metrics] = field(default_factory=dict)
    latest: int = 0


class StudyWriter:
    """One study's runs. Every method may be slow and may raise; times ``at`` are milliseconds since the Unix epoch.

    Args:
        client: of the store.
        experiment: its id.
        patience: how to call the store.
    """

    def __init__(self, client: MlflowClient, experiment: str, patience: Patience) -> None:
        self._client = client
        self._experiment = experiment
        self._patience = patience
        self._study: _Run | None = None
        self._study_id = ""
        self._objective: Objective | None = None
        self._trials: dict[int, _Run] = {}
        self._finished: dict[int, str] = {}
        self._values: dict[int, float] = {}

    def start(self, header: StudyHeader) -> None:
        """Create the parent run with all that is known of the study."""
        self._study_id, self._objective = header.id, header.objective
        tags = {
            layout.KIND: "study",
            layout.STUDY: header.id,
            layout.NAME: header.name,
            layout.STATUS: "running",
            layout.METRIC: header.objective.metric,
            layout.DIRECTION: str(header.objective.direction),
            layout.SEED: str(header.seed),
            layout.DIRECTORY: header.directory,
            layout.FINGERPRINT: str(header.dataset.get("fingerprint", "")),
            **{f"{layout.VERSION}{package}": version for package, version in header.versions.items()},
            "mlflow.note.content": _description(header),  # what the UI shows on top of the run
        }
        if header.git_commit:
            tags[layout.GIT_COMMIT] = header.git_commit
        self._study = _Run(self._create_run(header.id, tags, round(header.started * 1000)))
        self._patience.call(self._client.log_text, self._study.id, header.spec, layout.SPEC_FILE)
        if header.source:
            self._patience.call(self._client.log_text, self._study.id, header.source, layout.SOURCE_FILE)
        self._log_dataset(self._study.id, header.dataset)

    def begin_trial(self, trial: Trial, at: int) -> None:
        """Create the trial's child run; a trial that is begun already (it was restarted) keeps its run."""
        if trial.number in self._trials:
            return
        if trial.number in self._finished:
            raise TrackingError(f"a trial ends once. Received: trial {trial.number} again")
        params, types = layout.encode_params(trial.params)
        tags = {
            layout.PARENT: self._parent().id,
            layout.KIND: "trial",
            layout.STUDY: self._study_id,
            layout.TRIAL: str(trial.number),
            layout.STATUS: str(Status.RUNNING),
            layout.SEED: str(trial.seed),
            layout.TYPES: types,
        }
        started = round(trial.started * 1000) if trial.started else at
        self._trials[trial.number] = _Run(
            self._create_run(f"trial {trial.number:04d}", tags, started), params=params, latest=started
        )

    def log_epochs(self, number: int, first_epoch: int, metrics: Sequence[Metrics], at: int) -> None:
        """Buffer a running trial's metrics. An epoch that is reported again replaces what was there."""
        run = self._running(number)
        run.latest = max(at, run.latest + 1)  # the latest timestamp is what counts when an epoch was logged twice
        for epoch, values in enumerate(metrics, first_epoch):
            run.epochs[epoch] = values
            run.metrics += [(layout.quote(name), value, run.latest, epoch) for name, value in values.items()]

    def end_trial(self, trial: Trial, at: int) -> None:
        """Send the rest of a trial and end its run; afterwards the run holds exactly what ``trial`` says."""
        self.begin_trial(trial, at)
        for epoch, values in enumerate(trial.history, 1):
            run = self._running(trial.number)
            if not _same(run.epochs.get(epoch), values):
                self.log_epochs(trial.number, epoch, [values], at)
        own = {layout.SECONDS: trial.seconds, layout.EPOCHS: float(len(trial.history))}
        if trial.value is not None:
            own[layout.BEST_VALUE] = trial.value
        if trial.epoch is not None:
            own[layout.BEST_EPOCH] = float(trial.epoch)
        self._finish(trial.number, trial.status, trial.reason, own, at)
        if trial.value is not None and trial.status is not Status.FAILED:
            self._values[trial.number] = trial.value
        self._log_best(at)

    def log_file(self, copy: Path, folder: str, trial: int | None) -> None:
        """Upload a private copy of a file or directory, then delete it with the directory it lies in."""
        try:
            self._patience.call(self._client.log_artifact, self._run_id(trial), str(copy), folder or None)
        finally:
            shutil.rmtree(copy.parent, ignore_errors=True)

    def log_summary(self, tags: Mapping[str, str], numbers: Mapping[str, float], at: int) -> None:
        """Add tags and metrics to the parent run; see ``layout.summary_tags`` and ``layout.numbers``."""
        run = self._parent()
        run.tags.update(tags)
        run.metrics += [(name, value, at, 0) for name, value in numbers.items()]
        self._flush(run)

    def end(self, status: str, at: int) -> None:
        """End the parent run. A trial that nobody ended is recorded as stopped with the epochs it reported."""
        for number, run in list(self._trials.items()):
            own = {layout.EPOCHS: float(len(run.epochs))}
            self._finish(number, Status.STOPPED, "the study ended before the trial did", own, at)
        run = self._parent()
        run.tags[layout.STATUS] = status
        self._flush(run)
        self._patience.call(self._client.set_terminated, run.id, _STUDY_ENDED[status], at)

    def flush(self) -> None:
        """Send all that is buffered. One run's failure does not keep the others back; the first one is raised."""
        failures: list[Exception] = []
        for run in [*self._trials.values(), *([self._study] if self._study else [])]:
            try:
                self._flush(run)
            except Exception as error:  # raised below, after the other runs had their turn
                failures.append(error)
        if failures:
            raise failures[0]

    @property
    def buffered(self) -> bool:
        """Whether ``flush`` has anything to send."""
        runs = [*self._trials.values(), *([self._study] if self._study else [])]
        return any(run.metrics or run.params or run.tags for run in runs)

    def _parent(self) -> _Run:
        if self._study is None:
            raise TrackingError("a study must be started before anything is logged to it. Received: no start")
        return self._study

    def _running(self, number: int) -> _Run:
        if number not in self._trials:
            raise TrackingError(f"epochs are logged to a trial between its begin and its end. Received: trial {number}")
        return self._trials[number]

    def _run_id(self, trial: int | None) -> str:
        if trial is None:
            return self._parent().id
        return self._finished[trial] if trial in self._finished else self._running(trial).id

    def _create_run(self, name: str, tags: Mapping[str, str], started: int) -> str:
        cleaned = {key: layout.clean(value) for key, value in tags.items()}
        run = self._patience.call(self._client.create_run, self._experiment, started, cleaned, name)
        return str(run.info.run_id)

    def _finish(self, number: int, status: Status, reason: str, own: Mapping[str, float], at: int) -> None:
        run = self._running(number)
        run.metrics += [(name, value, at, 0) for name, value in own.items()]
        run.tags[layout.STATUS] = str(status)
        if reason:
            run.tags[layout.REASON] = layout.clean(reason)
        del self._trials[number]
        self._finished[number] = run.id
        self._flush(run)
        self._patience.call(self._client.set_terminated, run.id, _ENDED[status], at)

    def _log_best(self, at: int) -> None:
        """The best value after so many ended trials: a curve that the UI draws, and whose last point is the best."""
        best = None if self._objective is None else self._objective.best(self._values)
        if best is not None:
            self._parent().metrics.append((layout.BEST_VALUE, self._values[best], at, len(self._finished)))

    def _log_dataset(self, run_id: str, dataset: Mapping[str, str | int]) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        facts = {key: value for key, value in dataset.items() if key not in ("name", "fingerprint")}
        entry = Dataset(
            name=str(dataset.get("name", "data")),
            digest=str(dataset.get("fingerprint", ""))[: layout.DIGEST_CHARACTERS] or "unknown",
            source_type="kerasweep",
            source=json.dumps({"name": dataset.get("name", "data")}),
            profile=json.dumps(facts),
        )
        context = InputTag("mlflow.data.context", "training")
        self._patience.call(self._client.log_inputs, run_id, [DatasetInput(entry, [context])])

    def _flush(self, run: _Run) -> None:
        from mlflow.entities import Metric, Param, RunTag

        metrics = [Metric(*entry) for entry in run.metrics]
        params = [Param(key, value) for key, value in run.params.items()]
        tags = [RunTag(key, value) for key, value in run.tags.items()]
        run.metrics, run.params, run.tags = [], {}, {}
        while metrics or params or tags:
            room = _BATCH_ENTITIES - len(params[:_BATCH_PARAMS]) - len(tags[:_BATCH_TAGS])
            self._patience.call(
                self._client.log_batch, run.id, metrics[:room], params[:_BATCH_PARAMS], tags[:_BATCH_TAGS]
            )
            metrics, params, tags = metrics[room:], params[_BATCH_PARAMS:], tags[_BATCH_TAGS:]


def _same(a: Metrics | None, b: Metrics) -> bool:
    if a is None or a.keys() != b.keys():
        return False
    return all(a[key] == b[key] or (math.isnan(a[key]) and math.isnan(b[key])) for key in a)


def _description(header: StudyHeader) -> str:
    """The study in two sentences of Markdown."""
    rows = ", ".join(f"{count} for {split}" for split, count in header.dataset.items() if isinstance(count, int))
    return (
        f"Search for the configuration with the best `{header.objective.metric}` (to be {header.objective.direction}d) "
        f"on **{header.dataset.get('name', 'unnamed data')}**" + (f", {rows}" if rows else "") + ". "
        f"`kerasweep show {header.id}` lists the best trials; the figures are among the artifacts."
    )
