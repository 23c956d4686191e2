"""Which members share a stack: as few programs as pay, as little filled up as pays.

A program costs a second or two to compile, a step a little for every layer, and every member the arithmetic of the
program's largest one. So members of one kind are sorted by size and cut into runs, a program each, where the sum of
these is least. A run trains in stacks that are just large enough to make little of what a step costs: they fit a core's
cache, spread over threads, and share the program. A stack that members have left is made smaller only where the
arithmetic saved is worth another program.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kerasweep.models.base import Size
from kerasweep.training.cohort.blueprint import Model
from kerasweep.training.cohort.shapes import SIZES, fitting

# Measured on one core of a 2.4 GHz EPYC. Nothing but the choice of stacks depends on them, and that is the same on
# every machine so that numbers are, too.
_COMPILE_SECONDS = (1.4, 0.4)  # of a program, and for each hidden layer
_STEP_SECONDS = 30e-6  # of a step, for each hidden layer and the output
_MEMBER_SECONDS = 1.5e-6  # of a step, for each member and layer
_PRODUCT_SECONDS = 1.3e-10  # of a multiplication of one row, there and back

# A stack is so large that its members' arithmetic is so many times what a step costs by itself.
_BUSY = 8


@dataclass(frozen=True)
class Work:
    """How much training a cohort is in for."""

    epochs: int
    rows: int
    batch: int

    @property
    def steps(self) -> int:
        """Mini-batches of an epoch."""
        return math.ceil(self.rows / self.batch)


@dataclass(frozen=True)
class Cost:
    """What a stack costs on one core, in seconds.

    Attributes:
        program: to compile it.
        step: of a step, whatever the number of members.
        member: of a step, for each member.
    """

    program: float
    step: float
    member: float

    def size(self, members: int, steps: int) -> int:
        """Slots of each stack that so many members train in."""
        enough = fitting(min(SIZES[-1], max(2, math.ceil(_BUSY * self.step / self.member))))
        return min(
            (size for size in SIZES if size <= enough), key=lambda size: (self.seconds(members, size, steps), -size)
        )

    def seconds(self, members: int, size: int, steps: int) -> float:
        """Of so many members in stacks of this size, their program included."""
        stacks = math.ceil(members / size)
        return self.program + steps * stacks * (self.step + size * self.member)

    def shrinks(self, members: int, fewer: int, steps: int) -> bool:
        """Whether a smaller program saves more than it costs in the steps that are left."""
        return steps * (members - fewer) * self.member > self.program


def cost(depth: int, products: int, batch: int) -> Cost:
    """Of stacks whose largest member has so many hidden layers and multiplications of a row, forward."""
    return Cost(
        program=_COMPILE_SECONDS[0] + _COMPILE_SECONDS[1] * depth,
        step=_STEP_SECONDS * (depth + 1),
        member=_MEMBER_SECONDS * (depth + 1) + _PRODUCT_SECONDS * products * batch,
    )


def cost_of(model: Model, batch: int) -> Cost:
    """Of stacks of a built model."""
    layers = [layer for layer in model.template._flatten_layers() if getattr(layer, "kernel", None) is not None]
    products = 0
    for layer in layers:
        shape = layer.output.shape if layer._inbound_nodes else ()
        places = math.prod(size for size in shape[1:-1] if size)
        products += places * int(np.prod(layer.kernel.shape))
    return cost(len(layers), products, batch)


@dataclass(frozen=True)
class Run:
    """Members that share a program.

    Attributes:
        members: their indices.
        size: slots of each of their stacks.
    """

    members: tuple[int, ...]
    size: int

    @property
    def stacks(self) -> list[tuple[int, ...]]:
        """The members of each stack, by their places in the run."""
        places = tuple(range(len(self.members)))
        return [places[start : start + self.size] for start in range(0, len(places), self.size)]


def pack(sizes: Sequence[Size], work: Work) -> list[Run]:
    """Cuts members of one kind into runs.

    Args:
        sizes: of each member; all of one kind.
        work: of each member.

    Returns:
        The runs, the smallest networks first.
    """
    order = sorted(range(len(sizes)), key=lambda i: (len(sizes[i].hidden), sizes[i].products, sizes[i].hidden, i))
    steps = work.epochs * work.steps
    best = [(0.0, 0, 0)]  # for the first so many members: seconds, where the last run begins, the size of its stacks
    for end in range(1, len(order) + 1):
        products, widest, depths = 0, 0, set[int]()
        choices = []
        for start in range(end - 1, -1, -1):
            size = sizes[order[start]]
            products, widest = max(products, size.products), max((widest, *size.hidden))
            depths.add(len(size.hidden))
            own = _filled(products, widest, depths, work.batch)
            slots = own.size(end - start, steps)
            choices.append((best[start][0] + own.seconds(end - start, slots, steps), start, slots))
        best.append(min(choices))
    runs = []
    end = len(order)
    while end:
        _, start, slots = best[end]
        runs.append(Run(tuple(order[start:end]), slots))
        end = start
    return runs[::-1]


def _filled(products: int, widest: int, depths: set[int], batch: int) -> Cost:
    """Of stacks whose members have at most so many products, and these depths."""
    depth = max(depths)
    if len(depths) > 1:  # all of its layers are as wide as the widest
        products = max(products, (depth - 1) * widest * widest)
    return cost(depth, products, batch)
