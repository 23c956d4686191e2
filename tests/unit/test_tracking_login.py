"""Who gets into MLflow's UI where other machines reach it. (That it keeps others out: the integration tests.)"""

from __future__ import annotations

import configparser
import os
import sqlite3
import stat
from pathlib import Path

import pytest

from kerasweep.errors import MissingExtra, TrackingError
from kerasweep.tracking.login import allowed_hosts, guarded, is_local


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is set, and the package for MLflow's login counts as installed: nothing here imports it."""
    for name in ("ADMIN_PASSWORD", "ADMIN_USERNAME", "CONFIG_PATH"):
        monkeypatch.delenv(f"MLFLOW_AUTH_{name}", raising=False)
    monkeypatch.delenv("MLFLOW_FLASK_SERVER_SECRET_KEY", raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_this_machine(host: str) -> None:
    assert is_local(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "10.0.0.1", "localhost.example", "127.0.0.1.example", "127"])
def test_other_machines(host: str) -> None:
    assert not is_local(host)


class TestAllowedHosts:
    def test_its_own_names_with_and_without_the_port(self) -> None:
        hosts = allowed_hosts("192.0.2.7", 5000, ["lab.example", "proxy:443"])
        assert {"192.0.2.7", "192.0.2.7:5000", "localhost:5000", "[::1]:5000", "lab.example:5000", "proxy:443"} <= {
            *hosts
        }
        assert "proxy:443:5000" not in hosts
        assert not [host for host in hosts if "*" in host]

    def test_every_address_is_no_name(self) -> None:
        assert not {"0.0.0.0", "[::]"} & {*allowed_hosts("0.0.0.0", 5000), *allowed_hosts("::", 5000)}

    def test_an_ipv6_address_stands_in_brackets(self) -> None:
        assert {"[2001:db8::7]", "[2001:db8::7]:5000"} <= {*allowed_hosts("2001:db8::7", 5000)}

    @pytest.mark.parametrize("name", ["*", "10.*", "a,b", "", "a b", "http://a", "a\n", "user@a"])
    def test_a_pattern_is_none(self, name: str) -> None:
        with pytest.raises(TrackingError, match="an allowed host must be a name"):
            allowed_hosts("0.0.0.0", 5000, ["fine", name])


class TestGuard:
    def test_the_first_password_is_shown_once_and_on_no_command_line(self, tmp_path: Path) -> None:
        shown: list[tuple[str, str]] = []
        folder = tmp_path / "50% new" / "mlruns"
        with guarded(folder, "0.0.0.0", 5000, show=lambda *pair: shown.append(pair)) as guard:
            (user, password), *more = shown
            assert (user, more) == ("admin", [])
            assert len(password) >= 24
            assert guard.environment["MLFLOW_AUTH_ADMIN_PASSWORD"] == password
            assert not [option for option in guard.options if password in option]
            settings = configparser.ConfigParser()
            settings.read(guard.environment["MLFLOW_AUTH_CONFIG_PATH"])
            assert settings["mlflow"]["database_uri"] == f"sqlite:///{folder}/users.db"
            assert "admin_password" not in settings["mlflow"]
        assert not Path(guard.environment["MLFLOW_AUTH_CONFIG_PATH"]).exists()
        assert stat.S_IMODE((folder / "users.db").stat().st_mode) == 0o600
        with guarded(folder, "0.0.0.0", 5000, show=lambda *pair: shown.append(pair)) as again:
            assert again.environment["MLFLOW_AUTH_ADMIN_PASSWORD"] not in (password, "")  # still no user: a new one
            assert (
                again.environment["MLFLOW_FLASK_SERVER_SECRET_KEY"]
                != guard.environment["MLFLOW_FLASK_SERVER_SECRET_KEY"]
            )

    def test_users_that_there_are_keep_their_passwords(self, tmp_path: Path) -> None:
        with sqlite3.connect(tmp_path / "users.db") as connection:
            connection.execute("CREATE TABLE users (username TEXT)")
            connection.execute("INSERT INTO users VALUES ('ada')")
        with guarded(tmp_path, "0.0.0.0", 5000) as guard:
            assert "MLFLOW_AUTH_ADMIN_PASSWORD" not in guard.environment

    def test_a_password_of_the_environment_is_left_there(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MLFLOW_AUTH_ADMIN_PASSWORD", "twelve letters or more")
        with guarded(tmp_path, "0.0.0.0", 5000) as guard:
            assert "twelve letters or more" not in repr(guard)

    def test_nobody_to_show_a_password_to(self, tmp_path: Path) -> None:
        with (
            pytest.raises(
                TrackingError, match=r"set MLFLOW_AUTH_ADMIN_PASSWORD, of at least 12 characters\. Received: none"
            ),
            guarded(tmp_path, "0.0.0.0", 5000),
        ):
            pass

    def test_settings_of_ones_own_stand_in_for_all(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MLFLOW_AUTH_CONFIG_PATH", "/etc/login.ini")
        monkeypatch.setenv("MLFLOW_FLASK_SERVER_SECRET_KEY", "shared by several")
        with guarded(tmp_path, "0.0.0.0", 5000) as guard:
            assert guard.environment == {"MLFLOW_FLASK_SERVER_SECRET_KEY": "shared by several"}
        assert os.listdir(tmp_path) == []

    def test_what_it_needs_is_told(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(MissingExtra, match=r"kerasweep\[server\]"), guarded(tmp_path, "0.0.0.0", 5000):
            pass
