"""What the benchmarks share: the cores they keep to, processes measured whole, and what is saved with the figures."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

RESULTS = Path(__file__).resolve().parent / "results"
_SAMPLED = 0.5  # seconds between two looks at the processes
_WEIGHED = 4  # memory at every so many of them: the kernel counts pages for it
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def keep_to(cores: int) -> None:
    """This process and all that it starts run on so many cores. To be called before any library counts them.

    Raises:
        ValueError: there are fewer.
    """
    there = sorted(os.sched_getaffinity(0))
    if len(there) < cores:
        raise ValueError(f"cores must be <= {len(there)}, which this process may use. Received: {cores}")
    os.sched_setaffinity(0, there[:cores])


def made_with(packages: Sequence[str], cores: int) -> dict[str, Any]:
    """The machine and the versions, for a file of results."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "processor": models[0].partition(":")[2].strip() if models else "unknown",
        "cores": cores,
        "versions": {"python": sys.version.split()[0], **{name: metadata.version(name) for name in packages}},
    }


def save(name: str, document: Mapping[str, Any]) -> None:
    """Writes ``results/<name>.json``."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")


@dataclass(frozen=True)
class Whole:
    """A process from its start until all that it started has ended.

    Attributes:
        seconds: of wall time.
        cpu_seconds: of it and of all processes below it, as far as they were sampled.
        memory: ``(seconds since its start, MiB)`` of all of them; pages that several share are counted once.
        output: what it wrote to standard output.
    """

    seconds: float
    cpu_seconds: float
    memory: tuple[tuple[float, float], ...]
    output: str

    @property
    def peak_megabytes(self) -> float:
        return max((megabytes for _, megabytes in self.memory), default=0.0)


def whole_process(command: Sequence[str], folder: Path) -> Whole:
    """Runs a command in a folder, and waits for everything that it started.

    Raises:
        RuntimeError: it failed, or left processes behind; the message ends with what it wrote to standard error.
    """
    tree = _Tree()
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as log:
        began = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=log)
        while process.poll() is None:
            tree.sample()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=_SAMPLED)
        seconds = time.perf_counter() - began
        _reap_orphans()
        log.seek(0)
        output.seek(0)
        if process.returncode:
            raise RuntimeError(f"{' '.join(command)} failed:\n{log.read()}")
        return Whole(seconds, tree.cpu_seconds, tuple(tree.memory), output.read())


class _Tree:
    """CPU time and memory of all processes below this one, as far as they were sampled.

    The kernel's own sum of CPU time leaves out the children of a process that ignores their end, as Ray's node does.
    """

    def __init__(self) -> None:
        self.memory: list[tuple[float, float]] = []
        self._seen: dict[psutil.Process, float] = {}
        self._samples = 0
        self._began = time.perf_counter()

    @property
    def cpu_seconds(self) -> float:
        return sum(self._seen.values())

    def sample(self) -> None:
        weighed = self._samples % _WEIGHED == 0
        self._samples += 1
        bytes_used = 0
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                self._seen[process] = times.user + times.system
                if weighed:
                    bytes_used += process.memory_full_info().pss
        if weighed:
            self.memory.append((time.perf_counter() - self._began, bytes_used / 2**20))


def adopt_orphans() -> None:
    """Processes that outlive their parent, as Ray's do, become this one's: they are measured, and waited for."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER) failed")


def _reap_orphans() -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            ended, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not ended:
            time.sleep(0.05)
    raise RuntimeError("every process must end within a minute of the one that started it; some still run")
