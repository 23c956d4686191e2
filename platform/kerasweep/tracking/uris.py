"""Addresses of tracking stores: what ``auto`` means, how to make them absolute, how to show them."""

from __future__ import annotations

import os
import re
import urllib.error
import urllib.request
from pathlib import Path

from kerasweep.errors import TrackingError

_SQLITE = "sqlite:///"
_SCHEMES = ("sqlite", "postgresql", "mysql", "mssql", "http", "https", "databricks")
_SECRET_QUERY = re.compile(r"([?&][^=&]*(?:password|passwd|token|secret|key)[^=&]*=)[^&\s]*", re.IGNORECASE)
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


def redact(uri: str) -> str:
    """The address without user names, passwords and tokens, for messages and logs."""
    if not uri.startswith("sqlite"):
        uri = re.sub(r"://.*@", "://***@", uri)
    return _SECRET_QUERY.sub(r"\1***", uri)


def check_reachable(uri: str) -> None:
    """Make a mistyped server address an error before a study trains for hours, not after.

    Raises:
        TrackingError: nothing answers at a server's address within five seconds.
    """
    if not uri.startswith("http"):
        return
    plain = re.sub(r"://.*@", "://", uri).rstrip("/")
    try:
        urllib.request.urlopen(f"{plain}/health", timeout=_REACH_SECONDS).close()
    except urllib.error.HTTPError:
        return  # Something answered; whether it lets us in, MLflow's own requests will tell.
    except (OSError, ValueError) as error:
        raise TrackingError(f"a tracking server must answer at {redact(uri)}. Received: {error}") from None
