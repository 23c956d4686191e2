"""Examples that are printed in texts, found there and run as they stand.

A comment ``<!-- example: FOLDER/NAME -->`` stands before each fenced block of an example. A block whose name begins
with ``$`` is run in that folder; the others are its files, or answers to compare with.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(r"^<!-- example: (\w+)/(\S+) -->\n```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block: the folder and the name that its comment gives, its language, and its lines."""

    folder: str
    name: str
    language: str
    text: str

    @property
    def runs(self) -> bool:
        return self.name.startswith("$")


def blocks(text: str) -> list[Block]:
    """The blocks of all examples of a text, in its order."""
    return [Block(*found) for found in _BLOCK.findall(text)]


def environment() -> dict[str, str]:
    """What a shell has in which the environment is active."""
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def shell(commands: str, folder: Path, seconds: float = 500) -> str:
    """What the commands print on standard output; any that fails fails the test."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=folder, env=environment(), capture_output=True, text=True, timeout=seconds, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{commands}\n{done.stdout}\n{done.stderr}"
    return done.stdout
