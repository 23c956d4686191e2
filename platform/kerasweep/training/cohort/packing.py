"""Which members share a stack: as few programs as pay, as little filled up as pays.

A program costs a second or two to compile, a step a little for every layer, and every member the arithmetic of the
program's largest one. So members of one kind are sorted by size and cut into runs, a program each, where the sum of
these is least. A run trains in stacks that are just large enough to make little of what a step costs: they fit a core's
cache, spread over threads, and share the program. When members have left, the others are gathered into as few stacks as
hold them, and into smaller ones where the arithmetic saved is worth another program.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kerasweep.models.base import Array, Size
from kerasweep.training.cohort.blueprint import Model
from kerasweep.training.cohort.shapes import SIZES

# Measured on one core of an EPYC with AVX-512. Nothing but the choice of stacks depends on them, which is the same on
# every machine so that numbers are, too.
_COMPILE_SECONDS = (0.6, 0.2)  # of a program, and for each hidden layer
_STEP_SECONDS = 20e-6  # of a step, for each hidden layer and the output
_MEMBER_SECONDS = 1e-6  # of a step, for each member and layer
_PRODUCT_SECONDS = 1e-10  # of a multiplication of one row, there and back

# A stack is so large that its members' arithmetic is so many times what a step costs by itself. Of fewer stacks than
# cores have use for, smaller ones are made as long as it is so many times that.
_BUSY = 8
_SPREAD = 4
_BUSY_SPREAD = 2

_LARGEST_FIRST = np.array(SIZES[::-1])[:, None]


@dataclass(frozen=True)
class Work:
    """How much training a cohort is in for; its members train so many epochs, on average."""

    epochs: float
    rows: int
    batch: int

    @property
    def steps(self) -> int:
        """Mini-batches of an epoch."""
        return math.ceil(self.rows / self.batch)


@dataclass(frozen=True)
class Cost:
    """What a stack costs on one core, in seconds; or what each of several would, ``(choices,)``.

    Attributes:
        program: to compile it.
        step: of a step, whatever the number of members.
        member: of a step, for each member.
    """

    program: Any
    step: Any
    member: Any

    def sized(self, members: Any, steps: float) -> tuple[Array, Array]:
        """Slots of each stack that so many members train in, and the seconds of them all; each ``(choices,)``."""
        sizes = _LARGEST_FIRST
        enough = np.maximum(1, _BUSY * self.step / self.member)
        stacks = -(-np.asarray(members) // sizes)
        seconds = self.program + steps * stacks * (self.step + sizes * self.member)
        seconds = np.where(sizes < 2 * enough, seconds, np.inf)  # none above the first that is enough
        best = seconds.argmin(axis=0)
        return sizes[best, 0], np.take_along_axis(seconds, best[None], axis=0)[0]

    def resized(self, members: int, slots: int, steps: float) -> int:
        """Slots of each stack that so many members should go on in.

        Args:
            members: that are left.
            slots: of each stack until now; any other number needs another program.
            steps: that they have before them.
        """

        def seconds(size: int) -> float:
            stacks = math.ceil(members / size)
            return float((size != slots) * self.program + steps * stacks * (self.step + size * self.member))

        return min((slots, *(size for size in SIZES if size < slots)), key=seconds)


def cost(depth: int, products: Any, batch: int) -> Cost:
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
    depth = np.array([len(sizes[i].hidden) for i in order])
    products = np.array([sizes[i].products for i in order])
    widest = np.array([max(sizes[i].hidden, default=0) for i in order])
    steps = work.epochs * work.steps
    least = np.zeros(len(order) + 1)  # seconds of the first so many members
    last = [(0, 0, cost(0, 0, 1))]  # of these: where the last run begins, the size of its stacks, and their cost
    for end in range(1, len(order) + 1):
        # Of runs that end here and begin at each member before, the nearest first. Members are sorted by depth, so the
        # deepest comes last; filled up to it, all layers are as wide as the widest.
        wide = np.maximum.accumulate(widest[:end][::-1])
        many = np.maximum.accumulate(products[:end][::-1])
        filled = np.maximum(many, (depth[end - 1] - 1) * wide**2)
        spent = cost(int(depth[end - 1]), np.where(depth[:end][::-1] < depth[end - 1], filled, many), work.batch)
        slots, seconds = spent.sized(np.arange(1, end + 1), steps)
        seconds = seconds + least[:end][::-1]
        best = int(seconds.argmin())
        least[end] = seconds[best]
        last.append((end - 1 - best, int(slots[best]), replace(spent, member=float(spent.member[best]))))
    runs, costs = [], []
    end = len(order)
    while end:
        start, size, spent = last[end]
        runs.append(Run(tuple(order[start:end]), size))
        costs.append(spent)
        end = start
    return _spread(runs[::-1], costs[::-1])


def together(members: int, spent: Cost, work: Work) -> Run:
    """A run of so many members of the same size."""
    slots, _ = spent.sized([members], work.epochs * work.steps)
    (run,) = _spread([Run(tuple(range(members)), int(slots[0]))], [spent])
    return run


def _spread(runs: list[Run], costs: Sequence[Cost]) -> list[Run]:
    """Smaller stacks where there are few of them."""
    while sum(len(run.stacks) for run in runs) < _SPREAD:
        halved = [
            (run.size * spent.member, i)
            for i, (run, spent) in enumerate(zip(runs, costs, strict=True))
            if run.size > 1 and run.size / 2 * spent.member >= _BUSY_SPREAD * spent.step
        ]
        if not halved:
            break
        _, i = max(halved)
        runs = [*runs[:i], replace(runs[i], size=runs[i].size // 2), *runs[i + 1 :]]
    return runs
