"""Reads studies back from MLflow, in few queries."""

from __future__ import annotations

import builtins
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from kerasweep.errors import StudyNotFound
from kerasweep.records import Direction, Metrics, Objective, Status, StudyRecord, Trial
from kerasweep.tracking import layout, runs
from kerasweep.tracking.opening import connect, translated
from kerasweep.tracking.uris import is_server, redact

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

_ASKABLE = re.compile(r"[A-Za-z0-9._@-]+")  # what ids and names are made of: nothing that ends a quoted string
_RUN_ID = re.compile(r"[0-9a-f]{32}")
_SERVER_THREADS = 8


class MlflowStore:
    """Studies in MLflow, as ``base.StudyStore`` describes.

    Args:
        uri: a resolved address.
        experiment: only the studies of this one; of all if left out.
    """

    def __init__(self, uri: str, experiment: str | None = None) -> None:
        self._uri = uri
        self._experiment = experiment

    def list(self) -> tuple[StudyRecord, ...]:
        """All studies, newest first, without their trials and specs."""
        client = connect(self._uri, create=False)
        if client is None:
            return ()
        with translated(self._uri):
            return tuple(_overview(run) for run in self._studies(client))

    def load(self, study: str) -> StudyRecord:
        """One study with its trials, by id, by name (the newest of that name) or by the id of its MLflow run.

        Raises:
            StudyNotFound: the store holds none, and the message lists the nearest names; or not all of it yet, since it
                is just being begun.
        """
        client, run = self._found(study)
        with translated(self._uri):
            record = _overview(run)
            if not client.list_artifacts(run.info.run_id, str(PurePosixPath(layout.SPEC_FILE).parent)):
                raise StudyNotFound(
                    f"a study must have been recorded with its specification. Received: {record.id}, without one so far"
                )
            spec = _artifact_text(client, run.info.run_id, layout.SPEC_FILE)
            trials = self._trials(client, run)
        return StudyRecord(
            id=record.id,
            name=record.name,
            status=record.status,
            started=record.started,
            objective=record.objective,
            spec=spec,
            trials=trials,
            summary=record.summary,
            directory=record.directory,
        )

    def fetch_files(self, study_id: str, folder: str, into: Path, trial: int | None = None) -> tuple[Path, ...]:
        """Copies the files of an artifact folder into a directory; empty when there are none.

        Args:
            study_id: as ``load`` takes it.
            folder: of the artifacts, e.g. ``figures``.
            into: created if needed; the folder's content lies directly in it.
            trial: a trial's artifacts instead of the study's.

        Raises:
            StudyNotFound: there is no such study, or it has no such trial.
        """
        client, run = self._found(study_id)
        with translated(self._uri):
            if trial is not None:
                run = self._trial_run(client, run, trial)
            if not client.list_artifacts(run.info.run_id, folder):
                return ()
            with tempfile.TemporaryDirectory(prefix="kerasweep-fetch-") as scratch:
                fetched = Path(client.download_artifacts(run.info.run_id, folder, scratch))
                shutil.copytree(fetched, into, dirs_exist_ok=True)
                names = [path.relative_to(fetched) for path in sorted(fetched.rglob("*")) if path.is_file()]
        return tuple(into / name for name in names)

    def run_id(self, study: str) -> str:
        """The id of a study's parent run in MLflow.

        Raises:
            StudyNotFound: the store holds none; the message lists the nearest names.
        """
        return str(self._found(study)[1].info.run_id)

    def _found(self, study: str) -> tuple[MlflowClient, Run]:
        client = connect(self._uri, create=False)
        if client is None:
            raise StudyNotFound(
                f"a study must be in the store. Received: {study!r}, but there is no store at {redact(self._uri)}"
            )
        with translated(self._uri):
            run = self._find(client, study)
            if run is not None:
                return client, run
            tags = [known.data.tags for known in self._studies(client)]
        names = list(dict.fromkeys(name for tag in tags for name in (tag[layout.STUDY], tag[layout.NAME])))
        near = get_close_matches(study, names, n=5, cutoff=0.4)
        hint = f" Did you mean {', '.join(near)}?" if near else f" It holds {len(tags)} studies."
        raise StudyNotFound(f"a study must be in the store {redact(self._uri)}.{hint} Received: {study!r}")

    def _find(self, client: MlflowClient, study: str) -> Run | None:
        if not _ASKABLE.fullmatch(study):
            return None
        for tag in (layout.STUDY, layout.NAME):
            for run in self._studies(client, f" and tags.`{tag}` = '{study}'"):
                return run
        if _RUN_ID.fullmatch(study):
            for run in self._studies(client, f" and attributes.run_id = '{study}'"):
                return run
        return None

    def _studies(self, client: MlflowClient, also: str = "") -> Iterator[Run]:
        """Parent runs, newest first."""
        if self._experiment is None:
            experiments = runs.pages(lambda token: client.search_experiments(max_results=runs.PAGE, page_token=token))
            ids = [experiment.experiment_id for experiment in experiments]
        else:
            experiment = client.get_experiment_by_name(self._experiment)
            ids = [] if experiment is None else [experiment.experiment_id]
        if not ids:
            return iter(())
        return runs.search(client, ids, f"tags.`{layout.KIND}` = 'study'{also}", "attributes.start_time DESC")

    def _trial_run(self, client: MlflowClient, study: Run, number: int) -> Run:
        also = f" and tags.`{layout.TRIAL}` = '{number}'"
        for run in runs.trial_runs(client, study.info.experiment_id, study.info.run_id, also):
            return run
        raise StudyNotFound(f"a trial must be in the study {study.data.tags[layout.STUDY]}. Received: trial {number}")

    def _trials(self, client: MlflowClient, study: Run) -> tuple[Trial, ...]:
        found = runs.trial_runs(client, study.info.experiment_id, study.info.run_id)
        trials = {int(run.data.tags[layout.TRIAL]): run for run in found}
        ids = {number: run.info.run_id for number, run in trials.items()}
        own = layout.OWN_METRICS
        wanted = [(ids[number], key) for number, run in trials.items() for key in run.data.metrics if key not in own]
        curves: dict[str, builtins.list[Metric]] = {run_id: [] for run_id in ids.values()}
        for (run_id, _), curve in zip(wanted, self._histories(client, wanted), strict=True):
            curves[run_id] += curve
        return tuple(_trial(trials[number], curves[ids[number]]) for number in sorted(trials))

    def _histories(self, client: MlflowClient, wanted: Sequence[tuple[str, str]]) -> Iterable[Sequence[Metric]]:
        # A database answers in 1.3 ms, and threads only contend for it; a server's answers are worth overlapping.
        if not is_server(self._uri):
            return [client.get_metric_history(*pair) for pair in wanted]
        with ThreadPoolExecutor(_SERVER_THREADS) as threads:
            return tuple(threads.map(lambda pair: client.get_metric_history(*pair), wanted))


