"""Who goes on: schedulers within a cohort, the rungs at which they decide, and what that costs."""

from kerasweep.scheduling.base import Scheduler
from kerasweep.scheduling.budget import expected_epochs, generations
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
    "Scheduler",
    "asha_rungs",
    "auto_rungs",
    "bracket_of",
    "expected_epochs",
    "generations",
    "hyperband_brackets",
    "last_epochs",
    "make_scheduler",
    "paper_brackets",
]
