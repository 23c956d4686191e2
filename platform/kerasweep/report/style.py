"""How all figures look: one palette, quiet axes, no global state."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

INK = "#1f2933"
MUTED = "#6b7785"
FAINT = "#d5dbe1"
GRID = "#e9edf1"
ACCENT = "#0b6e99"
WARM = "#d1495b"
AMBER = "#e3a018"

# Lines that must be told apart; readable for colour-blind people too (after Okabe and Ito).
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a6d00", "#56b4e9", "#7a4fbf", "#5b6470")

# From the best (dark, strong) to the worst (pale).
BEST_TO_WORST: Colormap = LinearSegmentedColormap.from_list(
    "best-to-worst", ["#08306b", "#0b6e99", "#2aa198", "#8fcf9b", "#f2d98b", "#f3c9a5"]
)

FONT = 10.0

# Among fewer values than these none is called an outlier.
_ENOUGH = 8


def new_figure(width: float, height: float) -> Figure:
    """A figure of that many inches, drawn by Agg when it is saved."""
    layout = ConstrainedLayoutEngine(w_pad=0.16, h_pad=0.14)  # inches between the drawing and the edge
    return Figure(figsize=(width, height), dpi=150, facecolor="white", layout=layout)


def quiet(axes: Axes, grid: str = "both") -> None:
    """Takes away what is not data: the frame's upper and right sides, dark ticks, heavy grid lines."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(FAINT)
    axes.tick_params(colors=MUTED, labelsize=FONT - 1, length=3, color=FAINT)
    axes.set_axisbelow(True)
    if grid != "none":
        axes.grid(visible=True, axis="both" if grid == "both" else "x", color=GRID, linewidth=0.8)


def title(axes: Axes, text: str, detail: str = "") -> None:
    """A title at the left, with a quieter line under it."""
    axes.set_title(text, loc="left", fontsize=FONT + 3, fontweight="bold", color=INK, pad=24 if detail else 10)
    if detail:
        axes.annotate(
            detail,
            (0, 1),
            xycoords="axes fraction",
            xytext=(0, 8),
            textcoords="offset points",
            fontsize=FONT - 0.5,
            color=MUTED,
        )


def whole_numbers(axes: Axes) -> None:
    """Ticks of the horizontal axis at whole numbers only."""
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10))


def note(text: str, heading: str, width: float = 8.0, height: float = 3.0) -> Figure:
    """A figure that says why there is nothing to see."""
    figure = new_figure(width, height)
    axes = figure.add_subplot()
    axes.set_axis_off()
    title(axes, heading)
    axes.text(0.5, 0.5, text, ha="center", va="center", fontsize=FONT + 1, color=MUTED, transform=axes.transAxes)
    return figure


def short(value: float) -> str:
    """A number as people write it, four digits at most."""
    if not math.isfinite(value):
        return str(value)
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 1e5:
        digits = max(0, 3 - math.floor(math.log10(abs(value))))
        text = f"{value:,.{digits}f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


def robust_limits(values: Sequence[float], lower_is_better: bool) -> tuple[float, float]:
    """Limits that show the good end whole and cut the bad end where outliers begin.

    The bad end is cut at one and a half interquartile ranges beyond its quartile (Tukey), if anything lies there and
    there are enough values to speak of outliers.

    Args:
        values: finite, at least one.
        lower_is_better: which end is the good one.
    """
    ordered = sorted(values)
    quarter, three = (ordered[round(share * (len(ordered) - 1))] for share in (0.25, 0.75))
    reach = 1.5 * (three - quarter)
    low, high = ordered[0], ordered[-1]
    if len(ordered) >= _ENOUGH and lower_is_better:
        high = min(high, three + reach)
    elif len(ordered) >= _ENOUGH:
        low = max(low, quarter - reach)
    margin = 0.06 * (high - low) or 0.05 * max(abs(high), 1e-12)
    return low - margin, high + margin
