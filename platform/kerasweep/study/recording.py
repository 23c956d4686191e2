"""A search that is written down as it goes, and goes on from what was written."""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from kerasweep.dispatch import Allocation, Ended, Next, Past, Reported, epochs_of
from kerasweep.dispatch import checkpoints as states
from kerasweep.errors import StudyError
from kerasweep.records import Metrics, Status, Trial
from kerasweep.spec.pipeline import PipelineSpec
from kerasweep.spec.schedulers import NoScheduler
from kerasweep.study import entries
from kerasweep.study.bookkeeping import new_ledger
from kerasweep.study.changes import check_changes, check_data
from kerasweep.study.environment import recordable, versions
from kerasweep.study.folder import StudyFolder
from kerasweep.study.journal import Journal
from kerasweep.study.ledger import Ledger, Watchers
from kerasweep.study.memory import Keeper, Memory
from kerasweep.study.replay import NOBODY, Retold, change_budget, reread
from kerasweep.tracking.base import StudyHeader
from kerasweep.tracking.uris import HIDDEN
from kerasweep.training import Cohort, Snapshot, snapshots


class Recording:
    """A study's folder while it has a driver: this process.

    Attributes:
        folder: of the study.
        retold: what earlier drivers did; None for a study that begins.

    Args:
        folder: of the study.
        begins: whether it must not have a journal yet; else it must. Its folder is made when it does.

    Raises:
        StorageError: another process drives the study, or its journal is damaged.
    """

    def __init__(self, folder: StudyFolder, *, begins: bool) -> None:
        self.folder = folder
        self.retold: Retold | None = None
        self._held = ExitStack()
        if begins:
            return  # nothing is on the disk before the first event
        with ExitStack() as held:
            held.callback(folder.lock().release)
            self.retold, contents = reread(folder)
            self._journal = held.enter_context(Journal(folder.journal, contents))
            self._held = held.pop_all()

    @property
    def header(self) -> StudyHeader:
        """Of the study."""
        return self._known.header

    @property
    def session(self) -> str:
        """The name of this driver's part of the checkpoints."""
        return states.session_name(self._known.sessions)

    @property
    def spec(self) -> PipelineSpec:
        """Of the study, as its last driver had it."""
        return self._known.spec

    @property
    def trials(self) -> tuple[Trial, ...]:
        """Of the study, as they stand."""
        return self._known.trials

    def address(self, uri: str) -> str:
        """The address of the tracking store, if it is whole.

        Raises:
            StudyError: it is the study's own, of which a password was not kept.
        """
        if HIDDEN in uri:
            raise StudyError(
                f"the tracking address of {self.header.id} had a password, which is not kept, and must be given again: "
                "--tracking-uri. Received: none"
            )
        return uri

    def finished(self, spec: PipelineSpec) -> bool:
        """Whether a study with this specification has nothing left to do."""
        return self._known.status == "finished" and not self._known.stopped and recordable(spec) == self.spec

    @property
    def summary(self) -> Mapping[str, Any]:
        """Of the study, as far as it came."""
        return self._known.summary

    @property
    def status(self) -> str:
        """Of a study that is over; empty otherwise."""
        return self._known.status

    @property
    def told_status(self) -> str:
        """What the tracking store is to say of the study, also if its driver died."""
        return self.status or ("finished" if self._known.searched else "interrupted")

    @property
    def goes_on(self) -> bool:
        """Whether earlier drivers have begun the study."""
        return self.retold is not None

    @property
    def searching(self) -> bool:
        """Whether an earlier driver came as far as the search; what its searcher began with is then known."""
        return self.retold is not None and self.retold.ledger is not None

    @property
    def _known(self) -> Retold:
        if self.retold is None:
            raise RuntimeError("a study must have begun. Received: none")
        return self.retold

    def allocation(self, spec: PipelineSpec) -> Allocation | None:
        """What earlier drivers had, if neither the search, but for its time, nor its resources are others now."""
        before = self.retold
        if before is None or before.spec.resources != spec.resources:
            return None
        then, now = (each.search.model_copy(update={"time_limit": None}) for each in (before.spec, spec))
        return before.allocation if then == now else None

    def planned(self, trial: int) -> int:
        """The ``max_epochs`` under which a trial was trained."""
        return self._known.planned.get(trial, self.spec.search.max_epochs)

    def begin(
        self, header: StudyHeader, spec: PipelineSpec, allocation: Allocation, earlier: tuple[Trial, ...] = ()
    ) -> Feed:
        """This driver begins.

        Args:
            header: of the study, if that begins.
            spec: of the study as it is now; only its budget may differ from what the study had before.
            allocation: what the search may use.
            earlier: trials of other studies that the searcher of a study that begins learns from first.

        Raises:
            SpecError: more than the budget changed.
            StorageError: the study's folder or its journal cannot be written.
        """
        now = time.time()
        before = self.retold
        if before is not None:
            check_changes(before.spec, spec)
            check_data(before.header.dataset, header.dataset)
        if before is None:
            self._held.callback(self.folder.lock().release)
            self._journal = self._held.enter_context(Journal(self.folder.journal))
            self._journal.append(entries.study(header))
        if earlier and not self.searching:
            self._journal.append(entries.earlier(earlier))
        spec = recordable(spec)
        changed = before is not None and before.spec != spec
        text = spec.model_dump_json(by_alias=True) if changed else ""
        driver = f"process {os.getpid()} on {socket.gethostname()}"
        self._journal.append(entries.session(now, driver, allocation, text), lasting=True)
        if before is None or before.ledger is None:
            retold = Retold(header, spec, allocation, new_ledger(spec, allocation, NOBODY, earlier), sessions=1)
            return self._feed(retold, {})
        then = before.spec, before.allocation
        before.spec, before.allocation, before.sessions = spec, allocation, before.sessions + 1
        if then != (spec, allocation):
            change_budget(before, *then)
        for trial in before.trials:
            if trial.status is Status.RUNNING:  # what a driver that was stopped has kept of it is not its best any more
                shutil.rmtree(self.folder.weights / str(trial.number), ignore_errors=True)
        pasts = _pasts(before, self.folder)
        before.ledger.reissue(list(pasts))
        return self._feed(before, pasts)

    def kept(self, trials: Collection[int]) -> dict[int, Path]:
        """The folders with the weights of ended trials that earlier drivers trained, as far as there are any."""
        by_number = {trial.number: trial for trial in self.trials}
        states_ = {number: _state_of(self.folder, self._known, by_number[number]) for number in trials}
        return {number: state for number, state in states_.items() if state is not None}

    def searched(self) -> None:
        """The search is over, and its best trials' weights are kept; the cohorts' states are not needed any more."""
        self._journal.append(entries.searched(time.time()), lasting=True)
        shutil.rmtree(self.folder.checkpoints, ignore_errors=True)

    def summarise(self, summary: Mapping[str, object]) -> None:
        """Adds to the study's summary."""
        self._journal.append(entries.summary(time.time(), json.loads(json.dumps(summary, default=_plain))))

    def over(self, status: str) -> None:
        """The study has ended, and everything is in the tracking store."""
        self._journal.append(entries.over(time.time(), status), lasting=True)

    def close(self) -> None:
        """Lets another process drive the study."""
        self._held.close()

    def _feed(self, retold: Retold, pasts: Mapping[tuple[int, ...], Past]) -> Feed:
        if retold.ledger is None:
            raise RuntimeError("a driver has a ledger. Received: none")
        self.retold = retold
        keeper = Keeper(self.folder.searcher, versions())
        return Feed(retold.ledger, self._journal, keeper, pasts, retold.spent)


