"""The mathematics of rungs: which epochs decide, how many trials go on, and what that costs."""

from kerasweep.scheduling.budget import expected_epochs, generations
from kerasweep.scheduling.rungs import Bracket, asha_rungs, bracket_of, hyperband_brackets, last_epochs

__all__ = [
    "Bracket",
    "asha_rungs",
    "bracket_of",
    "expected_epochs",
    "generations",
    "hyperband_brackets",
    "last_epochs",
]
