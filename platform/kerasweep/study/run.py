"""A study that runs: what it holds open, and its search."""

from __future__ import annotations

import secrets
import shutil
import tempfile
import time
import weakref
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from kerasweep.data import SearchData, Split, load_search, load_test
from kerasweep.data.base import Array, Rows
from kerasweep.delivery import check_formats
from kerasweep.dispatch import Allocation, RaySession, Work, epochs_of
from kerasweep.errors import StudyError, TrackingError
from kerasweep.models import FamilyBuilder, Inputs, ModelBuilder, UserBuilder, import_tensorflow
from kerasweep.records import Status, Trial, winner
from kerasweep.space import Space
from kerasweep.spec.families import mutable_parameters
from kerasweep.spec.pipeline import PipelineSpec
from kerasweep.spec.searchers import KerasTunerSearch
from kerasweep.study.earlier import earlier_trials
from kerasweep.study.environment import git_commit, versions
from kerasweep.study.events import Observer, Silent
from kerasweep.study.ledger import Watchers
from kerasweep.study.search import Searched, SearchPlace, run_search, search_schedule, search_size
from kerasweep.study.settled import settle
from kerasweep.tracking import Tracker, open_store, open_tracker, resolve_uri
from kerasweep.tracking.base import StudyHeader
from kerasweep.training import (
    KEPT_MEMBERS,
    Cohort,
    CohortTrainer,
    KerasTrainer,
    Outcome,
    Schedule,
    Snapshot,
    Trainer,
    snapshots,
)

# Trials whose weights are kept, so that each of them can be exported later; a cohort keeps those of as many.
KEPT_TRIALS = KEPT_MEMBERS


@dataclass(frozen=True)
class Origin:
    """Where a study was written down, and what of it only Python can hold.

    Attributes:
        directory: relative paths and the user's modules are looked for there.
        text: the pipeline file as written; empty for a study made in Python.
        memory: features and targets handed over as arrays.
        builder: the model builder handed over as a function, or KerasTuner's ``HyperModel``.
    """

    directory: Path
    text: str = ""
    memory: tuple[Rows, Array] | None = None
    builder: Any = None


@dataclass(frozen=True)
class Destination:
    """Where a study runs and is kept; None takes what its spec says."""

    ray_address: str | None = None
    tracking_uri: str | None = None
    observer: Observer = field(default_factory=Silent)


def models_for(spec: PipelineSpec, data: SearchData, origin: Origin) -> ModelBuilder:
    """The builder of a study's models."""
    inputs = Inputs(data.preprocessing.feature_shape, data.facts.task, data.facts.outputs)
    if spec.model.family is not None:
        return FamilyBuilder(spec.model.family, inputs)
    return UserBuilder(origin.builder or str(spec.model.builder), origin.directory, inputs)


@dataclass
class _Ending:
    """What the tracking store is told at the end, however that comes about.

    Attributes:
        status: of the study.
        begun: whether the store knows of it.
    """

    status: str = "failed"
    begun: bool = False

    def tell(self, tracker: Tracker) -> None:
        if self.begun:
            tracker.end(self.status)


