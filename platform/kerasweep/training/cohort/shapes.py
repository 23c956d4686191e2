"""What the members of a stack have in common, and the compiled programs that stacks of one shape share."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kerasweep.training.base import Array
from kerasweep.training.cohort import optimizers
from kerasweep.training.cohort.blueprint import Model
from kerasweep.training.cohort.program import Program

Extents = Sequence[tuple[int, ...] | None]

# Stacks have these sizes only, so that few programs are compiled; what is missing is filled up with copies.
SIZES = (1, 2, 4, 8, 16, 32, 64)

# Numbers that a stack of validation predictions may hold at a time: its largest arrays should stay in a core's cache.
_VALIDATED = 2**20


@dataclass(frozen=True)
class Shape:
    """What the stacks of a run have in common, and what of it each member of the run fills and begins with.

    Members of the same size have nothing to fill.

    Attributes:
        model: the template, as large as the largest member.
        key: of programs; equal for stacks that can share one.
        optimizers: each member's.
        blocks: see ``layers.Padding``.
        units: layer -> ``(members, units)``, likewise; and the next two.
        widths: dropout layer -> ``(members,)``.
        active: last layer of a block -> ``(members,)``.
        sizes: of each member's weights, in the order of ``Model.trainable`` and ``Model.others``; None if they are the
            template's.
        frozen: the template while layers are frozen; None if none ever are.
    """

    model: Model
    key: Hashable
    optimizers: Sequence[optimizers.Settings]
    blocks: Mapping[str, str] = field(default_factory=dict)
    units: Mapping[str, Array] = field(default_factory=dict)
    widths: Mapping[str, Array] = field(default_factory=dict)
    active: Mapping[str, Array] = field(default_factory=dict)
    sizes: Sequence[tuple[Extents, Extents]] | None = None
    frozen: Model | None = None


class Programs:
    """The programs of a process, the latest ones kept: compiling one takes seconds. Threads may share them."""

    _KEPT = 64

    def __init__(self) -> None:
        self._programs: dict[Hashable, Any] = {}
        self._lock = threading.Lock()

    def of(self, shape: Shape, slots: optimizers.Slots, members: int, *, frozen: bool) -> Program:
        """The program for stacks of this shape and size, with layers frozen or not."""
        model = shape.frozen if frozen and shape.frozen is not None else shape.model

        def made() -> Program:
            return Program(model, shape.blocks, slots, members, rows_at_a_time(model, members))

        program: Program = self.kept((shape.key, slots, members, frozen), made)
        return program

    def kept(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """What was made under this key, or is made now."""
        with self._lock:
            program = self._programs.pop(key, None)
            if program is None:
                program = make()
            self._programs[key] = program
            while len(self._programs) > self._KEPT:
                self._programs.pop(next(iter(self._programs)))
        return program


def rows_at_a_time(model: Model, members: int) -> int:
    """How many rows so many members are best evaluated on at once."""
    largest = max((int(np.prod(v.shape[-1:])) for v in model.trainable), default=1)
    return max(32, _VALIDATED // (members * largest) // 32 * 32)
