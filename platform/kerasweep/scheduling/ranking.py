"""The order of a cohort's members at an epoch."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

from kerasweep.records import Direction, Objective, Standing


def best_first(
    numbers: Collection[int], epoch: int, members: Mapping[int, Standing], objective: Objective
) -> list[int]:
    """Members from the best to the worst by their value at an epoch.

    What is missing or not finite comes last, and of equal values the lower number first.
    """
    sign = 1 if objective.direction is Direction.MINIMIZE else -1

    def key(number: int) -> tuple[bool, float, int]:
        value = value_at(epoch, members[number])
        return not math.isfinite(value), sign * value if math.isfinite(value) else 0.0, number

    return sorted(numbers, key=key)


def beyond(
    keep: int, numbers: Collection[int], epoch: int, members: Mapping[int, Standing], objective: Objective
) -> frozenset[int]:
    """Those that are not among the best ``keep`` at an epoch."""
    return frozenset(best_first(numbers, epoch, members, objective)[keep:])


def value_at(epoch: int, standing: Standing) -> float:
    """A member's value at an epoch, NaN if it did not come so far."""
    return standing.values[epoch - 1] if epoch <= len(standing.values) else math.nan
