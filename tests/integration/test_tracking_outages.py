"""Studies whose tracking server goes away, is slow, answers with errors, or loses its database; killed drivers; and
stores that many processes share."""

from __future__ import annotations

import http.client
import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from mlflow_server import Server, free_port
from postgresql import PostgreSQL

from kerasweep.errors import TrackingError
from kerasweep.records import Direction, Objective, Status, Trial
from kerasweep.tracking import StudyHeader, Tracker, open_store, open_tracker, project
from kerasweep.tracking.registry import Registry

pytestmark = pytest.mark.slow

STARTED = 1.75e9
HISTORY = tuple({"loss": 1 / epoch, "val_loss": 2 / epoch} for epoch in range(1, 5))


def header(name: str) -> StudyHeader:
    objective = Objective("val_loss", Direction.MINIMIZE)
    return StudyHeader(f"{name}@1", name, STARTED, objective, "{}", "a: 1\n", "/x", 1, {"name": name}, {}, None)


def begun(number: int) -> Trial:
    return Trial(number, {"units": number}, 3, started=STARTED + number)


def ended(number: int) -> Trial:
    end = STARTED + number + 5
    return replace(begun(number), status=Status.FINISHED, history=HISTORY, value=0.5, epoch=4, seconds=2.5, ended=end)


def log_trials(tracker: Tracker, numbers: range) -> None:
    for number in numbers:
        tracker.begin_trial(begun(number))
        tracker.log_epochs(number, 1, HISTORY[:2])
        tracker.end_trial(ended(number))


def check(uri: str, name: str, count: int) -> None:
    """The store holds the study whole, and everything once."""
    from mlflow import MlflowClient

    record = open_store(uri).load(f"{name}@1")
    assert record.trials == tuple(ended(number) for number in range(count))
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(name)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert len(runs) == 1 + count
    for run in runs:
        steps = [metric.step for metric in client.get_metric_history(run.info.run_id, "val_loss")]
        assert sorted(steps) in ([], [1, 2, 3, 4])
        best = [metric.step for metric in client.get_metric_history(run.info.run_id, "best_value")]
        assert sorted(best) == (list(range(1, count + 1)) if run.info.run_name == f"{name}@1" else [0])


class Gate:
    """Stands between a study and its server, and lets pass what it may.

    Attributes:
        mode: ``open``; ``slow`` waits before it answers; ``error`` answers 500 instead; ``lost`` passes the request on,
            and answers 500 all the same; ``silent`` gives no answer.
    """

    def __init__(self, server: int) -> None:
        self.mode = "open"
        gate = self

        class Handler(BaseHTTPRequestHandler):
            def _pass(self) -> None:
                mode = gate.mode
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, content = 500, b"{}"
                if mode in ("open", "slow", "lost"):
                    connection = http.client.HTTPConnection("127.0.0.1", server, timeout=60)
                    headers = {key: value for key, value in self.headers.items() if key.lower() != "host"}
                    connection.request(self.command, self.path, body, headers)
                    answer = connection.getresponse()
                    content = answer.read()
                    status = 500 if mode == "lost" else answer.status
                    connection.close()
                if mode == "slow":
                    time.sleep(2)
                if mode == "silent":
                    time.sleep(5)
                    self.close_connection = True
                    return
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _pass  # noqa: N815 - the names that http.server calls

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.uri = f"http://me:s3cr%40t@127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    server = Server(f"sqlite:///{folder}/mlflow.db", folder)
    yield server
    server.stop()


@pytest.fixture
def gate(server: Server) -> Iterator[Gate]:
    gate = Gate(server.port)
    yield gate
    gate.close()


@pytest.mark.parametrize("mode", ["slow", "error", "lost", "silent"])
def test_a_server_in_trouble_costs_a_study_nothing(
    server: Server, gate: Gate, mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "kerasweep")
    tracker = open_tracker(gate.uri, mode)
    tracker.start(header(mode))
    log_trials(tracker, range(2))
    tracker.flush()
    gate.mode = mode
    before = time.perf_counter()
    log_trials(tracker, range(2, 4))
    assert time.perf_counter() - before < 0.5
    time.sleep(12)
    gate.mode = "open"
    log_trials(tracker, range(4, 5))
    tracker.end("finished")
    tracker.close()
    check(server.uri, mode, 5)
    said = [record.getMessage() for record in caplog.records if "does not answer" in record.getMessage()]
    assert len(said) == (0 if mode == "slow" else 1)
    assert not any("s3cr" in record.getMessage() for record in caplog.records)


def test_a_study_that_is_resumed_does_not_wait_for_its_server(server: Server, gate: Gate) -> None:
    first = open_tracker(gate.uri, "resumed")
    first.start(header("resumed"))
    log_trials(first, range(2))
    first.end("interrupted")
    first.close()
    server.stop()
    address, gone = server.uri, time.perf_counter()
    with pytest.raises(TrackingError, match="must answer"):
        open_tracker(address, "resumed")
    tracker = open_tracker(address, "resumed", resumed=True)
    project(tracker, header("resumed"), [ended(0), ended(1), begun(2), replace(begun(9), started=0.0)])
    log_trials(tracker, range(2, 4))
    assert time.perf_counter() - gone < 1
    server.start()
    tracker.end("finished")
    tracker.close()
    check(server.uri, "resumed", 4)


