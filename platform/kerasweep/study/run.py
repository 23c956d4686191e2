"""A study that runs: what it holds open, and its search."""

from __future__ import annotations

import secrets
import shutil
import weakref
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from kerasweep.data import Split, load_search, load_test
from kerasweep.data.base import Array
from kerasweep.data.weights import weighted
from kerasweep.delivery import check_formats
from kerasweep.dispatch import Allocation, RaySession, Work
from kerasweep.errors import StudyError, TrackingError
from kerasweep.models import FamilyBuilder, UserBuilder, import_tensorflow
from kerasweep.records import Status, Trial, winner
from kerasweep.space import Space
from kerasweep.spec.parameters import FOUND_PARAMETER
from kerasweep.spec.pipeline import PipelineSpec
from kerasweep.spec.searchers import KerasTunerSearch
from kerasweep.study.board import show_models
from kerasweep.study.budget import search_size
from kerasweep.study.earlier import earlier_trials
from kerasweep.study.environment import study_header
from kerasweep.study.folder import StudyFolder, storage_root
from kerasweep.study.initial import Initial, check_initial, read_initial
from kerasweep.study.keeping import draw_figures, import_ahead, keep_again, keep_weights
from kerasweep.study.ledger import Watchers
from kerasweep.study.origin import Destination, Origin, models_for, mutable_of
from kerasweep.study.plane import winners_plane
from kerasweep.study.recording import Recording
from kerasweep.study.search import (
    Searched,
    SearchPlace,
    evolution_of,
    rates_of,
    run_search,
    search_schedule,
)
from kerasweep.study.settled import settle
from kerasweep.study.trainers import Trainers
from kerasweep.tracking import Tracker, open_store, open_tracker, resolve_uri
from kerasweep.tracking.board import BOARD, board_folder
from kerasweep.tracking.projection import project
from kerasweep.training import (
    KEPT_MEMBERS,
    Cohort,
    Outcome,
    Schedule,
    UserCallbacks,
    snapshots,
)
from kerasweep.training.inputs import inputs_of
from kerasweep.training.learning_rates import Rates

# Trials whose weights are kept, so that each of them can be exported later; a cohort keeps those of as many.
KEPT_TRIALS = KEPT_MEMBERS


@dataclass
class _Ending:
    """What the tracking store and the journal are told at the end, however that comes about.

    Attributes:
        status: of the study.
        begun: whether the store knows of it.
        cut: whether something went wrong after a search that finished, so that there is something left to do.
    """

    status: str = "failed"
    begun: bool = False
    cut: bool = False

    def tell(self, tracker: Tracker) -> None:
        if self.begun:
            tracker.end(self.status)

    def close(self, tracker: Tracker, recording: Recording) -> None:
        """Waits until everything is in the store; the study is not over before."""
        tracker.close()
        if self.begun and not self.cut:
            recording.over(self.status)


