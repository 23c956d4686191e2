"""How long a store that does not answer is waited for: while trials go on, as long as it takes."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from kerasweep.errors import TrackingError

T = TypeVar("T")

# How long a store that is away is waited for once the process wants to end.
CLOSING_SECONDS = 30.0

_log = logging.getLogger("kerasweep.tracking")

_RETRY_SECONDS = 5.0
_CLOSING_RETRY_SECONDS = 0.5
# How long a call is tried that fails although the store answers others; and how many such calls in a row.
_REFUSED_SECONDS = 60.0
_CLOSING_REFUSED_SECONDS = 5.0
_REFUSED_CALLS = 3
# A server that cannot be reached is MLflow's INTERNAL_ERROR, a database that is locked or gone TEMPORARILY_UNAVAILABLE.
_TRANSIENT = frozenset({"TEMPORARILY_UNAVAILABLE", "INTERNAL_ERROR", "REQUEST_LIMIT_EXCEEDED"})


class Patience:
    """Calls MLflow, and again while the store is away: a restarted server or database costs nothing.

    The log says once that a store is away. When the process wants to end, such a store has half a minute more, and no
    call is tried after that. A call that fails while the store answers others is given up after a minute.

    Args:
        closing: set when the process wants to end.
        text: of an error, for the log.

    Attributes:
        probe: asks the store something that it can always answer; None while there is nothing to ask.
    """

    def __init__(self, closing: threading.Event, text: Callable[[Exception], str] = str) -> None:
        self.probe: Callable[[], object] | None = None
        self._closing = closing
        self._text = text
        self._away_since: float | None = None
        self._deadline: float | None = None  # of a store that is away when the process wants to end
        self._refused = 0  # calls in a row
        self._gave_up = ""

    def call(self, function: Callable[..., T], *args: Any) -> T:
        """The function's result.

        Raises:
            TrackingError: the store was away for too long when the process wanted to end.
            MlflowException: it refused the call.
        """
        from mlflow.exceptions import MlflowException

        if self._gave_up:
            raise TrackingError(self._gave_up)
        begun = time.monotonic()
        while True:
            try:
                result = function(*args)
            except MlflowException as error:
                if str(error.error_code) not in _TRANSIENT:
                    raise
                if not self._answers():
                    self._wait(error)
                    begun = time.monotonic()
                elif time.monotonic() - begun > self._insistence:
                    self._refused += 1
                    raise
                self._pause()
            else:
                self._return()
                self._refused = 0
                return result

    @property
    def _insistence(self) -> float:
        """Seconds for which a call is tried that the store refuses."""
        if self._refused >= _REFUSED_CALLS:
            return 0.0
        return _CLOSING_REFUSED_SECONDS if self._closing.is_set() else _REFUSED_SECONDS

    def _answers(self) -> bool:
        if self.probe is None:
            return False
        try:
            self.probe()
        except Exception:  # whatever it is, the store is not well
            return False
        self._return()
        return True

    def _wait(self, error: Exception) -> None:
        """Note that the store is away.

        Raises:
            TrackingError: it has been for too long.
        """
        now = time.monotonic()
        if self._away_since is None:
            self._away_since = now
            _log.warning(
                "The tracking store does not answer and is tried until it does; trials go on meanwhile. Received: %s",
                self._text(error),
            )
        if self._closing.is_set():
            self._deadline = self._deadline or now + CLOSING_SECONDS
            if now > self._deadline:
                self._gave_up = f"no answer for {now - self._away_since:.0f} seconds: {self._text(error)}"
                raise TrackingError(self._gave_up)

    def _return(self) -> None:
        """Note that the store is there."""
        if self._away_since is not None:
            _log.warning("The tracking store answers again, after %.0f seconds.", time.monotonic() - self._away_since)
        self._away_since = self._deadline = None

    def _pause(self) -> None:
        if self._closing.is_set():
            time.sleep(_CLOSING_RETRY_SECONDS)
        else:
            self._closing.wait(_RETRY_SECONDS)
