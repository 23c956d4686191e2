"""Numbers, durations and parameters in the words of a terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from kerasweep.records import Params

ABSENT = "-"


def number(value: object) -> str:
    """A measured number with four significant digits, none of its whole ones cut off: ``0.2700``, ``12346``.

    Args:
        value: an int, a float, or anything else, which is shown as it is; None is shown as ``-``.
    """
    if value is None:
        return ABSENT
    if not isinstance(value, float) or not math.isfinite(value):
        return str(value)
    if value == 0:
        return "0"
    if not 1e-4 <= abs(value) < 1e7:
        return f"{value:.3e}"
    return f"{value:.{max(0, 3 - math.floor(math.log10(abs(value))))}f}"


def setting(value: object) -> str:
    """A parameter's value, floats with at most four significant digits: ``0.003``, ``adam``."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def settings(params: Params) -> str:
    """All parameters on one line: ``n_hidden=2 learning_rate=0.003``."""
    return " ".join(f"{name}={setting(value)}" for name, value in params.items())


def duration(seconds: float | None) -> str:
    """Wall time in at most two units: ``0.4 s``, ``42 s``, ``2 min 05 s``, ``1 h 12 min``; None is ``-``."""
    if seconds is None or not math.isfinite(seconds):
        return ABSENT
    if seconds < 9.95:
        return f"{max(0.0, seconds):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def counted(n: int, noun: str) -> str:
    """``1 trial``, ``2 trials``."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def ended(counts: Mapping[str, object]) -> str:
    """How trials ended, what did not happen left out: ``40 finished, 22 stopped``."""
    shown = [f"{counts[kind]} {kind}" for kind in ("finished", "stopped", "failed") if counts.get(kind)]
    return ", ".join(shown) or "none ended"


def names(configurations: Sequence[Params]) -> tuple[str, ...]:
    """The names of all parameters in these configurations, in the order in which they first occur."""
    return tuple(dict.fromkeys(name for params in configurations for name in params))
