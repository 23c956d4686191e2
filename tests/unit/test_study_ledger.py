"""The book of a search, fed by a script instead of Ray."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasweep.dispatch import Ended, Next, Reported
from kerasweep.records import Candidate, Change, Direction, Metrics, Objective, Params, Status, Trial
from kerasweep.scheduling import Overlap
from kerasweep.search import Searcher, make_searcher
from kerasweep.search.base import Watching
from kerasweep.seeds import derive
from kerasweep.space import Space
from kerasweep.spec.parameters import Choice, Float, Int
from kerasweep.spec.searchers import AutoSearch, RandomSearch, SearcherSpec, TpeSearch, ZoomSearch
from kerasweep.study.budget import Budget
from kerasweep.study.events import Progress
from kerasweep.study.ledger import Ledger, Watchers
from kerasweep.tracking import StudyHeader
from kerasweep.training import Cohort

LOSS = Objective("val_loss", Direction.MINIMIZE)
SPACE = Space.of(x=Float(min=0.0, max=1.0), n=Int(min=1, max=9), kind=Choice(values=["a", "b"]))


@dataclass
class Notes:
    """A tracker and an observer that remember."""

    begun: list[Trial] = field(default_factory=list)
    epochs: list[tuple[int, int]] = field(default_factory=list)
    tracked: dict[int, Trial] = field(default_factory=dict)
    observed: list[Trial] = field(default_factory=list)
    steps: list[Progress] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def start(self, header: StudyHeader) -> None: ...

    def begin_trial(self, trial: Trial) -> None:
        self.begun.append(trial)

    def log_epochs(self, number: int, first_epoch: int, metrics: Sequence[Metrics]) -> None:
        self.epochs += [(number, epoch) for epoch, _ in enumerate(metrics, first_epoch)]

    def end_trial(self, trial: Trial) -> None:
        assert trial.number not in self.tracked
        self.tracked[trial.number] = trial

    def log_files(self, files: Sequence[Path], folder: str, trial: int | None = None) -> None: ...

    def log_summary(self, summary: Mapping[str, object]) -> None: ...

    def end(self, status: str) -> None: ...

    def flush(self, trials: bool = True) -> None: ...

    def close(self) -> None: ...

    def stage(self, name: str, detail: str) -> None: ...

    def progress(self, progress: Progress) -> None:
        self.steps.append(progress)

    def trial_ended(self, trial: Trial) -> None:
        self.observed.append(trial)

    def note(self, message: str) -> None:
        self.said.append(message)


@dataclass
class Diary:
    """A searcher that notes what another one is asked and told."""

    searcher: Searcher
    events: list[tuple[str, list[int]]] = field(default_factory=list)
    proposed: list[Candidate] = field(default_factory=list)

    def ask(self, n: int) -> list[Candidate]:
        candidates = self.searcher.ask(n)
        self.proposed += candidates
        self.events.append(("ask", [candidate.number for candidate in candidates]))
        return candidates

    def tell(self, trials: Sequence[Trial]) -> None:
        self.events.append(("tell", [trial.number for trial in trials]))
        self.searcher.tell(trials)

    def recall(self, trials: Sequence[Trial]) -> None:
        self.searcher.recall(trials)


def book(
    sizes: Iterable[int] = (4, 4, 4),
    *,
    searcher: Searcher | None = None,
    seconds: float | None = None,
    last_epochs: Sequence[int] = (),
    epochs: int = 3,
    cohort: int = 1,
    fixed: Params | None = None,
    space: Space = SPACE,
    overlap: Overlap = Overlap(),  # noqa: B008  # frozen
    direct: bool = False,
) -> tuple[Ledger, Notes, Diary]:
    sizes = list(sizes)
    notes = Notes()
    diary = Diary(searcher or make_searcher(RandomSearch(), space, LOSS, 5))
    budget = Budget(sum(sizes), epochs, seconds, cohort, last_epochs, float(sum(sizes) * epochs), overlap)
    ledger = Ledger(
        diary.searcher if direct else diary, iter(sizes), LOSS, budget, 7, Watchers(notes, notes), fixed or {}
    )
    return ledger, notes, diary


def take(ledger: Ledger) -> int:
    """Starts the next trial and returns its number."""
    cohort = ledger.next_cohort()
    assert isinstance(cohort, Cohort)
    (member,) = cohort.members
    ledger.started([member.number])
    return member.number


def take_all(ledger: Ledger) -> list[int]:
    """Starts the next cohort and returns its members' numbers."""
    cohort = ledger.next_cohort()
    assert isinstance(cohort, Cohort)
    numbers = [member.number for member in cohort.members]
    ledger.started(numbers)
    return numbers


