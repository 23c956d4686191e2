"""Where a study keeps what it needs to go on: its journal, the states of its cohorts, and its best trials' weights."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from kerasweep.errors import StorageError, StudyNotFound


@dataclass(frozen=True)
class StudyFolder:
    """The folder of one study.

    Attributes:
        path: of the folder; its name is the study's id.
    """

    path: Path

    @property
    def journal(self) -> Path:
        """The file of the journal."""
        return self.path / "journal.jsonl"

    @property
    def checkpoints(self) -> Path:
        """The states of cohorts in training, while the search goes on."""
        return self.path / "checkpoints"

    @property
    def weights(self) -> Path:
        """The weights of the best trials, once the search has ended."""
        return self.path / "weights"

    @property
    def searcher(self) -> Path:
        """The file of what the searcher has learned, if that was worth keeping."""
        return self.path / "searcher"

    @property
    def scratch(self) -> Path:
        """What its driver makes on the way, and deletes at its end."""
        return self.path / "scratch"

    @property
    def uploads(self) -> Path:
        """Copies of files that wait for the tracking store."""
        return self.path / "uploads"

    def lock(self) -> Lock:
        """Makes this process the study's only driver, and the folder if there is none.

        Raises:
            StorageError: another process drives it, or the folder cannot be written.
        """
        return Lock(self.path)


class Lock:
    """Held by the one process that drives a study; the system takes it from a process that dies.

    Args:
        folder: of the study.

    Raises:
        StorageError: another process holds it; the message says which.
    """

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(0o755, parents=True, exist_ok=True)  # only its owner writes into it
            self._file = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise StorageError(
                f"a study's folder must be writable; resources.storage says where it is. Received: {folder}: "
                f"{error.strerror}"
            ) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(self._file, 1000).decode(errors="replace") or "another process"
            os.close(self._file)
            raise StorageError(
                f"a study must have one driver at a time. Received: {folder.name}, in use by {holder}"
            ) from error
        holder = f"process {os.getpid()} on {socket.gethostname()}, since {time.ctime()}"
        with suppress(OSError):  # a full disk: the lock holds without saying whose it is
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, holder.encode(), 0)

    def release(self) -> None:
        """Lets the next process have it."""
        os.close(self._file)


def storage_root(storage: str) -> Path:
    """Where studies have their folders.

    Args:
        storage: ``resources.storage`` of a specification.
    """
    return Path.cwd() / "mlruns" / "studies" if storage == "auto" else Path(storage).absolute()


def studies(root: Path, name: str | None = None) -> list[StudyFolder]:
    """The studies that have a journal, newest first. One without a whole line has not begun.

    Args:
        root: where studies have their folders.
        name: of those that are wanted; None for all.
    """
    folders = [path.parent for path in root.glob("*/journal.jsonl") if _has_line(path)]
    named = [path for path in folders if name is None or path.name.rpartition("@")[0] == name]
    return [StudyFolder(path) for path in sorted(named, key=_begun, reverse=True)]


def find(root: Path, study: str) -> StudyFolder:
    """The folder of a study, by its id or by its name (then the newest of that name).

    Args:
        root: where studies have their folders.
        study: id or name.

    Raises:
        StudyNotFound: there is none; the message says which there are.
    """
    known = studies(root)
    for folder in known:
        if study in (folder.path.name, folder.path.name.rpartition("@")[0]):
            return folder
    names = ", ".join(folder.path.name for folder in known[:5]) or "none"
    raise StudyNotFound(f"a study with a journal must lie in {root}; the newest are: {names}. Received: {study!r}")


def _has_line(journal: Path) -> bool:
    try:
        with journal.open("rb") as stream:
            return stream.readline().endswith(b"\n")
    except OSError:
        return True  # whoever wants that study is told why


def _begun(folder: Path) -> float:
    """When a study began, as its journal says; 0 if that cannot be read."""
    try:
        with (folder / "journal.jsonl").open("rb") as stream:
            return float(json.loads(stream.readline())["started"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0
