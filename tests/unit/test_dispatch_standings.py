"""What a scheduler is shown of a cohort, and that a restart shows the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from kerasweep.dispatch.standings import Standings
from kerasweep.records import Copy, Decision, Standing, Status, Takeover
from kerasweep.training.base import Cohort, EpochReport, Member, Outcome, Snapshot


@dataclass
class Plan:
    """Decides what was written down, and keeps what it was shown last."""

    decisions: Mapping[int, Decision] = field(default_factory=dict)
    members: Mapping[int, Standing] = field(default_factory=dict)

    def decide(self, epoch: int, members: Mapping[int, Standing], living: frozenset[int]) -> Decision:
        self.members = members
        return self.decisions.get(epoch, Decision())


COHORT = Cohort(tuple(Member(number, {"rate": number / 10, "units": 8}, seed=0) for number in range(4)))
COPIES = {
    1: Decision(copies={1: Copy(0, {"rate": 0.5})}),
    2: Decision(copies={0: Copy(1, {"rate": 0.6}), 1: Copy(2, {})}),
}


def report(epoch: int, *numbers: int, failed: int | None = None) -> EpochReport:
    def snapshot() -> Snapshot:
        raise NotImplementedError

    ended = () if failed is None else (Outcome(failed, Status.FAILED, "NaN loss"),)
    metrics = {number: {"val_loss": number + 1 / epoch} for number in numbers}
    return EpochReport(epoch, metrics, snapshot, last=False, ended=ended)


@pytest.mark.parametrize("restarted_after", [None, 1, 2, 3])
def test_takeovers_and_failures_are_shown(restarted_after: int | None) -> None:
    plan = Plan(COPIES)
    standings = Standings(COHORT, plan, "val_loss")
    reports = [report(1, 0, 1, 2, 3), report(2, 0, 1, 2, failed=3), report(3, 0, 1, 2), report(4, 0, 1, 2)]
    for told in reports:
        standings.decide(told)
        if told.epoch == restarted_after:
            state = json.loads(json.dumps(standings.to_state()))
            standings = Standings(COHORT, plan, "val_loss")
            standings.restore(state)
    first = {"units": 8}
    assert {number: standing.takeovers for number, standing in plan.members.items()} == {
        0: (Takeover(2, 1, {"rate": 0.0, **first}),),
        1: (Takeover(1, 0, {"rate": 0.1, **first}), Takeover(2, 2, {"rate": 0.5, **first})),
        2: (),
        3: (),
    }
    assert {number: standing.params["rate"] for number, standing in plan.members.items()} == {
        0: 0.6,
        1: 0.2,
        2: 0.2,
        3: 0.3,
    }
    assert {number: len(standing.values) for number, standing in plan.members.items()} == {0: 4, 1: 4, 2: 4, 3: 1}
    assert plan.members[1].values == (2.0, 1.5, 1 + 1 / 3, 1.25)  # its own, whatever state it went on from
    assert {number for number, standing in plan.members.items() if standing.failed} == {3}
    assert standings.living == {0, 1, 2}