def train(ledger: Ledger, number: int, values: Iterable[float]) -> None:
    for epoch, value in enumerate(values, 1):
        ledger.reported(Reported(epoch, {number: {"loss": value, "val_loss": value}}, seconds=1.5))


def end(ledger: Ledger, number: int, status: Status = Status.FINISHED, reason: str = "") -> None:
    ledger.ended([Ended(number, status, reason)])


def run_one(ledger: Ledger, value: float = 1.0) -> int:
    number = take(ledger)
    train(ledger, number, [value])
    end(ledger, number)
    return number


def trial(ledger: Ledger, number: int) -> Trial:
    return next(each for each in ledger.trials if each.number == number)


def test_a_cohort_is_a_candidate_with_what_is_fixed_and_a_seed_of_its_own() -> None:
    ledger, notes, diary = book(fixed={"epsilon": 1e-3, "x": 99.0})
    cohort = ledger.next_cohort()
    assert isinstance(cohort, Cohort)
    (member,) = cohort.members
    candidate = diary.proposed[0]
    assert member.params == {"epsilon": 1e-3, **candidate.params}  # what the space varies is not fixed
    assert member.seed == derive(7, "trial", 0)
    assert ledger.trials == ()  # it has not begun yet
    ledger.started([member.number])
    (begun,) = notes.begun
    assert begun.params == candidate.params
    assert begun.started > 0
    assert ledger.trials == (begun,)


def test_generations_are_asked_for_one_ahead_and_told_whole_and_in_order() -> None:
    ledger, _, diary = book((3, 3, 3, 1))
    first = [take(ledger) for _ in range(3)]
    second = [take(ledger) for _ in range(3)]  # workers need not wait for the first generation
    assert first + second == list(range(6))
    assert ledger.next_cohort() is Next.WAIT
    for number in (2, 5, 0, 4, 3):
        train(ledger, number, [1.0])
        end(ledger, number)
        assert ledger.next_cohort() is Next.WAIT  # trial 1 still runs
    assert diary.events == [("ask", [0, 1, 2]), ("ask", [3, 4, 5])]
    train(ledger, 1, [1.0])
    end(ledger, 1)
    third = [take(ledger) for _ in range(3)]
    assert diary.events[2:] == [("tell", [0, 1, 2]), ("ask", [6, 7, 8])]
    # The second generation ended long ago, so the fourth may follow at once.
    last = take(ledger)
    assert diary.events[4:] == [("tell", [3, 4, 5]), ("ask", [9])]
    assert [*third, last] == [6, 7, 8, 9]
    # Nothing is left to propose; brackets that are not full need to know that at once.
    assert ledger.next_cohort() is Next.FINISHED
    assert ledger.next_cohort() is Next.FINISHED


def test_without_a_lag_a_generation_waits_for_all_of_the_one_before() -> None:
    ledger, _, diary = book((2, 2, 1), overlap=Overlap(lag=0, unseen=0))
    first, second = take(ledger), take(ledger)
    assert ledger.next_cohort() is Next.WAIT
    for number in (second, first):
        assert ledger.next_cohort() is Next.WAIT
        train(ledger, number, [1.0])
        end(ledger, number)
    take(ledger)
    assert diary.events == [("ask", [0, 1]), ("tell", [0, 1]), ("ask", [2, 3])]


@dataclass
class Watcher(Diary):
    """A diary of what it is shown besides."""

    watched: dict[int, Trial] = field(default_factory=dict)

    def watch(self, trials: Sequence[Trial]) -> None:
        self.events.append(("watch", [trial.number for trial in trials]))
        self.watched |= {trial.number: trial for trial in trials}
        if isinstance(self.searcher, Watching):
            self.searcher.watch(trials)


