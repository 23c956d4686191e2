"""Watches whether a cluster's head is there: Ray ends a driver that has been without it for a minute."""

from __future__ import annotations

import logging
import socket
import threading
import time

_LOOK_SECONDS = 2.0
_AWAY_SECONDS = 10.0  # until that is told
_CONNECT_SECONDS = 5.0

_log = logging.getLogger("kerasweep.dispatch")


def watch_head(address: str, closing: threading.Event) -> None:
    """Tells in the log, once each time, that the head is away, and what follows from that; and that it is back.

    Args:
        address: of its service, ``host:port``.
        closing: ends the watch when it is set.
    """
    host, _, port = address.rpartition(":")
    there, told = time.monotonic(), False
    while not closing.wait(_LOOK_SECONDS):
        if _answers(host.strip("[]"), int(port)):
            if told:
                _log.warning("Ray's head answers again, after %.0f seconds.", time.monotonic() - there)
            there, told = time.monotonic(), False
        elif not told and time.monotonic() - there > _AWAY_SECONDS:
            told = True
            _log.warning(
                "Ray's head at %s does not answer. Unless it comes back within a minute, Ray ends this process. "
                "Nothing that was finished is lost; once there is a head, kerasweep resume carries on.",
                address,
            )


def _answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), _CONNECT_SECONDS).close()
    except OSError:
        return False
    return True
