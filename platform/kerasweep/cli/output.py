"""Writing to standard output: results for people, JSON for programs, and readers that leave early."""

from __future__ import annotations

import contextlib
import json
import math
import numbers
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import RenderableType

# A pipe has no width: nothing is folded there, so that every row stays one line for grep and awk.
_PIPE_WIDTH = 2000


def write(text: str, stream: TextIO | None = None) -> None:
    """Writes and flushes; a reader that went away (``| head``) changes neither the outcome nor the exit code.

    Args:
        text: to be written as it is.
        stream: standard output if left out.
    """
    stream = stream or sys.stdout
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        # What Python's own flush at exit still holds goes to nowhere, instead of into a second error.
        with contextlib.suppress(OSError), open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), stream.fileno())


def write_json(value: object) -> None:
    """Writes one line of strict JSON: NaN and infinities become null."""
    write(json.dumps(_plain(value), ensure_ascii=False, allow_nan=False) + "\n")


def show(renderable: RenderableType) -> None:
    """Writes a result for people: coloured and folded on a terminal, plain and unfolded in a pipe."""
    from rich.console import Console

    terminal = sys.stdout.isatty()
    wide = not terminal and "COLUMNS" not in os.environ
    console = Console(width=_PIPE_WIDTH if wide else None, highlight=False, soft_wrap=False)
    with console.capture() as captured:
        console.print(renderable)
    lines = captured.get().splitlines()
    write("\n".join(lines if terminal else [line.rstrip() for line in lines]) + "\n")


@contextlib.contextmanager
def reserved() -> Iterator[None]:
    """While it lasts, what libraries and the user's own code print goes to standard error."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def _plain(value: object) -> object:
    """The same value in JSON's types."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [_plain(item) for item in value]
    return str(value)


def program() -> str:
    """What to type to start kerasweep from here: the bare command only if the shell would find it."""
    started = Path(sys.argv[0])
    if shutil.which("kerasweep"):
        return "kerasweep"
    return os.path.relpath(started) if started.name == "kerasweep" else f"{sys.executable} -m kerasweep"
