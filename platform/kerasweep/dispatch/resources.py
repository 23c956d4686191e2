"""How trials share a machine."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping

from kerasweep.dispatch.base import Allocation
from kerasweep.errors import ResourceError
from kerasweep.spec.pipeline import ResourcesSpec


def local_cpus() -> int:
    """CPU cores this process may use; a container's or a batch system's limits count."""
    return len(os.sched_getaffinity(0))


def allocate(spec: ResourcesSpec, available: Mapping[str, float], trials: int) -> Allocation:
    """Decides how many trials run at a time and what each may use.

    ``auto`` gives each trial one core and, when GPUs were asked for, its share of a card. Trials never share a core,
    and the threads of all trials together are never more than the cores.

    Args:
        spec: what the user wants.
        available: ``{"CPU": …, "GPU": …}`` of the machine or cluster.
        trials: of the study; there are never more at a time.

    Raises:
        ResourceError: a GPU was asked for and none is there, or not one trial fits.
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
    concurrency = most if spec.concurrency == "auto" else spec.concurrency
    if concurrency > most:
        limit = "GPUs" if spec.gpus_per_trial and most < int(cpus) else "CPUs"
        raise ResourceError(f"concurrency must be at most {most} with these {limit}. Received: {concurrency}")
    concurrency = min(concurrency, trials)
    share = math.floor(cpus / concurrency * 1000) / 1000
    return Allocation(concurrency, share, max(1, int(share)), spec.gpus_per_trial)
