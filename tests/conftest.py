"""What every test may count on: no leftovers of the shell it was started from, and folders of its own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]

# Set before any library is imported, and inherited by every worker and subprocess.
os.environ.pop("MLFLOW_TRACKING_URI", None)
os.environ.pop("MLFLOW_REGISTRY_URI", None)
os.environ.pop("MLFLOW_EXPERIMENT_NAME", None)
os.environ.pop("RAY_ADDRESS", None)
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
# A suite that was started in the background may have been told to ignore Ctrl-C, and what it starts would, too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
_SHARED = REPOSITORY.parent / "shared" / "data"
if _SHARED.is_dir():
    os.environ.setdefault("KERASWEEP_DATA", str(_SHARED))


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the working tree."""
    return REPOSITORY


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test starts in an empty folder, so that none writes into the working tree or depends on where it began, and
    with the default store: ``mlflow.set_tracking_uri`` in one test leaves its address in the environment."""
    monkeypatch.chdir(tmp_path_factory.mktemp("cwd"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's project: an empty folder that is the current one, where a tracking store would come to lie."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _program(name: str) -> Path | None:
    """A PostgreSQL program; Debian keeps the server's own out of the path."""
    found = shutil.which(name)
    if found:
        return Path(found)
    return max(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), default=None)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The SQLAlchemy URI of an empty PostgreSQL database on a server of its own; skips where none can run."""
    initdb, pg_ctl = _program("initdb"), _program("pg_ctl")
    if initdb is None or pg_ctl is None:
        pytest.skip("PostgreSQL's server programs (initdb, pg_ctl) are not installed")
    pytest.importorskip("psycopg2", reason="the PostgreSQL driver is not installed: pip install 'kerasweep[server]'")
    as_user: list[str] = []
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        runuser = shutil.which("runuser")
        known = subprocess.run(["id", "postgres"], capture_output=True, check=False).returncode == 0
        if runuser is None or not known:
            pytest.skip("PostgreSQL does not run as root, and there is no user postgres to run it as")
        as_user = [runuser, "-u", "postgres", "--"]
    with tempfile.TemporaryDirectory(prefix="kerasweep-postgresql-") as name:
        folder = Path(name)  # pytest's own temporary folders are closed to other users
        if as_user:
            shutil.chown(folder, "postgres")
        yield from _database_server(folder, as_user, initdb, pg_ctl)


def _database_server(folder: Path, as_user: list[str], initdb: Path, pg_ctl: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    data, log = folder / "data", folder / "log"

    def call(*command: str | Path) -> None:
        # To a file and not to a pipe: the server inherits it and would hold the pipe open.
        with (folder / "output").open("w+") as output:
            done = subprocess.run([*as_user, *map(str, command)], stdout=output, stderr=output, cwd=folder, check=False)
            output.seek(0)
            if done.returncode:
                pytest.fail(f"{command[0]} failed: {output.read()}{log.read_text() if log.exists() else ''}")

    call(initdb, "--pgdata", data, "--username", "kerasweep", "--auth", "trust", "--no-sync")
    options = f"-h 127.0.0.1 -p {port} -k {folder} -F"
    call(pg_ctl, "--pgdata", data, "--log", log, "--options", options, "--wait", "start")
    try:
        yield f"postgresql+psycopg2://kerasweep@127.0.0.1:{port}/postgres"
    finally:
        call(pg_ctl, "--pgdata", data, "--mode", "immediate", "--wait", "stop")
