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
import os
import pickle
import queue
import sys
import threading
import time
from typing import Any, BinaryIO

from kerasweep.errors import TrackingError
from kerasweep.tracking.opening import checkpoint, connect, ensure_experiment, relax_sqlite, translated, without_secrets
from kerasweep.tracking.patience import Patience
from kerasweep.tracking.study_writer import StudyWriter

# When training keeps all cores busy, this leaves a quarter of one to the writing: enough to keep up.
_NICENESS = 5

Call = tuple[str, tuple[Any, ...]]


def main() -> None:
    """Write what comes in until it ends."""
    os.nice(_NICENESS)
    # Answers have the standard output to themselves: what a library prints goes to standard error.
    answers = Answers(os.fdopen(os.dup(1), "wb"))
    os.dup2(2, 1)
    log = logging.getLogger("kerasweep")
    log.addHandler(answers)
    log.propagate = False
    uri, experiment = pickle.load(sys.stdin.buffer)
    inbox = Inbox(sys.stdin.buffer)
    writer = _opened(uri, experiment, Patience(inbox.closing), answers)
    # MLflow's import leaves 300,000 objects that stay; the garbage collector need not look at them again and again.
    gc.collect()
    gc.freeze()
    if writer is None:
        _drop(inbox, answers)
    else:
        _write(writer, inbox, answers, uri)
        checkpoint(uri)


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
    relax_sqlite()
    try:
        client = connect(uri, create=True)
        if client is None:
            raise TrackingError("a store that is opened to write must be created. Received: no store")
        with translated(uri):
            found = patience.call(ensure_experiment, client, uri, experiment)
    except TrackingError as error:
        answers.send("lost", _text(error, uri))
        return None
    return StudyWriter(client, found, patience, lambda error: answers.send("lost", _text(error, uri)))


def _write(writer: StudyWriter, inbox: Inbox, answers: Answers, uri: str) -> None:
    """Take notes as long as calls come, and write when there are none: then each run takes the fewest requests."""
    while True:
        call = inbox.get(0)
        if call is None:
            due = writer.due
            call = inbox.get(None if due == math.inf else max(due - time.monotonic(), 0))
        if call is None:
            writer.write_next()
            continue
        name, arguments = call
        try:
            if name == "flush":
                if arguments[1]:
                    writer.flush()
            elif name == "killed":
                if writer.goes_on:
                    writer.end("interrupted", round(time.time() * 1000))
                return
            elif name == "close":
                writer.flush()
                return
            else:
                getattr(writer, name)(*arguments)
        except Exception as error:  # MLflow passes on its libraries' errors; one lost call must not cost the next
            answers.send("lost", _text(error, uri))
        if name == "flush":
            answers.send("flushed", arguments[0])


def _drop(inbox: Inbox, answers: Answers) -> None:
    """Without a store all calls are dropped."""
    while (call := inbox.get(None)) is not None and call[0] not in ("close", "killed"):
        if call[0] == "flush":
            answers.send("flushed", call[1][0])


def _text(error: Exception, uri: str) -> str:
    return without_secrets(str(error), uri) or type(error).__name__
