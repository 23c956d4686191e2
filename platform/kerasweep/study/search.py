"""One search, from its searcher to its ended trials."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from kerasweep.dispatch import Allocation, RaySession, SearchJob, Work
from kerasweep.records import Trial
from kerasweep.scheduling import expected_epochs, generations, last_epochs, make_scheduler, overlap
from kerasweep.search import by_structure, make_searcher
from kerasweep.seeds import derive
from kerasweep.space import Space
from kerasweep.spec.families import MUTABLE_PARAMETERS
from kerasweep.spec.pipeline import PipelineSpec
from kerasweep.spec.schedulers import AutoScheduler, NoScheduler
from kerasweep.study.ledger import Budget, Ledger, Watchers
from kerasweep.training import Schedule


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


INTERRUPTED = "interrupted"


def search_schedule(spec: PipelineSpec, cohort: int) -> Schedule:
    """What the trainer obeys during the search, with so many members in a cohort."""
    trials = search_size(spec)
    expected, _ = expected_epochs(spec.search.scheduler, trials, spec.search.max_epochs, cohort)
    return Schedule(
        objective=spec.objective,
        epochs=spec.search.max_epochs,
        early_stopping=spec.training.early_stopping,
        order_seed=derive(spec.search.seed, "order"),
        expected_epochs=expected / trials,
    )


@dataclass(frozen=True)
class SearchPlace:
    """Where a search runs and leaves its checkpoints.

    Attributes:
        session: a running Ray.
        allocation: what the search may use of it.
        storage: where the folder with the checkpoints is created.
        name: of that folder.
    """

    session: RaySession
    allocation: Allocation
    storage: Path
    name: str


def search_size(spec: PipelineSpec) -> int:
    """The number of trials: what was asked for, if the space has as many configurations."""
    return min(spec.search.trials, Space(spec.space).size() or spec.search.trials)


def run_search(
    spec: PipelineSpec,
    work: Work,
    place: SearchPlace,
    watchers: Watchers,
    mutable: tuple[str, ...] = MUTABLE_PARAMETERS,
    earlier: tuple[Trial, ...] = (),
) -> Searched:
    """Searches until the budget is spent, or a limit or an interrupt ends it.

    Args:
        spec: of the study.
        work: for the workers.
        place: where it runs.
        watchers: are told what happens.
        mutable: parameters that may change while a trial trains; ``spec.families.mutable_parameters`` knows them.
        earlier: trials of other studies that the searcher learns from first.

    The first Ctrl-C (or SIGTERM) ends the running trials and keeps what they reached; the second one raises
    KeyboardInterrupt.
    """
    settings = spec.search
    space = Space(spec.space)
    trials = search_size(spec)
    if trials < settings.trials:
        watchers.observer.note(
            f"the space has {trials} configurations only: {trials} trials instead of {settings.trials}"
        )
    cohort = place.allocation.cohort
    low, high = expected_epochs(settings.scheduler, trials, settings.max_epochs, cohort)
    budget = Budget(
        trials=trials,
        epochs=settings.max_epochs,
        seconds=settings.time_limit,
        cohort=cohort,
        overlap=overlap(settings.scheduler, settings.max_epochs, place.allocation.concurrency, cohort),
        last_epochs=last_epochs(settings.scheduler, settings.max_epochs, cohort),
        expected_epochs=(low + high) / 2,
    )
    searcher = make_searcher(
        settings.searcher,
        space,
        spec.objective,
        derive(settings.seed, "searcher"),
        max_epochs=settings.max_epochs,
        points=tuple(settings.points),
    )
    searcher.recall(earlier)
    if spec.model.builder is not None and cohort > 1:
        searcher = by_structure(searcher, space, trials)
    ledger = Ledger(
        searcher=searcher,
        generations=generations(settings.scheduler, trials, settings.max_epochs, place.allocation.concurrency, cohort),
        objective=spec.objective,
        budget=budget,
        seed=settings.seed,
        watchers=watchers,
        fixed=spec.training.fixed,
    )
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
    )
    with _interrupts(lambda: ledger.stop(INTERRUPTED)):
        snapshots = place.session.search(job, ledger, place.allocation)
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
