"""Tracking against what people run: a server on PostgreSQL, a served model, the UI."""

from __future__ import annotations

import base64
import contextlib
import json
import math
import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow_server import Server, free_port, stop, wait_for

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
    from kerasweep.tracking.model_folder import Delivered

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


def invoke(port: int, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/invocations", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)["predictions"]


def test_a_registered_model_is_served_and_answers_raw_rows(tmp_path: Path) -> None:
    import keras

    from kerasweep.tracking.model_folder import Delivered

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


SERVE_TO_ALL = """
import sys
from kerasweep.tracking import serve_ui
sys.exit(serve_ui(sys.argv[1], "0.0.0.0", int(sys.argv[2]), ["lab.example"]))
"""


def status(url: str, host: str | None = None, login: str | None = None, origin: str | None = None) -> int:
    """The status of an answer; with an origin, of a request that a page of that origin sends."""
    headers = {} if host is None else {"Host": host}
    if login is not None:
        headers["Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
    if origin is not None:
        headers |= {"Origin": origin, "Content-Type": "application/json"}
    body = None if origin is None else b'{"max_results": 5}'
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=60) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return int(error.code)


def command_lines(group: int) -> str:
    """Of all processes of a group, as everyone on the machine may read them."""
    lines = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.getpgid(int(folder.name)) == group:
                lines.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return "\n".join(lines)


@pytest.mark.slow
def test_beyond_this_machine_the_ui_asks_for_a_password_and_answers_to_its_own_names(tmp_path: Path) -> None:
    pytest.importorskip("flask_wtf", reason="MLflow's login is not installed: pip install 'kerasweep[server]'")
    port, log, password = free_port(), tmp_path / "log", secrets.token_urlsafe(18)
    with log.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVE_TO_ALL, f"sqlite:///{tmp_path}/mlflow.db", str(port)],
            env={**os.environ, "MLFLOW_AUTH_ADMIN_PASSWORD": password},
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
    try:
        wait_for(f"http://127.0.0.1:{port}/health", process, log)
        page, api = f"http://127.0.0.1:{port}/", f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/search"
        known = f"admin:{password}"
        assert status(page) == 401
        assert status(page, login="admin:password1234") == 401
        assert status(page, login=known) == 200
        assert status(page, host="lab.example", login=known) == 200
        assert status(page, host=f"lab.example:{port}", login=known) == 200
        assert status(page, host="rebound.example", login=known) == 403
        assert status(page, host="10.rebound.example", login=known) == 403
        assert status(api, login=known, origin=f"http://lab.example:{port}", host=f"lab.example:{port}") == 200
        assert status(api, login=known, origin="http://stranger.example") == 403
        shown = command_lines(os.getpgid(process.pid))
        assert "--app-name basic-auth" in shown
        assert password not in shown + log.read_text()
        assert password.encode() not in b"".join(path.read_bytes() for path in tmp_path.glob("users.db*"))
    finally:
        stop(process)
