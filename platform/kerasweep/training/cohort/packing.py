"""Which members share a stack: as few programs as pay, as little filled up as pays.

A program costs a second or two to compile, a step a little for every layer, and every member the arithmetic of the
stack's largest one. So members of one kind are sorted by size and cut into runs where the sum of these is least, and a
stack that members have left is made smaller only where the arithmetic saved is worth another program.
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

# A step's weights should stay in a core's cache: so many numbers, over all members of a stack.
_CACHED = 2**20


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

    def seconds(self, members: int, steps: int) -> float:
        """Of a stack of this size, its program included."""
        return self.program + steps * (self.step + members * self.member)

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


def pack(sizes: Sequence[Size], work: Work) -> list[list[int]]:
    """Cuts members of one kind into stacks.

    Args:
        sizes: of each member; all of one kind.
        work: of each member.

    Returns:
        Indices of the members of each stack, in a fixed order.
    """
    order = sorted(range(len(sizes)), key=lambda i: (len(sizes[i].hidden), sizes[i].products, sizes[i].hidden, i))
    best = [0.0]  # seconds for the first so many members
    cut = [0]
    for end in range(1, len(order) + 1):
        choices = []
        products, widest, depths = 0, 0, set[int]()
        for start in range(end - 1, max(-1, end - 1 - SIZES[-1]), -1):
            size = sizes[order[start]]
            products, widest = max(products, size.products), max((widest, *size.hidden))
            depths.add(len(size.hidden))
            choices.append((best[start] + _seconds(end - start, products, widest, depths, work), start))
        seconds, start = min(choices)
        best.append(seconds)
        cut.append(start)
    runs: list[list[int]] = []
    end = len(order)
    while end:
        runs.append(order[cut[end] : end])
        end = cut[end]
    return runs[::-1]


def _seconds(members: int, products: int, widest: int, depths: set[int], work: Work) -> float:
    """What a stack costs whose members have at most so many products, and these depths."""
    depth = max(depths)
    if len(depths) > 1:  # all of its layers are as wide as the widest
        products = max(products, (depth - 1) * widest * widest)
    size = fitting(members)
    seconds = cost(depth, products, work.batch).seconds(size, work.epochs * work.steps)
    return seconds * (1.5 if members > 1 and size * products > _CACHED else 1.0)
