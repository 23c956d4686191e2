"""The tracker that nobody waits for: calls go into a queue, one thread opens MLflow and writes them in order."""

from __future__ import annotations

import logging
import math
import queue
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from kerasweep.errors import TrackingError
from kerasweep.records import Metrics, Trial
from kerasweep.tracking import layout
from kerasweep.tracking.base import StudyHeader
from kerasweep.tracking.opening import connect, ensure_experiment, translated, without_secrets
from kerasweep.tracking.patience import Patience
from kerasweep.tracking.study_writer import StudyWriter
from kerasweep.tracking.uris import redact

_FLUSH_SECONDS = 2.0
_STATUSES = ("finished", "interrupted", "failed")

_log = logging.getLogger("kerasweep.tracking")
_Call = Callable[[StudyWriter], None]


class MlflowTracker:
    """Keeps one study in MLflow, as ``base.Tracker`` describes.

    Importing MLflow, migrating a fresh database and creating the experiment take seconds and happen in the thread too.
    While a store is away the thread waits for it and keeps what comes; the first failure is logged as a warning when
    it happens, and is what ``close`` raises.

    Args:
        uri: a resolved address.
        experiment: created if it does not exist.
    """

    def __init__(self, uri: str, experiment: str) -> None:
        self._uri = uri
        self._experiment = experiment
        # Calls for the writer, events to set when all before them was written, None to end.
        self._calls: queue.SimpleQueue[_Call | threading.Event | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._written = threading.Event()
        self._failures: list[str] = []
        self._summary_tags: dict[str, int] = {}
        # A daemon, so that a process that forgets to close still ends; close() is what makes the writing sure.
        threading.Thread(target=self._run, name="kerasweep-tracking", daemon=True).start()

    def start(self, header: StudyHeader) -> None:
        """Begins the parent run."""
        self._post(lambda writer: writer.start(header))

    def begin_trial(self, trial: Trial) -> None:
        """Begins a child run with the trial's parameters."""
        at = _now()
        self._post(lambda writer: writer.begin_trial(trial, at))

    def log_epochs(self, number: int, first_epoch: int, metrics: Sequence[Metrics]) -> None:
        """Adds a running trial's metrics; ``first_epoch`` is the 1-based epoch of ``metrics[0]``."""
        at, copied = _now(), [{name: float(value) for name, value in epoch.items()} for epoch in metrics]
        self._post(lambda writer: writer.log_epochs(number, first_epoch, copied, at))

    def end_trial(self, trial: Trial) -> None:
        """Ends a child run: status, reason, best value and epoch, duration, and any epoch not yet logged."""
        at = _now()
        self._post(lambda writer: writer.end_trial(trial, at))

    def log_files(self, files: Sequence[Path], folder: str, trial: int | None = None) -> None:
        """Copies files or directories into the artifacts; they may vanish afterwards.

        Raises:
            TrackingError: one of them does not exist.
        """
        for file in files:
            copy = Path(tempfile.mkdtemp(prefix="kerasweep-artifact-")) / file.name
            try:
                if file.is_dir():
                    shutil.copytree(file, copy)
                else:
                    shutil.copy2(file, copy)
            except OSError as error:
                shutil.rmtree(copy.parent, ignore_errors=True)
                raise TrackingError(f"a file to log must exist and be readable. Received: {file}: {error}") from error
            self._post(partial(_log_file, copy=copy, folder=folder, trial=trial))

    def log_summary(self, summary: Mapping[str, object]) -> None:
        """Adds to the study's summary; numbers become metrics of the parent run too."""
        at, tags, numbers = _now(), {}, layout.numbers(summary)
        for key, value in summary.items():
            entry = layout.summary_tags(key, value, self._summary_tags.get(key, 0))
            self._summary_tags[key] = len(entry)
            tags.update(entry)
        self._post(lambda writer: writer.log_summary(tags, numbers, at))

    def end(self, status: str) -> None:
        """Ends the parent run: ``finished``, ``interrupted`` or ``failed``."""
        if status not in _STATUSES:
            raise ValueError(f"a study's last status must be one of {', '.join(_STATUSES)}. Received: {status!r}")
        at = _now()
        self._post(lambda writer: writer.end(status, at))

    def flush(self) -> None:
        """Returns when everything so far was written, or has failed; what failed is raised by ``close``."""
        written = threading.Event()
        self._post(written)
        written.wait()

    def close(self) -> None:
        """Returns when everything was written. May be called again, also after an interrupt of the first call.

        Raises:
            TrackingError: something could not be written; raised once, with the first reason.
        """
        if not self._closing.is_set():
            self._closing.set()
            self._calls.put(None)
        self._written.wait()  # not Thread.join: Python 3.11 takes a thread for ended when its join is interrupted
        if self._failures:
            first, count, self._failures = self._failures[0], len(self._failures), []
            more = f" ({count - 1} more were lost after it)" if count > 1 else ""
            raise TrackingError(
                f"every result must reach the tracking store {redact(self._uri)}. Received: {first}{more}"
            )

    def _post(self, call: _Call | threading.Event) -> None:
        if self._closing.is_set():
            raise TrackingError("a closed tracker takes no more results. Received: a call after close()")
        self._calls.put(call)

    def _run(self) -> None:
        """The thread: open, write until ``None`` comes, and say so."""
        try:
            self._write(self._opened())
        finally:
            self._written.set()

    def _opened(self) -> StudyWriter | None:
        patience = Patience(self._closing)
        try:
            client = connect(self._uri, create=True)
            if client is None:
                raise TrackingError("a store that is opened to write must be created. Received: no store")
            with translated(self._uri):
                experiment = patience.call(ensure_experiment, client, self._uri, self._experiment)
        except TrackingError as error:
            self._remember(error)
            return None
        return StudyWriter(client, experiment, patience)

    def _write(self, writer: StudyWriter | None) -> None:
        """Take calls in order; what they buffer goes out every two seconds. Without a store all calls are dropped."""
        due = math.inf
        while True:
            try:
                item = self._calls.get(timeout=None if due == math.inf else max(due - time.monotonic(), 0))
            except queue.Empty:
                item = StudyWriter.flush
            if writer is not None:
                self._attempt(StudyWriter.flush if item is None or isinstance(item, threading.Event) else item, writer)
                now = time.monotonic()
                if now >= due:
                    self._attempt(StudyWriter.flush, writer)
                if not writer.buffered:
                    due = math.inf
                elif due == math.inf:
                    due = now + _FLUSH_SECONDS
            if isinstance(item, threading.Event):
                item.set()
            if item is None:
                return

    def _attempt(self, call: _Call, writer: StudyWriter) -> None:
        try:
            call(writer)
        except Exception as error:  # MLflow passes on its libraries' errors; one lost call must not cost the next
            self._remember(error)

    def _remember(self, error: Exception) -> None:
        message = without_secrets(str(error), self._uri) or type(error).__name__
        if not self._failures:
            _log.warning("Not written to the tracking store %s: %s", redact(self._uri), message)
        self._failures.append(message)


def _log_file(writer: StudyWriter, copy: Path, folder: str, trial: int | None) -> None:
    writer.log_file(copy, folder, trial)


def _now() -> int:
    """Milliseconds since the Unix epoch."""
    return round(time.time() * 1000)
