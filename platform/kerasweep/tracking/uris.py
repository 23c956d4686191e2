"""Addresses of tracking stores: what ``auto`` means, how to make them absolute, how to show them."""

from __future__ import annotations

import os
import re
import socket
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from kerasweep.errors import TrackingError

_SQLITE = "sqlite:///"
_SCHEMES = ("sqlite", "postgresql", "mysql", "mssql", "http", "https", "databricks")
SECRET_QUERY = re.compile(r"([?&][^=&]*(?:password|passwd|token|secret|key)[^=&]*=)([^&\s]*)", re.IGNORECASE)
_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
_REACH_SECONDS = 5.0


def resolve_uri(uri: str, cwd: Path | None = None) -> str:
    """The address of a store, independent of any later working directory.

    Args:
        uri: ``auto`` ($MLFLOW_TRACKING_URI, else SQLite in ``mlruns/mlflow.db`` under ``cwd``), a database
            (``sqlite:///file.db``, ``postgresql://…``), or a server (``http://…``).
        cwd: where relative SQLite paths count from; the working directory if left out.

    Returns:
        The address; a SQLite path in it is absolute.

    Raises:
        TrackingError: the address has no scheme that MLflow can write to.
    """
    base = Path.cwd() if cwd is None else cwd.absolute()
    if uri == "auto":
        uri = os.environ.get("MLFLOW_TRACKING_URI", "").strip() or f"{_SQLITE}mlruns/mlflow.db"
    scheme = uri.partition(":")[0].partition("+")[0]
    if scheme not in _SCHEMES or (":" not in uri and scheme != "databricks"):
        raise TrackingError(
            "a tracking uri must be auto, sqlite:///file.db, postgresql://…, mysql://…, mssql://… or http(s)://… "
            f"Received: {redact(uri)!r}"
        )
    if not uri.startswith("sqlite"):
        return uri
    path = _sqlite_text(uri)
    if path in ("", ":memory:"):
        raise TrackingError(f"a SQLite store must be a file, which outlives the process. Received: {uri!r}")
    return f"{_SQLITE}{os.path.normpath(base / Path(path).expanduser())}"


def _sqlite_text(uri: str) -> str:
    """The path inside a SQLite address, as it is written there."""
    if not uri.startswith(_SQLITE):
        raise TrackingError(f"a SQLite uri must look like sqlite:///file.db. Received: {uri!r}")
    return uri.removeprefix(_SQLITE).partition("?")[0]


def sqlite_path(uri: str) -> Path | None:
    """The database file of a resolved SQLite address, None for any other store."""
    return Path(_sqlite_text(uri)) if uri.startswith("sqlite") else None


def is_server(uri: str) -> bool:
    """Whether a tracking server answers at this address (and decides where artifacts are kept)."""
    return uri.startswith(("http:", "https:", "databricks"))


def artifact_root(uri: str, cwd: Path | None = None) -> Path | None:
    """The folder for artifacts: beside a SQLite file, ``mlruns/artifacts`` for another database, None for a server.

    Args:
        uri: a resolved address.
        cwd: where ``mlruns`` is, for databases that are not files; the working directory if left out.
    """
    if is_server(uri):
        return None
    database = sqlite_path(uri)
    if database is not None:
        return database.parent / "artifacts"
    return (Path.cwd() if cwd is None else cwd.absolute()) / "mlruns" / "artifacts"


# In the place of what ``redact`` takes out.
HIDDEN = "***"


def redact(uri: str) -> str:
    """The address without user names, passwords and tokens, for messages and logs."""
    if not uri.startswith("sqlite"):
        uri = re.sub(r"://.*@", f"://{HIDDEN}@", uri)
    return SECRET_QUERY.sub(rf"\1{HIDDEN}", uri)


def check_reachable(uri: str) -> None:
    """Make a mistyped address of a server an error before a study trains for hours, not after.

    Raises:
        TrackingError: nothing answers there within five seconds.
    """
    if reason := unreachable(uri, _REACH_SECONDS):
        raise TrackingError(f"a tracking server must answer at {redact(uri)}. Received: {reason}")


def unreachable(uri: str, seconds: float) -> str:
    """Why nothing answers at an address in so many seconds; empty if something does, or if it names no server."""
    try:
        if uri.startswith("http"):
            plain = re.sub(r"://.*@", "://", uri).rstrip("/")
            urllib.request.urlopen(f"{plain}/health", timeout=seconds).close()
        elif (place := database_server(uri)) is not None:
            socket.create_connection(place, seconds).close()
    except urllib.error.HTTPError:
        return ""  # Something answered; whether it lets us in, MLflow's own requests will tell.
    except (OSError, ValueError) as error:
        return str(error)
    return ""


def database_server(uri: str) -> tuple[str, int] | None:
    """Host and port of a database; None where the address does not name exactly one."""
    scheme = uri.partition(":")[0].partition("+")[0]
    try:
        host, port = urlsplit(uri).hostname, urlsplit(uri).port
    except ValueError:  # several hosts with their ports, as PostgreSQL allows
        return None
    return None if scheme not in _PORTS or not host or "," in host else (host, port or _PORTS[scheme])
