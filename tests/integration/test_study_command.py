"""Whole runs, as a user starts them: what is delivered, recorded and left behind, also when a run is cut short."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

import kerasweep
from kerasweep.data import load_search
from kerasweep.pipeline import PipelineResult
from kerasweep.records import Status, StudyRecord, Trial, winner
from kerasweep.report import top
from kerasweep.spec import LoadedPipeline, load_pipeline
from kerasweep.study.events import Silent
from kerasweep.study.run import KEPT_TRIALS
from kerasweep.tracking import StudyStore, open_store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

BUILDERS = """
import time

import keras


@keras.saving.register_keras_serializable()
class Slow(keras.Sequential):
    def train_step(self, data):
        time.sleep(0.1)
        return super().train_step(data)


def network(kind, units, input_shape, n_outputs, output_activation):
    hidden, out = keras.layers.Dense(units), keras.layers.Dense(n_outputs, output_activation)
    return kind([keras.Input(input_shape), hidden, out])


def slow(units, **data):
    model = network(Slow, units, (13,), 3, "softmax")
    model.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
    return model


def broken(units):
    raise ValueError("no such architecture")


def moody(units, mood, input_shape, n_outputs, output_activation):
    if mood == "bad":
        raise ValueError("in a bad mood")
    return network(keras.Sequential, units, input_shape, n_outputs, output_activation)
"""

UNITS = {"type": "int", "min": 1, "max": 60}


def written(folder: Path, builder: str, search: Mapping[str, Any], **sections: Any) -> Path:
    """A pipeline file with the user's module beside it."""
    (folder / "builders.py").write_text(BUILDERS)
    pipeline = {
        "name": "tiny",
        "data": {"name": "wine"},
        "model": {"builder": f"builders:{builder}"},
        "space": {"parameters": {"units": UNITS}},
        "search": {"searcher": "random", "scheduler": "none", "seed": 3, **search},
        "training": {"early_stopping": None},
        "retrain": None,
        "export": {"formats": []},
        "register": None,
        **sections,
    }
    file = folder / "pipeline.yaml"
    file.write_text(json.dumps(pipeline))  # JSON is YAML
    return file


