"""Dispatch: spreads cohorts over cores, cards and machines. The only room that knows Ray."""

from kerasweep.dispatch.base import Allocation, Ended, Feed, Next, Reported, SearchJob, Work
from kerasweep.dispatch.cohort_size import share
from kerasweep.dispatch.resources import allocate, local_cpus
from kerasweep.dispatch.session import RaySession
from kerasweep.dispatch.standings import epochs_of

__all__ = [
    "Allocation",
    "Ended",
    "Feed",
    "Next",
    "RaySession",
    "Reported",
    "SearchJob",
    "Work",
    "allocate",
    "epochs_of",
    "local_cpus",
    "share",
]