class Feed:
    """A ``dispatch.Feed``: a ledger whose events are written down before they count.

    Args:
        ledger: of the study.
        journal: likewise.
        keeper: of its searcher.
        pasts: what earlier drivers' workers did, by the numbers of a cohort.
        spent: seconds that earlier drivers had.
    """

    def __init__(
        self, ledger: Ledger, journal: Journal, keeper: Keeper, pasts: Mapping[tuple[int, ...], Past], spent: float
    ) -> None:
        self._ledger = ledger
        self._journal = journal
        self._keeper = keeper
        self._pasts = dict(pasts)
        self._spent = spent
        self._at = time.time()
        self._stopped = False

    @property
    def ledger(self) -> Ledger:
        """Of the study."""
        return self._ledger

    def listen(self, watchers: Watchers) -> None:
        """From now on tells these of what happens; the search's time begins to count."""
        self._ledger.listen(watchers, lambda: self._at, self._spent)

    def past(self, numbers: Sequence[int]) -> Past | None:
        return self._pasts.pop(tuple(numbers), None)

    def next_cohort(self) -> Cohort | Next:
        self._tick()
        ledger, begun = self._ledger, time.monotonic()
        known = len(ledger.generations)
        cohort = ledger.next_cohort()
        if len(ledger.generations) > known:
            self._journal.append(entries.generation(self._at, ledger.generations[-1], ledger.cut))
            if self._keeper.asked(time.monotonic() - begun):
                notes = tuple(ledger.searcher_notes)
                self._keeper.keep(Memory(known + 1, ledger.searcher, notes), self._journal.check)
        return cohort

    def started(self, numbers: Sequence[int]) -> None:
        self._tick()
        if fresh := [number for number in numbers if not self._ledger.begun(number)]:
            self._journal.append(entries.began(self._at, fresh))
        self._ledger.started(numbers)

    def reported(self, report: Reported) -> None:
        self._tick()
        epoch = report.epoch
        rows = {n: metrics for n, metrics in report.metrics.items() if epoch == self._ledger.awaited(n)}
        news = replace(report, metrics=rows, changes=report.changes if rows else {})
        if rows or news.ended or news.found:
            self._journal.append(entries.reported(self._at, news), lasting=bool(news.ended))
        self._ledger.reported(news)

    def ended(self, ends: Sequence[Ended]) -> None:
        self._tick()
        if ends:
            self._journal.append(entries.ended(self._at, ends), lasting=True)
        self._ledger.ended(ends)

    def restarted(self, numbers: Sequence[int], reason: str) -> None:
        self._tick()
        if numbers:
            self._journal.append(entries.again(entries.RESTARTED, self._at, numbers, reason))
        self._ledger.restarted(numbers, reason)

    def separated(self, numbers: Sequence[int], reason: str) -> None:
        self._tick()
        if numbers:
            self._journal.append(entries.again(entries.SEPARATED, self._at, numbers, reason))
        self._ledger.separated(numbers, reason)

    def wanted(self) -> Collection[int]:
        return self._ledger.wanted()

    def should_stop(self) -> bool:
        return self._ledger.should_stop()

    def _tick(self) -> None:
        """An event comes. If the search is to end early, that is written down before the ends that follow from it."""
        self._at = time.time()
        if not self._stopped and self._ledger.should_stop():
            self._stopped = True
            self._journal.append(entries.stopped(self._at, self._ledger.stop_reason))


