"""An MLflow server that tests can stop and start again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any


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
    """An MLflow server on a database, that can be stopped and started again on its port."""

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