def test_with_a_glimpse_a_searcher_is_shown_trials_in_training_as_they_stood_at_an_epoch() -> None:
    watcher = Watcher(make_searcher(RandomSearch(), SPACE, LOSS, 5))
    ledger, _, _ = book((2, 2, 2, 2), searcher=watcher, overlap=Overlap(lag=2, unseen=1, glimpse=2), direct=True)
    for number in range(4):
        assert take(ledger) == number
    train(ledger, 0, [3.0, 5.0, 1.0])  # is already beyond
    assert ledger.next_cohort() is Next.WAIT  # trial 1 has not come so far
    train(ledger, 1, [2.0])
    end(ledger, 1, Status.STOPPED)  # nor will it
    assert take(ledger) == 4
    assert watcher.events == [("ask", [0, 1]), ("ask", [2, 3]), ("watch", [0, 1]), ("ask", [4, 5])]
    seen = watcher.watched[0]
    assert (seen.status, seen.value, seen.epoch, len(seen.history)) == (Status.RUNNING, 3.0, 1, 2)
    assert (watcher.watched[1].status, watcher.watched[1].value) == (Status.STOPPED, 2.0)
    assert take(ledger) == 5
    train(ledger, 2, [1.0, 1.0])
    train(ledger, 3, [1.0, 1.0])
    assert ledger.next_cohort() is Next.WAIT  # trial 0 is still in training, and two generations are the most
    end(ledger, 0)
    assert take(ledger) == 6
    assert watcher.events[4:] == [("tell", [0, 1]), ("watch", [2, 3]), ("ask", [6, 7])]
    assert (seen.status, trial(ledger, 0).value) == (Status.RUNNING, 1.0)


def test_what_a_searcher_has_to_say_is_a_note_and_kept() -> None:
    searcher = make_searcher(ZoomSearch(trials=4, rounds=2, top=2), SPACE, LOSS, 5)
    ledger, notes, _ = book((4, 4), searcher=searcher, overlap=Overlap(lag=0, unseen=0), direct=True)
    for _ in range(8):
        run_one(ledger, value=float(len(notes.begun)))
    assert [said for said in notes.said if said.startswith("round 2")]
    assert ledger.searcher_notes == notes.said


def test_a_used_up_space_ends_the_search() -> None:
    ledger, _, _ = book((4, 4), space=Space.of(kind=Choice(values=["a", "b", "c"])))
    for _ in range(3):
        run_one(ledger)
    assert ledger.next_cohort() is Next.FINISHED
    assert len(ledger.trials) == 3


def loss(candidate: Candidate, epoch: int) -> float:
    return abs(float(candidate.params["x"]) - 0.3) + float(candidate.params["n"]) / 20 + 1 / epoch


def proposals(order: random.Random, workers: int, spec: SearcherSpec, overlap: Overlap) -> list[Params]:
    """What a searcher proposes while workers report and end in an order of their own."""
    diary = Watcher(make_searcher(spec, SPACE, LOSS, 3, max_epochs=3))
    ledger, _, _ = book([4] * 6, searcher=diary, overlap=overlap, direct=True)
    running: dict[int, int] = {}
    while True:
        while len(running) < workers and isinstance(cohort := ledger.next_cohort(), Cohort):
            ledger.started([cohort.members[0].number])
            running[cohort.members[0].number] = 0
        if not running:
            return [candidate.params for candidate in diary.proposed]
        number = order.choice(sorted(running))
        running[number] += 1
        value = loss(diary.proposed[number], running[number])
        ledger.reported(Reported(running[number], {number: {"val_loss": value}}))
        if running[number] == 3 or number % 7 == 3:
            status = Status.FAILED if number % 5 == 4 else Status.STOPPED if number % 7 == 3 else Status.FINISHED
            end(ledger, number, status, f"reason {number}")
            del running[number]


@pytest.mark.parametrize(
    ("spec", "overlap"),
    [(TpeSearch(startup=4), Overlap()), (AutoSearch(), Overlap(lag=3, unseen=1, glimpse=2))],
    ids=["tpe", "auto"],
)
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10_000), workers=st.integers(1, 8))
def test_what_is_proposed_does_not_depend_on_who_ends_first(
    spec: SearcherSpec, overlap: Overlap, seed: int, workers: int
) -> None:
    proposed = proposals(random.Random(seed), workers, spec, overlap)
    assert len(proposed) == 24
    assert proposed == proposals(random.Random(0), 4, spec, overlap)


