"""Whose weights are kept once members of a cohort have ended."""

from __future__ import annotations

from dataclasses import replace

from kerasweep.records import Objective
from kerasweep.training.base import KEPT_MEMBERS, Outcome


def forget_worst(outcomes: dict[int, Outcome], objective: Objective) -> None:
    """Takes the weights from all but the ``KEPT_MEMBERS`` best of the outcomes that have any.

    Args:
        outcomes: of the members that have ended, by their numbers; changed in place.
        objective: says which are best.
    """
    kept = {number: each.value for number, each in outcomes.items() if each.weights and each.value is not None}
    opposite = replace(objective, direction=objective.direction.opposite)
    while len(kept) > KEPT_MEMBERS and (worst := opposite.best(kept)) is not None:
        del kept[worst]
        outcomes[worst] = replace(outcomes[worst], weights=())
