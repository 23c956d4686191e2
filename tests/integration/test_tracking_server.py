"""Tracking against what people run: a server on PostgreSQL, a shared SQLite file, a served model, the UI."""

from __future__ import annotations

import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kerasweep.errors import TrackingError
from kerasweep.records import Direction, Objective, Status, Trial
from kerasweep.tracking import StudyHeader, Tracker, open_registry, open_store, open_tracker
from kerasweep.tracking.mlflow_tracker import MlflowTracker

pytestmark = pytest.mark.slow

HISTORY = ({"loss": 1.0, "val_loss": 0.5}, {"loss": math.nan, "val_loss": 1 / 3}, {"val_loss": 0.4, "p@1": 1e-300})


def header(name: str) -> StudyHeader:
    objective = Objective("val_loss", Direction.MINIMIZE)
    return StudyHeader(f"{name}@00000001", name, 1.75e9, objective, "{}", "a: 1\n", "/x", 1, {"name": name}, {}, None)


def ended(number: int) -> Trial:
    params = {"units": number, "rate": 0.1 * number, "optimizer": "", "on": False}
    return Trial(number, params, 3, Status.FINISHED, "", HISTORY, 1 / 3, 2, 1.75e9 + number, 2.5)


def log_trials(tracker: Tracker, numbers: range) -> None:
    for number in numbers:
        trial = ended(number)
        tracker.begin_trial(Trial(number, trial.params, trial.seed, started=trial.started))
        tracker.log_epochs(number, 1, HISTORY[:2])
        tracker.end_trial(trial)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(url: str, process: subprocess.Popen[Any], log: Path) -> None:
    deadline = time.monotonic() + 240
    while True:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except OSError:
            time.sleep(0.5)
        else:
            return


def stop(process: subprocess.Popen[Any]) -> None:
    """Ends a process and its children, which are its process group."""
    os.killpg(process.pid, signal.SIGTERM)
    process.wait(timeout=30)


class Server:
    """An MLflow server on a PostgreSQL database, that can be stopped and started again on its port."""

    def __init__(self, database: str, folder: Path) -> None:
        self.port, self._database, self._folder = free_port(), database, folder
        self.uri = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        log = self._folder / "log"
        options = ["--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        options += ["--backend-store-uri", self._database, "--artifacts-destination", str(self._folder / "artifacts")]
        with log.open("a") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", *options],
                cwd=self._folder,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )
        wait_for(f"{self.uri}/health", self.process, log)

    def stop(self) -> None:
        stop(self.process)


@pytest.fixture(scope="module")
def database(postgresql: str) -> Iterator[str]:
    """A database of this module's own."""
    import psycopg2

    plain = postgresql.replace("+psycopg2", "")

    def run(statement: str) -> None:
        connection = psycopg2.connect(plain)
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
        connection.close()

    run("CREATE DATABASE kerasweep_tracking")
    yield postgresql.rpartition("/")[0] + "/kerasweep_tracking"
    run("DROP DATABASE kerasweep_tracking WITH (FORCE)")


