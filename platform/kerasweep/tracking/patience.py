"""How long a store that does not answer is waited for."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from kerasweep.errors import TrackingError

T = TypeVar("T")

_log = logging.getLogger("kerasweep.tracking")

_OUTAGE_SECONDS = 600.0
_RETRY_SECONDS = 5.0
_GIVE_UP_AFTER = 3
# A server that cannot be reached is MLflow's INTERNAL_ERROR, a database that is locked or gone TEMPORARILY_UNAVAILABLE.
_TRANSIENT = frozenset({"TEMPORARILY_UNAVAILABLE", "INTERNAL_ERROR", "REQUEST_LIMIT_EXCEEDED"})


class Patience:
    """Calls MLflow, and again for up to ten minutes while the store is away: a restarted server costs nothing.

    Once the process wants to end, each call has one attempt, and after three lost in a row there are no more.

    Args:
        closing: set when the process wants to end.
    """

    def __init__(self, closing: threading.Event) -> None:
        self._closing = closing
        self._lost_in_a_row = 0

    def call(self, function: Callable[..., T], *args: Any) -> T:
        """The function's result.

        Raises:
            TrackingError: the store was away for so long that this call was not tried.
            MlflowException: it was tried in vain, or refused.
        """
        from mlflow.exceptions import MlflowException

        if self._closing.is_set() and self._lost_in_a_row >= _GIVE_UP_AFTER:
            raise TrackingError("the tracking store must answer until everything is written. Received: no answer")
        deadline = time.monotonic() + _OUTAGE_SECONDS
        while True:
            try:
                result = function(*args)
            except MlflowException as error:
                if str(error.error_code) not in _TRANSIENT:
                    raise
                if self._closing.is_set() or time.monotonic() > deadline:
                    self._lost_in_a_row += 1
                    raise
                _log.warning("The tracking store does not answer and is tried again; trials go on meanwhile.")
                self._closing.wait(_RETRY_SECONDS)
            else:
                self._lost_in_a_row = 0
                return result
