"""Figures and tables out of trial records."""

from kerasweep.report.cross_validation import cv_results
from kerasweep.report.figures import write_figures, write_learning_curve
from kerasweep.report.tables import to_frame, top

__all__ = ["cv_results", "to_frame", "top", "write_figures", "write_learning_curve"]
