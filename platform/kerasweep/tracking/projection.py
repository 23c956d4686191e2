"""Sends a study as a whole to a store, whatever of it is there already."""

from __future__ import annotations

from collections.abc import Iterable

from kerasweep.records import Status, Trial
from kerasweep.tracking.base import StudyHeader, Tracker


def project(tracker: Tracker, header: StudyHeader, trials: Iterable[Trial]) -> None:
    """Makes a store hold a study as it stands: adds what is missing, puts right what is wrong, doubles nothing.

    The study goes on afterwards: trials that have not ended may be told more epochs, others may begin, and ``end`` ends
    it.

    Args:
        tracker: of that store and the study's experiment; newly opened.
        header: of the study, the same as when it began.
        trials: of the study; those that have not begun are left out. They are sent in the order in which they ended, as
            they were the first time.
    """
    tracker.start(header)
    begun = [trial for trial in trials if trial.started]
    for trial in sorted(begun, key=lambda trial: (trial.ended, trial.number)):
        if trial.status is not Status.RUNNING:
            tracker.end_trial(trial)
            continue
        tracker.begin_trial(trial)
        if trial.history:
            tracker.log_epochs(trial.number, 1, trial.history)
