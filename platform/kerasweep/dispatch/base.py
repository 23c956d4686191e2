"""The contract between a study and whatever spreads its cohorts over machines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Protocol

from kerasweep.data.base import SearchData
from kerasweep.records import Metrics, Status
from kerasweep.spec.pipeline import NoScheduler, SchedulerSpec
from kerasweep.training.base import Cohort, Schedule, Trainer


class Next(Enum):
    """Why there is no cohort: not yet, or never again."""

    WAIT = "wait"
    FINISHED = "finished"


@dataclass(frozen=True)
class Ended:
    """How a trial ended.

    Attributes:
        number: of the trial.
        status: FINISHED, STOPPED or FAILED.
        reason: why it failed; empty otherwise.
        seconds: of training, pauses not counted.
    """

    number: int
    status: Status
    reason: str = ""
    seconds: float = 0.0


class Feed(Protocol):
    """What a study offers to dispatch. All calls come from one thread, in the order of events."""

    def next_cohort(self) -> Cohort | Next:
        """The next cohort to train."""
        ...

    def started(self, number: int) -> None:
        """A trial begins, or begins again after its worker died."""
        ...

    def reported(self, number: int, epoch: int, metrics: Metrics) -> None:
        """A trial finished an epoch; after a restart epochs may come a second time."""
        ...

    def ended(self, end: Ended) -> None:
        """A trial ended for good."""
        ...

    def restarted(self, number: int, reason: str) -> None:
        """A trial's worker died; it starts again from its checkpoint."""
        ...

    def should_stop(self) -> bool:
        """Whether all running trials are to be ended now."""
        ...


@dataclass(frozen=True)
class Allocation:
    """What a study may use of the machines there.

    Attributes:
        concurrency: trials at a time.
        cpus_per_trial: CPUs that Ray reserves for each.
        threads: of each trial's arithmetic.
        gpus_per_trial: may be a fraction.
    """

    concurrency: int
    cpus_per_trial: float
    threads: int
    gpus_per_trial: float = 0.0


@dataclass(frozen=True)
class Work:
    """What a worker needs to train any cohort of a study.

    Attributes:
        trainer: trains them.
        data: raw rows and their preprocessing; the arrays travel through Ray's object store once.
        paths: directories that the user's modules are imported from.
    """

    trainer: Trainer
    data: SearchData
    paths: tuple[str, ...] = ()


@dataclass(frozen=True)
class SearchJob:
    """One search, as dispatch sees it.

    Attributes:
        name: of the folder with the checkpoints.
        storage: where that folder is created; on a cluster, a path that every node reaches.
        work: for the workers.
        schedule: what the trainer obeys.
        scheduler: which of Ray's schedulers decides over the trials.
    """

    name: str
    storage: str
    work: Work
    schedule: Schedule
    scheduler: SchedulerSpec = field(default_factory=NoScheduler)


Checkpoints = Mapping[int, Path]
