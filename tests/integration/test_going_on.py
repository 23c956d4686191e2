"""The commands for a study that was cut off or harmed, each as a user types it."""

from __future__ import annotations

import json
import os
import pty
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

import kerasweep
from kerasweep.records import Trial
from kerasweep.spec import load_pipeline
from kerasweep.study import journal
from kerasweep.study.folder import studies
from kerasweep.tracking import open_store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

PIPELINE: dict[str, Any] = {
    "name": "tiny",
    "data": {"name": "wine"},
    "model": {"family": "mlp"},
    "space": {"parameters": {"n_neurons": {"type": "int", "min": 2, "max": 12}}},
    "search": {"searcher": "random", "scheduler": "none", "trials": 4, "max_epochs": 2, "seed": 1},
    "retrain": None,
    "export": {"formats": []},
    "register": None,
}


# The environment of a cluster that asks for no token.
OPEN = {**os.environ, "RAY_AUTH_MODE": "disabled"}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished study: its pipeline file, its own folder, its tracking store."""
    folder = tmp_path_factory.mktemp("done")
    (folder / "pipeline.yaml").write_text(json.dumps(PIPELINE))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        kerasweep.run(load_pipeline(folder / "pipeline.yaml"))
    return folder


@pytest.fixture
def copy(done: Path, tmp_path: Path) -> Path:
    """The same, to be harmed: without the tracking store."""
    shutil.copy(done / "pipeline.yaml", tmp_path)
    shutil.copytree(done / "mlruns" / "studies", tmp_path / "mlruns" / "studies")
    return tmp_path


def typed(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """``kerasweep`` with these arguments, in this folder."""
    command = [sys.executable, "-m", "kerasweep", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=300)


def stored(folder: Path) -> tuple[str, tuple[Trial, ...]]:
    record = open_store(f"sqlite:///{folder}/mlruns/mlflow.db").load("tiny")
    return record.status, record.trials


def line(folder: Path, index: int) -> tuple[Path, list[bytes]]:
    """The journal of the only study, and its lines without those from an index on."""
    (study,) = studies(folder / "mlruns" / "studies")
    return study.journal, study.journal.read_bytes().splitlines(keepends=True)[:index]


def test_sync_fills_an_empty_store_and_doubles_nothing(done: Path, copy: Path) -> None:
    for _ in range(2):
        sent = typed(copy, "sync", "tiny")
        assert sent.returncode == 0, sent.stderr
        assert sent.stdout.endswith(": 4 trials are in the tracking store\n")
        assert stored(copy) == stored(done)


def test_rerun_gives_the_same_trials_and_says_so(done: Path, copy: Path) -> None:
    again = typed(copy, "rerun", "tiny", "--json")
    assert again.returncode == 0, again.stderr
    told = json.loads(again.stdout)
    assert (told["trials"], told["differences"], told["surroundings"]) == (4, [], [])
    assert told["first"] != told["second"]
    assert [(t.params, t.history) for t in stored(copy)[1]] == [(t.params, t.history) for t in stored(done)[1]]


def test_rerun_of_what_came_out_otherwise_fails_and_says_where(copy: Path) -> None:
    file, lines = line(copy, 10_000)
    file.unlink()
    with journal.Journal(file) as rewritten:  # a record of other numbers, and whole
        for text in lines:
            event = {name: value for name, value in json.loads(text).items() if name != "check"}
            for row in event.get("rows", []):
                row[1] += 1
            rewritten.append(event)
    again = typed(copy, "rerun", "tiny")
    assert again.returncode == 1, again.stderr
    assert "trial 3: " in again.stdout


def test_a_damaged_journal_is_repaired_and_trained_to_the_same_end(done: Path, copy: Path) -> None:
    file, lines = line(copy, 10_000)
    epoch = next(index for index, text in enumerate(lines) if b'"event":"epoch"' in text)
    lines[epoch] = lines[epoch].replace(b'"epoch":1', b'"epoch":7')
    file.write_bytes(b"".join(lines))
    study = file.parent.name

    refused = typed(copy, "resume", "tiny")
    assert refused.returncode == 1
    assert f"line {epoch + 1} must be as it was written" in refused.stderr
    assert f"kerasweep repair {study}" in refused.stderr
    repaired = typed(copy, "repair", "tiny")
    assert (repaired.returncode, f"{epoch} lines kept, {len(lines) - epoch} cut off" in repaired.stdout) == (0, True)
    assert file.with_name(f"{file.name}.damaged").read_bytes() == b"".join(lines)
    assert "nothing to repair" in typed(copy, "repair", "tiny").stdout

    resumed = typed(copy, "resume", "tiny")
    assert resumed.returncode == 0, resumed.stderr
    status, trials = stored(copy)
    assert status == "finished"
    assert [(t.params, t.history) for t in trials] == [(t.params, t.history) for t in stored(done)[1]]


def test_run_offers_to_go_on_with_a_study_that_was_cut_off(copy: Path) -> None:
    """On a terminal it asks; the study's last line is missing, so that nothing is left to train."""
    file, lines = line(copy, -1)
    file.write_bytes(b"".join(lines))
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "kerasweep", "run", "pipeline.yaml", "--json"]
    with subprocess.Popen(command, cwd=copy, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs) as process:
        os.close(theirs)
        said = b""
        watchdog = threading.Timer(200, process.kill)
        watchdog.start()
        with suppress(OSError):  # a terminal whose other end is closed
            while shown := os.read(ours, 1000):
                said += shown
                if said.endswith(b"Go on with it? [Y/n]:"):
                    os.write(ours, b"\n")
        watchdog.cancel()
        assert process.stdout is not None
        told = json.loads(process.stdout.read())
    os.close(ours)
    assert f"{file.parent.name} was cut off".encode() in said
    assert (process.returncode, told["study"], told["status"]) == (0, file.parent.name, "finished")
    assert len(studies(copy / "mlruns" / "studies")) == 1