def test_a_restart_neither_doubles_epochs_nor_begins_twice() -> None:
    ledger, notes, _ = book()
    number = take(ledger)
    train(ledger, number, [3.0, 2.0])
    ledger.restarted([number], "killed")
    ledger.started([number])
    train(ledger, number, [3.0, 2.0, 1.0])
    end(ledger, number)
    assert trial(ledger, number).curve("val_loss") == (3.0, 2.0, 1.0)
    assert notes.epochs == [(number, 1), (number, 2), (number, 3)]
    assert len(notes.begun) == 1
    assert notes.steps[-1].running == 0
    assert notes.said == [f"trial {number}: its worker died and it starts again from its checkpoint (killed)"]


@pytest.mark.parametrize(
    ("failures", "stops"),
    [
        (["TypeError: a"] * 5, True),
        ([f"TypeError: {i}" for i in range(5)], True),  # alike is of the same kind
        (["TypeError: a"] * 4, False),
        ([f"Error{i}: a" for i in range(5)], False),
        (["TypeError: a"] * 4 + ["ValueError: a"], False),
        (["TypeError: a"] * 4 + ["", "TypeError: a"], False),  # one of the first five succeeded
    ],
)
def test_five_failures_alike_at_the_start_stop_the_study(failures: list[str], stops: bool) -> None:
    ledger, _, _ = book((4, 4, 4))
    for reason in failures:
        number = take(ledger)
        if reason:
            end(ledger, number, Status.FAILED, reason)
        else:
            train(ledger, number, [1.0])
            end(ledger, number)
    assert ledger.should_stop() is stops
    if stops:
        assert ledger.stop_reason == f"the first 5 trials all failed in the same way: {failures[-1]}"
        assert ledger.next_cohort() is Next.FINISHED


def test_failures_that_come_later_stop_nothing() -> None:
    ledger, _, _ = book((4, 4, 4))
    run_one(ledger)
    for _ in range(8):
        end(ledger, take(ledger), Status.FAILED, "TypeError: a")
    assert not ledger.should_stop()


def test_the_time_limit_ends_the_search_and_names_itself() -> None:
    ledger, _, _ = book(seconds=3600.0)
    assert not ledger.should_stop()
    ledger, notes, _ = book(seconds=1e-9)
    assert ledger.next_cohort() is Next.FINISHED
    assert ledger.stop_reason == "time limit"
    assert notes.begun == []


def test_an_interrupt_stops_what_runs_with_its_reason_and_keeps_what_it_reached() -> None:
    ledger, notes, _ = book()
    finished, running = run_one(ledger), take(ledger)
    train(ledger, running, [0.5, 0.75])
    ledger.stop("interrupted")
    ledger.stop("time limit")  # the first reason stays
    assert ledger.should_stop()
    assert ledger.next_cohort() is Next.FINISHED
    end(ledger, running, Status.STOPPED)
    stopped = trial(ledger, running)
    assert (stopped.status, stopped.reason) == (Status.STOPPED, "interrupted")
    assert (stopped.value, stopped.epoch, stopped.seconds) == (0.5, 1, 3.0)
    assert trial(ledger, finished).status is Status.FINISHED
    assert notes.tracked == {each.number: each for each in ledger.trials}


def test_a_trial_that_the_end_overtakes_before_its_turn_never_was() -> None:
    ledger, notes, _ = book()
    cohort = ledger.next_cohort()
    assert isinstance(cohort, Cohort)
    ledger.stop("interrupted")
    end(ledger, cohort.members[0].number, Status.STOPPED)
    assert ledger.trials == ()
    assert (notes.begun, notes.tracked, notes.observed) == ([], {}, [])


