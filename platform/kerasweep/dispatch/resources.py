"""How trials share a machine."""

from __future__ import annotations

import math
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from kerasweep.dispatch.base import Allocation
from kerasweep.errors import ResourceError
from kerasweep.spec.pipeline import ResourcesSpec

# Cores of a worker that trains cohorts; what one Python process can keep busy.
_CORES_TOGETHER = 8

_MIB = 2.0**20

# A container's limit and what it uses, in the second and the first version of Linux's control groups.
_LIMITS = tuple(
    (Path("/sys/fs/cgroup") / limit, Path("/sys/fs/cgroup") / used)
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    )
)


def local_cpus() -> int:
    """CPU cores this process may use; a container's or a batch system's limits count."""
    return len(os.sched_getaffinity(0))


def host_memory() -> float:
    """Bytes that this process may still use; a container's limit counts."""
    facts = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    free = float(facts["MemAvailable"].split()[0]) * 1024
    for limit, used in _LIMITS:
        if limit.is_file() and (text := limit.read_text().strip()) != "max":
            free = min(free, float(text) - float(used.read_text()))
    return max(0.0, free)


def card_memory() -> float | None:
    """Bytes of this machine's first visible card, as the driver's own tool tells them; None if it has none to tell."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    query = ["nvidia-smi", f"--id={visible}", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(query, check=True, capture_output=True, text=True)
        return float(done.stdout.strip()) * _MIB
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def allocate(spec: ResourcesSpec, available: Mapping[str, float], trials: int, *, together: bool = False) -> Allocation:
    """Decides how many workers train at a time and what each may use.

    ``auto`` gives each worker one core; one for every eight cores where trials train together, as one process with
    many threads imports TensorFlow and compiles once. Where GPUs were asked for, each worker has its share of a card.
    Workers never share a core, and the threads of all together are never more than the cores.

    Args:
        spec: what the user wants.
        available: ``{"CPU": …, "GPU": …}`` of the machine or cluster.
        trials: of the study; there are never more workers.
        together: whether trials train together in cohorts.

    Raises:
        ResourceError: a GPU was asked for and none is there, or not one worker fits.
    """
    cpus = available.get("CPU", 0.0)
    if spec.cpus != "auto":
        if spec.cpus > cpus:
            raise ResourceError(f"cpus must be at most what is there ({cpus:g}). Received: {spec.cpus}")
        cpus = float(spec.cpus)
    gpus = available.get("GPU", 0.0)
    if spec.gpus_per_trial > gpus:
        raise ResourceError(
            f"gpus_per_trial must be at most what is there ({gpus:g}). Received: {spec.gpus_per_trial:g}. "
            "Check that the driver and the CUDA libraries are installed (pip install 'tensorflow[and-cuda]'), "
            "or set resources.gpus_per_trial to 0."
        )
    if cpus < 1:
        raise ResourceError(f"a study needs at least one CPU. Received: {cpus:g}")
    most = int(cpus)
    if spec.gpus_per_trial:
        per_card = math.floor(1 / spec.gpus_per_trial + 1e-9) if spec.gpus_per_trial <= 1 else 0
        slots = int(gpus) * per_card if per_card else int(gpus // spec.gpus_per_trial)
        most = min(most, slots)
    if spec.concurrency != "auto":
        concurrency = spec.concurrency
    elif together and not spec.gpus_per_trial:
        concurrency = math.ceil(most / _CORES_TOGETHER)
    else:
        concurrency = most
    if concurrency > most:
        limit = "GPUs" if spec.gpus_per_trial and most < int(cpus) else "CPUs"
        raise ResourceError(f"concurrency must be at most {most} with these {limit}. Received: {concurrency}")
    concurrency = min(concurrency, trials)
    share = math.floor(cpus / concurrency * 1000) / 1000
    return Allocation(concurrency, share, max(1, int(share)), spec.gpus_per_trial)
