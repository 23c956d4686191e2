"""The command behind ``kerasweep ui``."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from kerasweep.errors import TrackingError
from kerasweep.tracking import serve_ui, ui_command


def test_the_command_serves_one_person_on_this_machine(tmp_path: Path) -> None:
    command = ui_command(f"sqlite:///{tmp_path}/mlflow.db", "127.0.0.1", 5001)
    assert command[:4] == [sys.executable, "-m", "mlflow", "server"]
    options = dict(zip(command[4::2], command[5::2], strict=True))
    assert options == {
        "--host": "127.0.0.1",
        "--port": "5001",
        "--workers": "1",
        "--artifacts-destination": str(tmp_path / "artifacts"),
    }


def test_a_password_is_not_on_the_command_line() -> None:
    assert "s3cret" not in " ".join(ui_command("postgresql://me:s3cret@db/mlflow", "127.0.0.1", 5001))


def test_a_server_has_its_ui_already() -> None:
    with pytest.raises(TrackingError, match=r"open its address in a browser\. Received: http://host:5000"):
        ui_command("http://host:5000", "127.0.0.1", 5001)


def test_a_taken_port_is_told_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(TrackingError, match=rf"the port must be free.*Received: 127\.0\.0\.1:{port}"):
            serve_ui(f"sqlite:///{tmp_path}/mlflow.db", port=port)
    assert list(tmp_path.iterdir()) == []
