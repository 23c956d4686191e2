"""Configurations as vectors of numbers, for models that measure distances or split axes."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from kerasweep.records import Params
from kerasweep.space import Space
from kerasweep.space.axes import Options
from kerasweep.space.space import INACTIVE


class Encoding:
    """Numbers lie at their coordinate in ``[0, 1]``, in their scale; each value of a choice has a place of its own.

    An inactive number lies at 0.5 and an inactive choice is 0 in all its places, so that two configurations without
    it do not differ there. A number that can be inactive has a second place, 1 where it is active.

    Args:
        space: of the configurations.
    """

    def __init__(self, space: Space) -> None:
        self._space = space
        self._slots: dict[str, slice] = {}
        width = 0
        for name in space.dimensions:
            axis = space.axes[name]
            size = axis.size if isinstance(axis, Options) else 2 if space.spec.parameters[name].when else 1
            self._slots[name] = slice(width, width + size)
            width += size
        self.width = width

    @cached_property
    def owners(self) -> tuple[str, ...]:
        """The parameter that each place belongs to, ``(width,)``."""
        return tuple(name for name, slot in self._slots.items() for _ in range(slot.stop - slot.start))

    def vector(self, params: Params) -> NDArray[np.float64]:
        """A configuration, ``(width,)``."""
        row = np.zeros(self.width)
        for name, slot in self._slots.items():
            axis = self._space.axes[name]
            if isinstance(axis, Options):
                if name in params:
                    row[slot.start + axis.index(params[name])] = 1.0
            else:
                active = name in params
                row[slot] = 1.0 if active else 0.0
                row[slot.start] = axis.coordinate(params[name]) if active else INACTIVE
        return row

    def matrix(self, configurations: list[Params]) -> NDArray[np.float64]:
        """Several configurations, ``(n, width)``."""
        return np.array([self.vector(params) for params in configurations]).reshape(-1, self.width)
