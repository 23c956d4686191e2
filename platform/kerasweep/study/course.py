"""A trial on its way."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

from kerasweep.records import Candidate, Change, Direction, Metrics, Objective, Params, Status, Trial


class Course:
    """A trial in the making. ``Trial`` is frozen, so making a new one for every epoch would copy its history each time.

    Args:
        candidate: the searcher's.
        seed: of the trial.
        objective: of the study.
    """

    def __init__(self, candidate: Candidate, seed: int, objective: Objective) -> None:
        self.candidate = candidate
        self.seed = seed
        self.status = Status.RUNNING
        self.reason = ""
        self.started = 0.0
        self.ended = 0.0
        self._objective = objective
        self.restart()

    def restart(self) -> None:
        """Forgets what was trained."""
        self.found: Params = {}
        self.history: list[Metrics] = []
        self.seconds = 0.0
        self.value: float | None = None
        self.epoch: int | None = None
        # As they are now, and as they were at the best epoch.
        self.changes: tuple[Change, ...] = ()
        self._best_changes: tuple[Change, ...] = ()

    def add(self, metrics: Metrics) -> bool:
        """Takes in one more epoch; returns whether it is the best so far."""
        self.history.append(metrics)
        value = metrics.get(self._objective.metric)
        if value is None or not (self.value is None or self._objective.direction.better(value, self.value)):
            return False
        self.value, self.epoch, self._best_changes = value, len(self.history), self.changes
        return True

    @property
    def score(self) -> float | None:
        """The best value, the lower the better; None if there is none that counts."""
        if self.status is Status.FAILED or self.value is None or not math.isfinite(self.value):
            return None
        return self.value if self._objective.direction is Direction.MINIMIZE else -self.value

    def came(self, epoch: int) -> bool:
        """Whether it came to the end of an epoch, or ended before."""
        return len(self.history) >= epoch or self.status is not Status.RUNNING

    def at(self, epoch: int) -> Trial:
        """The trial as it stood after an epoch to which it came, whatever has become of it since."""
        if len(self.history) < epoch:
            return self.trial()
        before = Course(self.candidate, self.seed, self._objective)
        for metrics in self.history[:epoch]:
            before.add(metrics)
        before.started, before.found = self.started, self.found
        return before.trial()

    def trial(self) -> Trial:
        """The trial as it stands."""
        return Trial(
            number=self.candidate.number,
            params={**self.candidate.params, **self.found},
            seed=self.seed,
            status=self.status,
            reason=self.reason,
            history=tuple(self.history),
            value=self.value,
            epoch=self.epoch,
            started=self.started,
            seconds=self.seconds,
            ended=self.ended,
            changes=self._best_changes,
        )


def parts(courses: Sequence[Course], size: int) -> Iterator[list[Course]]:
    """Cuts a generation into as few cohorts as can be, the first ones a member larger if they cannot be equal."""
    count = math.ceil(len(courses) / size)
    bounds = [math.ceil(len(courses) * part / count) for part in range(count + 1)] if count else []
    return (list(courses[start:end]) for start, end in pairwise(bounds))


def numbers_of(courses: Sequence[Course]) -> list[int]:
    """Of their trials."""
    return [course.candidate.number for course in courses]


def named(numbers: Sequence[int]) -> str:
    """``trial 7``, or how many there are and between which numbers."""
    if len(numbers) == 1:
        return f"trial {numbers[0]}"
    return f"{len(numbers)} trials ({min(numbers)} to {max(numbers)})"
