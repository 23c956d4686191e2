"""Every tracker keeps what it was told, in order, and gives it back unchanged."""

from __future__ import annotations

import contextlib
import math
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from kerasweep.errors import StudyNotFound, TrackingError
from kerasweep.records import Change, Direction, Metrics, Objective, Status, StudyRecord, Trial
from kerasweep.tracking import StudyHeader, StudyStore, Tracker, open_store, open_tracker

STARTED = 1_750_000_000.125
Open = Callable[[str], Tracker]


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('store')}/mlruns/mlflow.db"


@pytest.fixture(params=["mlflow"])
def opened(request: pytest.FixtureRequest, uri: str) -> Iterator[Open]:
    """Opens trackers of one implementation, each into an experiment of its own."""
    trackers: list[Tracker] = []

    def open_one(experiment: str) -> Tracker:
        trackers.append({"mlflow": open_tracker}[request.param](uri, experiment))
        return trackers[-1]

    yield open_one
    for tracker in trackers:
        tracker.close()


@pytest.fixture
def store(uri: str) -> StudyStore:
    return open_store(uri)


def header(name: str, **changes: object) -> StudyHeader:
    made = StudyHeader(
        id=f"{name}@00000001",
        name=name,
        started=STARTED,
        objective=Objective("val_loss", Direction.MINIMIZE),
        spec='{"name": "ünï"}',
        source="name: ünï\n",
        directory="/somewhere",
        seed=42,
        dataset={"name": "tiny", "fingerprint": "f" * 64, "train": 10, "validation": 4},
        versions={"keras": "3.15.1"},
        git_commit="0" * 40,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def begun(number: int, params: Mapping[str, bool | int | float | str] | None = None) -> Trial:
    params = {"units": 3, "rate": 0.1 + number, "optimizer": "sgd", "on": True} if params is None else params
    return Trial(number, params, seed=number + 7, started=STARTED + number)


def ended(trial: Trial, history: tuple[Metrics, ...], status: Status = Status.FINISHED, reason: str = "") -> Trial:
    values = {epoch: metrics.get("val_loss", math.nan) for epoch, metrics in enumerate(history, 1)}
    epoch = Objective("val_loss", Direction.MINIMIZE).best(values)
    value = None if epoch is None else values[epoch]
    end = trial.started + 10
    return replace(
        trial, status=status, reason=reason, history=history, value=value, epoch=epoch, seconds=1.25, ended=end
    )


def same(a: object, b: object) -> None:
    """Equality where NaN equals NaN and types count."""
    assert repr(a) == repr(b)


def test_a_study_comes_back_as_it_was(opened: Open, store: StudyStore) -> None:
    tracker = opened("whole")
    tracker.start(header("whole"))
    history = tuple({"loss": 1.0 / epoch, "val_loss": 2.0 / epoch} for epoch in range(1, 6))
    finished = ended(begun(0), history)
    stopped = ended(begun(1), history[:2], Status.STOPPED, "below the median")
    failed = ended(begun(2, {"text": "1", "flag": False, "count": 0}), (), Status.FAILED, "NaN\x00 at \ud800")
    for trial in (finished, stopped, failed):
        tracker.begin_trial(begun(trial.number, trial.params))
        tracker.log_epochs(trial.number, 1, trial.history[:3])
        tracker.end_trial(trial)
    tracker.log_summary({"test": {"mse": 0.25}, "exports": {"keras": "/tmp/x.keras"}})
    tracker.log_summary({"test": {"mse": 0.5}})
    tracker.end("finished")
    tracker.close()

    record = store.load("whole@00000001")
    same(record.trials, (finished, stopped, replace(failed, reason="NaN at ?")))
    assert record == StudyRecord(
        id="whole@00000001",
        name="whole",
        status="finished",
        started=STARTED,
        objective=Objective("val_loss", Direction.MINIMIZE),
        spec='{"name": "ünï"}',
        trials=record.trials,
        summary={"test": {"mse": 0.5}, "exports": {"keras": "/tmp/x.keras"}},
        directory="/somewhere",
    )


def test_nan_infinity_gaps_and_odd_names_survive(opened: Open, store: StudyStore) -> None:
    tracker = opened("odd")
    tracker.start(header("odd"))
    history: tuple[Metrics, ...] = (
        {"loss": math.nan, "val_loss": math.inf, "precision@0.5": 1e-310},
        {},
        {"loss": -math.inf, "seconds": 3.0, "best_value": 4.0, "a/b": 0.1},
        {},
    )
    trial = ended(begun(0), history, Status.FAILED, "NaN")
    tracker.begin_trial(begun(0))
    tracker.end_trial(trial)
    tracker.close()
    same(tuple(map(sorted_items, store.load("odd").trials[0].history)), tuple(map(sorted_items, history)))


def sorted_items(metrics: Metrics) -> list[tuple[str, float]]:
    return sorted(metrics.items())


def test_changes_on_the_way_come_back(opened: Open, store: StudyStore) -> None:
    tracker = opened("changes")
    tracker.start(header("changes"))
    changes = tuple(Change(epoch, {"rate": epoch / 3, "units": epoch, "on": True, "text": "ü"}) for epoch in range(200))
    trials = [
        replace(ended(begun(number), ({"val_loss": 1.0},)), changes=changes[:count])
        for number, count in enumerate((0, 1, 200))
    ]
    for trial in trials:
        tracker.end_trial(trial)
    tracker.close()
    same(store.load("changes").trials, tuple(trials))


def test_epochs_reported_again_after_a_restart_count_as_the_trial_says(opened: Open, store: StudyStore) -> None:
    tracker = opened("restart")
    tracker.start(header("restart"))
    tracker.begin_trial(begun(0))
    tracker.log_epochs(0, 1, [{"val_loss": 3.0}, {"val_loss": 2.0, "extra": 1.0}, {"val_loss": 1.0}, {"val_loss": 0.5}])
    tracker.begin_trial(begun(0))
    tracker.log_epochs(0, 2, [{"val_loss": 2.5}])
    trial = ended(begun(0), ({"val_loss": 3.0}, {"val_loss": 2.5}, {"val_loss": 1.5}))
    tracker.end_trial(trial)
    tracker.close()
    assert store.load("restart").trials == (trial,)


def test_a_trial_that_never_began_is_kept_too(opened: Open, store: StudyStore) -> None:
    tracker = opened("late")
    tracker.start(header("late"))
    trial = ended(begun(5), ({"val_loss": 1.0},))
    tracker.end_trial(trial)
    tracker.close()
    assert store.load("late").trials == (trial,)


def test_an_interrupt_keeps_running_trials(opened: Open, store: StudyStore) -> None:
    tracker = opened("interrupt")
    tracker.start(header("interrupt"))
    tracker.begin_trial(begun(0))
    tracker.log_epochs(0, 1, [{"val_loss": 1.0}])
    tracker.end("interrupted")
    tracker.close()
    record = store.load("interrupt")
    assert record.status == "interrupted"
    assert record.trials[0].status is Status.STOPPED
    assert record.trials[0].reason
    assert record.trials[0].history == ({"val_loss": 1.0},)


def test_a_study_in_progress_can_be_watched(opened: Open, store: StudyStore) -> None:
    tracker = opened("watched")
    tracker.start(header("watched"))
    tracker.begin_trial(begun(0))
    tracker.log_epochs(0, 1, [{"val_loss": 1.0}])
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        time.sleep(0.25)
        try:
            record = store.load("watched")
        except StudyNotFound:
            continue
        if record.trials and record.trials[0].history:
            break
    assert record.status == "running"
    assert record.trials[0].status is Status.RUNNING
    assert record.trials[0].history == ({"val_loss": 1.0},)


def test_after_a_flush_everything_so_far_can_be_read(opened: Open, store: StudyStore) -> None:
    tracker = opened("flushed")
    tracker.start(header("flushed"))
    tracker.begin_trial(begun(0))
    tracker.log_epochs(0, 1, [{"val_loss": 1.0}])
    tracker.flush()
    assert store.load("flushed").trials[0].history == ({"val_loss": 1.0},)


def test_after_a_flush_without_trials_the_study_can_be_read(opened: Open, store: StudyStore) -> None:
    tracker = opened("begun")
    tracker.start(header("begun"))
    tracker.flush(trials=False)
    assert store.load("begun").status == "running"


def test_files_are_copied_at_the_call(opened: Open, store: StudyStore, tmp_path: Path) -> None:
    tracker = opened("files")
    tracker.start(header("files"))
    tracker.begin_trial(begun(3))
    file, folder = tmp_path / "figure.txt", tmp_path / "saved"
    file.write_text("before")
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "weights").write_bytes(b"\x00\x01")
    tracker.log_files([file, folder], "figures")
    tracker.log_files([file], "weights", trial=3)
    file.unlink()
    tracker.end_trial(ended(begun(3), ()))
    tracker.close()
    into = tmp_path / "out"
    fetched = store.fetch_files("files@00000001", "figures", into)
    assert fetched == (into / "figure.txt", into / "saved" / "inner" / "weights")
    assert [path.read_bytes() for path in fetched] == [b"before", b"\x00\x01"]
    assert store.fetch_files("files", "weights", tmp_path / "own", trial=3) == (tmp_path / "own" / "figure.txt",)
    assert store.fetch_files("files", "nothing", into) == ()
    with pytest.raises(StudyNotFound, match="trial 9"):
        store.fetch_files("files", "weights", into, trial=9)


