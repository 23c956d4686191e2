"""What every test may count on: no leftovers of the shell it was started from, and folders of its own."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from postgresql import PostgreSQL, Unavailable
from postgresql import postgresql as running

# How long an example takes says more of what else the machine does.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")

REPOSITORY = Path(__file__).resolve().parents[1]

# Set before any library is imported, and inherited by every worker and subprocess.
os.environ.pop("MLFLOW_TRACKING_URI", None)
os.environ.pop("MLFLOW_REGISTRY_URI", None)
os.environ.pop("MLFLOW_EXPERIMENT_NAME", None)
os.environ.pop("RAY_ADDRESS", None)
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # else every process compiles the package again
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


@pytest.hookimpl(tryfirst=True)  # before marks decide what runs
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Marks the further cases of ``thorough.txt``; a line of it that fits no test of its file is an error."""
    here = Path(__file__).parent
    listed = (here / "thorough.txt").read_text().splitlines()
    patterns = {line: re.compile(re.escape(line).replace(r"\*", ".*")) for line in listed if line and line[0] != "#"}
    whole_files = not any("::" in argument for argument in config.args) and not config.option.keyword
    fitting = set()
    for item in items:
        name = f"{item.path.relative_to(here)}::{item.name}" if item.path.is_relative_to(here) else ""
        if found := [line for line, pattern in patterns.items() if pattern.fullmatch(name)]:
            item.add_marker(pytest.mark.thorough)
            fitting.update(found)
    collected = {str(item.path.relative_to(here)) for item in items if item.path.is_relative_to(here)}
    missing = [line for line in patterns if line not in fitting and line.partition("::")[0] in collected]
    if whole_files and missing:
        raise pytest.UsageError(f"lines of thorough.txt must fit tests. Received: {', '.join(missing)}")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the working tree."""
    return REPOSITORY


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every test starts in an empty folder, so that none writes into the working tree or depends on where it began, and
    leaves the default store to what comes next: ``mlflow.set_tracking_uri`` keeps its address in the environment, where
    a module's fixtures would find it."""
    monkeypatch.chdir(tmp_path_factory.mktemp("cwd"))
    yield
    os.environ.pop("MLFLOW_TRACKING_URI", None)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's project: an empty folder that is the current one, where a tracking store would come to lie."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def postgresql(postgresql_server: PostgreSQL) -> str:
    """The SQLAlchemy URI of an empty PostgreSQL database on a server of its own; skips where none can run."""
    return postgresql_server.uri


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgreSQL]:
    """A PostgreSQL server of its own, which can be stopped and started; skips where none can run."""
    try:
        with running() as server:
            yield server
    except Unavailable as reason:
        pytest.skip(str(reason))
