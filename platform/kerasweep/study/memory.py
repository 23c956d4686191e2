"""What a searcher has learned, kept on disk: a study that goes on need not ask it everything again.

A journal alone is enough to go on. But a searcher with a model takes seconds for each proposal, and thousands of them
would be made a second time. So it is pickled now and then, together with the point of the journal at which it stood.
Such a file is only a short cut: one that is torn, of other versions, or that others could have written is passed over.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import stat
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from kerasweep.records import Candidate, Trial
from kerasweep.search.base import Searcher, Watching

# A searcher is kept when proposing has taken this long since the last time, and so many times what keeping it took.
_LEAST_SECONDS = 1.0
_WORTH = 10.0

_OTHERS = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True)
class Memory:
    """A searcher as it stood.

    Attributes:
        generations: that it had been asked for.
        searcher: itself.
        notes: what it had said.
    """

    generations: int
    searcher: Searcher
    notes: tuple[str, ...]


class Keeper:
    """Keeps a searcher in a file when that is worth it.

    Args:
        path: of the file.
        versions: of Python and the packages.
    """

    def __init__(self, path: Path, versions: Mapping[str, str]) -> None:
        self._path = path
        self._versions = dict(versions)
        self._asking = 0.0  # seconds since it was kept
        self._keeping = 0.0  # seconds that this took

    def asked(self, seconds: float) -> bool:
        """Takes note of how long proposing took; whether the searcher is worth keeping now."""
        self._asking += seconds
        return self._asking > max(_LEAST_SECONDS, _WORTH * self._keeping)

    def keep(self, memory: Memory, check: int) -> None:
        """Replaces what was kept. A disk that is full, or a searcher that cannot be pickled, costs the short cut only.

        Args:
            memory: to keep.
            check: of the journal up to and with the memory's last generation.
        """
        begun = time.monotonic()
        partial = self._path.with_name(f"{self._path.name}.partial")
        with suppress(Exception):  # pickling runs the searcher's own code
            content = pickle.dumps(memory)
            head = {"check": check, "versions": self._versions, "digest": _digest(content)}
            partial.write_bytes(json.dumps(head).encode() + b"\n" + content)
            partial.chmod(0o600)
            partial.replace(self._path)
        self._asking, self._keeping = 0.0, time.monotonic() - begun


def remembered(path: Path, versions: Mapping[str, str], checks: Sequence[int]) -> Memory | None:
    """What a file holds; None if it is not there or not to be trusted.

    Args:
        path: of the file.
        versions: as ``Keeper`` was given them.
        checks: of the journal after each of its lines.
    """
    try:
        if not _ours(path) or not _ours(path.parent):
            return None
        head, _, content = path.read_bytes().partition(b"\n")
        told = json.loads(head)
        if (told["versions"], told["digest"]) != (dict(versions), _digest(content)) or told["check"] not in checks:
            return None
        memory = pickle.loads(content)
    except Exception:  # whatever it is, everything is asked again
        return None
    return memory if isinstance(memory, Memory) else None


class Reciting:
    """A searcher that proposes what it is told to, and learns nothing.

    Attributes:
        next: what it proposes next.
    """

    def __init__(self) -> None:
        self.next: list[Candidate] = []

    def ask(self, n: int) -> list[Candidate]:
        return self.next

    def tell(self, trials: Sequence[Trial]) -> None:
        """Nothing: who takes its place was told."""

    def recall(self, trials: Sequence[Trial]) -> None:
        """Likewise."""


class RecitingWatching(Reciting):
    """One in the place of a searcher that watches."""

    def watch(self, trials: Sequence[Trial]) -> None:
        """Likewise."""


def reciting(searcher: Searcher) -> Reciting:
    """One that takes a searcher's place."""
    return RecitingWatching() if isinstance(searcher, Watching) else Reciting()


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _ours(path: Path) -> bool:
    """Whether only this user can write it."""
    found = os.stat(path)
    return found.st_uid == os.geteuid() and not found.st_mode & _OTHERS
