"""What a worker tells the driver: plain, small, and the same after a journey."""

from __future__ import annotations

import json
import math

from ray._private.dict import flatten_dict

from kerasweep.dispatch import Ended, Reported
from kerasweep.dispatch.results import OBJECTIVE, Decoder, encode
from kerasweep.dispatch.worker import Step
from kerasweep.records import Change, Metrics, Status
from kerasweep.training import EpochReport, Snapshot


def step(epoch: int, metrics: dict[int, Metrics], over: bool = False, **more: object) -> Step:
    report = EpochReport(epoch, metrics, lambda: Snapshot({}, {}), over, notes=("as it is",) if epoch == 3 else ())
    return Step(report, **{"ended": {}, "changes": {}, **more}, over=over)  # type: ignore[arg-type]  # a test's shorthand


def test_a_step_arrives_as_it_was_sent() -> None:
    metrics = {4: {"loss": 1.0, "val_loss": 2.0}, 7: {"loss": 3.0, "val_auc": 0.5}, 9: {"loss": math.inf}}
    changes = {7: (Change(0, {"rate": 0.5, "kind": "a"}), Change(3, {"rate": 0.25}))}
    found = {4: {"learning_rate": 0.125}}
    sent = step(3, metrics, ended={9: (Status.FAILED, "why")}, changes=changes, found=found)
    result = json.loads(json.dumps(encode(sent, 1.5, "val_loss")))
    assert OBJECTIVE not in result
    assert Decoder((4, 7, 9)).decode(result) == Reported(
        3, metrics, changes, (Ended(9, Status.FAILED, "why"),), ("as it is",), found, 0.5
    )


def test_a_cohort_of_one_shows_rays_schedulers_its_objective() -> None:
    assert encode(step(1, {4: {"loss": 1.0, "val_loss": 2.0}}), 1.0, "val_loss")[OBJECTIVE] == 2.0


def test_a_cohort_that_ends_before_an_epoch_tells_why() -> None:
    result = encode(Step(None, {0: (Status.FAILED, "a"), 1: (Status.FAILED, "b")}, {}, True), 1.0, "val_loss")
    assert Decoder((0, 1)).decode(result) == Reported(
        None, ended=(Ended(0, Status.FAILED, "a"), Ended(1, Status.FAILED, "b")), seconds=0.5
    )


def test_ray_finds_few_numbers_to_keep_statistics_of() -> None:
    metrics = {number: {f"metric_{i}": float(i) for i in range(6)} for number in range(256)}
    assert len(flatten_dict(encode(step(1, metrics), 1.0, "metric_1"))) < 10


def test_members_share_an_epoch_s_time_and_each_ends_once() -> None:
    decoder = Decoder((0, 1, 2))
    both = {"loss": 1.0}
    assert decoder.decode(encode(step(1, {0: both, 1: both, 2: both}), 3.0, "loss")).seconds == 1.0
    told = decoder.decode(encode(step(2, {0: both, 1: both}, ended={1: (Status.STOPPED, "")}), 4.0, "loss"))
    assert (told.ended, told.seconds) == ((Ended(1, Status.STOPPED),), 2.0)
    assert decoder.left == (0, 2)
    # The worker died after that, and the next one tells of the epoch again.
    again = decoder.decode(encode(step(2, {0: both, 1: both}, ended={1: (Status.STOPPED, "")}), 4.0, "loss"))
    assert again.ended == ()
    assert decoder.end(0, Status.STOPPED, "") == Ended(0, Status.STOPPED)
    assert decoder.left == (2,)