def test_a_missing_file_is_told_at_the_call(opened: Open, tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match=r"must exist.*nowhere"):
        opened("missing").log_files([tmp_path / "nowhere"], "x")


def test_studies_are_found_by_id_and_by_their_newest_name(opened: Open, store: StudyStore) -> None:
    for number, started in enumerate((STARTED + 10, STARTED + 30, STARTED + 20)):
        tracker = opened("twins")
        tracker.start(header("twins", id=f"twins@0000000{number}", started=started))
        tracker.end("finished")
        tracker.close()
    assert store.load("twins").id == "twins@00000001"
    assert store.load("twins@00000002").started == STARTED + 20
    own = [record.id for record in store.list() if record.name == "twins"]
    assert own == ["twins@00000001", "twins@00000002", "twins@00000000"]
    with pytest.raises(StudyNotFound, match=r"Did you mean twins.*Received: 'twinz'"):
        store.load("twinz")
    with pytest.raises(StudyNotFound):
        store.load("twins' or '1' = '1")


def test_one_wrong_call_costs_nothing_else_and_is_told_at_close(opened: Open, store: StudyStore) -> None:
    tracker = opened("wrong")
    tracker.start(header("wrong"))
    tracker.log_epochs(77, 1, [{"val_loss": 1.0}])
    tracker.end_trial(ended(begun(0), ({"val_loss": 1.0},)))
    with pytest.raises(TrackingError, match="trial 77"):
        tracker.close()
    tracker.close()
    with pytest.raises(TrackingError, match="closed tracker"):
        tracker.begin_trial(begun(1))
    assert len(store.load("wrong").trials) == 1


