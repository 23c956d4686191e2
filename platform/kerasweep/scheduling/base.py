"""The contract of a scheduler that decides within a cohort."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from kerasweep.records import Decision, Standing


class Scheduler(Protocol):
    """Decides at each epoch which members of a cohort go on.

    ``decide`` is called after every epoch, and is pure: its answer depends on its arguments and on what the scheduler
    was made with, on nothing that was asked before. So a cohort that starts again from a checkpoint is decided on as
    if it had never died. A scheduler survives pickling.

    Only living members are stopped or copied, from living members. Before the last epoch at least one of them goes
    on, unless all are behind a pace that their candidates have. A value that is missing, NaN or infinite is never
    preferred to a finite one; among equal values the lower number is. The order of ``members`` does not matter.

    Args of ``decide``:
        epoch: finished epochs of the cohort.
        members: all members of the cohort by number, those that have ended too; a living member has a value for each
            of the ``epoch`` epochs, one that has ended has fewer (or as many, if it has just ended by itself: then it
            is not in ``living``).
        living: the members that can go on.
    """

    def decide(self, epoch: int, members: Mapping[int, Standing], living: frozenset[int]) -> Decision: ...
