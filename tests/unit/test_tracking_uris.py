"""Addresses of tracking stores."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from kerasweep.errors import TrackingError
from kerasweep.records import Direction, Objective
from kerasweep.tracking import StudyHeader, artifact_root, open_store, open_tracker, redact, resolve_uri
from kerasweep.tracking.secrecy import without_address, without_secrets
from kerasweep.tracking.uris import database_server


def test_auto_is_sqlite_under_the_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert resolve_uri("auto", tmp_path) == f"sqlite:///{tmp_path}/mlruns/mlflow.db"


def test_auto_prefers_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///other.db")
    assert resolve_uri("auto", tmp_path) == f"sqlite:///{tmp_path}/other.db"


def test_relative_sqlite_becomes_absolute_and_stays_so(tmp_path: Path) -> None:
    resolved = resolve_uri("sqlite:///a/../b/x.db", tmp_path)
    assert resolved == f"sqlite:///{tmp_path}/b/x.db"
    assert resolve_uri(resolved, Path("/elsewhere")) == resolved


@pytest.mark.parametrize("uri", ["http://host:5000", "https://host/mlflow", "postgresql://host/db", "databricks"])
def test_other_stores_stay_as_they_are(uri: str, tmp_path: Path) -> None:
    assert resolve_uri(uri, tmp_path) == uri


@pytest.mark.parametrize("uri", ["./mlruns", "file:///tmp/mlruns", "ftp://host", "", "sqlite:///:memory:", "sqlite:/x"])
def test_what_cannot_be_a_store_is_refused(uri: str, tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match="Received"):
        resolve_uri(uri, tmp_path)


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("postgresql://me:s3cret@db:5432/mlflow", "postgresql://***@db:5432/mlflow"),
        ("https://token@host/mlflow", "https://***@host/mlflow"),
        ("postgresql://db/mlflow?user=me&password=s3cret&x=1", "postgresql://db/mlflow?user=me&password=***&x=1"),
        ("sqlite:////home/me@work/mlflow.db", "sqlite:////home/me@work/mlflow.db"),
        ("http://host:5000", "http://host:5000"),
    ],
)
def test_secrets_are_never_shown(uri: str, shown: str) -> None:
    assert redact(uri) == shown


@pytest.mark.parametrize("uri", ["sqlite:///x.db", "postgresql://me:s3cr%40t@db/x"])
def test_a_study_s_record_shows_no_secret_of_the_address_in_its_file_either(uri: str) -> None:
    """The file's own address, if another one was given beside it."""
    source = 'tracking: {uri: "postgresql://me:s3cr%40t@db/x"}  # not https://s3cret@host?token=s3cret\nname: a\n'
    spec = json.dumps({"tracking": {"uri": uri}})
    header = StudyHeader("a@1", "a", 1.0, Objective("val_loss", Direction.MINIMIZE), spec, source, ".", 1, {}, {}, None)
    kept = without_address(header)
    assert kept.source == 'tracking: {uri: "postgresql://***@db/x"}  # not https://***@host?token=***\nname: a\n'
    assert json.loads(kept.spec) == {"tracking": {"uri": redact(uri)}}


@pytest.mark.parametrize(
    ("uri", "text"),
    [
        ("postgresql://me:s3cr%40t@db/x", "s3cr@t is wrong, as s3cr%40t at postgresql://me:s3cr%40t@db/x"),
        ("https://s3cret@host/mlflow", "API request to https://s3cret@host/mlflow/api failed for s3cret"),
        ("postgresql://db/x?user=me&password=s3cr+t&x=1", "s3cr+t or s3cr t"),
        ("mssql://me:s3c:ret@db/x", "s3c:ret"),
    ],
)
def test_messages_of_libraries_show_no_secret(uri: str, text: str) -> None:
    shown = without_secrets(f"{text}\n(tried twice)", uri)
    assert "s3c" not in shown
    assert shown.endswith("(tried twice)")


def test_the_kept_specification_shows_no_secret(tmp_path: Path) -> None:
    uri = "https://me:s3cret@mlflow.example/x"
    spec = f'{{"name":"a","tracking":{{"uri":"{uri}"}}}}'
    objective = Objective("val_loss", Direction.MINIMIZE)
    header = StudyHeader("a@1", "a", 1.0, objective, spec, f"tracking:\n  uri: {uri}\n", "/", 1, {}, {}, None)
    store = f"sqlite:///{tmp_path}/mlflow.db"
    tracker = open_tracker(store, "study")
    tracker.start(header)
    tracker.end("finished")
    tracker.close()
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert any(b"https://***@mlflow.example/x" in content for content in written)
    assert not any(b"s3cret" in content for content in written)
    assert json.loads(open_store(store).load("a").spec)["tracking"]["uri"] == "https://***@mlflow.example/x"


@pytest.mark.parametrize(
    ("uri", "place"),
    [
        ("postgresql://me:pw@db/x", ("db", 5432)),
        ("postgresql+psycopg2://db:6543/x", ("db", 6543)),
        ("mysql+pymysql://me@db/x", ("db", 3306)),
        ("postgresql:///x?host=/run/postgresql", None),
        ("postgresql://a:1,b:2/x", None),
        ("sqlite:////x/y.db", None),
        ("databricks", None),
    ],
)
def test_the_server_of_a_database(uri: str, place: tuple[str, int] | None) -> None:
    assert database_server(uri) == place


def test_artifacts_lie_beside_the_database(tmp_path: Path) -> None:
    assert artifact_root(f"sqlite:///{tmp_path}/mlruns/mlflow.db") == tmp_path / "mlruns" / "artifacts"
    assert artifact_root("postgresql://db/mlflow", tmp_path) == tmp_path / "mlruns" / "artifacts"
    assert artifact_root("http://host:5000", tmp_path) is None


def test_a_mistyped_server_is_an_error_at_once_and_without_its_password() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(TrackingError, match="must answer at http://") as caught:
        open_tracker(f"http://me:s3cret@127.0.0.1:{port}", "study")
    assert "s3cret" not in str(caught.value)


def test_the_package_imports_without_mlflow() -> None:
    code = "import sys, kerasweep.tracking; sys.exit(any(m.partition('.')[0] == 'mlflow' for m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
