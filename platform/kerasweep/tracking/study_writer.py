"""Writes one study into MLflow, in as few calls as it takes.

A call of MLflow on SQLite costs 3 to 6 ms of CPU time before it does anything, a metric in it a tenth of one. So
nothing is sent as it comes. A trial that has ended goes out whole: ``create_run`` with all its tags, one ``log_batch``,
``set_terminated``. A trial that runs for longer shows up after five seconds, and is brought up to date as often as a
tenth of the time allows: seldom if many trials run side by side, and then for the first time not when it shows up.

A study that the store holds already is gone on with: an earlier process was killed, or wrote it whole, or in part. Its
runs are found once. One that holds its trial as it ended costs nothing more; any other is looked at and put right.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kerasweep.errors import TrackingError
from kerasweep.records import Metrics, Objective, Status, Trial
from kerasweep.tracking import layout
from kerasweep.tracking.base import StudyHeader
from kerasweep.tracking.patience import Patience
from kerasweep.tracking.run_writer import Draft, RunWriter
from kerasweep.tracking.runs import ENDED, Kept, ending, find_run, kept_trials

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_SHOW_SECONDS = 5.0  # after which what waits for a run that goes on is sent
_REST = 10  # times as long as a round over all runs that go on takes, a run is left alone
_STUDY_ENDED = {"finished": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}
_NOTE = "mlflow.note.content"  # what the UI shows on top of the run, where a user may change it


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
        self._runs = RunWriter(client, experiment, patience)
        self._study: Draft | None = None
        self._objective: Objective | None = None
        self._running: dict[int, Draft] = {}
        self._ended: dict[int, Draft] = {}  # and not yet written, in the order of their ends
        self._kept: dict[int, Kept] = {}  # written, by this process or an earlier one
        self._best: float | None = None
        self._counted: set[int] = set()  # trials that the curve of the best value goes over

    def start(self, header: StudyHeader) -> None:
        """Create the parent run with all that is known of the study, or go on with the one that the store holds."""
        self._objective = header.objective
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
            _NOTE: _description(header),
        }
        if header.git_commit:
            tags[layout.GIT_COMMIT] = header.git_commit
        study = Draft(header.id, round(header.started * 1000), _cleaned(tags), time.monotonic())
        found = self._patience.call(find_run, self._client, self._experiment, study.tags)
        if found is None:
            self._runs.create(study)
        else:
            self._go_on(study, found)
        self._study = study
        self._patience.call(self._client.log_text, study.id, header.spec, layout.SPEC_FILE)
        if header.source:
            self._patience.call(self._client.log_text, study.id, header.source, layout.SOURCE_FILE)
        self._log_dataset(study.id, header.dataset)

    def _go_on(self, study: Draft, found: Run) -> None:
        study.id, study.kept = found.info.run_id, Kept(found.info.run_id, run=found)
        if _NOTE in found.data.tags:
            study.tags[_NOTE] = found.data.tags[_NOTE]
        self._runs.send(study)
        self._kept = self._patience.call(kept_trials, self._client, self._experiment, study.id)

    def begin_trial(self, trial: Trial, at: int) -> None:
        """A trial begins. One that has begun already keeps its run, even if it has ended."""
        if trial.number in self._running:
            return
        params, types = layout.encode_params(trial.params)
        study = self._parent()
        tags = {
            layout.PARENT: study.id,
            layout.KIND: "trial",
            layout.STUDY: study.tags[layout.STUDY],
            layout.TRIAL: str(trial.number),
            layout.STATUS: str(Status.RUNNING),
            layout.SEED: str(trial.seed),
            layout.TYPES: types,
        }
        draft = Draft(
            f"trial {trial.number:04d}",
            round(trial.started * 1000) if trial.started else at,
            _cleaned(tags),
            time.monotonic() + _SHOW_SECONDS,
            trial.number,
            params=params,
        )
        if before := self._ended.pop(trial.number, None):
            draft.id, draft.kept, draft.held = before.id, before.kept, before.held
        elif kept := self._kept.pop(trial.number, None):
            draft.id, draft.kept = kept.id, kept
        self._running[trial.number] = draft

    def log_epochs(self, number: int, first_epoch: int, metrics: Sequence[Metrics], at: int) -> None:
        """A running trial's metrics. An epoch that is reported again replaces what was there."""
        draft = self._draft(number)
        for epoch, values in enumerate(metrics, first_epoch):
            draft.tell(epoch, {layout.quote(name): value for name, value in values.items()}, at)

    def end_trial(self, trial: Trial, at: int) -> None:
        """A trial ends; its run is to hold exactly what ``trial`` says."""
        at = round(trial.ended * 1000) if trial.ended else at
        kept = self._kept.get(trial.number)
        if kept is not None and kept.ending == ending(trial):
            self._kept[trial.number] = Kept(kept.id, kept.ending)  # the rest of it is needed no more
        else:
            self.begin_trial(trial, at)
            self.log_epochs(trial.number, 1, trial.history, at)
            draft = self._draft(trial.number)
            for epoch in [epoch for epoch in draft.points if epoch > len(trial.history)]:
                del draft.points[epoch]
                draft.waiting.pop(epoch, None)
            draft.params, types = layout.encode_params(trial.params)  # it may have found some itself
            draft.tags |= _cleaned({layout.TYPES: types, **layout.changes_tags(trial.changes)})
            own = {layout.SECONDS: trial.seconds, layout.EPOCHS: float(len(trial.history))}
            if trial.value is not None:
                own[layout.BEST_VALUE] = trial.value
            if trial.epoch is not None:
                own[layout.BEST_EPOCH] = float(trial.epoch)
            draft.tell(0, own, at)
            draft.ending = ending(trial)
            self._end_run(trial.number, trial.status, trial.reason, at)
        self._note_best(trial, at)

    def log_file(self, copy: str, folder: str, trial: int | None) -> None:
        """Upload a private copy of a file or directory, then delete it with the directory it lies in."""
        try:
            self._patience.call(self._client.log_artifact, self._run_id(trial), copy, folder or None)
        finally:
            shutil.rmtree(Path(copy).parent, ignore_errors=True)

    def log_summary(self, tags: Mapping[str, str], numbers: Mapping[str, float], at: int) -> None:
        """Add tags and metrics to the parent run; see ``layout.summary_tags`` and ``layout.numbers``."""
        study = self._parent()
        again = {layout.whole_tag(tag) for tag in tags}
        study.tags = {tag: text for tag, text in study.tags.items() if layout.whole_tag(tag) not in again}
        study.tags |= _cleaned(tags)
        study.tell(0, {**study.points.get(0, {}), **numbers}, at)
        self._runs.send(study)

    def end(self, status: str, at: int) -> None:
        """End the parent run. A trial that nobody ended is recorded as stopped with the epochs it reported."""
        for number in list(self._running):
            self._end_run(number, Status.STOPPED, "the study ended before the trial did", at)
        self.flush()
        study = self._parent()
        study.tags[layout.STATUS] = status
        study.end = _STUDY_ENDED[status], at
        self._runs.send(study)

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
        for draft in [*self._ended.values(), *self._running.values(), *([self._study] if self._study else [])]:
            if draft.waits or draft.end:
                self._write(draft)

    def _next(self) -> Draft | None:
        """The run that is due first. Those that have ended are so in their own order."""
        drafts = [draft for draft in self._running.values() if draft.waits]
        if self._study is not None and self._study.waits:
            drafts.append(self._study)
        drafts += [draft for _, draft in zip(range(1), self._ended.values(), strict=False)]
        return min(drafts, key=lambda draft: draft.due, default=None)

    def _write(self, draft: Draft, whole: bool = True) -> None:
        try:
            self._send(draft, whole)
        except Exception as error:  # MLflow passes on its libraries' errors; one lost run must not cost the next
            self._lost(error)

    def _parent(self) -> Draft:
        if self._study is None:
            raise TrackingError("a study must be started before anything is logged to it. Received: no start")
        return self._study

    def _draft(self, number: int) -> Draft:
        if number not in self._running:
            raise TrackingError(f"epochs are logged to a trial between its begin and its end. Received: trial {number}")
        return self._running[number]

    def _run_id(self, trial: int | None) -> str:
        if trial is None:
            return self._parent().id
        draft = self._ended.get(trial) or self._running.get(trial)
        if draft is None:
            return self._kept[trial].id if trial in self._kept else self._draft(trial).id
        if draft.kept is not None:
            self._send(draft)  # which may make another run of it
        else:
            self._runs.create(draft)
        return draft.id

    def _end_run(self, number: int, status: Status, reason: str, at: int) -> None:
        draft = self._running.pop(number)
        draft.tags[layout.STATUS] = str(status)
        if reason:
            draft.tags[layout.REASON] = layout.clean(reason)
        draft.end, draft.due = (ENDED[status], at), time.monotonic()
        self._ended[number] = draft

    def _note_best(self, trial: Trial, at: int) -> None:
        """Go on with the curve of the best value over ended trials, which the UI draws; its last point is the best."""
        if trial.number in self._counted:
            return
        self._counted.add(trial.number)
        value, objective = trial.value, self._objective
        if objective is not None and value is not None and math.isfinite(value) and trial.status is not Status.FAILED:
            better = self._best is None or objective.direction.better(value, self._best)
            self._best = value if better else self._best
        study, step = self._parent(), len(self._counted)
        if self._best is not None and step not in study.held.points:
            study.tell(step, {layout.BEST_VALUE: self._best}, at)

    def _send(self, draft: Draft, whole: bool = True) -> None:
        """Send what waits for a run, and its end.

        Unless it is to be sent whole, of a run that goes on among many others nothing but the creation is sent.
        """
        begun = time.monotonic()
        if draft.number is not None and draft.end is not None:
            del self._ended[draft.number]
        new, holds = not draft.id, None
        try:
            self._runs.create(draft)
            if new and not whole and draft.end is None and self._rest(draft, begun) > _SHOW_SECONDS:
                return
            self._runs.send(draft)
            holds = draft.ending
        finally:
            if draft.number is not None and draft.end is not None and draft.id:
                self._kept[draft.number] = Kept(draft.id, holds)
            draft.due = time.monotonic() + self._rest(draft, begun)

    def _rest(self, draft: Draft, begun: float) -> float:
        """Seconds that a run is left alone after it was written, given when that began."""
        beside = 1 if draft.number is None else len(self._running)
        return max(_SHOW_SECONDS, _REST * (time.monotonic() - begun) * beside)

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


def _cleaned(tags: Mapping[str, str]) -> dict[str, str]:
    return {key: layout.clean(text) for key, text in tags.items()}


def _description(header: StudyHeader) -> str:
    """The study in two sentences of Markdown."""
    rows = ", ".join(f"{count} for {split}" for split, count in header.dataset.items() if isinstance(count, int))
    return (
        f"Search for the configuration with the best `{header.objective.metric}` (to be {header.objective.direction}d) "
        f"on **{header.dataset.get('name', 'unnamed data')}**" + (f", {rows}" if rows else "") + ". "
        f"`kerasweep show {header.id}` lists the best trials; the figures are among the artifacts."
    )
