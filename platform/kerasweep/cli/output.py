"""Writing to standard output: results for people, JSON for programs, and readers that leave early."""

from __future__ import annotations

import contextlib
import json
import math
import numbers
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.segment import Segment

# A pipe has no width: nothing is folded there, so that every row stays one line for grep and awk.
_PIPE_WIDTH = 2000
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def write(text: str, stream: TextIO | None = None) -> None:
    """Writes and flushes; a reader that went away (``| head``) changes neither the outcome nor the exit code.

    Args:
        text: to be written as it is, but ``harmless``.
        stream: standard output if left out.
    """
    _send(harmless(text), stream or sys.stdout)


def harmless(text: str) -> str:
    """The text with its control characters spelt out, all but new lines and tabs.

    A terminal would obey them, and a name in a file, an error or a store that others write to may hold any.
    """
    return _CONTROL.sub(lambda match: repr(match[0])[1:-1], text)


def _send(text: str, stream: TextIO) -> None:
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        # What Python's own flush at exit still holds goes to nowhere, instead of into a second error.
        with contextlib.suppress(OSError), open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), stream.fileno())


def write_json(value: object) -> None:
    """Writes one line of strict JSON: NaN and infinities become null."""
    _send(json.dumps(_plain(value), ensure_ascii=False, allow_nan=False) + "\n", sys.stdout)


def show(renderable: RenderableType) -> None:
    """Writes a result for people: coloured and folded on a terminal, plain and unfolded in a pipe."""
    from rich.console import Console
    from rich.segment import Segments

    terminal = sys.stdout.isatty()
    wide = not terminal and "COLUMNS" not in os.environ
    console = Console(width=_PIPE_WIDTH if wide else None, highlight=False, soft_wrap=False)
    with console.capture() as captured:
        console.print(Segments(_harmless(console.render(renderable))))
    lines = captured.get().splitlines()
    _send("\n".join(lines if terminal else [line.rstrip() for line in lines]) + "\n", sys.stdout)


def _harmless(segments: Iterable[Segment]) -> Iterator[Segment]:
    """The same for what rich has made ready: colours are no part of its text yet."""
    return (segment if segment.control else segment._replace(text=harmless(segment.text)) for segment in segments)


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
