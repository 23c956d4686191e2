"""How a member's failure is put into words."""

from __future__ import annotations

import sysconfig
import traceback
from pathlib import Path


def reason(error: Exception) -> str:
    """The error's type and message in one line, and the place in the user's code where there is one."""
    message = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    text = ": ".join(part for part in (type(error).__name__, " ".join(message.split())) if part)[:600]
    ours, library = Path(__file__).parent.parent, Path(sysconfig.get_path("stdlib"))
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if "site-packages" not in path.parts and ours not in path.parents and library not in path.parents:
            return f"{text} ({path.name}:{frame.lineno})"
    return text