class StudyRun:
    """A study on its way: the search, then whatever is asked of its winner.

    Attributes:
        data: the training and validation splits.

    ``close`` ends Ray and waits until everything is in the tracking store; it is called at the latest when Python ends.
    """

    def __init__(self, spec: PipelineSpec, origin: Origin, destination: Destination) -> None:
        self.spec = spec
        self.origin = origin
        self.observer = destination.observer
        self.id = f"{spec.name}@{secrets.token_hex(4)}"
        self.tracking_uri = resolve_uri(destination.tracking_uri or spec.tracking.uri, Path.cwd())
        self.searched: Searched | None = None
        self._ending = _Ending()
        self._stack = ExitStack()
        self._closer = weakref.finalize(self, self._stack.close)
        self.data = load_search(spec.data, origin.directory, origin.memory)  # quick, and most mistakes show here
        # What is slow begins here, side by side: Ray, and the tracking store.
        self._session = RaySession(spec.resources, destination.ray_address)
        self._stack.callback(self._session.close)
        self.tracker: Tracker = open_tracker(self.tracking_uri, spec.experiment)
        self._stack.callback(self.tracker.close)
        self._stack.callback(self._ending.tell, self.tracker)
        self.scratch = Path(tempfile.mkdtemp(prefix="kerasweep-"))
        self._stack.callback(shutil.rmtree, self.scratch, ignore_errors=True)
        self._stack.callback(self._session.release)
        # What need not be waited for: imports while workers train, and figures while the winner is retrained.
        self._aside = ThreadPoolExecutor(1, thread_name_prefix="kerasweep-study")
        self._stack.callback(self._aside.shutdown)
        self._figures: Future[None] | None = None
        # While Ray starts, a KerasTuner model is built here to learn its space.
        settled = settle(spec, origin.directory, origin.builder)
        self.spec, self._signature = settled.spec, settled.signature
        if isinstance(spec.search.searcher, KerasTunerSearch):
            import_tensorflow()  # quietly; KerasTuner would import it too
        for note in settled.notes:
            self.observer.note(note)

    @cached_property
    def test(self) -> Split:
        """The test split; not read before the search has ended."""
        if self.searched is None:
            raise StudyError(
                "the test split must stay unseen until the search has ended. Received: a study without one"
            )
        return load_test(self.spec.data, self.origin.directory, self.data, self.origin.memory)

    @cached_property
    def models(self) -> ModelBuilder:
        """Builds the models of this study."""
        return models_for(self.spec, self.data, self.origin)

    @cached_property
    def _allocation(self) -> Allocation:
        return self._session.allocation(self.spec, search_size(self.spec), self.data)

    def search(self) -> Trial:
        """Runs the search.

        Returns:
            The winner.

        Raises:
            StudyError: no trial succeeded.
        """
        text = any(column.dtype == "string" for column in self.data.preprocessing.inputs)
        check_formats(self.spec.export.formats, categories=text)
        earlier = self._earlier()
        self.tracker.start(self._header())
        self._ending.begun = True
        self.observer.stage("search", self._detail())
        if self._allocation.reason:
            self.observer.note(f"members of a cohort: {self._allocation.reason}")
        try:
            place = SearchPlace(self._session, self._allocation, self._storage, self.id)
            work = self._work(search_schedule(self.spec, self._allocation.cohort))
            watchers = Watchers(self.tracker, self.observer, lambda: self._aside.submit(_import_ahead))
            self.searched = run_search(self.spec, work, place, watchers, self._mutable, earlier)
            self._keep(self.searched)
        finally:
            shutil.rmtree(self._storage / self.id, ignore_errors=True)
        if self.searched.interrupted:
            self._ending.status = "interrupted"
        best = self.best
        if not self.searched.interrupted:
            self._ending.status = "finished"
        found = {"trial": best.number, "value": best.value, "epoch": best.epoch, "params": dict(best.params)}
        said = {"search_notes": list(self.searched.notes)} if self.searched.notes else {}
        self.tracker.log_summary({"best": found, "trials": self.counts, **said})
        return best

    def _earlier(self) -> tuple[Trial, ...]:
        """The trials of earlier studies to learn from."""
        if not self.spec.search.warm_start:
            return ()
        earlier = earlier_trials(self.spec.search.warm_start, self.spec, open_store(self.tracking_uri))
        for note in earlier.notes:
            self.observer.note(note)
        return earlier.trials

    @property
    def status(self) -> str:
        """``finished``, ``interrupted``, or ``failed`` until it is one of the others."""
        return self._ending.status

    @property
    def counts(self) -> dict[str, int]:
        """How many trials ended in which way."""
        counts = Counter(trial.status for trial in self.searched.trials) if self.searched else Counter[Status]()
        return {status.value: counts[status] for status in (Status.FINISHED, Status.STOPPED, Status.FAILED)}

    @property
    def interrupted(self) -> bool:
        return self.searched is not None and self.searched.interrupted

    @property
    def best(self) -> Trial:
        """The winner of the search.

        Raises:
            StudyError: no trial succeeded; the message says why.
        """
        trials = self.searched.trials if self.searched else ()
        if (best := winner(trials, self.spec.objective)) is not None:
            return best
        reason = self.searched.stop_reason if self.searched else "the search has not run"
        failures = [trial.reason for trial in trials if trial.status is Status.FAILED]
        if failures and not reason.startswith("the first"):
            reason = f"{len(failures)} of {len(trials)} trials failed, the last one with {failures[-1]}"
        raise StudyError(f"a study must have a trial that succeeds. Received: {reason or 'no finished epoch'}")

    def weights(self, number: int) -> tuple[Array, ...]:
        """A trial's weights at its best epoch; kept for the best ``KEPT_TRIALS`` trials.

        Raises:
            StudyError: they were not kept.
        """
        folder = self._kept / str(number)
        if not folder.is_dir():
            raise StudyError(
                f"weights are kept of the best {KEPT_TRIALS} trials, unless their workers died. "
                f"Received: trial {number}"
            )
        return snapshots.best_weights(snapshots.load(folder), number)

    def train(self, cohort: Cohort, schedule: Schedule, *, merge: bool) -> list[Outcome]:
        """Trains a cohort outside of the search, its members together if those of the search were.

        Args:
            cohort: what to train.
            schedule: what the trainer obeys.
            merge: train on training and validation rows together.
        """
        together = self._allocation.cohort > 1
        cohorts = (cohort,) if together else tuple(Cohort((member,)) for member in cohort.members)
        return self._session.train(self._work(schedule), cohorts, self._allocation, merge=merge)

    def release(self) -> None:
        """Begins to end Ray: nothing is to be trained any more."""
        self._session.release()

    def abort(self) -> None:
        """Ends what is open after something went wrong, without hiding it behind a second error."""
        with suppress(TrackingError):
            self._closer()

    def close(self) -> None:
        """Ends what is open.

        Raises:
            TrackingError: something could not be written.
        """
        figures, self._figures = self._figures, None
        try:
            if figures is not None:
                figures.result()
        finally:
            self._closer()

    def _work(self, schedule: Schedule) -> Work:
        trainer: Trainer
        if self._allocation.cohort > 1:
            trainer = CohortTrainer(self.models, schedule, self._allocation.threads)
        else:
            trainer = KerasTrainer(self.models, schedule)
        return Work(trainer, self.data, self._paths)

    @property
    def _mutable(self) -> tuple[str, ...]:
        """The parameters that may change while a trial trains."""
        if self.spec.model.family is not None:
            return mutable_parameters(self.spec.model.family)
        return mutable_parameters(None, self._signature.names if self._signature else ())

    @property
    def _kept(self) -> Path:
        return self.scratch / "weights"

    @property
    def _storage(self) -> Path:
        """Where trials keep their checkpoints while the search runs."""
        storage = self.spec.resources.storage
        return Path.cwd() / "mlruns" / "checkpoints" if storage == "auto" else Path(storage).absolute()

    @property
    def _paths(self) -> tuple[str, ...]:
        return (str(self.origin.directory), str(Path.cwd()))

    def _detail(self) -> str:
        search, share = self.spec.search, self._allocation
        device = f", {share.gpus:g} GPU each" if share.gpus else ""
        together = f"cohorts of {share.cohort}, " if share.cohort > 1 else ""
        return (
            f"{search.trials} trials of up to {search.max_epochs} epochs, {search.searcher.name} + "
            f"{search.scheduler.name}, {together}{share.concurrency} at a time with {share.threads} thread(s) "
            f"each{device}"
        )

    def _header(self) -> StudyHeader:
        data = self.data
        rows = {"train": len(data.train), "validation": len(data.validation)}
        return StudyHeader(
            id=self.id,
            name=self.spec.name,
            started=time.time(),
            objective=self.spec.objective,
            spec=self.spec.model_dump_json(by_alias=True),
            source=self.origin.text,
            directory=str(self.origin.directory),
            seed=self.spec.search.seed,
            dataset={"name": data.source, "fingerprint": data.fingerprint, **rows},
            versions=versions(),
            git_commit=git_commit(self.origin.directory),
        )

    def _keep(self, searched: Searched) -> None:
        """Keeps the best trials' weights, here and with the tracker, and has the figures drawn."""
        from kerasweep.report import top

        best = [t for t in top(searched.trials, self.spec.objective, KEPT_TRIALS) if t.number in searched.snapshots]
        loaded = {folder: snapshots.load(folder) for folder in {searched.snapshots[trial.number] for trial in best}}
        for trial in best:
            snapshot = loaded[searched.snapshots[trial.number]]
            if epochs_of(snapshot, trial.number) < (trial.epoch or 0):
                continue  # its cohort died after it had ended, before a snapshot was taken
            folder = self._kept / str(trial.number)
            folder.mkdir(parents=True)
            weights = snapshots.named_best(trial.number, snapshots.best_weights(snapshot, trial.number))
            snapshots.save(Snapshot(weights, {}), folder)
            self.tracker.log_files(tuple(folder.iterdir()), "weights", trial.number)
        self._figures = self._aside.submit(self._draw, searched.trials)

    def _draw(self, trials: tuple[Trial, ...]) -> None:
        from kerasweep.report import write_figures

        figures = write_figures(trials, self.spec.objective, Space(self.spec.space), self.scratch / "figures")
        self.tracker.log_files(figures, "figures")


def _import_ahead() -> None:
    """What is needed once the search has ended; until then this process has little to do."""
    import_tensorflow()

    import kerasweep.report.curves
    import kerasweep.report.importance
    import kerasweep.report.parallel  # noqa: F401  # the import is the purpose
