"""A machine without TensorFlow and Ray: workers train numbers instead of networks, in any order, and die.

Everything around the training is the product's own: the ledger, the journal, the schedulers within cohorts, the
snapshots on disk.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kerasweep.dispatch import Allocation, Ended, Next
from kerasweep.dispatch.checkpoints import label, state_of
from kerasweep.dispatch.results import Decoder, encode
from kerasweep.dispatch.standings import Standings
from kerasweep.dispatch.tuner import MAX_RESTARTS
from kerasweep.dispatch.worker import CohortRun
from kerasweep.records import Decision, Status
from kerasweep.scheduling import make_scheduler
from kerasweep.space import Space
from kerasweep.spec.pipeline import PipelineSpec
from kerasweep.study.recording import Feed
from kerasweep.training import Cohort, EpochReport, Outcome, Report, Snapshot, TrainingArrays, snapshots


class DriverDied(Exception):
    """Nothing that the driver did afterwards has happened."""


@dataclass(frozen=True)
class NumberTrainer:
    """A ``Trainer`` whose network is one number, which every epoch scrambles together with the hyperparameters."""

    epochs: int

    def train(
        self, cohort: Cohort, data: TrainingArrays, report: Report, resume: Snapshot | None = None
    ) -> tuple[Outcome, ...]:
        state = {member.number: _scrambled(member.seed, sorted(member.params.items())) for member in cohort.members}
        ended: dict[int, Outcome] = {}
        best: dict[int, tuple[float, int, float]] = {}
        epoch, decision = 0, Decision()
        if resume is not None:
            epoch = int(resume.state["epoch"])
            state = {number: float(resume.arrays[f"state_{number}"]) for number in state}
            best = {number: tuple(values) for number, values in resume.state["best"]}
            ended = {
                number: Outcome(number, Status(status), reason) for number, status, reason in resume.state["ended"]
            }
            decision = resume.decision
        while True:
            if epoch:
                ended |= {number: Outcome(number, Status.STOPPED) for number in decision.stop}
                state |= {number: state[copy.source] for number, copy in decision.copies.items()}
            left = [number for number in state if number not in ended]
            if not left or epoch == self.epochs:
                return tuple(ended[number] for number in state)
            epoch += 1
            metrics, ends = {}, []
            for number in left:
                state[number] = value = _scrambled(state[number], epoch)
                if value < 0.02:  # its loss became NaN
                    ends.append(Outcome(number, Status.FAILED, "FloatingPointError: loss is NaN"))
                    continue
                metrics[number] = {"loss": value / 2 + 0.1, "val_loss": value}
                if value < best.get(number, (9.0, 0, 0.0))[0]:
                    best[number] = value, epoch, state[number]
                if epoch == self.epochs or value > 0.9:  # early stopping
                    ends.append(Outcome(number, Status.FINISHED))
            ended |= {outcome.number: outcome for outcome in ends}
            last = len(ended) == len(state)
            taken = Snapshot(
                {f"state_{number}": np.array(value) for number, value in state.items()}
                | {f"best_{number}_0": np.array(values[2]) for number, values in best.items()},
                {
                    "epoch": epoch,
                    "best": [[number, list(values)] for number, values in best.items()],
                    "ended": [[each.number, each.status.value, each.reason] for each in ended.values()],
                },
            )
            decision = report(EpochReport(epoch, metrics, lambda taken=taken: taken, last, tuple(ends)))


def _scrambled(*values: Any) -> float:
    digest = hashlib.blake2b(repr(values).encode(), digest_size=6).digest()
    return int.from_bytes(digest) / 2**48


class Machine:
    """Runs a feed's cohorts on some workers, whose steps come in an order that a seed draws.

    Args:
        spec: of the study.
        allocation: says how many workers there are.
        folder: of this driver's checkpoints.
        seed: of the order, of what is saved when, and of the workers' deaths.
        deaths: chance that a worker dies instead of taking a step.
        restarts: how often a cohort starts again before it comes apart.
    """

    def __init__(
        self,
        spec: PipelineSpec,
        allocation: Allocation,
        folder: Path,
        seed: int,
        deaths: float = 0.0,
        restarts: int = MAX_RESTARTS,
    ) -> None:
        self._spec = spec
        self._workers = allocation.concurrency
        self._folder = folder
        self._random = random.Random(seed)
        self._deaths, self._restarts = deaths, restarts

    def run(self, feed: Feed) -> dict[int, Path]:
        """The whole search; the folders of the last states, by trial."""
        kept: dict[int, Path] = {}
        for path, numbers in self.steps(feed):
            kept |= dict.fromkeys(numbers, path)
        return kept

    def steps(self, feed: Feed) -> Iterator[tuple[Path, list[int]]]:
        """The same, cohort by cohort as they end."""
        jobs: list[_Job] = []
        while True:
            while len(jobs) < self._workers and not isinstance(cohort := feed.next_cohort(), Next):
                jobs.append(_Job(self._spec, cohort, feed, self._folder))
            if not jobs:
                if cohort is Next.FINISHED:
                    return
                raise AssertionError("a feed has a cohort or has finished when nothing is in training")
            job = self._random.choice(jobs)
            if self._random.random() < self._deaths:
                if job.die(self._restarts):
                    jobs.remove(job)
            elif job.step(save=self._random.random() < 0.3):
                jobs.remove(job)
                yield job.folder, job.numbers


class _Job:
    """One cohort in training."""

    def __init__(self, spec: PipelineSpec, cohort: Cohort, feed: Feed, folder: Path) -> None:
        self.numbers = [member.number for member in cohort.members]
        self.folder = folder / label(self.numbers) / "checkpoint_000000"
        self._feed, self._cohort, self._spec = feed, cohort, spec
        self._past = feed.past(self.numbers)
        left = [number for number in self.numbers if self._past is None or number in self._past.left]
        self._decoder = Decoder(left)
        self._died = 0
        feed.started(left)
        self._start()

    def _start(self) -> None:
        spec = self._spec
        scheduler = make_scheduler(
            spec.search.scheduler, spec.search.max_epochs, spec.objective, spec.search.seed, Space(spec.space), ("x",)
        )
        resume = snapshots.load(self.folder) if snapshots.there(self.folder) else state_of(self._past)
        standings = Standings(self._cohort, scheduler, spec.objective.metric)
        empty = TrainingArrays(np.zeros((1, 1)), np.zeros((1, 1)), None)
        self._run = CohortRun(NumberTrainer(spec.search.max_epochs), self._cohort, empty, standings, resume)

    def step(self, save: bool) -> bool:
        step = self._run.step()
        self._feed.reported(self._decoder.decode(encode(step, 1.0, self._spec.objective.metric)))
        over = step.over or self._feed.should_stop()
        if save or over:
            self._save()
        if over:
            self._feed.ended([Ended(number, Status.STOPPED) for number in self._decoder.left])
            self._run.abandon()
        return over

    def die(self, restarts: int) -> bool:
        self._run.abandon()
        self._died += 1
        left = self._decoder.left
        if self._died <= restarts:
            self._feed.restarted(left, "killed")
            self._start()
            return False
        if len(self.numbers) > 1:
            self._feed.separated(left, "killed too often")
        else:
            self._feed.ended([self._decoder.end(number, Status.FAILED, "killed too often") for number in left])
        return True

    def _save(self) -> None:
        if (snapshot := self._run.snapshot()) is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            snapshots.save(snapshot, self.folder)
