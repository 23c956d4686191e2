"""The figure of a learning-rate range test."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from kerasweep.report import style

Numbers = NDArray[np.float64]


class Tested(Protocol):
    """A range test, as ``training.rate_finder`` gives it."""

    @property
    def rates(self) -> Numbers: ...

    @property
    def losses(self) -> Numbers: ...

    @property
    def smoothed(self) -> Numbers: ...

    @property
    def turning(self) -> float | None: ...

    @property
    def reason(self) -> str: ...

    @property
    def suggestion(self) -> float | None: ...


def range_test_figure(test: Tested, name: str) -> Figure:
    """The loss against the learning rate on a logarithmic axis, with the turning point and a tenth of it.

    Args:
        test: with at least one loss.
        name: of the study.
    """
    figure = style.new_figure(9, 4.8)
    axes = figure.add_subplot()
    style.quiet(axes)
    axes.set_xscale("log")
    axes.plot(test.rates, test.losses, color=style.FAINT, linewidth=1, label="mini-batches")
    axes.plot(test.rates, test.smoothed, color=style.ACCENT, linewidth=2, label="smoothed")
    detail = test.reason
    if test.turning is not None and test.suggestion is not None:
        for rate, color, label in (
            (test.turning, style.WARM, "turning point"),
            (test.suggestion, style.INK, "a tenth of it: the suggestion"),
        ):
            axes.axvline(rate, color=color, linewidth=1.5, linestyle="--", label=f"{label}, {style.short(rate)}")
        detail = f"learning rate {style.short(test.suggestion)}: a tenth of where the loss turns up"
    low, high = float(test.smoothed.min()), float(test.smoothed.max())
    margin = 0.1 * (high - low) or 0.05 * max(abs(high), 1e-12)
    axes.set_ylim(low - margin, high + margin)  # single mini-batches may lie far off
    axes.set_xlabel("learning rate", color=style.INK)
    axes.set_ylabel("loss", color=style.INK)
    axes.legend(framealpha=1, edgecolor="none", fontsize=style.FONT - 1, labelcolor=style.INK)
    style.title(axes, f"Learning-rate range test of {name}", detail)
    return figure
