"""The tracking server exactly as docker/compose.yaml starts it, on a real PostgreSQL, without containers."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from ruamel.yaml import YAML

REPOSITORY = Path(__file__).resolve().parents[2]
SERVICE = YAML(typ="safe").load(REPOSITORY / "docker" / "compose.yaml")["services"]["mlflow"]


def answer(port: int, path: str, host: str) -> int:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"Host": host})
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.fixture(scope="module")
def server(postgresql: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a server whose host names, database and folder are this machine's."""
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    here = {
        "--host": "127.0.0.1",
        "--port": str(port),
        "--backend-store-uri": postgresql,
        "--artifacts-destination": str(folder / "artifacts"),
    }
    names = [option.partition("=")[0] for option in SERVICE["command"]]
    assert set(names) == here.keys()
    program = Path(sys.executable).parent / SERVICE["entrypoint"][0]
    command = [program, *SERVICE["entrypoint"][1:], *(f"{name}={here[name]}" for name in names)]
    allowed = SERVICE["environment"]["MLFLOW_SERVER_ALLOWED_HOSTS"]
    log = folder / "log"
    with log.open("w") as stream:
        process = subprocess.Popen(
            command,
            env={**os.environ, "MLFLOW_SERVER_ALLOWED_HOSTS": allowed},
            cwd=folder,
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + 180
        while True:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            try:
                if answer(port, "/health", "localhost") == 200:
                    break
            except OSError:
                time.sleep(0.5)
        yield port
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.mark.slow
def test_hosts(server: int) -> None:
    search = "/api/2.0/mlflow/experiments/search?max_results=1"
    assert answer(server, search, "mlflow:5000") == 200
    assert answer(server, search, f"localhost:{server}") == 200
    assert answer(server, search, "evil.example") == 403


@pytest.mark.slow
def test_artifacts_pass_through_the_server(server: int, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"http://127.0.0.1:{server}")
    run = client.create_run(client.create_experiment("through"))
    assert run.info.artifact_uri.startswith("mlflow-artifacts:")
    client.log_text(run.info.run_id, "as it was", "note.txt")
    fetched = client.download_artifacts(run.info.run_id, "note.txt", str(tmp_path))
    assert Path(fetched).read_text() == "as it was"
