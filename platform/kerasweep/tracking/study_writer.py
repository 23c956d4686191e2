"""Writes one study into MLflow, in as few calls as it takes.

A call of MLflow on SQLite costs 3 to 6 ms of CPU time before it does anything, a metric in it a tenth of one. So
nothing is sent as it comes. A trial that has ended goes out whole: ``create_run`` with all its tags, one ``log_batch``,
``set_terminated``. A trial that runs for longer shows up after five seconds, and is brought up to date as often as a
tenth of the time allows: seldom if many trials run side by side, and then for the first time not when it shows up.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
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
_SHOW_SECONDS = 5.0  # after which what waits for a run that goes on is sent
_REST = 10  # times as long as a round over all runs that go on takes, a run is left alone
_ENDED = {Status.FINISHED: "FINISHED", Status.STOPPED: "KILLED", Status.FAILED: "FAILED"}
_STUDY_ENDED = {"finished": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}


@dataclass
class _Run:
    """A run being written, and what waits to be sent for it.

    Attributes:
        name: shown in the UI.
        started: milliseconds since the Unix epoch.
        tags: the first ones are sent with the creation.
        due: when what waits is to be sent; on the monotonic clock.
        number: of the trial, None for the study.
        id: empty until it was created.
        epochs: what was logged so far of a trial, by 1-based epoch.
        latest: the last timestamp of these, in milliseconds.
        end: MLflow's status and the time in milliseconds; None while it goes on.
    """

    name: str
    started: int
    tags: dict[str, str]
    due: float
    number: int | None = None
    id: str = ""
    metrics: list[tuple[str, float, int, int]] = field(default_factory=list)
    params: dict[str, str] = field(default_factory=dict)
    epochs: dict[int, Metrics] = field(default_factory=dict)
    latest: int = 0
    end: tuple[str, int] | None = None

    @property
    def waits(self) -> bool:
        return bool(not self.id or self.metrics or self.params or self.tags)


class StudyWriter:
    """One study's runs. Times ``at`` are milliseconds since the Unix epoch.

    ``begin_trial``, ``log_epochs`` and ``end_trial`` only take note; ``write_next`` sends it when ``due`` has come. All
    other methods may be slow.

    Args:
        client: of the store.
        experiment: its id.
        patience: how to call the store.
        lost: is told why a run could not be written as it should; the other runs go on.
    """

    def __init__(
        self, client: MlflowClient, experiment: str, patience: Patience, lost: Callable[[Exception], None]
    ) -> None:
        self._client = client
        self._experiment = experiment
        self._patience = patience
        self._lost = lost
        self._study: _Run | None = None
        self._study_id = ""
        self._objective: Objective | None = None
        self._running: dict[int, _Run] = {}
        self._ended: dict[int, _Run] = {}  # and not yet written, in the order of their ends
        self._written: dict[int, str] = {}
        self._best: float | None = None
        self._ends = 0

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
        study = _Run(header.id, round(header.started * 1000), tags, time.monotonic())
        self._create(study)
        self._study = study
        self._patience.call(self._client.log_text, study.id, header.spec, layout.SPEC_FILE)
        if header.source:
            self._patience.call(self._client.log_text, study.id, header.source, layout.SOURCE_FILE)
        self._log_dataset(study.id, header.dataset)

    def begin_trial(self, trial: Trial, at: int) -> None:
        """A trial begins; one that has begun already (it was restarted) keeps its run."""
        if trial.number in self._running:
            return
        if trial.number in self._ended or trial.number in self._written:
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
        self._running[trial.number] = _Run(
            f"trial {trial.number:04d}",
            started,
            tags,
            time.monotonic() + _SHOW_SECONDS,
            trial.number,
            params=params,
            latest=started,
        )

    def log_epochs(self, number: int, first_epoch: int, metrics: Sequence[Metrics], at: int) -> None:
        """A running trial's metrics. An epoch that is reported again replaces what was there."""
        run = self._run(number)
        run.latest = max(at, run.latest + 1)  # the latest timestamp is what counts when an epoch was logged twice
        for epoch, values in enumerate(metrics, first_epoch):
            run.epochs[epoch] = values
            run.metrics += [(layout.quote(name), value, run.latest, epoch) for name, value in values.items()]

    def end_trial(self, trial: Trial, at: int) -> None:
        """A trial ends; its run is to hold exactly what ``trial`` says."""
        self.begin_trial(trial, at)
        run = self._run(trial.number)
        for epoch, values in enumerate(trial.history, 1):
            if not _same(run.epochs.get(epoch), values):
                self.log_epochs(trial.number, epoch, [values], at)
        own = {layout.SECONDS: trial.seconds, layout.EPOCHS: float(len(trial.history))}
        if trial.value is not None:
            own[layout.BEST_VALUE] = trial.value
        if trial.epoch is not None:
            own[layout.BEST_EPOCH] = float(trial.epoch)
        run.tags.update(layout.changes_tags(trial.changes))
        self._end_run(trial.number, trial.status, trial.reason, own, at)
        self._ends += 1
        if trial.value is not None and trial.status is not Status.FAILED:
            self._note_best(trial.value)
        if self._best is not None:
            # After so many ended trials: a curve that the UI draws, and whose last point is the best.
            self._parent().metrics.append((layout.BEST_VALUE, self._best, at, self._ends))

    def log_file(self, copy: str, folder: str, trial: int | None) -> None:
        """Upload a private copy of a file or directory, then delete it with the directory it lies in."""
        try:
            self._patience.call(self._client.log_artifact, self._run_id(trial), copy, folder or None)
        finally:
            shutil.rmtree(Path(copy).parent, ignore_errors=True)

    def log_summary(self, tags: Mapping[str, str], numbers: Mapping[str, float], at: int) -> None:
        """Add tags and metrics to the parent run; see ``layout.summary_tags`` and ``layout.numbers``."""
        run = self._parent()
        run.tags.update(tags)
        run.metrics += [(name, value, at, 0) for name, value in numbers.items()]
        self._send(run)

    def end(self, status: str, at: int) -> None:
        """End the parent run. A trial that nobody ended is recorded as stopped with the epochs it reported."""
        for number, run in list(self._running.items()):
            own = {layout.EPOCHS: float(len(run.epochs))}
            self._end_run(number, Status.STOPPED, "the study ended before the trial did", own, at)
        self.flush()
        study = self._parent()
        study.tags[layout.STATUS] = status
        study.end = _STUDY_ENDED[status], at
        self._send(study)

    @property
    def goes_on(self) -> bool:
        """Whether a study was started and not ended."""
        return self._study is not None and self._study.end is None

    @property
    def due(self) -> float:
        """When ``write_next`` has something to do, on the monotonic clock; infinity if nothing waits."""
        run = self._next()
        return math.inf if run is None else run.due

    def write_next(self) -> None:
        """Send what waits for the run that is due first."""
        run = self._next()
        if run is not None:
            self._write(run, whole=False)

    def flush(self) -> None:
        """Send all that waits. One run's failure does not keep the others back."""
        for run in [*self._ended.values(), *self._running.values(), *([self._study] if self._study else [])]:
            if run.waits or run.end:
                self._write(run)

    def _next(self) -> _Run | None:
        """The run that is due first. Those that have ended are so in their own order."""
        runs = [run for run in self._running.values() if run.waits]
        if self._study is not None and self._study.waits:
            runs.append(self._study)
        runs += [run for _, run in zip(range(1), self._ended.values(), strict=False)]
        return min(runs, key=lambda run: run.due, default=None)

    def _write(self, run: _Run, whole: bool = True) -> None:
        try:
            self._send(run, whole)
        except Exception as error:  # MLflow passes on its libraries' errors; one lost run must not cost the next
            self._lost(error)

    def _parent(self) -> _Run:
        if self._study is None:
            raise TrackingError("a study must be started before anything is logged to it. Received: no start")
        return self._study

    def _run(self, number: int) -> _Run:
        if number not in self._running:
            raise TrackingError(f"epochs are logged to a trial between its begin and its end. Received: trial {number}")
        return self._running[number]

    def _run_id(self, trial: int | None) -> str:
        if trial is None:
            return self._parent().id
        if trial in self._written:
            return self._written[trial]
        run = self._ended[trial] if trial in self._ended else self._run(trial)
        self._create(run)
        return run.id

    def _end_run(self, number: int, status: Status, reason: str, own: Mapping[str, float], at: int) -> None:
        run = self._running.pop(number)
        run.metrics += [(name, value, at, 0) for name, value in own.items()]
        run.tags[layout.STATUS] = str(status)
        if reason:
            run.tags[layout.REASON] = reason
        run.end, run.due = (_ENDED[status], at), time.monotonic()
        self._ended[number] = run

    def _note_best(self, value: float) -> None:
        objective = self._objective
        if objective is not None and math.isfinite(value):
            better = self._best is None or objective.direction.better(value, self._best)
            self._best = value if better else self._best

    def _create(self, run: _Run) -> None:
        if run.id:
            return
        tags = {key: layout.clean(value) for key, value in run.tags.items()}
        created = self._patience.call(self._client.create_run, self._experiment, run.started, tags, run.name)
        run.id, run.tags = str(created.info.run_id), {}

    def _send(self, run: _Run, whole: bool = True) -> None:
        """Send what waits for a run, and its end. What was tried in vain is not tried again, except a creation.

        Unless it is to be sent whole, of a run that goes on among many others nothing but the creation is sent.
        """
        begun = time.monotonic()
        if run.number is not None and run.end is not None:
            del self._ended[run.number]
        new = not run.id
        try:
            self._create(run)
            if new and not whole and run.end is None and self._rest(run, begun) > _SHOW_SECONDS:
                return
            self._send_batches(run)
            if run.end is not None:
                self._patience.call(self._client.set_terminated, run.id, *run.end)
        finally:
            if run.number is not None and run.end is not None and run.id:
                self._written[run.number] = run.id
            run.due = time.monotonic() + self._rest(run, begun)

    def _rest(self, run: _Run, begun: float) -> float:
        """Seconds that a run is left alone after it was written, given when that began."""
        beside = 1 if run.number is None else len(self._running)
        return max(_SHOW_SECONDS, _REST * (time.monotonic() - begun) * beside)

    def _send_batches(self, run: _Run) -> None:
        from mlflow.entities import Metric, Param, RunTag

        metrics = [Metric(*entry) for entry in run.metrics]
        params = [Param(key, value) for key, value in run.params.items()]
        tags = [RunTag(key, layout.clean(value)) for key, value in run.tags.items()]
        run.metrics, run.params, run.tags = [], {}, {}
        while metrics or params or tags:
            room = _BATCH_ENTITIES - len(params[:_BATCH_PARAMS]) - len(tags[:_BATCH_TAGS])
            self._patience.call(
                self._client.log_batch, run.id, metrics[:room], params[:_BATCH_PARAMS], tags[:_BATCH_TAGS]
            )
            metrics, params, tags = metrics[room:], params[_BATCH_PARAMS:], tags[_BATCH_TAGS:]

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
