"""The book of a search: which trials there are, how they stand, and what the searcher may learn when."""

from __future__ import annotations

import math
import time
from bisect import insort
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from kerasweep.dispatch.base import Ended, Next, Reported
from kerasweep.records import Candidate, Objective, Params, Status, Trial, with_loss_ratio
from kerasweep.search.base import Narrating, Searcher, Watching
from kerasweep.seeds import derive
from kerasweep.study.budget import Budget
from kerasweep.study.course import Course, named, numbers_of, parts
from kerasweep.study.events import Observer, Progress
from kerasweep.tracking.base import Tracker
from kerasweep.training.base import KEPT_MEMBERS, Cohort, Member

# If the first trials all fail in the same way, the fault is not in their parameters.
_HOPELESS = 5

# Share of the expected epochs after which the time left is estimated; before, the workers' start counts too much.
_FIRST_ESTIMATE = 0.05


@dataclass(frozen=True)
class Watchers:
    """Who is told what happens.

    Attributes:
        tracker: of the study.
        observer: of the study.
        begun: called once, when the first cohort has a worker.
    """

    tracker: Tracker
    observer: Observer
    begun: Callable[[], object] = lambda: None


class Ledger:
    """The study's side of ``dispatch.Feed``.

    Candidates are asked for in generations. With a lag of 1, a generation is asked for when the one before the last has
    ended, and the searcher then knows exactly the trials of all generations but the last, told in their own order. So
    what it proposes depends on the seed alone, never on which trial happened to end first, and workers have a
    generation's worth of trials to train meanwhile. Without a lag it knows all generations. With a longer one, a
    searcher that watches is shown the trials in between, as they stood at an epoch to which all of them must have come.
    A cohort is a part of one generation; its parts differ by one member at most.

    Attributes:
        searcher: proposes; another one in its place has to know what it knew.
        stop_reason: why the search ends early; empty otherwise.
        searcher_notes: what the searcher said about how it went on.
    """

    def __init__(
        self,
        searcher: Searcher,
        generations: Iterator[int],
        objective: Objective,
        budget: Budget,
        seed: int,
        watchers: Watchers,
        fixed: Params,
    ) -> None:
        self.searcher = searcher
        self._sizes = generations
        self._objective = objective
        self._budget = budget
        self._seed = seed
        self._watchers = watchers
        self._fixed = fixed
        self._courses: dict[int, Course] = {}
        self._waiting: deque[list[Course]] = deque()
        self._together: set[int] = set()  # in training in a cohort of several, which may come apart
        self._generations: list[list[Candidate]] = []
        self._cut: list[list[Course]] = []  # the last generation's cohorts
        self._told = 0  # generations
        self._shown = 0  # generations, ended or not
        self._exhausted = False
        self._begun = time.monotonic()
        self._now: Callable[[], float] = time.time
        self._epochs = 0
        self._counts = Counter[Status]()
        self._failures: set[str] = set()  # their kinds
        self._best: Course | None = None
        self._best_trial: Trial | None = None
        self._wanted: list[tuple[float, int]] = []
        self.stop_reason = ""
        self.searcher_notes: list[str] = []

    @property
    def trials(self) -> tuple[Trial, ...]:
        """All trials that have begun, by number."""
        return tuple(self._courses[n].trial() for n in sorted(self._courses) if self._courses[n].started)

    def awaited(self, number: int) -> int:
        """The next epoch of a trial; 0 if it has ended."""
        course = self._courses[number]
        return len(course.history) + 1 if course.status is Status.RUNNING else 0

    def begun(self, number: int) -> bool:
        """Whether a trial has begun."""
        return bool(self._courses[number].started)

    def stop(self, reason: str) -> None:
        """Asks for an end: no trial begins any more, and running ones end after their epoch."""
        self.stop_reason = self.stop_reason or reason

    @property
    def done(self) -> bool:
        """Whether all trials have ended, and no other will begin."""
        return self._exhausted and not self._waiting and not self._counts[Status.RUNNING]

    @property
    def generations(self) -> Sequence[Sequence[Candidate]]:
        """What the searcher was asked for, so far."""
        return self._generations

    @property
    def cut(self) -> list[list[int]]:
        """The last generation's trials, as they share cohorts."""
        return [numbers_of(courses) for courses in self._cut]

    # What tells a search again, from its journal, or goes on with it.

    def listen(self, watchers: Watchers, now: Callable[[], float] = time.time, spent: float = 0.0) -> None:
        """From now on tells these of what happens.

        Args:
            watchers: to tell.
            now: seconds since the Unix epoch, of each event.
            spent: seconds that the search has had so far.
        """
        self._watchers, self._now, self._begun = watchers, now, time.monotonic() - spent

    def spend(self, budget: Budget, generations: Iterator[int] | None = None) -> None:
        """From now on has this budget, and asks for generations of these sizes, or of those that it had before."""
        self._budget, self._sizes = budget, generations or self._sizes
        self._waiting = deque(part for courses in self._waiting for part in parts(courses, budget.cohort))
        self._exhausted = sum(map(len, self._generations)) >= budget.trials

    def ask(self, cohorts: Sequence[Sequence[int]]) -> Sequence[Candidate]:
        """Asks for the next generation, which is known to have come, and to have been cut into these cohorts."""
        known = len(self._generations)
        if not self._ask() and len(self._generations) == known:
            return ()
        for _ in self._cut:
            self._waiting.pop()
        self._cut = [[self._courses[n] for n in numbers if n in self._courses] for numbers in cohorts]
        self._waiting.extend(self._cut)
        return self._generations[-1]

    def take(self, number: int) -> list[int]:
        """Takes the cohort with this trial from those that wait, as if it had been handed out; empty if none does."""
        for courses in self._waiting:
            if any(course.candidate.number == number for course in courses):
                self._waiting.remove(courses)
                self._note_together(courses)
                return numbers_of(courses)
        return []

    def reissue(self, cohorts: Sequence[Sequence[int]], *, anew: bool = False) -> None:
        """Has these cohorts handed out again, before all others.

        Args:
            cohorts: numbers of their trials.
            anew: whether the trials forget what they have trained; their cohorts may then be cut.
        """
        again = [[self._courses[number] for number in numbers] for numbers in cohorts]
        if anew:
            self._forget([course for courses in again for course in courses])
            again = [part for courses in again for part in parts(courses, self._budget.cohort)]
        self._waiting.extendleft(reversed(again))

    def _forget(self, courses: Sequence[Course]) -> None:
        for course in courses:
            self._epochs -= len(course.history)
            course.restart()
        self._choose_best()

    # What dispatch calls.

    def past(self, numbers: Sequence[int]) -> None:
        """None: a ledger by itself has no other driver before it."""

    def next_cohort(self) -> Cohort | Next:
        if self.should_stop():
            self._drop()
            return Next.FINISHED
        if not self._waiting and not self._ask():
            return Next.FINISHED if self._exhausted and not self._together else Next.WAIT
        courses = self._waiting.popleft()
        self._note_together(courses)
        return Cohort(tuple(self._member(course) for course in courses))

    def started(self, numbers: Sequence[int]) -> None:
        if not self._counts:
            self._watchers.begun()
        for number in numbers:
            course = self._courses[number]
            if not course.started:  # else resumed after a pause or a restart
                course.started = self._now()
                self._counts[Status.RUNNING] += 1
                self._watchers.tracker.begin_trial(course.trial())

    def reported(self, report: Reported) -> None:
        for note in report.notes:
            self._watchers.observer.note(note)
        for number, params in report.found.items():
            self._courses[number].found = params
        for number, reported in report.metrics.items():
            course, metrics = self._courses[number], with_loss_ratio(reported)
            if report.epoch != len(course.history) + 1:
                continue  # trained again after a restart, with the same numbers
            self._epochs += 1
            course.seconds += report.seconds
            if course.add(metrics):
                self._compare(course)
            self._watchers.tracker.log_epochs(number, report.epoch, [metrics])
        for number, changes in report.changes.items():
            self._courses[number].changes = changes
        for end in report.ended:
            if end.number not in report.metrics:  # it ended within the epoch
                self._courses[end.number].seconds += report.seconds
            self._end(end)
        self._watchers.observer.progress(self.progress())

    def ended(self, ends: Sequence[Ended]) -> None:
        for end in ends:
            self._end(end)
        if ends:
            self._watchers.observer.progress(self.progress())

    def restarted(self, numbers: Sequence[int], reason: str) -> None:
        if not numbers:  # all had ended, and only their state was still to be saved
            return
        one = len(numbers) == 1
        self._watchers.observer.note(
            f"{named(numbers)}: {'its' if one else 'their'} worker died and {'it starts' if one else 'they start'} "
            f"again from {'its' if one else 'their'} checkpoint ({reason})"
        )

    def separated(self, numbers: Sequence[int], reason: str) -> None:
        if not numbers:
            return
        self._watchers.observer.note(f"{named(numbers)}: every one starts again by itself ({reason})")
        self.started(numbers)  # their worker may have failed to start
        courses = [self._courses[number] for number in numbers]
        self._forget(courses)
        self._together.difference_update(numbers)
        self._waiting.extend([course] for course in courses)

    def wanted(self) -> frozenset[int]:
        return frozenset(number for _, number in self._wanted)

    def should_stop(self) -> bool:
        if self._budget.seconds is not None and time.monotonic() - self._begun > self._budget.seconds:
            self.stop("time limit")
        return bool(self.stop_reason)

    def progress(self) -> Progress:
        counts = self._counts
        seconds = time.monotonic() - self._begun
        left = None
        if self._epochs > _FIRST_ESTIMATE * self._budget.expected_epochs:
            left = max(0.0, seconds / self._epochs * (self._budget.expected_epochs - self._epochs))
            if self._budget.seconds is not None:
                left = min(left, max(0.0, self._budget.seconds - seconds))
        if self._best_trial is None and self._best is not None:
            self._best_trial = self._best.trial()
        return Progress(
            total=self._budget.trials,
            finished=counts[Status.FINISHED],
            stopped=counts[Status.STOPPED],
            failed=counts[Status.FAILED],
            running=counts[Status.RUNNING],
            best=self._best_trial,
            seconds=seconds,
            seconds_left=left,
            epochs=self._epochs,
        )

    def _ask(self) -> bool:
        """Fills the queue with the next generation, if its time has come."""
        if self._exhausted:
            return False
        overlap = self._budget.overlap
        known = len(self._generations) - overlap.lag
        if known > 0 and any(course.status is Status.RUNNING for course in self._of(known - 1)):
            return False
        watching = self.searcher if overlap.glimpse and isinstance(self.searcher, Watching) else None
        seen = len(self._generations) - overlap.unseen
        if watching and seen > 0 and not all(course.came(overlap.glimpse) for course in self._of(seen - 1)):
            return False
        while self._told < known:
            self.searcher.tell([self._proposed(course.trial()) for course in self._of(self._told)])
            self._told += 1
        self._shown = max(self._shown, self._told)
        while watching and self._shown < seen:
            watching.watch([self._proposed(course.at(overlap.glimpse)) for course in self._of(self._shown)])
            self._shown += 1
        size = next(self._sizes)
        candidates = self.searcher.ask(size)
        if isinstance(self.searcher, Narrating):
            for note in self.searcher.notes():
                self._watchers.observer.note(note)
                self.searcher_notes.append(note)
        self._generations.append(candidates)
        asked = sum(map(len, self._generations))
        self._exhausted = len(candidates) < size or asked >= self._budget.trials
        courses = [self._course(candidate) for candidate in candidates]
        self._courses |= {course.candidate.number: course for course in courses}
        self._cut = list(parts(courses, self._budget.cohort))
        self._waiting.extend(self._cut)
        return bool(candidates)

    def _of(self, generation: int) -> list[Course]:
        return [self._courses[candidate.number] for candidate in self._generations[generation]]

    def _proposed(self, trial: Trial) -> Trial:
        """A trial as the searcher knows it: without what it has found for itself."""
        return replace(trial, params=self._courses[trial.number].candidate.params)

    def _course(self, candidate: Candidate) -> Course:
        return Course(candidate, derive(self._seed, "trial", candidate.number), self._objective)

    def _member(self, course: Course) -> Member:
        candidate = course.candidate
        return Member(candidate.number, {**self._fixed, **candidate.params}, course.seed, pace=candidate.pace)

    def _note_together(self, courses: Sequence[Course]) -> None:
        if len(courses) > 1:
            self._together.update(course.candidate.number for course in courses if course.status is Status.RUNNING)

    def _drop(self) -> None:
        """Ends what waits: that it has begun can only be if it was to start again."""
        running = [course for courses in self._waiting for course in courses if course.status is Status.RUNNING]
        numbers = [course.candidate.number for course in running]
        self._waiting.clear()
        self.ended([Ended(number, Status.STOPPED) for number in numbers])

    def _end(self, end: Ended) -> None:
        course = self._courses[end.number]
        self._together.discard(end.number)
        if not course.started:
            if end.status is Status.STOPPED:  # the end of the search came before its turn
                course.status = Status.STOPPED
                return
            self.started([end.number])  # its worker failed to start
        course.status, course.reason, course.ended = end.status, end.reason, self._now()
        if end.status is Status.STOPPED and len(course.history) >= self._budget.last_epoch(end.number):
            course.status = Status.FINISHED
        elif end.status is Status.STOPPED:
            course.reason = self.stop_reason or "scheduler"
        self._counts[Status.RUNNING] -= 1
        self._counts[course.status] += 1
        if course.status is Status.FAILED:
            if course is self._best:
                self._choose_best()
            self._check_hope(course.reason)
        elif course is self._best:
            self._best_trial = None
        if course.score is not None:
            insort(self._wanted, (course.score, end.number))
            del self._wanted[KEPT_MEMBERS:]
        trial = course.trial()
        self._watchers.tracker.end_trial(trial)
        self._watchers.observer.trial_ended(trial)

    def _compare(self, course: Course) -> None:
        """Makes a trial that has just improved the best one, if it is."""
        if course.score is None:
            return
        best = math.inf if self._best is None or self._best.score is None else self._best.score
        if course is self._best or course.score < best:
            self._best, self._best_trial = course, None

    def _choose_best(self) -> None:
        """Looks for the best trial again, the one with the lowest number if there are several."""
        scored = [(course.score, n, course) for n, course in self._courses.items() if course.score is not None]
        self._best = min(scored)[2] if scored else None
        self._best_trial = None

    def _check_hope(self, reason: str) -> None:
        self._failures.add(reason.partition(":")[0])
        failed = self._counts[Status.FAILED]
        if (
            failed < _HOPELESS
            or len(self._failures) > 1
            or self._counts[Status.FINISHED] + self._counts[Status.STOPPED]
        ):
            return
        if not any(course.history and course.status is Status.RUNNING for course in self._courses.values()):
            self.stop(f"the first {failed} trials all failed in the same way: {reason}")
