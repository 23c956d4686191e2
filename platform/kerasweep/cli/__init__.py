"""The command ``kerasweep``: each command parses, makes one library call, renders, and returns an exit code."""

from __future__ import annotations

import sys
from typing import NoReturn

__all__ = ["main"]


def main() -> NoReturn:
    """Runs the command line in ``sys.argv``.

    Raises:
        SystemExit: always; 0 done, 1 the study failed, 2 the input is wrong, 130 interrupted.
    """
    from kerasweep.cli.commands import app

    sys.exit(app(prog_name="kerasweep"))