def test_calls_return_at_once_also_while_the_store_opens(opened: Open) -> None:
    before = time.perf_counter()
    tracker = opened("quick")
    tracker.start(header("quick"))
    tracker.begin_trial(begun(0))
    for epoch in range(1, 201):
        tracker.log_epochs(0, epoch, [{"loss": 1.0, "val_loss": 1.0}])
    assert time.perf_counter() - before < 0.5
    tracker.close()


@pytest.mark.parametrize("count", [30, pytest.param(200, marks=pytest.mark.slow)])
def test_many_trials_lose_nothing_and_hold_up_nobody(opened: Open, store: StudyStore, count: int) -> None:
    warm = opened("cost")  # so that the import of MLflow is not measured
    warm.close()
    tracker = opened("cost")
    tracker.start(header("cost", id=f"cost@{count:08d}"))
    keys = ("loss", "mae", "val_loss", "val_mae")
    trials = []
    before = time.perf_counter()
    for number in range(count):
        history = tuple(dict.fromkeys(keys, 1.0 / (epoch + number + 1)) for epoch in range(10))
        tracker.begin_trial(begun(number))
        for epoch, metrics in enumerate(history, 1):
            tracker.log_epochs(number, epoch, [metrics])
        trials.append(ended(begun(number), history))
        tracker.end_trial(trials[-1])
    posted = time.perf_counter() - before
    tracker.end("finished")
    tracker.close()
    written = time.perf_counter() - before
    before = time.perf_counter()
    record = store.load(f"cost@{count:08d}")
    read = time.perf_counter() - before
    print(
        f"\n{count} trials x 10 epochs x 4 metrics: "
        f"{posted:.2f} s to post, {written:.2f} s to write, {read:.2f} s to read"
    )
    assert record.trials == tuple(trials)
    assert posted < 2.0


