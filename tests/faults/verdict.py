"""Whether a study that was disturbed is the same as one that was not, in all that it left behind."""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kerasweep.records import Status, Trial
from kerasweep.study.folder import studies
from kerasweep.study.journal import whole
from kerasweep.study.replay import Retold, retell
from kerasweep.tracking import layout, open_store

COMPARED = (
    "the journal's trials bit for bit: params, seed, status, reason, history, value, epoch, changes",
    "the study's summary: best trial, counts, test metrics, baselines",
    "the trials that StudyStore loads, field by field",
    "MLflow's own client: one parent run and one child run a trial, with one point an epoch and metric, of the "
    "journal's value; statuses, params, the best value and its curve",
    "the artifacts' paths of every run, the kept weights bit for bit",
    "one registered version and one logged model, their metrics, and the alias",
    "the exported model's weights bit for bit",
    "no checkpoints, drafts or half-written files in the study's folders",
)

_FIELDS = ("number", "params", "seed", "status", "reason", "history", "value", "epoch", "changes")
_ENDED = {Status.FINISHED: "FINISHED", Status.STOPPED: "KILLED", Status.FAILED: "FAILED"}


@dataclass(frozen=True)
class Left:
    """What a finished study left behind.

    Attributes:
        name: of its experiment.
        journal: its file.
        retold: what that tells.
        runs: of its trials in MLflow, by number, as comparable values.
        study: the parent run, likewise.
        versions: that it registered, likewise.
        weights: of the kept trials and of the exported model, by name.
        problems: what is wrong in itself.
    """

    name: str
    journal: Path
    retold: Retold
    runs: Mapping[int, Mapping[str, Any]]
    study: Mapping[str, Any]
    versions: list[Mapping[str, Any]]
    weights: Mapping[str, bytes]
    problems: list[str]

    @property
    def points(self) -> int:
        """Of the curves of its trials."""
        return sum(len(metrics) for trial in self.retold.trials for metrics in trial.history)


def differences(undisturbed: Left, disturbed: Left) -> list[str]:
    """What is not the same, one line each."""
    return [f"{disturbed.name}: {line}" for line in (*disturbed.problems, *_differences(undisturbed, disturbed))]


def _differences(undisturbed: Left, disturbed: Left) -> Iterator[str]:
    then, now = (left.retold for left in (undisturbed, disturbed))
    yield from _unlike("trials", *([trial.number for trial in each.trials] for each in (then, now)))
    for old, new in zip(then.trials, now.trials, strict=False):
        for name in _FIELDS:
            yield from _unlike(f"trial {old.number}: {name}", getattr(old, name), getattr(new, name))
    for name in ("best", "trials", "test", "spread", "baselines"):
        yield from _unlike(f"summary: {name}", then.summary.get(name), now.summary.get(name))
    for name in ("study", "runs", "versions", "weights"):
        yield from _unlike(f"{name}", getattr(undisturbed, name), getattr(disturbed, name))


def _unlike(what: str, old: Any, new: Any) -> Iterator[str]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys([*old, *new]):
            yield from _unlike(f"{what} {key}", old.get(key), new.get(key))
    elif old != new:
        yield f"{what} was {_shown(old)}, now {_shown(new)}"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) < 300 else f"{text[:300]}…"


def examine(uri: str, experiment: str, folder: Path) -> Left:
    """What a finished study left behind.

    Args:
        uri: of the tracking server.
        experiment: of the study.
        folder: in which it ran.
    """
    from mlflow import MlflowClient

    problems: list[str] = []
    journal = studies(folder / "mlruns" / "studies")[0].journal
    retold = retell(whole(journal).events)
    if (retold.status, retold.searched) != ("finished", True):
        problems.append(f"the journal's status is {retold.status!r}, searched {retold.searched}")
    problems += _of_store(open_store(uri).load(retold.header.id), retold)
    client = MlflowClient(uri)
    known = client.get_experiment_by_name(experiment)
    runs = client.search_runs([known.experiment_id], max_results=1000)
    kinds = Counter(run.data.tags[layout.KIND] for run in runs)
    if kinds != {"study": 1, "trial": len(retold.trials)}:
        problems.append(f"MLflow has the runs {dict(sorted(kinds.items()))}")
    by_number = {int(run.data.tags[layout.TRIAL]): run for run in runs if run.data.tags[layout.KIND] == "trial"}
    parent = next(run for run in runs if run.data.tags[layout.KIND] == "study")
    for trial in retold.trials:
        problems += _of_run(client, by_number[trial.number], trial, parent.info.run_id)
    problems += _of_parent(client, parent, retold)
    models = client.search_logged_models([known.experiment_id])
    if [(model.status.value, model.source_run_id) for model in models] != [("READY", parent.info.run_id)]:
        problems.append(f"MLflow has the logged models {[(model.name, model.status.value) for model in models]}")
    versions = client.search_model_versions(f"name='{retold.header.name}'")
    own = [version for version in versions if version.tags[layout.STUDY] == retold.header.id]
    champion = client.get_model_version_by_alias(retold.header.name, "champion")
    newest = max((version.version for version in versions), key=int)
    if len(own) != 1 or champion.version != newest:
        problems.append(f"the study has the versions {[v.version for v in own]}, the alias is at {champion.version}")
    problems += _of_files(folder, journal.parent)
    return Left(
        name=experiment,
        journal=journal,
        retold=retold,
        runs={number: _comparable(client, run) for number, run in by_number.items()},
        study=_comparable(client, parent),
        versions=[
            {tag: text for tag, text in each.tags.items() if tag != layout.STUDY} | {"status": each.status}
            for each in own
        ],
        weights=_weights(folder, journal.parent),
        problems=problems,
    )


