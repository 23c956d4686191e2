"""What is said when Ray's head goes away and comes back, with a socket in its place."""

from __future__ import annotations

import logging
import socket
import threading
import time

import pytest

from kerasweep.dispatch import head


def listening(port: int = 0) -> socket.socket:
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("127.0.0.1", port))
    server.listen()
    return server


def test_a_head_that_goes_away_and_comes_back_is_told_once_each(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(head, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(head, "_AWAY_SECONDS", 0.1)
    caplog.set_level(logging.INFO, "kerasweep.dispatch")

    def said(count: int) -> list[str]:
        until = time.monotonic() + 20
        while len(caplog.messages) < count and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(0.2)
        return caplog.messages

    server, closing = listening(), threading.Event()
    port = server.getsockname()[1]
    watch = threading.Thread(target=head.watch_head, args=(f"127.0.0.1:{port}", closing))
    watch.start()
    try:
        assert said(0) == []
        server.close()
        assert said(1)[0].startswith(f"Ray's head at 127.0.0.1:{port} does not answer.")
        server = listening(port)
        assert said(2)[1].startswith("Ray's head answers again")
        assert len(said(2)) == 2
    finally:
        closing.set()
        watch.join()
        server.close()
