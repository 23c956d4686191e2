"""The space: contains, sample, to and from the unit cube, active conditions."""

from kerasweep.space.space import Space

__all__ = ["Space"]
