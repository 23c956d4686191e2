"""How the members of a cohort stand, and what the scheduler that decides within it says to that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kerasweep.records import Change, Decision, Params, Standing, Status, Takeover
from kerasweep.scheduling.base import Scheduler
from kerasweep.training.base import Cohort, EpochReport, Snapshot

# Where a snapshot's state keeps how the members stand; all else in it is the trainer's.
STANDINGS = "standings"


def values_of(snapshot: Snapshot, number: int) -> list[float]:
    """A member's values of the objective when a search's snapshot was taken; none of another cohort's member."""
    return list(dict(snapshot.state[STANDINGS]["values"]).get(number, ()))


def epochs_of(snapshot: Snapshot, number: int) -> int:
    """How many epochs it had trained then."""
    return len(values_of(snapshot, number))


def state_of_one(number: int, values: list[float]) -> dict[str, Any]:
    """The part of a search's snapshot's state that ``values_of`` needs for one member."""
    return {STANDINGS: {"values": [[number, values]]}}


class Standings:
    """Follows a cohort through its epochs: curves, hyperparameters as they are now, and who is left.

    Args:
        cohort: in training.
        scheduler: decides within it.
        metric: the objective's.
    """

    def __init__(self, cohort: Cohort, scheduler: Scheduler, metric: str) -> None:
        self._scheduler = scheduler
        self._metric = metric
        self._starts: dict[int, Params] = {member.number: member.params for member in cohort.members}
        self._params = dict(self._starts)
        self._values: dict[int, list[float]] = {number: [] for number in self._starts}
        self._changes: dict[int, tuple[Change, ...]] = dict.fromkeys(self._starts, ())
        self._takeovers: dict[int, tuple[Takeover, ...]] = dict.fromkeys(self._starts, ())
        self._living = frozenset(self._starts)
        self._failed: frozenset[int] = frozenset()
        self._paces = {member.number: member.pace for member in cohort.members}

    @property
    def living(self) -> frozenset[int]:
        """The members that can go on."""
        return self._living

    def decide(self, report: EpochReport) -> Decision:
        """Takes in a finished epoch, asks the scheduler, and takes in what it decides.

        Nobody is asked when the cohort ends anyway.
        """
        for number, metrics in report.metrics.items():
            if self._metric in metrics:
                self._values[number].append(float(metrics[self._metric]))
        self._living -= {outcome.number for outcome in report.ended}
        self._failed |= {outcome.number for outcome in report.ended if outcome.status is Status.FAILED}
        if report.last or not self._living:
            return Decision()
        members = {number: self._standing(number) for number in self._starts}
        decision = self._scheduler.decide(report.epoch, members, self._living)
        self._living -= decision.stop
        self._copy(report.epoch, decision)
        return decision

    def changes(self, number: int) -> tuple[Change, ...]:
        """What turns a member's parameters at its start into those it has now, on the way that its weights came."""
        return self._changes[number]

    def to_state(self) -> dict[str, Any]:
        """Everything, as JSON values."""
        return {
            "values": [[number, values] for number, values in self._values.items()],
            "params": [
                [number, dict(params)]
                for number, params in self._params.items()
                if params is not self._starts[number]  # most have those that they began with
            ],
            "changes": [
                [number, [[change.epoch, dict(change.params)] for change in changes]]
                for number, changes in self._changes.items()
                if changes
            ],
            "takeovers": [
                [number, [[past.epoch, past.source, dict(past.params)] for past in takeovers]]
                for number, takeovers in self._takeovers.items()
                if takeovers
            ],
            "living": sorted(self._living),
            "failed": sorted(self._failed),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Takes over what ``to_state`` gave."""
        self._values = {number: list(values) for number, values in state["values"]}
        self._params = {**self._starts, **dict(state["params"])}
        changed = {number: tuple(Change(*change) for change in changes) for number, changes in state["changes"]}
        self._changes = {number: changed.get(number, ()) for number in self._starts}
        taken = {number: tuple(Takeover(*past) for past in takeovers) for number, takeovers in state["takeovers"]}
        self._takeovers = {number: taken.get(number, ()) for number in self._starts}
        self._living = frozenset(state["living"])
        self._failed = frozenset(state["failed"])

    def _standing(self, number: int) -> Standing:
        return Standing(
            values=tuple(self._values[number]),
            params=self._params[number],
            takeovers=self._takeovers[number],
            pace=self._paces[number],
            failed=number in self._failed,
        )

    def _copy(self, epoch: int, decision: Decision) -> None:
        params, changes = dict(self._params), dict(self._changes)
        for number, copy in decision.copies.items():
            self._params[number] = {**params[copy.source], **copy.params}
            self._takeovers[number] += (Takeover(epoch, copy.source, params[number]),)
            own, start = self._starts[number], dict(self._starts[copy.source])
            later = [*changes[copy.source], *([Change(epoch, copy.params)] if copy.params else [])]
            while later and later[0].epoch == 0:
                start.update(later.pop(0).params)
            differs = {name: value for name, value in start.items() if name not in own or own[name] != value}
            self._changes[number] = (*([Change(0, differs)] if differs else []), *later)