def test_a_registry_whose_server_is_away_is_waited_for(gate: Gate) -> None:
    gate.mode = "error"
    again = threading.Timer(4, setattr, (gate, "mode", "open"))
    again.start()
    assert Registry(gate.uri).champion("nothing", "champion") is None
    assert not again.is_alive()


def test_a_server_that_is_gone_at_the_end_is_told_and_sent_the_rest_later(server: Server, gate: Gate) -> None:
    tracker = open_tracker(gate.uri, "later")
    tracker.start(header("later"))
    log_trials(tracker, range(2))
    tracker.flush()
    gate.mode = "error"
    log_trials(tracker, range(2, 100))
    tracker.end("finished")
    before = time.perf_counter()
    with pytest.raises(
        TrackingError, match=r"`kerasweep sync later@1`.* Received: no answer for \d+ seconds"
    ) as caught:
        tracker.close()
    assert 25 < time.perf_counter() - before < 60
    assert "s3cr" not in str(caught.value)
    assert "me:" not in str(caught.value)
    gate.mode = "open"
    again = open_tracker(gate.uri, "later")
    project(again, header("later"), [ended(number) for number in range(100)])
    again.end("finished")
    again.close()
    check(server.uri, "later", 100)


def test_a_database_that_restarts_costs_a_study_nothing(postgresql_server: PostgreSQL, tmp_path: Path) -> None:
    server = Server(postgresql_server.uri, tmp_path)
    try:
        served, direct = open_tracker(server.uri, "served"), open_tracker(postgresql_server.uri, "direct")
        for tracker, name in ((served, "served"), (direct, "direct")):
            tracker.start(header(name))
            log_trials(tracker, range(2))
            tracker.flush()
        postgresql_server.stop()
        for tracker in (served, direct):
            log_trials(tracker, range(2, 4))
        time.sleep(8)
        postgresql_server.start()
        for tracker in (served, direct):
            tracker.end("finished")
            tracker.close()
        check(server.uri, "served", 4)
        check(postgresql_server.uri, "direct", 4)
    finally:
        server.stop()


DRIVER = """
import os, signal, sys, time
sys.path.insert(0, os.path.dirname(os.getcwd()))
from test_tracking_outages import HISTORY, begun, ended, header
from kerasweep.tracking import open_tracker
tracker = open_tracker(sys.argv[1], "killed")
tracker.start(header("killed"))
for number in range(10):
    tracker.end_trial(ended(number))
tracker.begin_trial(begun(10))
tracker.log_epochs(10, 1, HISTORY[:2])
tracker.begin_trial(begun(11))
tracker.log_epochs(11, 1, HISTORY[:1])
if sys.argv[2] == "written":
    tracker.flush()
time.sleep(float(sys.argv[3]))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(("written", "seconds"), [("written", 0), ("", 0.2), ("", 7)])
def test_a_killed_driver_leaves_no_trace_once_its_study_is_sent_again(
    tmp_path: Path, written: str, seconds: float
) -> None:
    uri = f"sqlite:///{tmp_path}/mlruns/mlflow.db"
    command = [sys.executable, "-c", DRIVER, uri, written, str(seconds)]
    killed = subprocess.run(command, cwd=Path(__file__).parent, timeout=120)
    assert killed.returncode == -signal.SIGKILL
    tracker = open_tracker(uri, "killed", resumed=True)  # while the other one's last writes are still on their way
    project(tracker, header("killed"), [*map(ended, range(10)), begun(10), replace(begun(11), history=HISTORY[:1])])
    log_trials(tracker, range(10, 13))
    tracker.end("finished")
    tracker.close()
    check(uri, "killed", 13)


ONE_OF_MANY = """
import os, sys
sys.path.insert(0, os.path.dirname(os.getcwd()))
from test_tracking_outages import header, log_trials
from kerasweep.tracking import open_tracker
tracker = open_tracker(sys.argv[1], sys.argv[2])
tracker.start(header(sys.argv[2]))
for number in range(int(sys.argv[3])):
    log_trials(tracker, range(number, number + 1))
    tracker.flush()
tracker.end("finished")
tracker.close()
"""


@pytest.mark.parametrize(("studies", "trials"), [(2, 30), (8, 3)])
def test_studies_that_begin_at_once_share_a_fresh_store(tmp_path: Path, studies: int, trials: int) -> None:
    uri = f"sqlite:///{tmp_path}/mlruns/mlflow.db"
    names = [f"study{number}" for number in range(studies)]
    processes = [
        subprocess.Popen([sys.executable, "-c", ONE_OF_MANY, uri, name, str(trials)], cwd=Path(__file__).parent)
        for name in names
    ]
    assert [process.wait(timeout=300) for process in processes] == [0] * studies
    for name in names:
        check(uri, name, trials)
    assert len(open_store(uri).list()) == studies


def test_an_address_that_does_not_resolve_is_told_at_once() -> None:
    before = time.perf_counter()
    for scheme in ("http", "postgresql", "mysql+pymysql"):
        with pytest.raises(TrackingError, match="must answer at") as caught:
            open_tracker(f"{scheme}://me:s3cret@no-such-host.invalid/x", "study")
        assert "s3cret" not in str(caught.value)
    with pytest.raises(TrackingError, match="refused"):
        open_tracker(f"postgresql://me:s3cret@127.0.0.1:{free_port()}/x", "study")
    assert time.perf_counter() - before < 30