def _overview(run: Run) -> StudyRecord:
    tags = run.data.tags
    return StudyRecord(
        id=tags[layout.STUDY],
        name=tags[layout.NAME],
        status=tags[layout.STATUS],
        started=run.info.start_time / 1000,
        objective=Objective(tags[layout.METRIC], Direction(tags[layout.DIRECTION])),
        spec="",
        summary=layout.read_summary(tags),
        directory=tags.get(layout.DIRECTORY, ""),
    )


def _trial(run: Run, logged: list[Metric]) -> Trial:
    tags, own = run.data.tags, run.data.metrics
    value, epoch = own.get(layout.BEST_VALUE), own.get(layout.BEST_EPOCH)
    return Trial(
        number=int(tags[layout.TRIAL]),
        params=layout.decode_params(run.data.params, tags.get(layout.TYPES, "")),
        seed=int(tags[layout.SEED]),
        status=Status(tags[layout.STATUS]),
        reason=tags.get(layout.REASON, ""),
        history=_history(logged, own.get(layout.EPOCHS)),
        value=None if value is None else layout.decode_metric(value),
        epoch=None if epoch is None else int(epoch),
        started=run.info.start_time / 1000,
        seconds=own.get(layout.SECONDS, 0.0),
        ended=0.0 if tags[layout.STATUS] == Status.RUNNING else (run.info.end_time or 0) / 1000,
        changes=layout.read_changes(tags),
    )


def _history(logged: list[Metric], epochs: float | None) -> tuple[Metrics, ...]:
    """Metrics per epoch; of an epoch that was logged twice the later one, and no more epochs than the trial has."""
    count = max((metric.step for metric in logged), default=0) if epochs is None else int(epochs)
    history: list[dict[str, float]] = [{} for _ in range(count)]
    latest: dict[int, int] = {}
    for metric in logged:
        latest[metric.step] = max(latest.get(metric.step, 0), metric.timestamp)
    for metric in logged:
        if metric.step <= count and metric.timestamp == latest[metric.step]:
            history[metric.step - 1][layout.unquote(metric.key)] = layout.decode_metric(metric.value)
    return tuple(history)


def _artifact_text(client: MlflowClient, run_id: str, path: str) -> str:
    with tempfile.TemporaryDirectory(prefix="kerasweep-fetch-") as scratch:
        return Path(client.download_artifacts(run_id, path, scratch)).read_text(encoding="utf-8")