def _plain(value: Any) -> Any:
    """A NumPy scalar as a number, anything else as its text."""
    return value.item() if hasattr(value, "item") else str(value)


def _pasts(retold: Retold, folder: StudyFolder) -> dict[tuple[int, ...], Past]:
    """What there is of the cohorts that are to be handed out again, in the order of their trials.

    Those are: that have not ended; that have, but whose state was not saved while a trial in them is among the best;
    and, where Ray's schedulers compare cohorts with each other, all that they know.
    """
    trials = {trial.number: trial for trial in retold.trials}
    deliverable = retold.ledger is not None and retold.spec.search.folds is None
    wanted = retold.ledger.wanted() if retold.ledger is not None and deliverable else frozenset()
    alone = retold.allocation is not None and retold.allocation.cohort == 1
    compared = alone and not isinstance(retold.spec.search.scheduler, NoScheduler)
    pasts = {}
    for numbers in sorted(retold.handed):
        left = frozenset(number for number in numbers if trials[number].status is Status.RUNNING)
        lost = not left and any(_state_of(folder, retold, trials[n]) is None for n in wanted.intersection(numbers))
        if not (left or lost or compared):
            continue
        state, epochs = _newest(folder, retold, numbers) if left or lost else (None, 0)
        told: tuple[Metrics, ...] = ()
        if compared:
            (number,) = numbers
            told = trials[number].history[: epochs if left or lost else None]
        pasts[numbers] = Past(left, str(state or ""), told, over=not (left or lost))
    return pasts


def _newest(folder: StudyFolder, retold: Retold, numbers: Sequence[int]) -> tuple[Path | None, int]:
    """The newest whole state of a cohort that is not ahead of the journal, and how many epochs its first trial had."""
    known = {trial.number: len(trial.history) for trial in retold.trials}
    for path, snapshot in _whole(states.found(folder.checkpoints, numbers, retold.since)):
        epochs = [epochs_of(snapshot, number) for number in numbers]
        if all(count <= known[number] for count, number in zip(epochs, numbers, strict=True)):
            return path, epochs[0]
    return None, 0


def _state_of(folder: StudyFolder, retold: Retold, trial: Trial) -> Path | None:
    """Where an ended trial's weights of its best epoch are; None if they are not on disk."""
    cohorts = [(numbers, retold.since) for numbers in retold.handed if trial.number in numbers]
    cohorts += [(numbers, 1) for numbers, ended in retold.earlier if trial.number in ended]
    found = (states.found(folder.checkpoints, numbers, since) for numbers, since in cohorts)
    for path, snapshot in _whole(chain([folder.weights / str(trial.number)], *found)):
        if (trial.epoch or 0) <= epochs_of(snapshot, trial.number) <= len(trial.history):
            return path
    return None


def _whole(paths: Iterable[Path]) -> Iterator[tuple[Path, Snapshot]]:
    """The states that can be read."""
    for path in paths:
        with suppress(FileNotFoundError, ValueError):
            yield path, snapshots.load(path)
