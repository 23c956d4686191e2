"""The process that writes a study: it takes the tracker's calls from its standard input, and outlives the driver.

MLflow's calls are pure Python and would hold the interpreter lock that Ray's event loop in the driver needs; so would
its import. Here both run beside the driver, at a lower priority. Calls come as pickled ``(name, arguments)``, answers
go back as pickled ``(kind, values)``. When the driver is killed the input ends without a ``close``: what was told until
then is written all the same, and the study is ended as interrupted.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import math
import operator
import os
import pickle
import queue
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO, Protocol

from kerasweep.errors import TrackingError
from kerasweep.tracking.board_writer import BoardWriter
from kerasweep.tracking.one_writer import hold
from kerasweep.tracking.opening import (
    checkpoint,
    connect,
    ensure_experiment,
    prepare_environment,
    relax_sqlite,
    translated,
)
from kerasweep.tracking.patience import Patience
from kerasweep.tracking.secrecy import without_secrets
from kerasweep.tracking.study_writer import StudyWriter
from kerasweep.tracking.uris import unreachable

# When training keeps all cores busy, this leaves a quarter of one to the writing: enough to keep up.
_NICENESS = 5

# A call is tried again here, where it is known what of it may have been done already, and not by MLflow. A user's own
# values win.
_ENVIRONMENT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}
_REACH_SECONDS = 30.0

Call = tuple[str, tuple[Any, ...]]


def main() -> None:
    """Write what comes in until it ends."""
    os.nice(_NICENESS)
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    # Answers have the standard output to themselves: what a library prints goes to standard error.
    answers = Answers(os.fdopen(os.dup(1), "wb"))
    os.dup2(2, 1)
    log = logging.getLogger("kerasweep")
    log.addHandler(answers)
    log.propagate = False
    uri, experiment, board = pickle.load(sys.stdin.buffer)
    inbox = Inbox(sys.stdin.buffer)
    patience = Patience(inbox.closing, lambda error: _text(error, uri))
    writer = _opened(uri, experiment, patience, answers)
    # MLflow's import leaves 300,000 objects that stay; the garbage collector need not look at them again and again.
    gc.collect()
    gc.freeze()
    writers: list[Writer] = [] if writer is None else [writer]
    if board is not None:
        writers.append(BoardWriter(board))
    _write(writers, inbox, lambda error: answers.send("lost", _text(error, uri)), answers, uri)
    if writer is not None:
        checkpoint(uri)


class Writer(Protocol):
    """Writes one study somewhere. Beside what is below it has a method for each of the tracker's calls.

    Those about trials only take note; ``write_next`` writes when ``due`` has come.
    """

    @property
    def goes_on(self) -> bool:
        """Whether a study was started and not ended."""
        ...

    @property
    def due(self) -> float:
        """When ``write_next`` has something to do, on the monotonic clock; infinity if nothing waits."""
        ...

    def write_next(self) -> None: ...

    def flush(self) -> None:
        """Write all that waits."""
        ...

    def end(self, status: str, at: int) -> None:
        """End the study, and its trials that nobody ended."""
        ...


class Inbox:
    """The calls that came in, read by a thread as fast as the driver sends them. The last is ``close`` or ``killed``.

    Attributes:
        closing: set as soon as the driver wants to end, however much waits before that.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self.closing = threading.Event()
        self._stream = stream
        self._calls: queue.SimpleQueue[Call] = queue.SimpleQueue()
        threading.Thread(target=self._read, name="kerasweep-inbox", daemon=True).start()

    def get(self, timeout: float | None) -> Call | None:
        """The next call, None if none came in ``timeout`` seconds."""
        with contextlib.suppress(queue.Empty):
            return self._calls.get(timeout=timeout)
        return None

    def _read(self) -> None:
        last = "killed"
        try:
            with contextlib.suppress(EOFError, pickle.UnpicklingError):  # a driver that is killed leaves half a call
                while (call := pickle.load(self._stream))[0] != "close":
                    self._calls.put(call)
                last = "close"
        finally:
            self.closing.set()
            self._calls.put((last, ()))


class Answers(logging.Handler):
    """What goes back to the driver, our own log records among it."""

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__()
        self._stream = stream
        self._one = threading.Lock()

    def send(self, kind: str, *values: Any) -> None:
        """One answer; a driver that is gone needs none."""
        with self._one, contextlib.suppress(BrokenPipeError):
            self._stream.write(pickle.dumps((kind, values)))
            self._stream.flush()

    def emit(self, record: logging.LogRecord) -> None:
        self.send("log", record.name, record.levelno, record.getMessage())


def _opened(uri: str, experiment: str, patience: Patience, answers: Answers) -> StudyWriter | None:
    prepare_environment()
    relax_sqlite()
    try:
        patience.call(_reach, uri)
        client = connect(uri, create=True)
        if client is None:
            raise TrackingError("a store that is opened to write must be created. Received: no store")
        patience.probe = lambda: client.search_experiments(max_results=1)
        with translated(uri):
            found = patience.call(ensure_experiment, client, uri, experiment)
    except TrackingError as error:
        answers.send("lost", _text(error, uri))
        return None
    return StudyWriter(client, found, patience, lambda error: answers.send("lost", _text(error, uri)))


def _reach(uri: str) -> None:
    from mlflow.exceptions import MlflowException

    if reason := unreachable(uri, _REACH_SECONDS):
        raise MlflowException(reason)


def _write(
    writers: Sequence[Writer], inbox: Inbox, lost: Callable[[Exception], None], answers: Answers, uri: str
) -> None:
    """Take notes as long as calls come, and write when there are none: then each run takes the fewest requests.

    Without writers all calls are dropped.
    """
    while True:
        call = inbox.get(0)
        if call is None:
            due = min((writer.due for writer in writers), default=math.inf)
            call = inbox.get(None if due == math.inf else max(due - time.monotonic(), 0))
        if call is None:
            now = time.monotonic()
            _each([writer for writer in writers if writer.due <= now], lambda writer: writer.write_next(), lost)
            continue
        name, arguments = call
        if name == "flush":
            number, trials = arguments
            if trials:
                _each(writers, lambda writer: writer.flush(), lost)
            answers.send("flushed", number)
        elif name == "killed":
            end = operator.methodcaller("end", "interrupted", round(time.time() * 1000))
            _each([writer for writer in writers if writer.goes_on], end, lost)
            return
        elif name == "close":
            _each(writers, lambda writer: writer.flush(), lost)
            return
        elif name == "start":
            try:
                hold(uri, arguments[0].id, inbox.closing)
            except TrackingError as error:
                lost(error)
            else:
                _each(writers, operator.methodcaller(name, *arguments), lost)
        else:
            _each(writers, operator.methodcaller(name, *arguments), lost)


def _each(writers: Sequence[Writer], do: Callable[[Writer], object], lost: Callable[[Exception], None]) -> None:
    for writer in writers:
        try:
            do(writer)
        except Exception as error:  # MLflow passes on its libraries' errors; one lost call must not cost the next
            lost(error)


def _text(error: Exception, uri: str) -> str:
    return without_secrets(str(error), uri) or type(error).__name__
