"""A PostgreSQL server that tests can stop and start again."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


class Unavailable(Exception):
    """No PostgreSQL can run here; the message says why."""


@dataclass(frozen=True)
class PostgreSQL:
    """A PostgreSQL server with an empty database.

    Attributes:
        uri: of the database, for SQLAlchemy.
        stop: the server, at once and without ending what its clients do.
        start: it again.
    """

    uri: str
    stop: Callable[[], None]
    start: Callable[[], None]


def _program(name: str) -> Path | None:
    """A PostgreSQL program; Debian keeps the server's own out of the path."""
    found = shutil.which(name)
    if found:
        return Path(found)
    return max(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), default=None)


@contextmanager
def postgresql() -> Iterator[PostgreSQL]:
    """A PostgreSQL server of its own.

    Raises:
        Unavailable: none can run here.
    """
    initdb, pg_ctl = _program("initdb"), _program("pg_ctl")
    if initdb is None or pg_ctl is None:
        raise Unavailable("PostgreSQL's server programs (initdb, pg_ctl) are not installed")
    if importlib.util.find_spec("psycopg2") is None:
        raise Unavailable("the PostgreSQL driver is not installed: pip install 'kerasweep[server]'")
    as_user: list[str] = []
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        runuser = shutil.which("runuser")
        known = subprocess.run(["id", "postgres"], capture_output=True, check=False).returncode == 0
        if runuser is None or not known:
            raise Unavailable("PostgreSQL does not run as root, and there is no user postgres to run it as")
        as_user = [runuser, "-u", "postgres", "--"]
    with tempfile.TemporaryDirectory(prefix="kerasweep-postgresql-") as name:
        folder = Path(name)  # pytest's own temporary folders are closed to other users
        if as_user:
            shutil.chown(folder, "postgres")
        yield from _database_server(folder, as_user, initdb, pg_ctl)


def _database_server(folder: Path, as_user: list[str], initdb: Path, pg_ctl: Path) -> Iterator[PostgreSQL]:
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
                said = f"{output.read()}{log.read_text() if log.exists() else ''}"
                raise RuntimeError(f"{command[0]} must succeed. Received: {said}")

    call(initdb, "--pgdata", data, "--username", "kerasweep", "--auth", "trust", "--no-sync")
    options = f"-h 127.0.0.1 -p {port} -k {folder} -F"

    def start() -> None:
        call(pg_ctl, "--pgdata", data, "--log", log, "--options", options, "--wait", "start")

    def stop() -> None:
        call(pg_ctl, "--pgdata", data, "--mode", "immediate", "--wait", "stop")

    start()
    try:
        yield PostgreSQL(f"postgresql+psycopg2://kerasweep@127.0.0.1:{port}/postgres", stop, start)
    finally:
        stop()