class Command:
    """A ``kerasweep`` process in a folder of its own, and in a process group of its own, as in a terminal."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        with (folder / "stdout").open("w") as out, (folder / "stderr").open("w") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "kerasweep", *arguments],
                cwd=folder,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    @property
    def stdout(self) -> str:
        return (self.folder / "stdout").read_text()

    @property
    def stderr(self) -> str:
        return (self.folder / "stderr").read_text()

    @property
    def store(self) -> StudyStore:
        return open_store(f"sqlite:///{self.folder}/mlruns/mlflow.db")

    def wait_for(self, text: str, seconds: float = 120) -> None:
        """Waits until standard error holds a text."""
        until = time.monotonic() + seconds
        while text not in self.stderr:
            if self.process.poll() is not None or time.monotonic() > until:
                pytest.fail(f"{text!r} must come. Received: {self.stderr}")
            time.sleep(0.05)

    def interrupt(self) -> list[psutil.Process]:
        """Ctrl-C, which reaches the whole process group; returns all processes that the command had then."""
        family = psutil.Process(self.process.pid).children(recursive=True)
        os.killpg(self.process.pid, signal.SIGINT)
        return family

    def end(self, seconds: float = 120) -> int:
        try:
            return self.process.wait(seconds)
        finally:
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)


def none_left(family: list[psutil.Process]) -> None:
    assert family
    _, alive = psutil.wait_procs(family, timeout=15)
    assert [process.cmdline() for process in alive] == []


@pytest.fixture(scope="module", autouse=True)
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    """A run with a time limit, which passes while the other tests run."""
    folder = tmp_path_factory.mktemp("limited")
    search = {"trials": 30, "max_epochs": 100_000, "time_limit": "90s"}
    command = Command(folder, "run", str(written(folder, "slow", search, export={"formats": ["keras"]})), "--json")
    yield command
    if command.process.poll() is None:
        os.killpg(command.process.pid, signal.SIGKILL)


@dataclass
class Notes(Silent):
    """Keeps what the study itself says about its trials."""

    ended: dict[int, Trial] = field(default_factory=dict)

    def trial_ended(self, trial: Trial) -> None:
        self.ended[trial.number] = trial


@dataclass(frozen=True)
class Finished:
    """A run that is over: what it returned, and what it said."""

    folder: Path
    loaded: LoadedPipeline
    result: PipelineResult
    notes: Notes

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.folder}/mlruns/mlflow.db"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("finished")
    mood = {"type": "choice", "values": ["good", "better", "bad"]}
    rate = {"type": "float", "min": 1e-4, "max": 1e-1, "log": True}
    space = {"parameters": {"units": UNITS, "mood": mood, "learning_rate": rate}}
    search = {"seed": 4, "trials": 10, "max_epochs": 4, "scheduler": {"name": "hyperband", "eta": 2.0}}
    more = {"space": space, "retrain": {"seeds": 2}, "export": {"formats": ["keras"]}, "register": {}}
    loaded = load_pipeline(written(folder, "moody", search, **more))
    notes = Notes()
    before = Path.cwd()
    os.chdir(folder)
    try:
        result = kerasweep.run(loaded, observer=notes)
    finally:
        os.chdir(before)
    return Finished(folder, loaded, result, notes)


def test_mlflow_holds_exactly_what_was_trained(finished: Finished, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(finished.uri)
    (experiment,) = (e for e in client.search_experiments() if e.name == "tiny")
    runs = {run.data.tags["kerasweep.kind"]: run for run in client.search_runs([experiment.experiment_id])}
    parent = runs["study"].info.run_id
    children = client.search_runs([experiment.experiment_id], "tags.`kerasweep.kind` = 'trial'")
    trials = finished.notes.ended
    assert {int(run.data.tags["kerasweep.trial"]) for run in children} == trials.keys() == set(range(10))
    assert {trial.status for trial in trials.values()} == {Status.FINISHED, Status.STOPPED, Status.FAILED}
    kept = {trial.number for trial in top(tuple(trials.values()), finished.loaded.spec.objective, KEPT_TRIALS)}
    assert len(kept) == KEPT_TRIALS
    for run in children:
        trial = trials[int(run.data.tags["kerasweep.trial"])]
        assert run.data.tags["mlflow.parentRunId"] == parent
        ended = {Status.FINISHED: "FINISHED", Status.STOPPED: "KILLED", Status.FAILED: "FAILED"}[trial.status]
        assert (run.info.status, run.data.tags.get("kerasweep.reason", "")) == (ended, trial.reason)
        assert run.info.end_time >= run.info.start_time
        assert run.data.params == {name: str(value) for name, value in trial.params.items()}
        for name in ("loss", "val_loss", "accuracy", "val_accuracy", "loss_ratio"):
            logged = {point.step: point.value for point in client.get_metric_history(run.info.run_id, name)}
            assert logged == dict(enumerate(trial.curve(name), 1))
        losses = zip(trial.curve("loss"), trial.curve("val_loss"), strict=True)
        assert trial.curve("loss_ratio") == pytest.approx([validation / training for training, validation in losses])
        figures = [file.path for file in client.list_artifacts(run.info.run_id, "figures")]
        assert figures == (["figures/learning_curve.png"] if trial.number in kept else [])
        files = [file.path for file in client.list_artifacts(run.info.run_id, "weights")]
        assert files == (["weights/cohort.npz"] if trial.number in kept else [])

    drawn = {Path(file.path).stem for file in client.list_artifacts(parent, "figures")}
    assert {"best_over_time", "learning_curves"} <= drawn
    assert {path.path for path in client.list_artifacts(parent, "spec")} == {"spec/pipeline.json", "spec/pipeline.yaml"}

    record = open_store(finished.uri).load(finished.result.study)
    assert {trial.number: trial for trial in record.trials}.keys() == trials.keys()
    for trial in record.trials:
        mine = trials[trial.number]
        assert (trial.params, trial.seed, trial.status, trial.reason) == (
            mine.params,
            mine.seed,
            mine.status,
            mine.reason,
        )
        assert (trial.history, trial.value, trial.epoch) == (mine.history, mine.value, mine.epoch)
    check_summary(finished, record)


def check_summary(finished: Finished, record: StudyRecord) -> None:
    result = finished.result
    assert (record.status, result.status) == ("finished", "finished")
    best = winner(record.trials, record.objective)
    assert best is not None
    assert result.best is not None
    assert result.best.number == best.number
    told = result.to_json()
    assert {key: record.summary[key] for key in ("best", "trials", "test", "baselines", "spread", "model")} == {
        key: json.loads(json.dumps(told[key])) for key in ("best", "trials", "test", "baselines", "spread", "model")
    }
    assert sum(result.trials.values()) == 10
    assert set(result.spread["accuracy"])
    assert result.spread["accuracy"][0] <= result.spread["accuracy"][2]
    assert result.model is not None
    assert (result.model.version, result.model.moved) == (1, True)
    assert Path(result.exports["keras"]).exists()


def test_any_kept_trial_of_an_old_study_can_be_exported(finished: Finished, tmp_path: Path) -> None:
    record = open_store(finished.uri).load(finished.result.study)
    trial = top(record.trials, record.objective, KEPT_TRIALS)[-1]
    out = tmp_path / "out"
    arguments = ["export", record.id, "--trial", str(trial.number), "--format", "keras", "--out", str(out)]
    command = Command(tmp_path, *arguments, "--tracking-uri", finished.uri)
    assert command.end() == 0, command.stderr
    kind, _, path = command.stdout.strip().partition(": ")
    assert kind == "keras"

    import keras

    data = load_search(finished.loaded.spec.data, finished.folder)
    model = keras.models.load_model(path)
    from kerasweep.delivery import predict

    likelihoods = predict(model, data.validation.x)[np.arange(len(data.validation)), data.validation.y]
    assert trial.value == pytest.approx(-np.log(likelihoods).mean(), rel=1e-4)


def test_a_trial_whose_weights_were_not_kept_cannot_be_exported(finished: Finished) -> None:
    from kerasweep.errors import StudyNotFound
    from kerasweep.pipeline import export_trial

    failed = next(t.number for t in finished.notes.ended.values() if t.status is Status.FAILED)
    for number, message in ((failed, f"Received: trial {failed}"), (99, "must be one of .* 10. Received: 99")):
        with pytest.raises(StudyNotFound, match=message):
            export_trial("tiny", ["keras"], finished.folder / "no", trial=number, tracking_uri=finished.uri)


def test_ctrl_c_ends_the_search_and_delivers_the_best(tmp_path: Path) -> None:
    search = {"trials": 30, "max_epochs": 100_000, "scheduler": "hyperband"}
    command = Command(tmp_path, "run", str(written(tmp_path, "slow", search, export={"formats": ["keras"]})), "--json")
    command.wait_for("new best")
    family = command.interrupt()
    assert command.end() == 130, command.stderr
    none_left(family)
    told = json.loads(command.stdout)
    assert told["status"] == "interrupted"
    cohort = told["trials"]["stopped"]
    assert cohort > 1
    assert told["trials"] == {"finished": 0, "stopped": cohort, "failed": 0}
    assert 0 <= told["test"]["accuracy"] <= 1
    assert Path(told["exports"]["keras"]).exists()
    record = command.store.load(told["study"])
    assert record.status == "interrupted"
    assert [(t.status, t.reason) for t in record.trials] == [(Status.STOPPED, "interrupted")] * cohort
    assert told["best"]["value"] == min(t.value for t in record.trials if t.value is not None)
    (folder,) = (tmp_path / "mlruns" / "studies").iterdir()
    assert {path.name for path in folder.iterdir()} == {"journal.jsonl", "lock", "weights", "checkpoints"}  # to go on


@pytest.mark.parametrize("sign", ["search:", ""], ids=["searching", "starting"])
def test_ctrl_c_before_the_first_epoch_says_that_there_is_nothing(tmp_path: Path, sign: str) -> None:
    command = Command(tmp_path, "run", str(written(tmp_path, "slow", {"trials": 30, "max_epochs": 100_000})))
    if sign:
        command.wait_for(sign)
    else:
        until = time.monotonic() + 60
        while len(psutil.Process(command.process.pid).children(recursive=True)) < 2 and time.monotonic() < until:
            time.sleep(0.05)
    family = command.interrupt()
    assert command.end() == 130, command.stderr
    none_left(family)
    if sign:  # while starting, the signal may hit any library's import, and Python tells of some of that
        assert "Traceback" not in command.stderr
        assert "no trial" in command.stdout + command.stderr
        (record,) = command.store.list()
        assert record.status == "interrupted"
        assert all(t.status is Status.STOPPED and t.history == () for t in command.store.load(record.id).trials)


def test_when_all_trials_fail_alike_the_study_stops_and_says_why(tmp_path: Path) -> None:
    command = Command(tmp_path, "run", str(written(tmp_path, "broken", {"trials": 40, "max_epochs": 3})))
    assert command.end() == 1, command.stderr
    line = next(n for n, text in enumerate(BUILDERS.splitlines(), 1) if "no such architecture" in text)
    reason = f"ValueError: no such architecture (builders.py:{line})"
    assert f"the first 5 trials all failed in the same way: {reason}" in command.stderr
    assert "Traceback" not in command.stderr
    record = command.store.load("tiny")
    assert record.status == "failed"
    failed = [trial for trial in record.trials if trial.status is Status.FAILED]
    assert 5 <= len(failed) <= len(record.trials) <= 16  # a cohort of a builder's models
    assert {trial.reason for trial in failed} == {reason}


def test_cards_that_are_not_there_are_an_error_before_anything_runs(tmp_path: Path) -> None:
    file = written(tmp_path, "slow", {"trials": 4}, resources={"gpus_per_trial": 64})
    command = Command(tmp_path, "run", str(file))
    assert command.end() == 1
    assert "gpus_per_trial must be at most what is there" in command.stderr
    assert "Received: 64" in command.stderr
    assert all(command.store.load(each.id).trials == () for each in command.store.list())


def test_the_time_limit_ends_the_search_and_delivers_the_best(limited: Command) -> None:
    assert limited.end() == 0, limited.stderr
    told = json.loads(limited.stdout)
    assert told["status"] == "finished"
    assert told["seconds"]["search"] < 240
    cohort = told["trials"]["stopped"]
    assert cohort > 1
    assert Path(told["exports"]["keras"]).exists()
    record = limited.store.load(told["study"])
    assert [(t.status, t.reason) for t in record.trials] == [(Status.STOPPED, "time limit")] * cohort
    best = winner(record.trials, record.objective)
    assert best is not None
    assert best.value is not None
    assert math.isfinite(best.value)
    assert told["best"]["trial"] == best.number
