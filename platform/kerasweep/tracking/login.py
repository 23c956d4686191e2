"""MLflow's UI where other machines reach it: it asks for a password, and answers to its own names only.

Source: https://mlflow.org/docs/latest/self-hosting/security/basic-http-auth, and .../security/network for the names.
"""

from __future__ import annotations

import contextlib
import importlib.util
import ipaddress
import os
import secrets
import socket
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kerasweep.errors import MissingExtra, TrackingError

ADMIN = "admin"
_USERS = "users.db"
_PASSWORD, _USER, _SETTINGS, _SIGNING = (
    "MLFLOW_AUTH_ADMIN_PASSWORD",
    "MLFLOW_AUTH_ADMIN_USERNAME",
    "MLFLOW_AUTH_CONFIG_PATH",
    "MLFLOW_FLASK_SERVER_SECRET_KEY",
)
_LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")
_WRONG = frozenset("*,/@ \t\r\n\0")  # a pattern would let in names of strangers: 10.* is also 10.example.com


@dataclass(frozen=True)
class Guard:
    """What is added to the server's command line, which everyone on the machine can read, and to its environment.

    Attributes:
        options: of ``mlflow server``.
        environment: with the secrets.
    """

    options: tuple[str, ...]
    environment: dict[str, str]


def is_local(host: str) -> bool:
    """Whether only this machine reaches a server that listens there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@contextlib.contextmanager
def guarded(
    folder: Path, host: str, port: int, names: Sequence[str] = (), show: Callable[[str, str], None] | None = None
) -> Iterator[Guard]:
    """A login for MLflow's server, for as long as it runs.

    The first user is an administrator, with the password of ``$MLFLOW_AUTH_ADMIN_PASSWORD``, else with one that is made
    up and handed to ``show``, and kept as a hash only. ``$MLFLOW_AUTH_CONFIG_PATH`` stands in for all of this.

    Args:
        folder: where the users are kept, in ``users.db``.
        host: that the server listens on.
        port: that it listens on.
        names: under which it is reached beside ``host`` and this machine's names; a port may follow a colon.
        show: is told the first user's name and password; None if nobody may see them.

    Raises:
        MissingExtra: what MLflow's login needs is not installed.
        TrackingError: a name is none, or there is no user yet, no password in the environment, and nobody to show one.
    """
    if importlib.util.find_spec("flask_wtf") is None:
        raise MissingExtra("a UI that other machines reach", "server")
    hosts = allowed_hosts(host, port, names)
    origins = [f"{scheme}://{name}" for name in hosts for scheme in ("http", "https")]
    options = ("--app-name", "basic-auth", "--allowed-hosts", ",".join(hosts))
    environment = {_SIGNING: os.environ.get(_SIGNING) or secrets.token_hex(32)}
    with tempfile.TemporaryDirectory(prefix="kerasweep-login-") as scratch:
        if not os.environ.get(_SETTINGS):
            users = folder / _USERS
            folder.mkdir(parents=True, exist_ok=True)
            users.touch(mode=0o600)
            if not _has_users(users) and not os.environ.get(_PASSWORD):
                environment[_PASSWORD] = _first_password(show)
            settings = Path(scratch) / "login.ini"
            settings.write_text(_settings(users), encoding="utf-8")
            environment[_SETTINGS] = str(settings)
        yield Guard((*options, "--cors-allowed-origins", ",".join(origins)), environment)


def allowed_hosts(host: str, port: int, names: Sequence[str] = ()) -> list[str]:
    """The names, with and without the port, that a request may be addressed to: a stranger's page has another.

    Raises:
        TrackingError: a name is none.
    """
    if wrong := [name for name in names if not name or not _WRONG.isdisjoint(name)]:
        rule = "an allowed host must be a name or an address, with or without a port, and no pattern"
        raise TrackingError(f"{rule}. Received: {wrong[0]!r}")
    own = [] if _is_any(host) else [f"[{host}]" if ":" in host else host]
    machine = [socket.gethostname(), socket.getfqdn()]
    plain = list(dict.fromkeys([*own, *_LOCAL_NAMES, *machine, *names]))
    return [*plain, *(f"{name}:{port}" for name in plain if ":" not in name.rpartition("]")[2])]


def _is_any(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_unspecified
    return False


def _first_password(show: Callable[[str, str], None] | None) -> str:
    if show is None:
        rule = "the first user of a UI that other machines reach needs a password, which is shown on a terminal only"
        raise TrackingError(f"{rule}: set {_PASSWORD}, of at least 12 characters. Received: none")
    password = secrets.token_urlsafe(18)
    show(os.environ.get(_USER) or ADMIN, password)
    return password


def _has_users(database: Path) -> bool:
    with contextlib.closing(sqlite3.connect(database)) as connection:
        try:
            return bool(connection.execute("SELECT 1 FROM users LIMIT 1").fetchone())
        except sqlite3.OperationalError:  # no such table: MLflow has not been there yet
            return False


def _settings(users: Path) -> str:
    """The login's settings: MLflow's own, but for the place of the users."""
    # Doubled, a percent sign stands for itself.
    address = f"sqlite:///{users.absolute()}".replace("%", "%%")
    return (
        "[mlflow]\n"
        "default_permission = READ\n"
        f"database_uri = {address}\n"
        f"admin_username = {ADMIN}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
