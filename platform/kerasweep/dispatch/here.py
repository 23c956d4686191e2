"""Cohorts trained in this process, one after the other, without Ray."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from kerasweep.data.base import SearchData
from kerasweep.dispatch.base import Allocation, Feed, Next, SearchJob, Work
from kerasweep.dispatch.checkpoints import label, state_of
from kerasweep.dispatch.cohort_size import share
from kerasweep.dispatch.resources import local_cpus
from kerasweep.dispatch.results import Decoder, encode
from kerasweep.dispatch.standings import Standings
from kerasweep.dispatch.training import cards_hidden, train_here
from kerasweep.dispatch.worker import CohortRun, arrays_of
from kerasweep.records import Status
from kerasweep.spec.pipeline import PipelineSpec
from kerasweep.training import snapshots
from kerasweep.training.base import Cohort, Outcome, TrainingArrays


class HereSession:
    """A ``Session`` in this process.

    Nothing has to be started, so that a short search takes seconds. There is no second worker, and a trial that brings
    the process down takes the search with it.
    """

    def allocation(self, spec: PipelineSpec, trials: int, data: SearchData) -> Allocation:
        """See ``Session``. Trials always train together, since a scheduler has nothing else to compare them in."""
        alone = spec.model_copy(update={"resources": spec.resources.model_copy(update={"concurrency": 1})})
        shared = share(alone, trials, data, {"CPU": float(local_cpus())}, local=True)
        if shared.cohort > 1 or trials == 1:
            return shared
        return replace(shared, cohort=2, reason=f"2, in one process ({shared.reason})")

    def search(self, job: SearchJob, feed: Feed, allocation: Allocation) -> Mapping[int, Path]:
        """See ``Session``."""
        cards_hidden(allocation.threads)
        arrays = arrays_of(job.work.data)
        kept: dict[int, Path] = {}
        while not isinstance(cohort := feed.next_cohort(), Next):
            folder = Path(job.storage) / job.name / label([member.number for member in cohort.members])
            _train(cohort, job, feed, arrays, folder)
            kept |= {member.number: folder for member in cohort.members if folder.is_dir()}
        if cohort is Next.WAIT:
            raise RuntimeError("a feed has a cohort or has finished when nothing is in training. Received: wait")
        return kept

    def train(self, work: Work, cohorts: tuple[Cohort, ...], allocation: Allocation, *, merge: bool) -> list[Outcome]:
        """See ``Session``."""
        cards_hidden(allocation.threads)
        return [outcome for cohort in cohorts for outcome in train_here(work, cohort, merge=merge)]


def _train(cohort: Cohort, job: SearchJob, feed: Feed, arrays: TrainingArrays, folder: Path) -> None:
    """One cohort from its start to its end; its last state goes into the folder, if anybody wants it."""
    numbers = tuple(member.number for member in cohort.members)
    metric = job.objective.metric
    past = feed.past(numbers)
    decoder = Decoder([number for number in numbers if past is None or number in past.left])
    feed.started(decoder.left)
    run = CohortRun(job.work.trainer, cohort, arrays, Standings(cohort, job.within, metric), state_of(past))
    try:
        over = False
        while not over:
            begun = time.monotonic()
            step = run.step()
            feed.reported(decoder.decode(encode(step, time.monotonic() - begun, metric)))
            over = step.over or feed.should_stop()
        feed.ended([decoder.end(number, Status.STOPPED, "") for number in decoder.left])
        snapshot = run.snapshot()
        if snapshot is not None and not set(numbers).isdisjoint(feed.wanted()):
            folder.mkdir(parents=True)
            snapshots.save(snapshot, folder)
    finally:
        run.abandon()
