"""Who goes on: schedulers within a cohort, the rungs at which they decide, and what that costs."""

from kerasweep.scheduling.base import Scheduler
from kerasweep.scheduling.budget import Overlap, expected_epochs, generations, overlap
from kerasweep.scheduling.registry import SCHEDULERS, make_scheduler
from kerasweep.scheduling.rungs import (
    Bracket,
    asha_rungs,
    auto_rungs,
    bracket_of,
    hyperband_brackets,
    last_epochs,
    paper_brackets,
)

__all__ = [
    "SCHEDULERS",
    "Bracket",
    "Overlap",
    "Scheduler",
    "asha_rungs",
    "auto_rungs",
    "bracket_of",
    "expected_epochs",
    "generations",
    "hyperband_brackets",
    "last_epochs",
    "make_scheduler",
    "overlap",
    "paper_brackets",
]