class StudyRun:
    """A study on its way: the search, then whatever is asked of its winner.

    Args:
        spec: of the study.
        origin: where it comes from.
        destination: where it runs.
        recording: of a study that goes on; None for one that begins.

    Attributes:
        recording: what writes the study down.
        resumed: whether earlier drivers have begun it.
        data: the training and validation splits, with the weights of their rows in training.

    ``close`` ends Ray and waits until everything is in the tracking store; it is called at the latest when Python ends.
    """

    def __init__(
        self, spec: PipelineSpec, origin: Origin, destination: Destination, recording: Recording | None = None
    ) -> None:
        if destination.tracking_uri is not None:  # where the study is kept, also for who goes on with it
            tracking = spec.tracking.model_copy(update={"uri": destination.tracking_uri})
            spec = spec.model_copy(update={"tracking": tracking})
        self.spec = spec
        self.origin = origin
        self.observer = destination.observer
        self.id = f"{spec.name}@{secrets.token_hex(4)}" if recording is None else recording.folder.path.name
        self.searched: Searched | None = None
        self._ending = _Ending()
        self._stack = ExitStack()
        self._closer = weakref.finalize(self, self._stack.close)
        if recording is None:
            recording = Recording(StudyFolder(storage_root(spec.resources.storage) / self.id), begins=True)
        self.recording = recording
        self.resumed = recording.goes_on
        self._stack.callback(recording.close)
        self.tracking_uri = resolve_uri(spec.tracking.uri, Path.cwd())
        read = load_search(  # quick, and most mistakes show here
            spec.data, origin.directory, origin.memory, spec.search.folds
        )
        self.data = weighted(read, spec.training.class_weight)
        inputs = inputs_of(spec, self.data)  # and the others here
        # What is slow begins here, side by side: Ray, and the tracking store.
        self._session = RaySession(spec.resources, destination.ray_address)
        self._stack.callback(self._session.close)
        self._board = board_folder(spec.tracking.tensorboard, origin.directory, self.id)
        known = self.resumed and destination.tracking_uri is None  # its server may be away for now
        self.tracker: Tracker = open_tracker(
            self.tracking_uri, spec.experiment, self._board, resumed=known, uploads=recording.folder.uploads
        )
        self._stack.callback(self._ending.close, self.tracker, recording)
        self._stack.callback(self._ending.tell, self.tracker)
        self.scratch = recording.folder.scratch
        self._stack.callback(shutil.rmtree, self.scratch, ignore_errors=True)
        self._stack.callback(self._session.release)
        # What need not be waited for: imports while workers train, and figures while the winner is retrained.
        self._aside = ThreadPoolExecutor(1, thread_name_prefix="kerasweep-study")
        self._stack.callback(self._aside.shutdown)
        self._figures: Future[None] | None = None
        # While Ray starts, a KerasTuner model is built here to learn its space.
        settled = settle(spec, origin.directory, origin.builder, images=inputs.images)
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
    def _initial(self) -> Initial | None:
        """The trained weights that models start from, read once."""
        return read_initial(self.spec, self.tracking_uri)

    @cached_property
    def models(self) -> FamilyBuilder | UserBuilder:
        """Builds the models of this study."""
        weights = None if self._initial is None else self._initial.weights
        return models_for(self.spec, self.data, self.origin, weights)

    @property
    def rates(self) -> Rates:
        """How the learning rates of this study's trials go up and down."""
        return rates_of(self.spec, self._signature.names if self._signature else ())

    @property
    def schedule(self) -> Schedule:
        """How the trials of this study are trained."""
        return search_schedule(self.spec, self._allocation.cohort, self.rates)

    def schedule_of(self, trial: Trial) -> Schedule:
        """How a trial was trained, which may have been under another ``max_epochs``."""
        return replace(self.schedule, rates=replace(self.rates, horizon=self.recording.planned(trial.number)))

    @cached_property
    def _allocation(self) -> Allocation:
        """What the search may use. Its cohorts remain as large as they were, whatever memory is free now."""
        spec, before = self.spec, self.recording.allocation(self.spec)
        if before is not None:
            cohort = before.cohort if before.cohort > 1 else "off"
            spec = spec.model_copy(update={"resources": spec.resources.model_copy(update={"cohort": cohort})})
        found = self._session.allocation(spec, search_size(spec), self.data)
        return found if before is None else replace(found, reason=before.reason)

    def search(self) -> Trial:
        """Runs the search.

        Returns:
            The winner.

        Raises:
            StudyError: no trial succeeded.
        """
        text = any(column.dtype == "string" for column in self.data.preprocessing.inputs)
        check_formats(self.spec.export.formats, categories=text)
        if self._initial is not None:
            check_initial(self.spec, self.models)
        recording = self.recording
        earlier = () if recording.searching else self._earlier()
        header = study_header(self.id, self.spec, self.data, self.origin.directory, self.origin.text)
        feed = recording.begin(header, self.spec, self._allocation, earlier)
        for folder in (recording.folder.scratch, recording.folder.uploads):  # of a driver that was killed
            shutil.rmtree(folder, ignore_errors=True)
        project(self.tracker, recording.header, feed.ledger.trials)
        self._ending.begun = True
        if self._board is not None:
            self.summarise({BOARD: str(self._board)})
        if self._initial is not None:
            self.summarise({"initial_weights": self._initial.facts})
        self.observer.stage("search", self._detail())
        if self._allocation.reason:
            self.observer.note(f"members of a cohort: {self._allocation.reason}")
        place = SearchPlace(self._session, self._allocation, recording.folder.checkpoints, recording.session)
        trainer = self._trainers.of_search(self.schedule, len(self.data.folds))
        work = Work(trainer, self.data, self._paths)
        watchers = Watchers(self.tracker, self.observer, lambda: self._aside.submit(import_ahead))
        searched = run_search(self.spec, work, place, watchers, mutable_of(self.spec, self._signature), feed)
        self.searched = replace(searched, snapshots={**recording.kept(feed.wanted()), **searched.snapshots})
        self._keep(self.searched)
        if not self.searched.stop_reason:
            recording.searched()
        if self.searched.interrupted:
            self._ending.status = "interrupted"
        best = self.best
        if not self.searched.interrupted:
            self._ending.status = "finished"
        found = {"trial": best.number, "value": best.value, "epoch": best.epoch, "params": dict(best.params)}
        said = {"search_notes": list(self.searched.notes)} if self.searched.notes else {}
        self.summarise({"best": found, "trials": self.counts, **said})
        return best

    def summarise(self, summary: Mapping[str, object]) -> None:
        """Adds to the study's summary."""
        self.recording.summarise(summary)
        self.tracker.log_summary(summary)

    def _earlier(self) -> tuple[Trial, ...]:
        """The trials of earlier studies to learn from."""
        if not self.spec.search.warm_start:
            return ()
        earlier = earlier_trials(self.spec.search.warm_start, self.spec, open_store(self.tracking_uri), self.rates)
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
        if self.searched is None:
            raise StudyError("a study must have a trial that succeeds. Received: a study that was not searched")
        return self.searched.best(self.spec.objective)

    def weights(self, number: int) -> tuple[Array, ...] | None:
        """A trial's weights at its best epoch, kept of the best ``KEPT_TRIALS`` trials; None if they were lost.

        Raises:
            StudyError: it has none of its own.
        """
        folder = self._kept / str(number)
        if self.data.folds:
            raise StudyError(
                "a cross-validated trial has a model for each fold and must be retrained before it is delivered. "
                f"Received: trial {number}"
            )
        return snapshots.best_weights(snapshots.load(folder), number) if folder.is_dir() else None

    def keep(self, trial: Trial, weights: tuple[Array, ...]) -> None:
        """Keeps the weights of a trial that was trained again."""
        keep_again(trial, weights, self.spec.objective, self._kept, self.tracker)

    def train(self, cohort: Cohort, schedule: Schedule, *, merge: bool) -> list[Outcome]:
        """Trains a cohort outside of the search, its members together if those of the search were.

        Args:
            cohort: what to train.
            schedule: what the trainer obeys.
            merge: train on training and validation rows together.
        """
        together = self._allocation.cohort > 1
        cohorts = (cohort,) if together else tuple(Cohort((member,)) for member in cohort.members)
        work = Work(self._trainers.plain(schedule), self.data, self._paths)
        return self._session.train(work, cohorts, self._allocation, merge=merge)

    def release(self) -> None:
        """Begins to end Ray: nothing is to be trained any more."""
        self._session.release()

    def abort(self) -> None:
        """Ends what is open after something went wrong, without hiding it behind a second error."""
        self._ending.cut = self._ending.status == "finished"
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

    @property
    def _trainers(self) -> Trainers:
        handed, taken = self.origin.callbacks, self._signature.names if self._signature else ()
        classes = tuple((handed.get(each.name, each.name), each.args) for each in self.spec.training.callbacks)
        return Trainers(
            models=self.models,
            allocation=self._allocation,
            find=Space(self.spec.space).found.get(FOUND_PARAMETER),
            evolution=evolution_of(self.spec, taken),
            callbacks=UserCallbacks(classes, self.origin.directory),
        )

    @property
    def _kept(self) -> Path:
        """Where the best trials' weights are."""
        return self.recording.folder.weights

    @property
    def _paths(self) -> tuple[str, ...]:
        return (str(self.origin.directory), str(Path.cwd()))

    def _detail(self) -> str:
        search, share = self.spec.search, self._allocation
        trials = search_size(self.spec)
        device = f", {share.gpus:g} GPU each" if share.gpus else ""
        together = f"cohorts of {share.cohort}, " if share.cohort > 1 else ""
        return (
            f"{trials} trial{'s' if trials > 1 else ''} of up to {search.max_epochs} epochs, {search.searcher.name} + "
            f"{search.scheduler.name}, {together}{share.concurrency} at a time with {share.threads} thread(s) "
            f"each{device}"
        )

    def _keep(self, searched: Searched) -> None:
        """Keeps the best trials' weights, here and with the tracker, and has the figures drawn."""
        objective = self.spec.objective
        most = KEPT_TRIALS if not self.data.folds else 0  # else they have a model for each fold
        kept = keep_weights(searched, objective, most, self._kept, self.tracker)
        self._figures = self._aside.submit(self._draw, searched.trials, kept)

    def _draw(self, trials: Sequence[Trial], kept: Sequence[Trial]) -> None:
        best = winner(tuple(trials), self.spec.objective)
        plane = None
        if best is not None:
            plane = winners_plane(self.spec, self.data, self.models, best, self._kept / str(best.number))
        if (board := self.spec.tracking.tensorboard) is not None and self._board is not None:
            show_models(board, self._board, self.models, self.spec.training.fixed, kept, self._kept)
        draw_figures(trials, kept, self.spec, self.scratch / "figures", self.tracker, plane)
