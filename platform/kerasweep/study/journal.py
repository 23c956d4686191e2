"""A study's journal: a text file with one line an event, from which the study can be told again.

Every line is a JSON object that ends with a checksum of all that stands before it in the file, so that no line can be
changed, lost or put elsewhere without being noticed. A line counts once its line break is written: what a process that
was killed left behind it is dropped by the next one.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kerasweep.errors import StorageError

# Of the format; a file of another version is not read.
VERSION = 1

Event = Mapping[str, Any]

_CHECK = b',"check":"'
_CHECK_LENGTH = len(_CHECK) + 8 + len(b'"}')


@dataclass(frozen=True)
class Contents:
    """What a journal's file holds.

    Attributes:
        events: of its whole lines, in their order, from the first to the last or to the damage.
        size: of these lines, in bytes.
        checks: the checksum after each of them.
        damage: what is wrong with the line after them, and its number; None if none follows, or only a torn one.
    """

    events: tuple[Event, ...]
    size: int
    checks: tuple[int, ...]
    damage: str | None


def read(path: Path) -> Contents:
    """Reads a journal as far as it is whole.

    What is behind the last line break is torn: a process was killed, or a disk was full, while it was written. A line
    that is not as it was written is damage.

    Raises:
        StorageError: there is no such file, or it cannot be read.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise StorageError(f"a study's journal must be readable. Received: {path}: {error.strerror}") from error
    lines.pop()  # torn, or empty after a line break
    events: list[Event] = []
    checks: list[int] = []
    check = size = 0
    for number, line in enumerate(lines, 1):
        event, found = _decode(line, check)
        if event is None:
            damage = f"line {number} must be as it was written. Received: {_shortened(line)}"
            return Contents(tuple(events), size, tuple(checks), damage)
        events.append(event)
        checks.append(found)
        check, size = found, size + len(line) + 1
    return Contents(tuple(events), size, tuple(checks), None)


def whole(path: Path) -> Contents:
    """Reads a journal that must not be damaged.

    Raises:
        StorageError: it is, or it cannot be read; the message says where, and how to go on.
    """
    contents = read(path)
    if contents.damage is not None:
        raise StorageError(f"{path}: {contents.damage}. kerasweep repair {path.parent.name} keeps what is before it")
    if not contents.events:
        raise StorageError(f"{path}: a journal must begin with its study. Received: no whole line")
    version = contents.events[0].get("version")
    if version != VERSION:
        raise StorageError(f"{path}:1: the journal's version must be {VERSION}. Received: {version}")
    return contents


def repair(path: Path) -> tuple[int, int]:
    """Cuts a journal off where it is damaged; the file as it was stays beside it, with ``.damaged`` after its name.

    Returns:
        How many lines were kept, and how many were cut off.
    """
    contents = read(path)
    content = path.read_bytes()
    if contents.size == len(content):
        return len(contents.events), 0
    aside = _unused(path.with_name(f"{path.name}.damaged"))
    fresh = path.with_name(f"{path.name}.partial")
    try:
        aside.write_bytes(content)
        with fresh.open("wb") as stream:
            stream.write(content[: contents.size])
            stream.flush()
            os.fsync(stream.fileno())
        fresh.replace(path)
    except OSError as error:
        raise StorageError(f"a repaired journal must be written. Received: {path}: {error.strerror}") from error
    rest = content[contents.size :]
    return len(contents.events), rest.count(b"\n") + (not rest.endswith(b"\n"))


class Journal:
    """A journal that is being written, by one process.

    Args:
        path: of its file, which is created if there is none.
        contents: what that holds, from ``whole``; a torn last line is cut off. None for a file that does not exist.

    Raises:
        StorageError: the file cannot be written.
    """

    def __init__(self, path: Path, contents: Contents | None = None) -> None:
        self._path = path
        self._check = contents.checks[-1] if contents and contents.checks else 0  # or nothing but a torn line
        self._size = contents.size if contents else 0
        try:
            flags = os.O_WRONLY | os.O_APPEND | (os.O_CREAT | os.O_EXCL if contents is None else 0)
            self._file = os.open(path, flags, 0o644)
            os.ftruncate(self._file, self._size)
        except OSError as error:
            raise self._failed(error) from error

    def append(self, event: Event, *, lasting: bool = False) -> None:
        """Writes one event. When this returns a process that is killed loses it no more.

        Args:
            event: JSON values; NaN and infinities are as Python's ``json`` writes them.
            lasting: whether a machine that loses its power must not lose it either.

        Raises:
            StorageError: it could not be written, and the journal is as it was before.
        """
        text = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
        body = text.encode(errors="backslashreplace")[:-1]  # of half a character, which a file's name may have
        check = zlib.crc32(body, self._check)
        line = body + _CHECK + f'{check:08x}"}}\n'.encode()
        before = self._check, self._size
        try:
            self._write(line)
            if lasting:
                os.fsync(self._file)
            self._check, self._size = check, self._size + len(line)
        except BaseException as error:  # an interrupt may come at any point
            self._check, self._size = before
            os.ftruncate(self._file, self._size)
            if isinstance(error, OSError):
                raise self._failed(error) from error
            raise

    @property
    def check(self) -> int:
        """The checksum of all that it holds."""
        return self._check

    def close(self) -> None:
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, line: bytes) -> None:
        while line:  # a disk that is nearly full takes a part of it
            line = line[os.write(self._file, line) :]

    def _failed(self, error: OSError) -> StorageError:
        return StorageError(
            f"a study's journal must be written. Received: {self._path}: {error.strerror}. Nothing that it holds is "
            f"lost; once there is room, kerasweep resume {self._path.parent.name} carries on"
        )


def _decode(line: bytes, check: int) -> tuple[Event | None, int]:
    """A line's event and checksum, given that of the lines before it; no event for a line that is not whole."""
    body, tail = line[:-_CHECK_LENGTH], line[-_CHECK_LENGTH:]
    found = zlib.crc32(body, check)
    if tail != _CHECK + f'{found:08x}"}}'.encode():
        return None, check
    try:
        event = json.loads(body + b"}")
    except ValueError:  # a checksum that fits by accident
        return None, check
    return (event, found) if isinstance(event, dict) else (None, check)


def _shortened(line: bytes) -> str:
    text = line.decode("utf-8", "replace")
    return repr(text if len(text) <= 80 else f"{text[:40]}…{text[-39:]}")


def _unused(path: Path) -> Path:
    """The path, or with the next number after it if there is such a file already."""

    def candidates() -> Iterator[Path]:
        yield path
        number = 2
        while True:
            yield path.with_name(f"{path.name}-{number}")
            number += 1

    return next(candidate for candidate in candidates() if not candidate.exists())
