"""The contract between a study and whatever spreads its cohorts over machines."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Protocol

from kerasweep.data.base import SearchData
from kerasweep.records import Change, Metrics, Objective, Params, Status
from kerasweep.scheduling.base import Scheduler
from kerasweep.spec.pipeline import PipelineSpec
from kerasweep.spec.schedulers import SchedulerSpec
from kerasweep.training.base import Cohort, Outcome, Trainer


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
    """

    number: int
    status: Status
    reason: str = ""


@dataclass(frozen=True)
class Reported:
    """What a cohort tells after an epoch; all is by trial number.

    Attributes:
        epoch: 1-based, just finished; None if the cohort ended before it finished one.
        metrics: of the members that trained the epoch; after a restart an epoch may come a second time.
        changes: of the hyperparameters of members that go on from another one's state, from their own start to the
            next epoch, in full.
        ended: the members that ended with this epoch.
        notes: what a user should read once.
        found: hyperparameters that members found for themselves before they trained.
        seconds: each one's share of the time that the epoch took.
    """

    epoch: int | None
    metrics: Mapping[int, Metrics] = field(default_factory=dict)
    changes: Mapping[int, tuple[Change, ...]] = field(default_factory=dict)
    ended: tuple[Ended, ...] = ()
    notes: tuple[str, ...] = ()
    found: Mapping[int, Params] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True)
class Past:
    """What is known of a cohort that another driver began.

    Attributes:
        left: its members that have not ended.
        snapshot: folder of the state that it goes on from; empty for its beginning.
        told: of a cohort of one, the metrics of the epochs until that state, which are reported again, so that Ray's
            schedulers know of them.
        over: whether these are all, and nothing is left to train.
    """

    left: frozenset[int]
    snapshot: str = ""
    told: tuple[Metrics, ...] = ()
    over: bool = False


class Feed(Protocol):
    """What a study offers to dispatch. All calls come from one thread, in the order of events."""

    def past(self, numbers: Sequence[int]) -> Past | None:
        """What is known of a cohort, by the numbers of its trials; None for one that begins now."""
        ...

    def next_cohort(self) -> Cohort | Next:
        """The next cohort to train."""
        ...

    def started(self, numbers: Sequence[int]) -> None:
        """A cohort begins, or goes on after a pause or after its worker died."""
        ...

    def reported(self, report: Reported) -> None:
        """A cohort finished an epoch, or ended before it did."""
        ...

    def ended(self, ends: Sequence[Ended]) -> None:
        """Trials ended without a report that says so."""
        ...

    def restarted(self, numbers: Sequence[int], reason: str) -> None:
        """A cohort's worker died; the cohort starts again from its checkpoint."""
        ...

    def separated(self, numbers: Sequence[int], reason: str) -> None:
        """A cohort's worker died too often. These members had not ended: each is to be handed out again, from its
        beginning and in a cohort of its own, so that one that kills its worker takes no other with it."""
        ...

    def wanted(self) -> Collection[int]:
        """The trials that ended and whose weights are still of interest; one that is not will never be again."""
        ...

    def should_stop(self) -> bool:
        """Whether all running trials are to be ended now."""
        ...


@dataclass(frozen=True)
class Allocation:
    """What a study may use of the machines there.

    Attributes:
        concurrency: workers at a time, each with one cohort.
        cpus: that Ray reserves for each worker.
        threads: of each worker's arithmetic.
        gpus: of each worker; may be a fraction.
        cohort: members of a cohort, at most.
        reason: why so many, in a sentence without its full stop; empty for a cohort of one that the user asked for.
    """

    concurrency: int
    cpus: float
    threads: int
    gpus: float = 0.0
    cohort: int = 1
    reason: str = ""


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
        objective: of the study.
        within: decides within each cohort.
        across: which of Ray's schedulers decides over the cohorts, if these have one member each.
        epochs: a trial trains at most.
        patience: seconds without an epoch after which a worker hangs; None for ever.
    """

    name: str
    storage: str
    work: Work
    objective: Objective
    within: Scheduler
    across: SchedulerSpec
    epochs: int
    patience: float | None = None


class Session(Protocol):
    """Where cohorts are trained: a Ray, or this process."""

    def allocation(self, spec: PipelineSpec, trials: int, data: SearchData) -> Allocation:
        """How a study's trials share the machines; see ``cohort_size.share``.

        Raises:
            ResourceError: the machines cannot be reached, or lack what was asked for.
        """
        ...

    def search(self, job: SearchJob, feed: Feed, allocation: Allocation) -> Mapping[int, Path]:
        """Runs a search to its end.

        Returns:
            The folder of the last snapshot of every trial that has one; the members of a cohort share theirs.
        """
        ...

    def train(self, work: Work, cohorts: tuple[Cohort, ...], allocation: Allocation, *, merge: bool) -> list[Outcome]:
        """Trains cohorts outside of a search.

        Args:
            work: trainer and data.
            cohorts: what to train.
            allocation: of the study.
            merge: train on training and validation rows together.

        Returns:
            The outcomes, in the order of the cohorts.
        """
        ...