def test_a_trial_whose_worker_cannot_start_failed_all_the_same() -> None:
    ledger, notes, _ = book()
    cohort = ledger.next_cohort()
    assert isinstance(cohort, Cohort)
    end(ledger, cohort.members[0].number, Status.FAILED, "its worker died 3 times: no memory")
    assert [each.status for each in ledger.trials] == [Status.FAILED]
    assert len(notes.begun) == len(notes.tracked) == 1
    assert (notes.steps[-1].running, notes.steps[-1].failed) == (0, 1)


def test_the_scheduler_is_the_reason_of_a_stop_that_nobody_asked_for() -> None:
    ledger, _, _ = book()
    number = take(ledger)
    train(ledger, number, [1.0])
    end(ledger, number, Status.STOPPED)
    assert trial(ledger, number).reason == "scheduler"


def test_the_last_epoch_of_a_bracket_is_a_finish() -> None:
    # A bracket that ends at epoch 2 holds the trials 0 and 1, one that ends at epoch 3 the trial 2, and so on.
    ledger, _, _ = book((6,), last_epochs=(2, 2, 3))
    expected = {}
    for number in range(6):
        assert take(ledger) == number
        last = 3 if number % 3 == 2 else 2
        trained = last - (number >= 3)
        train(ledger, number, [1.0] * trained)
        end(ledger, number, Status.STOPPED)
        expected[number] = (Status.FINISHED, "") if trained == last else (Status.STOPPED, "scheduler")
    assert {each.number: (each.status, each.reason) for each in ledger.trials} == expected


def test_a_failed_trial_never_wins_however_good_it_was() -> None:
    ledger, notes, _ = book()
    good, bad = take(ledger), take(ledger)
    train(ledger, good, [0.5])
    train(ledger, bad, [0.01])
    assert notes.steps[-1].best == trial(ledger, bad)
    end(ledger, bad, Status.FAILED, "FloatingPointError: loss is nan at epoch 2")
    assert notes.steps[-1].best == trial(ledger, good)
    failed = trial(ledger, bad)
    assert (failed.status, failed.value, failed.reason) == (
        Status.FAILED,
        0.01,
        "FloatingPointError: loss is nan at epoch 2",
    )


def test_the_best_epoch_is_the_first_of_the_best() -> None:
    ledger, _, _ = book(epochs=5)
    number = take(ledger)
    train(ledger, number, [3.0, 1.0, 1.0, 2.0])
    assert (trial(ledger, number).value, trial(ledger, number).epoch) == (1.0, 2)


def test_progress_counts_and_estimates() -> None:
    ledger, notes, _ = book((4, 4))
    statuses = [Status.FINISHED, Status.STOPPED, Status.FAILED, None]
    numbers = [take(ledger) for _ in statuses]
    assert notes.steps == []
    assert ledger.progress().seconds_left is None  # nothing can be said yet
    for number, status in zip(numbers, statuses, strict=True):
        train(ledger, number, [1.0 + number])
        if status:
            end(ledger, number, status, "why")
    seen = notes.steps[-1]
    assert (seen.total, seen.finished, seen.stopped, seen.failed, seen.running) == (8, 1, 1, 1, 1)
    assert seen.best is not None
    assert seen.best.number == 0
    assert seen.seconds_left is not None
    # 4 of 24 epochs are done, so five times as long as until now is left.
    assert seen.seconds_left == pytest.approx(5 * seen.seconds, rel=1e-6)


def test_no_more_time_is_left_than_the_limit_leaves() -> None:
    ledger, _, _ = book(seconds=1000.0)
    for _ in range(4):
        train(ledger, take(ledger), [1.0])
    ledger._begun -= 999.0  # an hour need not pass here
    left = ledger.progress().seconds_left
    assert left is not None
    assert left <= 1.0


# Cohorts of several.


def report(ledger: Ledger, epoch: int, values: Mapping[int, float], *ends: Ended, **more: Any) -> None:
    ledger.reported(Reported(epoch, {n: {"val_loss": value} for n, value in values.items()}, ended=ends, **more))


def test_the_ratio_of_the_losses_is_recorded_of_every_epoch() -> None:
    ledger, _, _ = book((2,), cohort=2)
    take_all(ledger)
    ledger.reported(Reported(1, {0: {"loss": 0.5, "val_loss": 1.0}, 1: {"loss": 0.0, "val_loss": 1.0}}))
    first, second = ledger.trials
    assert first.history == ({"loss": 0.5, "val_loss": 1.0, "loss_ratio": 2.0},)
    assert second.history == ({"loss": 0.0, "val_loss": 1.0},)


