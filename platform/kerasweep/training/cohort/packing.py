"""Which members share a stack: as few programs as pay, as little filled up as pays.

A program costs a second or two to compile, a step a little for every operation, and every member the arithmetic of the
stack's largest one. So members of one kind are sorted by size and cut into runs where the sum of these is least.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kerasweep.models.base import Size
from kerasweep.training.cohort.shapes import SIZES, fitting

# Measured on two cores of a 2.4 GHz EPYC. Nothing but the choice of stacks depends on them, and that is the same on
# every machine so that numbers are, too.
_COMPILE_SECONDS = (1.0, 0.35)  # of a program, and for each hidden layer
_STEP_SECONDS = 60e-6  # of a step, for each hidden layer and the output
_PRODUCT_SECONDS = 5e-11  # of a multiplication of one row, there and back

# A step's weights should stay in a core's cache: so many numbers, over all members of a stack.
_CACHED = 2**20


@dataclass(frozen=True)
class Work:
    """How much training a cohort is in for."""

    epochs: int
    rows: int
    batch: int


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
        for start in range(end - 1, max(-1, end - 1 - SIZES[-1]), -1):
            run = [sizes[i] for i in order[start:end]]
            choices.append((best[start] + _seconds(run, work), start))
        seconds, start = min(choices)
        best.append(seconds)
        cut.append(start)
    runs: list[list[int]] = []
    end = len(order)
    while end:
        runs.append(order[cut[end] : end])
        end = cut[end]
    return runs[::-1]


def _seconds(run: Sequence[Size], work: Work) -> float:
    """What a stack of these members costs."""
    depth = max(len(size.hidden) for size in run)
    largest = max(run, key=lambda size: size.products)
    products = largest.products
    if len({len(size.hidden) for size in run}) > 1:
        widest = max((max(size.hidden, default=0) for size in run), default=0)
        products = max(products, depth * widest * widest)
    members = fitting(len(run))
    compiled = _COMPILE_SECONDS[0] + _COMPILE_SECONDS[1] * depth
    steps = work.epochs * -(-work.rows // work.batch)
    over = max(1.0, members * products / _CACHED) if members > 1 else 1.0
    arithmetic = members * products * work.batch * _PRODUCT_SECONDS * min(over, 2.0)
    return compiled + steps * (_STEP_SECONDS * (depth + 1) + arithmetic)