def test_the_directory_of_a_database_that_cannot_be_made_is_an_error_at_close(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    tracker = open_tracker(f"sqlite:///{tmp_path}/file/mlflow.db", "study")
    tracker.start(header("study"))
    tracker.flush()
    with pytest.raises(TrackingError, match=r"must reach the tracking store"):
        tracker.close()


def test_reading_creates_no_store(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/mlruns/mlflow.db")
    assert store.list() == ()
    with pytest.raises(StudyNotFound, match="there is no store"):
        store.load("x")
    assert list(tmp_path.iterdir()) == []


def test_a_study_that_is_just_being_begun_is_not_found_yet(opened: Open, uri: str) -> None:
    from mlflow import MlflowClient

    tracker = opened("early")
    tracker.start(header("early"))
    tracker.flush()
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("early")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    tags = {key: value for key, value in run.data.tags.items() if not key.startswith("mlflow.")}
    tags["kerasweep.study"] = "later@00000002"
    client.create_run(experiment.experiment_id, tags=tags)
    with pytest.raises(StudyNotFound, match="later@00000002, without one so far"):
        open_store(uri).load("later@00000002")


def test_what_mlflow_users_see(opened: Open, uri: str) -> None:
    from mlflow import MlflowClient

    tracker = opened("seen")
    tracker.start(header("seen"))
    for number, value in enumerate((3.0, 1.0, 2.0)):
        tracker.end_trial(ended(begun(number), ({"val_loss": value},)))
    tracker.end_trial(ended(begun(3), (), Status.FAILED, "NaN"))
    tracker.end("finished")
    tracker.close()
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("seen")
    assert experiment is not None
    assert experiment.artifact_location.startswith("file:///")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    study = runs["seen@00000001"]
    assert [metric.value for metric in client.get_metric_history(study.info.run_id, "best_value")] == [
        3.0,
        1.0,
        1.0,
        1.0,
    ]
    assert study.inputs.dataset_inputs[0].dataset.digest == "f" * 36
    assert study.data.tags["mlflow.source.git.commit"] == "0" * 40
    assert {file.path for file in client.list_artifacts(study.info.run_id, "spec")} == {
        "spec/pipeline.json",
        "spec/pipeline.yaml",
    }
    child = runs["trial 0001"]
    assert child.data.tags["mlflow.parentRunId"] == study.info.run_id
    assert child.data.params == {"units": "3", "rate": "1.1", "optimizer": "sgd", "on": "True"}
    assert child.data.metrics["best_value"] == 1.0
    assert {name: run.info.status for name, run in runs.items()} == {
        "seen@00000001": "FINISHED",
        "trial 0000": "FINISHED",
        "trial 0001": "FINISHED",
        "trial 0002": "FINISHED",
        "trial 0003": "FAILED",
    }


CLOSE_AFTER_INTERRUPT = """
import signal, sys, threading, os
from test_tracker_contract import begun, ended, header
from kerasweep.tracking import open_tracker
tracker = open_tracker(sys.argv[1], "signal")
tracker.start(header("signal"))
for number in range(20):
    tracker.end_trial(ended(begun(number), ({"val_loss": 1.0},)))
threading.Timer(0.2, os.killpg, (0, signal.SIGINT)).start()  # as Ctrl-C in a terminal does
try:
    tracker.close()
    sys.exit("close() was not interrupted")
except KeyboardInterrupt:
    tracker.close()
"""


def test_an_interrupted_close_can_be_called_again(uri: str, store: StudyStore) -> None:
    command = [sys.executable, "-c", CLOSE_AFTER_INTERRUPT, uri]
    subprocess.run(command, cwd=Path(__file__).parent, check=True, timeout=60, start_new_session=True)
    assert len(store.load("signal").trials) == 20


KILLED = """
import os, signal, sys, time
from test_tracker_contract import begun, ended, header
from kerasweep.tracking import open_tracker
tracker = open_tracker(sys.argv[1], "killed")
tracker.start(header("killed"))
for number in range(20):
    tracker.end_trial(ended(begun(number), ({"val_loss": 1.0},)))
tracker.begin_trial(begun(20))
tracker.log_epochs(20, 1, [{"val_loss": 1.0}])
time.sleep(0.5)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_told_is_kept_and_its_study_ends(uri: str, store: StudyStore) -> None:
    command = [sys.executable, "-c", KILLED, uri]
    killed = subprocess.run(command, cwd=Path(__file__).parent, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 60
    status = ""
    while status != "interrupted":
        assert time.monotonic() < deadline
        time.sleep(0.5)
        with contextlib.suppress(StudyNotFound):
            status = store.load("killed").status
    trials = store.load("killed").trials
    assert [trial.status for trial in trials] == [Status.FINISHED] * 20 + [Status.STOPPED]
    assert all(trial.history == ({"val_loss": 1.0},) for trial in trials)


def test_a_writer_that_is_killed_is_told(opened: Open) -> None:
    tracker = opened("lost")
    tracker.start(header("lost"))
    tracker.begin_trial(begun(0))
    newest = max(psutil.Process().children(), key=lambda process: process.create_time())
    newest.kill()
    tracker.flush()
    tracker.end_trial(ended(begun(0), ()))
    with pytest.raises(TrackingError, match="ended with exit code -9"):
        tracker.close()
