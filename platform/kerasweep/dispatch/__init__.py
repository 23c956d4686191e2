"""Dispatch: spreads cohorts over cores, cards and machines. The only room that knows Ray."""

from kerasweep.dispatch.base import Allocation, Ended, Feed, Next, SearchJob, Work
from kerasweep.dispatch.resources import allocate, local_cpus
from kerasweep.dispatch.session import RaySession

__all__ = ["Allocation", "Ended", "Feed", "Next", "RaySession", "SearchJob", "Work", "allocate", "local_cpus"]