def test_without_a_terminal_run_says_so_and_begins_anew(copy: Path) -> None:
    file, lines = line(copy, -1)
    file.write_bytes(b"".join(lines))
    fresh = typed(copy, "run", "pipeline.yaml", "--set", "search.trials=4")
    assert fresh.returncode == 0, fresh.stderr
    assert f"{file.parent.name} was cut off; " in fresh.stderr
    assert "A new study begins." in fresh.stderr
    assert len(studies(copy / "mlruns" / "studies")) == 2


@contextmanager
def head(folder: Path, port: int) -> Iterator[psutil.Process]:
    """A Ray cluster of one machine, with its own head."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", f"--port={port}"]
    command += ["--num-cpus=1", "--include-dashboard=false", f"--temp-dir={folder}"]
    process = subprocess.Popen(
        command, env=OPEN, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        until = time.monotonic() + 120
        while time.monotonic() < until:
            with suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            time.sleep(0.2)
        yield psutil.Process(process.pid)
    finally:
        for child in psutil.Process(process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                child.kill()
        process.kill()
        process.wait()


def test_without_its_head_a_driver_ends_with_a_word_and_resume_goes_on(tmp_path: Path) -> None:
    endless = {**PIPELINE, "search": {**PIPELINE["search"], "trials": 1, "max_epochs": 100_000}}
    (tmp_path / "pipeline.yaml").write_text(json.dumps(endless))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    sockets = Path(tempfile.mkdtemp(prefix="head-"))  # the path of a socket must be short
    command = [sys.executable, "-m", "kerasweep", "run", "pipeline.yaml", "--ray-address", f"127.0.0.1:{port}"]
    with head(sockets, port) as leading:
        with subprocess.Popen(command, cwd=tmp_path, env=OPEN, stderr=subprocess.PIPE, text=True) as driver:
            until = time.monotonic() + 200
            while True:
                begun = studies(tmp_path / "mlruns" / "studies")
                if begun and b'"event":"epoch"' in begun[0].journal.read_bytes():
                    break
                assert driver.poll() is None
                assert time.monotonic() < until
                time.sleep(0.2)
            for child in leading.children(recursive=True):
                if child.name().startswith("gcs_server"):
                    child.kill()
            assert driver.stderr is not None
            said = driver.stderr.read()
        assert driver.returncode != 0
    shutil.rmtree(sockets, ignore_errors=True)
    assert f":{port} does not answer. Unless it comes back within a minute, Ray ends this process." in said
    assert "kerasweep resume carries on" in said

    (file,) = (study.journal for study in begun)
    events = [json.loads(text) for text in file.read_bytes().splitlines()]
    known = sum(event["event"] == "epoch" for event in events)
    spent = events[-1]["at"] - events[1]["at"]
    resumed = typed(tmp_path, "resume", "tiny", "--set", f"search.time_limit={spent + 20:.0f}s")
    assert resumed.returncode == 0, resumed.stderr
    (trial,) = stored(tmp_path)[1]
    assert len(trial.history) >= known > 0
