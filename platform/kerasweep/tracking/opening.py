"""Opens MLflow's stores: creates them whole or not at all, however many processes ask at once."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote as percent_encode

from filelock import FileLock

from kerasweep.errors import KerasweepError, TrackingError
from kerasweep.tracking.secrecy import without_secrets
from kerasweep.tracking.uris import artifact_root, is_server, redact, sqlite_path

if TYPE_CHECKING:
    from mlflow import MlflowClient

# Set before MLflow is imported; a user's own values win.
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # standard output belongs to the command
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "4",  # half a minute; MLflow's 7 would hold up an interrupt for four
}
_added: set[str] = set()  # of these, what the user had not set
_LOCK_SECONDS = 300.0
_LOG_LEVELS = {
    "mlflow.store.db.utils": logging.CRITICAL,  # each failed statement with its traceback; we report it once
    "mlflow.store.model_registry.abstract_store": logging.WARNING,  # "Waiting up to 300 seconds", for nothing
}


def connect(uri: str, *, create: bool) -> MlflowClient | None:
    """A client of the store at a resolved address.

    Args:
        uri: as ``resolve_uri`` returns it.
        create: create or migrate a database that is missing or empty; otherwise a missing SQLite file gives None.

    Raises:
        TrackingError: the store cannot be opened.
    """
    database = sqlite_path(uri)
    if not create and database is not None and not database.exists():
        return None
    prepare_environment()
    with translated(uri):
        from mlflow import MlflowClient

        for name, level in _LOG_LEVELS.items():
            logging.getLogger(name).setLevel(level)
        if is_server(uri):
            return MlflowClient(uri, uri)
        with _lock(uri, database), _quiet_migrations():
            if database is not None:
                _create_sqlite(database)
            return MlflowClient(uri, uri)


def relax_sqlite() -> None:
    """Let SQLite hand each commit to the operating system without waiting for the disk, in all of this process.

    With a write-ahead log no kill of a process loses anything by it; a power cut may lose the last seconds, and never
    leaves the store broken: https://www.sqlite.org/pragma.html#pragma_synchronous. A commit takes 0.03 ms, not 2.8 ms.
    """
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    @event.listens_for(Engine, "connect")
    def relax(connection: object, record: object) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.execute("PRAGMA synchronous=NORMAL")


def checkpoint(uri: str) -> None:
    """Move what is in a SQLite store's write-ahead log into its file, on the disk; nothing for other stores."""
    database = sqlite_path(uri)
    if database is not None:
        with contextlib.closing(sqlite3.connect(database)) as connection, contextlib.suppress(sqlite3.OperationalError):
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def prepare_environment() -> None:
    """Settings that MLflow reads from the environment, for this process and its children."""
    for name, value in _ENVIRONMENT.items():
        if name not in os.environ:
            os.environ[name] = value
            _added.add(name)


def users_environment() -> dict[str, str]:
    """The environment without the settings that are ours, for a process that has other ones."""
    return {name: value for name, value in os.environ.items() if name not in _added}


def ensure_experiment(client: MlflowClient, uri: str, name: str) -> str:
    """The id of an experiment, created with an absolute artifact location if there is none of that name.

    Raises:
        TrackingError: it was deleted in MLflow.
        MlflowException: the store does not answer, or refuses.
    """
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        root = artifact_root(uri)
        location = None if root is None else (root / percent_encode(name, safe="")).as_uri()
        try:
            return str(client.create_experiment(name, artifact_location=location))
        except MlflowException:
            experiment = client.get_experiment_by_name(name)  # another process was quicker
            if experiment is None:
                raise
    if experiment.lifecycle_stage != "active":
        raise TrackingError(
            "an experiment must not be deleted; restore it (mlflow experiments restore --experiment-id "
            f"{experiment.experiment_id}) or choose another name. Received: {name!r}, which is deleted"
        )
    return str(experiment.experiment_id)


@contextlib.contextmanager
def translated(uri: str) -> Iterator[None]:
    """Turns what MLflow and its libraries raise into TrackingError, without secrets."""
    try:
        yield
    except KerasweepError:
        raise
    except Exception as error:  # MLflow passes on the errors of SQLAlchemy, requests, boto3, the file system, …
        raise TrackingError(
            f"the tracking store must be reachable, writable and of this MLflow's version: {redact(uri)}. "
            f"Received: {without_secrets(str(error), uri) or type(error).__name__}"
        ) from None


@contextlib.contextmanager
def _lock(uri: str, database: Path | None) -> Iterator[None]:
    """One process at a time creates or migrates; MLflow itself does not guard this."""
    if database is not None:
        database.parent.mkdir(parents=True, exist_ok=True)
        path = database.with_name(f"{database.name}.lock")
    else:
        digest = hashlib.blake2b(uri.encode(), digest_size=8).hexdigest()
        path = Path(tempfile.gettempdir()) / f"kerasweep-{os.getuid() if hasattr(os, 'getuid') else 0}-{digest}.lock"
    with FileLock(path, timeout=_LOCK_SECONDS):
        yield


def _create_sqlite(database: Path) -> None:
    """Build a missing database under another name and move it into place: a kill leaves no half-made store."""
    if not database.exists():
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        root = artifact_root(f"sqlite:///{database}")
        unfinished = database.with_name(f"{database.name}.new")
        for ending in ("", "-wal", "-shm"):
            unfinished.with_name(f"{unfinished.name}{ending}").unlink(missing_ok=True)
        _write_ahead(unfinished)  # first: the migrations' many commits then wait less for the disk
        store = SqlAlchemyStore(f"sqlite:///{unfinished}", str(root))
        store.engine.dispose()
        checkpoint(f"sqlite:///{unfinished}")
        unfinished.rename(database)
    else:
        _write_ahead(database)


def _write_ahead(database: Path) -> None:
    """Readers (the UI) no longer wait for the writer. The setting stays in the file."""
    # A store in use by another process, or on a file system without shared memory, keeps its journal: only slower.
    with contextlib.closing(sqlite3.connect(database)) as connection, contextlib.suppress(sqlite3.OperationalError):
        connection.execute("PRAGMA journal_mode=WAL")


@contextlib.contextmanager
def _quiet_migrations() -> Iterator[None]:
    """Some forty lines of log about tables that no user asked about."""
    loggers = [logging.getLogger(name) for name in ("alembic", "alembic.runtime.migration")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
