"""Shows a store in MLflow's own user interface."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from kerasweep.errors import TrackingError
from kerasweep.tracking.login import guarded, is_local
from kerasweep.tracking.uris import artifact_root, is_server, redact, resolve_uri


def ui_command(uri: str, host: str, port: int) -> list[str]:
    """The command that serves MLflow's UI on a store.

    The address is not in it, for it may hold a password and commands are visible to everyone on the machine:
    ``serve_ui`` passes it in the environment as ``MLFLOW_BACKEND_STORE_URI``.

    Args:
        uri: a database; as ``resolve_uri`` takes it.
        host: to listen on.
        port: to listen on.

    Raises:
        TrackingError: the address is a server, which has its UI already.
    """
    resolved = resolve_uri(uri)
    if is_server(resolved):
        raise TrackingError(
            f"a tracking server serves its own UI; open its address in a browser. Received: {redact(resolved)}"
        )
    root = artifact_root(resolved)
    destination = [] if root is None else ["--artifacts-destination", str(root)]
    # One worker: this is one person's UI, and each of MLflow's default four is a process that takes seconds to start.
    return [
        sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port), "--workers", "1", *destination,
    ]  # fmt: skip


def serve_ui(
    uri: str,
    host: str = "127.0.0.1",
    port: int = 5000,
    names: Sequence[str] = (),
    show: Callable[[str, str], None] | None = None,
) -> int:
    """Run MLflow's UI until it ends or Ctrl-C.

    Only this machine reaches it unless ``host`` says otherwise; then it asks for a user and a password.

    Args:
        uri: a database; as ``resolve_uri`` takes it.
        host: to listen on.
        port: to listen on.
        names: see ``guarded``, as ``show``.
        show: is told the first user's name and password.

    Returns:
        The exit code; 0 after Ctrl-C, which is how one leaves it.

    Raises:
        TrackingError: the port is taken, the store cannot be opened, or the address is a server; or see ``guarded``.
        MissingExtra: see ``guarded``.
    """
    command = ui_command(uri, host, port)
    check_free(host, port)
    from kerasweep.tracking.opening import connect

    resolved = resolve_uri(uri)
    environment = {"MLFLOW_BACKEND_STORE_URI": resolved}
    if is_local(host):
        connect(resolved, create=True)
        return serve(command, environment)
    root = artifact_root(resolved) or Path("mlruns", "artifacts").absolute()
    with guarded(root.parent, host, port, names, show) as guard:
        connect(resolved, create=True)
        return serve([*command, *guard.options], {**environment, **guard.environment})


def serve(command: list[str], environment: Mapping[str, str]) -> int:
    """Run a server until it ends or Ctrl-C, and leave nothing running.

    Args:
        command: of the server.
        environment: what is added to this process's own.

    Returns:
        The exit code; 0 after Ctrl-C, which is how one leaves it.
    """
    process = subprocess.Popen(command, env={**os.environ, **environment})
    # A SIGTERM must reach the server too: the default would end this process alone and leave the port taken.
    signal.signal(signal.SIGTERM, lambda number, frame: process.terminate())
    try:
        return process.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        _stop(process)


def check_free(host: str, port: int) -> None:
    """Make a taken port an error before anything starts.

    Raises:
        TrackingError: it is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port just left is free
        try:
            probe.bind((host, port))
        except OSError as error:
            raise TrackingError(
                f"the port must be free; choose another with --port. Received: {host}:{port}: {error.strerror}"
            ) from None


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the server and wait for it, so that nothing stays running."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
