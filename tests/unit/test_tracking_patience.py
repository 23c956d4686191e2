"""How long a store is waited for, and what is said meanwhile."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import BAD_REQUEST, TEMPORARILY_UNAVAILABLE

from kerasweep.errors import TrackingError
from kerasweep.tracking import patience as module
from kerasweep.tracking.one_writer import hold
from kerasweep.tracking.patience import Patience


class Store:
    """Answers with what it was told to, and then well."""

    def __init__(self, *errors: Exception) -> None:
        self._errors: Iterator[Exception] = iter(errors)
        self.calls = 0

    def __call__(self) -> int:
        self.calls += 1
        for error in self._errors:
            raise error
        return self.calls


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_RETRY_SECONDS", "_CLOSING_RETRY_SECONDS"):
        monkeypatch.setattr(module, name, 0.02)
    monkeypatch.setattr(module, "CLOSING_SECONDS", 0.2)
    monkeypatch.setattr(module, "_REFUSED_SECONDS", 0.2)
    monkeypatch.setattr(module, "_CLOSING_REFUSED_SECONDS", 0.0)


def away() -> MlflowException:
    return MlflowException("away", error_code=TEMPORARILY_UNAVAILABLE)


def fails() -> None:
    raise away()


def test_an_outage_is_said_once_and_so_is_its_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "kerasweep")
    patience = Patience(threading.Event(), lambda error: "shown")
    assert patience.call(Store(*[away() for _ in range(30)])) == 31
    levels = [(record.levelname, record.getMessage().partition("Received: ")[2]) for record in caplog.records]
    assert levels == [("WARNING", "shown"), ("WARNING", "")]


def test_what_a_store_refuses_is_not_tried_again() -> None:
    store = Store(MlflowException("no", error_code=BAD_REQUEST))
    with pytest.raises(MlflowException, match="no"):
        Patience(threading.Event()).call(store)
    assert store.calls == 1


def test_a_call_that_fails_while_the_store_answers_others_is_given_up_and_the_next_one_is_made() -> None:
    patience = Patience(threading.Event())
    patience.probe = lambda: None
    before = time.monotonic()
    with pytest.raises(MlflowException, match="away"):
        patience.call(fails)
    assert 0.2 < time.monotonic() - before < 2
    assert patience.call(Store()) == 1


def test_after_three_such_calls_in_a_row_each_has_one_attempt() -> None:
    patience = Patience(threading.Event())
    patience.probe = lambda: None
    for _ in range(3):
        with pytest.raises(MlflowException):
            patience.call(fails)
    before = time.monotonic()
    with pytest.raises(MlflowException):
        patience.call(fails)
    assert time.monotonic() - before < 0.1


def test_a_store_that_is_away_at_the_end_has_some_time_and_then_no_call_is_tried() -> None:
    closing = threading.Event()
    patience = Patience(closing)
    patience.probe = fails
    threading.Timer(0.3, closing.set).start()
    before = time.monotonic()
    with pytest.raises(TrackingError, match=r"no answer for \d seconds: away"):
        patience.call(fails)
    assert time.monotonic() - before > 0.5
    store = Store()
    with pytest.raises(TrackingError, match="no answer"):
        patience.call(store)
    assert store.calls == 0


HOLDER = """
import sys, threading, time
from kerasweep.tracking.one_writer import hold
hold("uri", "a@1", threading.Event())
print("held", flush=True)
time.sleep(60)
"""


def test_one_process_writes_a_study_until_it_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER], stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            closing = threading.Event()
            hold("uri", "b@1", closing)
            closing.set()
            monkeypatch.setattr("kerasweep.tracking.one_writer.CLOSING_SECONDS", 0.3)
            with pytest.raises(TrackingError, match="a@1, which another one still writes"):
                hold("uri", "a@1", closing)
        finally:
            holder.kill()
        holder.wait()
        hold("uri", "a@1", closing)