def test_a_generation_is_cut_into_cohorts_of_nearly_the_same_size() -> None:
    ledger, _, _ = book((7, 2, 3), cohort=3)
    assert [take_all(ledger) for _ in range(4)] == [[0, 1, 2], [3, 4], [5, 6], [7, 8]]
    assert ledger.next_cohort() is Next.WAIT  # the first generation is in training


def test_a_cohorts_epoch_is_one_step_of_progress_and_its_members_end_at_once() -> None:
    ledger, notes, _ = book((4,), cohort=4)
    assert take_all(ledger) == [0, 1, 2, 3]
    report(ledger, 1, {0: 4.0, 1: 3.0, 2: 2.0, 3: 1.0}, Ended(0, Status.STOPPED), seconds=0.5)
    (step,) = notes.steps
    assert (step.running, step.stopped) == (3, 1)
    assert step.best is not None
    assert step.best.number == 3
    assert (notes.tracked[0].status, notes.tracked[0].reason, notes.tracked[0].seconds) == (
        Status.STOPPED,
        "scheduler",
        0.5,
    )
    report(ledger, 2, {1: 3.0, 2: 0.5}, Ended(3, Status.FAILED, "FloatingPointError: loss is nan"), seconds=0.25)
    assert notes.steps[-1].best == trial(ledger, 2)
    report(ledger, 3, {1: 3.0, 2: 0.6}, *(Ended(n, Status.FINISHED) for n in (1, 2)), seconds=1.0)
    assert len(notes.steps) == 3
    assert [(t.number, t.status, len(t.history), t.seconds) for t in ledger.trials] == [
        (0, Status.STOPPED, 1, 0.5),
        (1, Status.FINISHED, 3, 1.75),
        (2, Status.FINISHED, 3, 1.75),
        (3, Status.FAILED, 1, 0.75),  # with its share of the epoch in which it failed
    ]
    assert notes.observed == [notes.tracked[n] for n in (0, 3, 1, 2)]
    assert ledger.next_cohort() is Next.FINISHED


def test_changes_count_as_they_were_at_the_best_epoch() -> None:
    ledger, _, _ = book((2,), cohort=2)
    take_all(ledger)
    first, second = (Change(1, {"x": 0.5}),), (Change(1, {"x": 0.5}), Change(2, {"x": 0.25}))
    report(ledger, 1, {0: 1.0, 1: 2.0}, changes={1: first})
    report(ledger, 2, {0: 1.0, 1: 0.5}, changes={1: second})
    report(ledger, 3, {0: 1.0, 1: 0.75})
    assert trial(ledger, 0).changes == ()
    assert trial(ledger, 1).changes == first  # of the second change nothing came
    report(ledger, 4, {0: 1.0, 1: 0.25})
    assert trial(ledger, 1).changes == second


def test_a_cohort_whose_worker_dies_is_told_of_once() -> None:
    ledger, notes, _ = book((3,), cohort=3)
    numbers = take_all(ledger)
    ledger.restarted(numbers, "killed")
    assert notes.said == ["3 trials (0 to 2): their worker died and they start again from their checkpoint (killed)"]


def test_the_members_of_a_cohort_that_dies_too_often_start_again_each_by_itself() -> None:
    ledger, notes, _ = book((3,), cohort=3)
    take_all(ledger)
    assert ledger.next_cohort() is Next.WAIT  # members may come back
    report(ledger, 1, {0: 0.5, 1: 2.0, 2: 3.0}, Ended(2, Status.STOPPED))
    assert notes.steps[-1].best == trial(ledger, 0)
    ledger.separated([0, 1], "its worker died 3 times: killed")
    assert notes.said == ["2 trials (0 to 1): every one starts again by itself (its worker died 3 times: killed)"]
    assert trial(ledger, 0).history == ()
    assert ledger.progress().best == trial(ledger, 2)
    assert (take(ledger), take(ledger)) == (0, 1)
    assert ledger.next_cohort() is Next.FINISHED
    end(ledger, 1, Status.FAILED, "its worker died 3 times: killed")
    train(ledger, 0, [0.75, 0.5])
    end(ledger, 0)
    assert len(notes.begun) == 3
    assert [(t.status, t.value) for t in ledger.trials] == [
        (Status.FINISHED, 0.5),
        (Status.FAILED, None),
        (Status.STOPPED, 3.0),
    ]


