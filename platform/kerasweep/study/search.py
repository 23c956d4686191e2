"""One search, from its searcher to its ended trials."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from kerasweep.dispatch import Allocation, SearchJob, Session, Work
from kerasweep.errors import StudyError
from kerasweep.records import Objective, Status, Trial, winner
from kerasweep.scheduling import expected_epochs, make_scheduler
from kerasweep.seeds import derive
from kerasweep.space import Space
from kerasweep.spec.families import EVOLUTION_PARAMETERS, MUTABLE_PARAMETERS, SCHEDULE_PARAMETERS
from kerasweep.spec.methods import Neuroevolution
from kerasweep.spec.pipeline import PipelineSpec
from kerasweep.spec.schedulers import AutoScheduler, NoScheduler
from kerasweep.study.bookkeeping import new_ledger
from kerasweep.study.budget import search_size
from kerasweep.study.ledger import Watchers
from kerasweep.study.recording import Feed
from kerasweep.training import Evolution, Freeze, Schedule
from kerasweep.training.learning_rates import Rates


@dataclass(frozen=True)
class Searched:
    """What a search left.

    Attributes:
        trials: all that began, by number.
        snapshots: trial number -> folder of its last snapshot.
        stop_reason: why it ended before its budget; empty otherwise.
        notes: what the searcher said about how it went on.
    """

    trials: tuple[Trial, ...]
    snapshots: Mapping[int, Path]
    stop_reason: str
    notes: tuple[str, ...] = ()

    @property
    def interrupted(self) -> bool:
        return self.stop_reason == INTERRUPTED

    def best(self, objective: Objective) -> Trial:
        """The winner.

        Raises:
            StudyError: no trial succeeded; the message says why.
        """
        if (best := winner(self.trials, objective)) is not None:
            return best
        reason = self.stop_reason
        failures = [trial.reason for trial in self.trials if trial.status is Status.FAILED]
        if failures and not reason.startswith("the first"):
            reason = f"{len(failures)} of {len(self.trials)} trials failed, the last one with {failures[-1]}"
        raise StudyError(f"a study must have a trial that succeeds. Received: {reason or 'no finished epoch'}")


INTERRUPTED = "interrupted"


def rates_of(spec: PipelineSpec, taken: Collection[str]) -> Rates:
    """How the learning rates of a study's trials go up and down.

    Args:
        spec: of the study.
        taken: names that the user's builder takes itself, so that they are no affair of training.
    """
    own = tuple(name for name in SCHEDULE_PARAMETERS if name not in taken)
    return Rates(spec.training.schedule, spec.search.max_epochs, own)


def evolution_of(spec: PipelineSpec, taken: Collection[str]) -> Evolution | None:
    """How the networks of a study's trials evolve; None if they are trained by gradients.

    Args:
        spec: of the study.
        taken: see ``rates_of``.
    """
    method = spec.training.method
    if not isinstance(method, Neuroevolution):
        return None
    return Evolution(method, tuple(name for name in EVOLUTION_PARAMETERS if name not in taken))


def search_schedule(spec: PipelineSpec, cohort: int, rates: Rates) -> Schedule:
    """What the trainer obeys during the search, with so many members in a cohort."""
    trials = search_size(spec)
    expected, _ = expected_epochs(spec.search.scheduler, trials, spec.search.max_epochs, cohort)
    return Schedule(
        objective=spec.objective,
        epochs=spec.search.max_epochs,
        early_stopping=spec.training.early_stopping,
        order_seed=derive(spec.search.seed, "order"),
        expected_epochs=expected / trials,
        rates=rates,
        freeze=Freeze.of(spec.model.initial_weights),
    )


@dataclass(frozen=True)
class SearchPlace:
    """Where a search runs and leaves its checkpoints.

    Attributes:
        session: trains the cohorts.
        allocation: what the search may use of it.
        storage: where the folder with the checkpoints is created.
        name: of that folder.
    """

    session: Session
    allocation: Allocation
    storage: Path
    name: str


def too_small(size: int, trials: int) -> str:
    """What is said of a space with fewer configurations than trials are asked for."""
    plural = "s" if size > 1 else ""
    return f"the space has {size} configuration{plural} only: {size} trial{plural} instead of {trials}"


def run_search(
    spec: PipelineSpec,
    work: Work,
    place: SearchPlace,
    watchers: Watchers,
    mutable: tuple[str, ...] = MUTABLE_PARAMETERS,
    recorded: Feed | None = None,
) -> Searched:
    """Searches until the budget is spent, or a limit or an interrupt ends it.

    Args:
        spec: of the study.
        work: for the workers.
        place: where it runs.
        watchers: are told what happens.
        mutable: parameters that may change while a trial trains; ``spec.families.mutable_parameters`` knows them.
        recorded: writes the search down, and may have a part of it already; None for a search that nobody goes on with.

    The first Ctrl-C (or SIGTERM) ends the running trials and keeps what they reached; the second one raises
    KeyboardInterrupt.
    """
    settings = spec.search
    space = Space(spec.space)
    trials = search_size(spec)
    if trials < settings.trials:
        watchers.observer.note(too_small(trials, settings.trials))
    cohort = place.allocation.cohort
    if recorded is None:
        ledger = new_ledger(spec, place.allocation, watchers)
    else:
        ledger = recorded.ledger
        recorded.listen(watchers)
    # Within a cohort its members are compared with each other; cohorts of one, by Ray, with all others. A pace is kept
    # by each for itself.
    within, across = (settings.scheduler, NoScheduler()) if cohort > 1 else (NoScheduler(), settings.scheduler)
    if isinstance(settings.scheduler, AutoScheduler):
        within = settings.scheduler
    job = SearchJob(
        name=place.name,
        storage=str(place.storage),
        work=work,
        objective=spec.objective,
        within=make_scheduler(within, settings.max_epochs, spec.objective, settings.seed, space, mutable),
        across=across,
        epochs=settings.max_epochs,
        patience=spec.resources.epoch_timeout,
    )
    with _interrupts(lambda: ledger.stop(INTERRUPTED)):
        snapshots = {} if ledger.done else place.session.search(job, recorded or ledger, place.allocation)
    return Searched(ledger.trials, snapshots, ledger.stop_reason, tuple(ledger.searcher_notes))


@contextmanager
def _interrupts(stop: Callable[[], None]) -> Iterator[None]:
    """Turns the first SIGINT or SIGTERM into a call of ``stop``; the next one has its usual effect."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may handle signals
        return
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    def handle(number: int, frame: FrameType | None) -> None:
        restore()
        stop()

    for number in previous:
        signal.signal(number, handle)
    try:
        yield
    finally:
        restore()
