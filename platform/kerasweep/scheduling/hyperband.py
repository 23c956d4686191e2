"""Hyperband within a cohort."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kerasweep.records import Decision, Objective, Standing
from kerasweep.scheduling.ranking import beyond
from kerasweep.scheduling.rungs import Bracket, bracket_of


@dataclass(frozen=True)
class Hyperband:
    """Successive halving within each bracket (Li et al. 2018, algorithm 1), on the value at the rung.

    A trial's number says which band and bracket it belongs to. The members of a cohort that share both are compared
    with each other, and with nobody else; the other groups of the cohort go their own ways.

    How many of a group train to each rung is planned from how many started (``Bracket.scaled``): the bracket's own
    numbers if the cohort holds all of it, the same fraction of a part of it, at least one. Who has ended by itself
    since, by early stopping or by failing, holds none of these places, as it has no use for one: the best of those
    still living get them. But a plan never grows: when fewer live than have a place, all go on, and at the next rung
    there are no more places than if nobody had ended.

    Attributes:
        brackets: of one band, the paper's (``paper_brackets``).
        objective: which values are good.
    """

    brackets: tuple[Bracket, ...]
    objective: Objective

    def decide(self, epoch: int, members: Mapping[int, Standing], living: frozenset[int]) -> Decision:
        band = sum(bracket.trials for bracket in self.brackets)
        groups: dict[tuple[int, int], list[int]] = {}
        for number in members:
            groups.setdefault((number // band, bracket_of(number, self.brackets)), []).append(number)
        stop: set[int] = set()
        for (_, index), group in groups.items():
            bracket = self.brackets[index]
            if epoch in bracket.rungs[:-1]:
                keep = bracket.scaled(len(group))[bracket.rungs.index(epoch) + 1]
                stop |= beyond(keep, living.intersection(group), epoch, members, self.objective)
        return Decision(frozenset(stop))
