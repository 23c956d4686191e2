"""The tracker that nobody waits for: calls go to a process of its own, which opens MLflow and writes them."""

from __future__ import annotations

import contextlib
import itertools
import logging
import pickle
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from kerasweep.errors import TrackingError
from kerasweep.records import Metrics, Trial
from kerasweep.tracking import layout
from kerasweep.tracking.base import StudyHeader
from kerasweep.tracking.opening import users_environment
from kerasweep.tracking.secrecy import without_address
from kerasweep.tracking.uris import redact

_FLUSH_SECONDS = 600.0
_STATUSES = ("finished", "interrupted", "failed")
# Not `-m`, and with this process's own path: the same modules are found, and the user's `__main__` is not run again.
_PROGRAM = "import sys; sys.path[:] = sys.argv[1:]; from kerasweep.tracking.writing import main; main()"

_log = logging.getLogger("kerasweep.tracking")


class MlflowTracker:
    """Keeps one study in MLflow, as ``base.Tracker`` describes.

    Importing MLflow, migrating a fresh database and creating the experiment take seconds and happen in the process that
    writes; see ``tracking.writing``. While a store is away that process waits for it and keeps what comes; the first
    failure is logged as a warning when it happens, and is what ``close`` raises.

    Args:
        uri: a resolved address.
        experiment: created if it does not exist.
        board: folder of this study's TensorBoard event files, which the same process writes; None for none.
        uploads: folder for copies of files that wait to be written, which ``close`` deletes; None for temporary ones.
    """

    def __init__(self, uri: str, experiment: str, board: Path | None = None, uploads: Path | None = None) -> None:
        self._uri = uri
        self._uploads = uploads
        # Pickled calls for the writing process; None ends it.
        self._calls: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._written = threading.Event()
        self._flushes: dict[int, threading.Event] = {}
        self._flush_numbers = itertools.count()
        self._study = ""
        self._failure = ""
        self._lost = 0
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _PROGRAM, *sys.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=users_environment(),
            process_group=0,  # Ctrl-C is for the driver, which closes in its own time
        )
        self._calls.put(pickle.dumps((uri, experiment, board)))
        # Daemons, so that a process that forgets to close still ends; close() is what makes the writing sure.
        for target, stream in ((self._send, self._process.stdin), (self._receive, self._process.stdout)):
            threading.Thread(target=target, args=(stream,), name="kerasweep-tracking", daemon=True).start()

    def start(self, header: StudyHeader) -> None:
        """Begins the parent run, or makes the one of this study run again."""
        self._study = header.id
        self._post("start", without_address(header))

    def begin_trial(self, trial: Trial) -> None:
        """Begins a child run with the trial's parameters, or makes the one of this trial run again."""
        self._post("begin_trial", trial, _now())

    def log_epochs(self, number: int, first_epoch: int, metrics: Sequence[Metrics]) -> None:
        """Adds a running trial's metrics; ``first_epoch`` is the 1-based epoch of ``metrics[0]``."""
        plain = [{name: float(value) for name, value in epoch.items()} for epoch in metrics]
        self._post("log_epochs", number, first_epoch, plain, _now())

    def end_trial(self, trial: Trial) -> None:
        """Ends a child run: status, reason, best value and epoch, duration, and any epoch not yet logged."""
        self._post("end_trial", trial, _now())

    def log_files(self, files: Sequence[Path], folder: str, trial: int | None = None) -> None:
        """Copies files or directories into the artifacts; they may vanish afterwards.

        Raises:
            TrackingError: one of them does not exist.
        """
        for file in files:
            with contextlib.ExitStack() as undone:
                try:
                    if self._uploads is not None:
                        self._uploads.mkdir(parents=True, exist_ok=True)
                    aside = Path(tempfile.mkdtemp(prefix="kerasweep-artifact-", dir=self._uploads))
                    undone.callback(shutil.rmtree, aside, ignore_errors=True)
                    copy = shutil.copytree if file.is_dir() else shutil.copy2
                    copy(file, aside / file.name)
                except OSError as error:
                    rule = "a file to log must exist and be readable"
                    raise TrackingError(f"{rule}. Received: {file}: {error}") from error
                undone.pop_all()
            self._post("log_file", str(aside / file.name), folder, trial)

    def log_summary(self, summary: Mapping[str, object]) -> None:
        """Adds to the study's summary; numbers become metrics of the parent run too."""
        tags: dict[str, str] = {}
        for key, value in summary.items():
            tags |= layout.summary_tags(key, value)
        self._post("log_summary", tags, layout.numbers(summary), _now())

    def end(self, status: str) -> None:
        """Ends the parent run: ``finished``, ``interrupted`` or ``failed``."""
        if status not in _STATUSES:
            raise ValueError(f"a study's last status must be one of {', '.join(_STATUSES)}. Received: {status!r}")
        self._post("end", status, _now())

    def flush(self, trials: bool = True) -> None:
        """Returns when everything so far was written, or has failed; what failed is raised by ``close``.

        Without ``trials``, when the study's own run is there; trials that have ended may still wait to be written.

        Raises:
            TrackingError: it took more than ten minutes; what waits is written later.
        """
        number, flushed = next(self._flush_numbers), threading.Event()
        self._flushes[number] = flushed
        self._post("flush", number, trials)
        if self._written.is_set():  # the process died: nobody will answer
            return
        if not flushed.wait(_FLUSH_SECONDS):
            raise TrackingError(
                f"the tracking store {redact(self._uri)} must answer when its study is needed. Received: no answer for "
                f"{_FLUSH_SECONDS:.0f} seconds"
            )

    def close(self) -> None:
        """Returns when everything was written. May be called again, also after an interrupt of the first call.

        A store that is away has half a minute to come back.

        Raises:
            TrackingError: something could not be written; raised once, with the first reason and the way to go on.
        """
        if not self._closing.is_set():
            self._post("close")
            self._closing.set()
            self._calls.put(None)
        self._written.wait()  # not Thread.join: Python 3.11 takes a thread for ended when its join is interrupted
        if self._uploads is not None:
            shutil.rmtree(self._uploads, ignore_errors=True)
        if self._lost:
            first, count, self._lost = self._failure, self._lost, 0
            more = f" ({count - 1} more were lost after it)" if count > 1 else ""
            later = f" `kerasweep sync {self._study}` sends what is missing." if self._study else ""
            raise TrackingError(
                f"every result must reach the tracking store {redact(self._uri)}.{later} Received: {first}{more}"
            )

    def _post(self, name: str, *arguments: Any) -> None:
        if self._closing.is_set():
            raise TrackingError("a closed tracker takes no more results. Received: a call after close()")
        self._calls.put(pickle.dumps((name, arguments)))

    def _send(self, stream: IO[bytes]) -> None:
        """The thread that feeds the process; once that is gone the calls go nowhere."""
        while (call := self._calls.get()) is not None:
            with contextlib.suppress(OSError):
                stream.write(call)
                if self._calls.empty():
                    stream.flush()
        with contextlib.suppress(OSError):
            stream.close()

    def _receive(self, stream: IO[bytes]) -> None:
        """The thread that hears from the process, until that has ended."""
        try:
            with stream, contextlib.suppress(EOFError, pickle.UnpicklingError):
                while True:
                    kind, values = pickle.load(stream)
                    if kind == "flushed":
                        self._flushes.pop(values[0]).set()
                    elif kind == "lost":
                        self._remember(values[0])
                    elif kind == "log":
                        name, level, message = values
                        logging.getLogger(name).log(level, message)
            code = self._process.wait()
            if code or not self._closing.is_set():
                self._remember(f"the process that writes ended with exit code {code}, and with what it had not written")
        finally:
            self._written.set()
            for flushed in list(self._flushes.values()):
                flushed.set()

    def _remember(self, message: str) -> None:
        if not self._lost:
            self._failure = message
            _log.warning("Not written to the tracking store %s: %s", redact(self._uri), message)
        self._lost += 1


def _now() -> int:
    """Milliseconds since the Unix epoch."""
    return round(time.time() * 1000)
