"""The command ``kerasweep``: each command parses, makes one library call, renders, and returns an exit code."""

from __future__ import annotations

import atexit
import os
import sys
from contextlib import suppress
from typing import NoReturn

__all__ = ["main"]


def main() -> NoReturn:
    """Runs the command line in ``sys.argv``.

    Raises:
        SystemExit: always; 0 done, 1 the study failed, 2 the input is wrong, 130 interrupted.
    """
    ending = _Ending()
    atexit.register(ending.leave)  # the first to be registered is the last to be called
    try:
        from kerasweep.cli.commands import app

        sys.exit(app(prog_name="kerasweep"))
    except KeyboardInterrupt:  # before there was a command to handle it
        ending.code = 130
        raise
    except SystemExit as done:
        ending.code = done.code if isinstance(done.code, int) else int(done.code is not None)
        raise


class _Ending:
    """Ends the process when everything else has ended, without taking TensorFlow's and Ray's objects apart one by one.

    Attributes:
        code: of the exit.
    """

    code = 1

    def leave(self) -> None:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(self.code)