@pytest.fixture(scope="module")
def server(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(database, tmp_path_factory.mktemp("server"))
    yield server
    server.stop()


def check(uri: str, name: str, count: int) -> None:
    """The store holds the study whole. NaN differs from itself, hence the comparison of texts."""
    record = open_store(uri).load(name)
    assert record.status == "finished"
    assert [trial.number for trial in record.trials] == list(range(count))
    for trial in record.trials:
        assert repr([sorted(epoch.items()) for epoch in trial.history]) == repr(
            [sorted(epoch.items()) for epoch in HISTORY]
        )
        expected = ended(trial.number)
        assert (trial.params, trial.value, trial.epoch) == (expected.params, expected.value, expected.epoch)
        assert (trial.status, trial.started, trial.seconds) == (expected.status, expected.started, expected.seconds)


def test_a_study_on_a_server(server: Server, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tracker = open_tracker(server.uri, "served")
    tracker.start(header("served"))
    tracker.flush()
    begun = time.perf_counter()
    log_trials(tracker, range(20))
    figure = tmp_path / "figure.txt"
    figure.write_text("a figure")
    tracker.log_files([figure], "figures")
    tracker.log_summary({"test": {"mse": math.nan}, "long": "x" * 20_000})
    tracker.log_summary({"long": ""})
    tracker.end("finished")
    tracker.close()
    written = time.perf_counter() - begun
    begun = time.perf_counter()
    check(server.uri, "served", 20)
    read = time.perf_counter() - begun
    assert capfd.readouterr().out == ""
    print(f"\n20 trials on a server: {written:.2f} s to write, {read:.2f} s to read")
    store = open_store(server.uri)
    assert store.load("served").summary["long"] == ""
    fetched = store.fetch_files("served", "figures", tmp_path / "out")
    assert [path.read_text() for path in fetched] == ["a figure"]


def test_a_server_that_goes_away_and_comes_back_costs_nothing(server: Server) -> None:
    tracker = open_tracker(server.uri, "outage")
    tracker.start(header("outage"))
    log_trials(tracker, range(3))
    tracker.flush()
    server.stop()
    before = time.perf_counter()
    log_trials(tracker, range(3, 8))
    assert time.perf_counter() - before < 0.5
    time.sleep(5)
    server.start()
    tracker.end("finished")
    tracker.flush()  # which waits for a store that is away, as close() does not
    tracker.close()
    check(server.uri, "outage", 8)


def test_a_server_that_goes_away_before_the_study_begins_costs_nothing(server: Server) -> None:
    server.stop()
    tracker = MlflowTracker(server.uri, "early")
    tracker.start(header("early"))
    log_trials(tracker, range(2))
    server.start()
    tracker.end("finished")
    tracker.flush()
    tracker.close()
    check(server.uri, "early", 2)


def test_a_model_is_registered_on_a_server(server: Server, tmp_path: Path) -> None:
    import keras

    tracker = open_tracker(server.uri, "models")
    tracker.start(header("models"))
    tracker.close()
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    network.save(tmp_path / "network.keras")
    from kerasweep.tracking.registry import Delivered

    registry = open_registry(server.uri)
    rows = np.ones((3, 2), dtype=np.float32)
    version = registry.register("remote", Delivered("models", tmp_path / "network.keras", rows, (), {"mse": 0.5}))
    registry.move_alias("remote", "champion", version)
    champion = registry.champion("remote", "champion")
    assert champion is not None
    assert (champion.version, champion.metrics) == (version, {"mse": 0.5})
    import mlflow

    mlflow.set_tracking_uri(server.uri)
    loaded = mlflow.pyfunc.load_model("models:/remote@champion")
    np.testing.assert_allclose(loaded.predict(rows), network.predict(rows, verbose=0), rtol=1e-6)


def test_a_server_that_is_gone_at_the_end_is_told(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    tracker = open_tracker(server.uri, "gone")
    tracker.start(header("gone"))
    log_trials(tracker, range(2))
    tracker.flush()
    server.stop()
    log_trials(tracker, range(2, 100))
    before = time.perf_counter()
    with pytest.raises(TrackingError, match="every result must reach the tracking store http://127"):
        tracker.close()
    assert time.perf_counter() - before < 60
    server.start()


def test_a_study_straight_on_postgresql(database: str) -> None:
    tracker = open_tracker(database, "direct")
    tracker.start(header("direct"))
    log_trials(tracker, range(5))
    tracker.end("finished")
    tracker.close()
    check(database, "direct", 5)


ONE_OF_EIGHT = """
import sys
from test_tracking_server import header, log_trials
from kerasweep.tracking import open_tracker
tracker = open_tracker(sys.argv[1], "together")
tracker.start(header(f"study{sys.argv[2]}"))
log_trials(tracker, range(3))
tracker.end("finished")
tracker.close()
"""


def test_eight_processes_open_a_fresh_sqlite_store_at_once(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlruns/mlflow.db"
    commands = [[sys.executable, "-c", ONE_OF_EIGHT, uri, str(number)] for number in range(8)]
    processes = [
        subprocess.Popen(command, cwd=Path(__file__).parent, stderr=subprocess.PIPE, text=True) for command in commands
    ]
    outcomes = [(process.communicate(timeout=300)[1], process.returncode) for process in processes]
    assert [code for _, code in outcomes] == [0] * 8, "\n".join(text for text, _ in outcomes)
    for number in range(8):
        check(uri, f"study{number}", 3)
    assert len(open_store(uri, "together").list()) == 8


def invoke(port: int, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/invocations", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)["predictions"]


def test_a_registered_model_is_served_and_answers_raw_rows(tmp_path: Path) -> None:
    import keras

    from kerasweep.tracking.registry import Delivered

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    tracker = open_tracker(uri, "served")
    tracker.start(header("served"))
    tracker.close()
    inputs = {"rooms": keras.Input((1,), name="rooms"), "near": keras.Input((1,), name="near", dtype="string")}
    near = keras.layers.StringLookup(vocabulary=["sea"], output_mode="one_hot")(inputs["near"])
    dense = keras.layers.Dense(1)
    network = keras.Model(inputs, dense(keras.layers.Concatenate()([keras.ops.nan_to_num(inputs["rooms"]), near])))
    dense.set_weights([np.array([[1.0], [100.0], [10.0]]), np.zeros(1)])
    network.save(tmp_path / "network.keras")
    example = pd.DataFrame({"rooms": [3, 4], "near": ["sea", None]})
    registry = open_registry(uri)
    version = registry.register("homes", Delivered("served", tmp_path / "network.keras", example, (), {}))
    registry.move_alias("homes", "champion", version)

    port, log = free_port(), tmp_path / "log"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment |= {"MLFLOW_TRACKING_URI": uri, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    with log.open("w") as stream:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "mlflow", "models", "serve", "-m", "models:/homes@champion"),
                *("--env-manager", "local", "--port", str(port)),
            ],
            cwd=elsewhere,
            env=environment,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
    try:
        wait_for(f"http://127.0.0.1:{port}/ping", process, log)
        split = {"columns": ["rooms", "near"], "data": [[3, "sea"], [None, None], [2.5, "far"]]}
        assert invoke(port, {"dataframe_split": split}) == [
            {"prediction": 13.0},
            {"prediction": 100.0},
            {"prediction": 102.5},
        ]
        assert invoke(port, {"dataframe_records": [{"near": "sea", "rooms": 1}]}) == [{"prediction": 11.0}]
    finally:
        stop(process)


SERVE_UI = """
import sys
from kerasweep.tracking import serve_ui
sys.exit(serve_ui(sys.argv[1], port=int(sys.argv[2])))
"""


def test_the_ui_runs_until_interrupted_and_leaves_nothing_running(tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "log"
    with log.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVE_UI, f"sqlite:///{tmp_path}/mlflow.db", str(port)],
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
    wait_for(f"http://127.0.0.1:{port}/health", process, log)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30) as response:
        assert "MLflow" in response.read().decode()
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=30) == 0
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5)
