"""Dispatch: spreads cohorts over cores, cards and machines. The only room that knows Ray."""

from kerasweep.dispatch.base import Allocation, Ended, Feed, Next, Past, Reported, SearchJob, Session, Work
from kerasweep.dispatch.cohort_size import alone, share
from kerasweep.dispatch.here import HereSession
from kerasweep.dispatch.resources import allocate, local_cpus
from kerasweep.dispatch.session import RaySession
from kerasweep.dispatch.standings import epochs_of, state_of_one, values_of

__all__ = [
    "Allocation",
    "Ended",
    "Feed",
    "HereSession",
    "Next",
    "Past",
    "RaySession",
    "Reported",
    "SearchJob",
    "Session",
    "Work",
    "allocate",
    "alone",
    "epochs_of",
    "local_cpus",
    "share",
    "state_of_one",
    "values_of",
]