def test_the_end_of_a_search_ends_what_was_to_start_again() -> None:
    ledger, notes, _ = book((2,), cohort=2)
    take_all(ledger)
    ledger.separated([0, 1], "killed")
    ledger.stop("time limit")
    assert ledger.next_cohort() is Next.FINISHED
    assert [(t.status, t.reason) for t in ledger.trials] == [(Status.STOPPED, "time limit")] * 2
    assert notes.steps[-1].running == 0


def test_a_cohort_that_all_fails_in_the_same_way_stops_the_study_and_one_of_which_some_train_does_not() -> None:
    for trained in (0, 1):
        ledger, _, _ = book((8,), cohort=8)
        take_all(ledger)
        ends = [Ended(n, Status.FAILED, "TypeError: a") for n in range(trained, 8)]
        report(ledger, 1, dict.fromkeys(range(trained), 1.0), *ends)
        assert ledger.should_stop() is not bool(trained)


def test_the_best_of_those_that_ended_are_wanted() -> None:
    ledger, _, _ = book((9,), cohort=9)
    take_all(ledger)
    report(ledger, 1, {n: float(9 - n) for n in range(9)})
    assert ledger.wanted() == frozenset()
    report(ledger, 2, {}, *(Ended(n, Status.FINISHED) for n in range(7)), Ended(7, Status.FAILED, "why"))
    assert ledger.wanted() == {2, 3, 4, 5, 6}
    report(ledger, 3, {}, Ended(8, Status.STOPPED))
    assert ledger.wanted() == {3, 4, 5, 6, 8}


def test_thousands_of_trials_cost_little_time_for_each() -> None:
    """The cost of an epoch must not grow with the trials or the epochs there were before."""

    def seconds(trials: int, epochs: int) -> float:
        ledger, notes, _ = book([trials], cohort=256, epochs=epochs)
        spent = time.process_time()
        for _ in range(trials // 256):
            numbers = take_all(ledger)
            for epoch in range(1, epochs + 1):
                report(ledger, epoch, {n: 1.0 / (n + epoch) for n in numbers})
            report(ledger, epochs + 1, {}, *(Ended(n, Status.FINISHED) for n in numbers))
        assert len(notes.tracked) == trials
        return (time.process_time() - spent) / (trials * epochs)

    small, large = seconds(256, 16), seconds(2048, 64)
    assert large < 4 * small


def test_what_a_trial_finds_is_a_parameter_of_it_that_its_searcher_never_sees() -> None:
    told: list[Params] = []

    class Attentive(Diary):
        def tell(self, trials: Sequence[Trial]) -> None:
            told.extend(trial.params for trial in trials)
            super().tell(trials)

    searcher = Attentive(make_searcher(RandomSearch(), SPACE, LOSS, 1))
    ledger, notes, _ = book((2, 2), searcher=searcher, cohort=2, overlap=Overlap(lag=0))
    cohort = ledger.next_cohort()
    assert isinstance(cohort, Cohort)
    ledger.started((0, 1))
    proposed = {candidate.number: candidate.params for candidate in searcher.proposed}
    found = {0: {"learning_rate": 0.5}, 1: {"learning_rate": 0.25}}
    ledger.reported(Reported(1, {0: {"val_loss": 1.0}, 1: {"val_loss": 2.0}}, found=found))
    best = ledger.progress().best
    assert best is not None
    assert best.params == {**proposed[0], "learning_rate": 0.5}
    ledger.reported(Reported(2, {0: {"val_loss": 1.0}}, ended=(Ended(0, Status.FINISHED), Ended(1, Status.STOPPED))))
    assert notes.tracked[1].params == {**proposed[1], "learning_rate": 0.25}
    assert [trial.params["learning_rate"] for trial in ledger.trials] == [0.5, 0.25]
    take_all(ledger)
    assert told == [proposed[0], proposed[1]]
