"""``python -m kerasweep``: the same as the command ``kerasweep``."""

from __future__ import annotations

import sys

from kerasweep.cli import main

if __name__ == "__main__":
    sys.exit(main())
