"""Figures and tables out of trial records."""

from kerasweep.report.figures import write_figures
from kerasweep.report.tables import to_frame, top

__all__ = ["to_frame", "top", "write_figures"]