def _of_store(record: Any, retold: Retold) -> Iterator[str]:
    if record.status != "finished":
        yield f"the store says that the study is {record.status}"
    for told, kept in zip(retold.trials, record.trials, strict=False):
        for name in (*_FIELDS, "seconds"):
            yield from _unlike(f"in the store, trial {told.number}: {name}", getattr(told, name), getattr(kept, name))
    yield from _unlike("in the store, trials", len(retold.trials), len(record.trials))


def _of_run(client: Any, run: Any, trial: Trial, parent: str) -> Iterator[str]:
    """What of a trial's run is not as the journal says."""
    where = f"in MLflow, trial {trial.number}"
    yield from _unlike(f"{where}: status", _ENDED[trial.status], run.info.status)
    yield from _unlike(f"{where}: parent", parent, run.data.tags.get(layout.PARENT))
    yield from _unlike(f"{where}: params", {name: str(value) for name, value in trial.params.items()}, run.data.params)
    expected: dict[str, dict[int, float]] = {layout.quote(name): {} for metrics in trial.history for name in metrics}
    for epoch, metrics in enumerate(trial.history, 1):
        for name, value in metrics.items():
            expected[layout.quote(name)][epoch] = value
    own = {layout.BEST_VALUE: trial.value, layout.BEST_EPOCH: trial.epoch, layout.EPOCHS: len(trial.history)}
    expected |= {key: {0: float(value)} for key, value in own.items() if value is not None}
    yield from _unlike(f"{where}: metrics", {*expected, layout.SECONDS}, set(run.data.metrics))
    for key, curve in expected.items():
        points = client.get_metric_history(run.info.run_id, key)
        found = {point.step: layout.decode_metric(point.value) for point in points}
        yield from _unlike(f"{where}: {key}", curve, found)
        yield from _unlike(f"{where}: points of {key}", len(curve), len(points))


def _of_parent(client: Any, run: Any, retold: Retold) -> Iterator[str]:
    yield from _unlike("in MLflow: status", "FINISHED", run.info.status)
    points = client.get_metric_history(run.info.run_id, layout.BEST_VALUE)
    yield from _unlike("in MLflow: steps of the best value", [*range(1, len(points) + 1)], [p.step for p in points])
    best = retold.summary["best"]["value"]
    yield from _unlike("in MLflow: best value", best, run.data.metrics[layout.BEST_VALUE])


def _of_files(folder: Path, study: Path) -> Iterator[str]:
    """Files that should not be there."""
    for path in sorted(study.rglob("*")):
        inside = path.relative_to(study)
        known = str(inside) in ("journal.jsonl", "lock", "weights") or inside.parts[0] == "weights"
        if not known or path.suffix == ".partial":
            yield f"left behind: {inside}"
    if others := [path.name for path in study.parent.iterdir() if path != study]:
        yield f"left behind: other studies {others}"
    for path in sorted((folder / "mlruns" / "exports").rglob("*")):
        if path.name not in (study.name, "model.keras"):
            yield f"left behind: {path.relative_to(folder)}"
    for path in sorted((folder / "tmp").iterdir()):
        if path.name != "ray" and not path.name.endswith(".lock"):
            yield f"left behind: tmp/{path.name}"


def _comparable(client: Any, run: Any) -> dict[str, Any]:
    """A run without what differs by its nature: ids, times, and where it ran."""
    summarised = {f"{layout.SUMMARY}{name}" for name in ("seconds", "exports", "model")}
    differs = {layout.STUDY, layout.PARENT, layout.DIRECTORY, "mlflow.runName", "mlflow.note.content"}
    tags = {
        tag: text
        for tag, text in run.data.tags.items()
        if tag not in differs and layout.unquote(layout.whole_tag(tag)) not in summarised
    }
    timed = ("seconds", "model/version")
    metrics = {key: value for key, value in run.data.metrics.items() if not layout.unquote(key).startswith(timed)}
    return {
        "status": run.info.status,
        "tags": tags,
        "params": dict(run.data.params),
        "metrics": metrics,
        "artifacts": sorted(_paths(client, run.info.run_id, None)),
    }


def _paths(client: Any, run: str, folder: str | None) -> Iterator[str]:
    for entry in client.list_artifacts(run, folder):
        if entry.is_dir:
            yield from _paths(client, run, entry.path)
        else:
            yield entry.path


def _weights(folder: Path, study: Path) -> dict[str, bytes]:
    """Of the kept trials and of the exported model, as bytes."""
    found: dict[str, bytes] = {}
    for path in sorted(study.glob("weights/*/cohort.npz")):
        with np.load(path) as archive:
            found |= {f"{path.parent.name}/{name}": archive[name].tobytes() for name in archive.files}
    for path in sorted((folder / "mlruns" / "exports").rglob("*.keras")):
        found |= {f"exported {name}": values for name, values in _keras_weights(path).items()}
    return found


def _keras_weights(path: Path) -> dict[str, bytes]:
    import h5py

    values: dict[str, bytes] = {}
    with zipfile.ZipFile(path) as archive, archive.open("model.weights.h5") as stream, h5py.File(stream) as file:

        def keep(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset):
                values[name] = np.asarray(item).tobytes()

        file.visititems(keep)
    return values
