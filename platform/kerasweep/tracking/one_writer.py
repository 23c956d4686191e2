"""One process at a time writes a study: the one that outlived a killed driver ends first."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import tempfile
import threading
import time
from pathlib import Path

from kerasweep.errors import TrackingError
from kerasweep.tracking.patience import CLOSING_SECONDS

_LOOK_SECONDS = 0.2
_WORDS = 1 << 62  # where a lock on a file may lie

_log = logging.getLogger("kerasweep.tracking")


def hold(uri: str, study: str, closing: threading.Event) -> None:
    """Returns when no other process on this machine writes the study; none will until this process has ended.

    All studies share one file, on which each of them locks a byte of its own; the system unlocks it with the process.

    Args:
        uri: of the store.
        study: its id.
        closing: set when this process wants to end; from then on the other one has half a minute.

    Raises:
        TrackingError: the other process did not end.
    """
    digest = hashlib.blake2b(f"{uri} {study}".encode(), digest_size=8).digest()
    place = int.from_bytes(digest, "big") % _WORDS
    path = Path(tempfile.gettempdir()) / f"kerasweep-{os.getuid()}-studies.lock"
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)  # closing it would end the lock
    told, deadline = False, float("inf")
    while True:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
        except (BlockingIOError, PermissionError):
            if not told:
                _log.info("An earlier process still writes %s to the tracking store and is waited for.", study)
                told = True
        else:
            return
        if closing.is_set():
            deadline = min(deadline, time.monotonic() + CLOSING_SECONDS)
        if time.monotonic() > deadline:
            raise TrackingError(
                f"one process at a time must write a study. Received: {study}, which another one still writes "
                f"after {CLOSING_SECONDS:.0f} seconds"
            )
        time.sleep(_LOOK_SECONDS)
