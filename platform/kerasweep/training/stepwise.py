"""A trainer that is asked for one epoch at a time, where it would rather call back after each."""

from __future__ import annotations

import queue
import threading

from kerasweep.records import Decision
from kerasweep.training.base import Cohort, EpochReport, Outcome, Snapshot, Trainer, TrainingArrays


class Abandoned(BaseException):
    """Ends the training thread of a cohort that is paused or stopped from outside. Not an Exception, so that no
    trainer takes it for a member's failure."""


class Stepwise:
    """A cohort in training, in a thread of its own that waits inside each report until the next ``step``."""

    def __init__(self, trainer: Trainer, cohort: Cohort, data: TrainingArrays, resume: Snapshot | None) -> None:
        self._trainer = trainer
        self._cohort = cohort
        self._data = data
        self._resume = resume
        self._events: queue.Queue[EpochReport | tuple[Outcome, ...] | BaseException] = queue.Queue()
        self._answers: queue.Queue[Decision | None] = queue.Queue()
        self._thread = threading.Thread(target=self._train, daemon=True)

    def step(self, answer: Decision) -> EpochReport | tuple[Outcome, ...]:
        """Answers the last report, if there was one, and trains to the next.

        Returns:
            The next report, or the outcomes if the cohort has ended.
        """
        if not self._thread.is_alive():
            self._thread.start()
        else:
            self._answers.put(answer)
        event = self._events.get()
        if isinstance(event, BaseException):
            raise event
        return event

    def abandon(self) -> None:
        """Ends training without an outcome."""
        self._answers.put(None)
        if self._thread.is_alive():
            self._thread.join()

    def _train(self) -> None:
        try:
            self._events.put(self._trainer.train(self._cohort, self._data, self._report, self._resume))
        except Abandoned:
            pass
        except BaseException as error:  # handed to the thread that waits for the next event
            self._events.put(error)

    def _report(self, report: EpochReport) -> Decision:
        self._events.put(report)
        answer = self._answers.get()
        if answer is None:
            raise Abandoned
        return answer
