"""What a worker tells the driver after a step, in the plain values of a Ray Tune result.

Ray Tune flattens the dictionaries in a result, keeps statistics of every number that it finds there, and hands them
through schedulers and searchers. In lists it looks for nothing, so the metrics of hundreds of members travel in those.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kerasweep.dispatch.base import Ended, Reported
from kerasweep.dispatch.worker import Step
from kerasweep.records import Change, Metrics, Status

# The keys of a result that the driver reads; everything else in it is Ray's.
OBJECTIVE = "objective"  # of a cohort of one, for Ray's schedulers
_EPOCH = "epoch"
_NAMES = "names"
_ROWS = "rows"  # one a member that trained the epoch: its number, then its metrics in the order of the names
_ENDED = "ended"
_CHANGES = "changes"
_NOTES = "notes"
_FOUND = "found"
_SECONDS = "seconds"  # of this step, the worker's start not counted


def encode(step: Step, seconds: float, objective: str) -> dict[str, Any]:
    """The result of a step.

    Args:
        step: what it brought.
        seconds: that it took.
        objective: the metric that Ray's schedulers are to see.
    """
    metrics = step.report.metrics if step.report else {}
    names = tuple(dict.fromkeys(name for values in metrics.values() for name in values))
    result: dict[str, Any] = {
        _EPOCH: step.report.epoch if step.report else None,
        _NAMES: names,
        _ROWS: [[number, *map(values.get, names)] for number, values in metrics.items()],
        _ENDED: [[number, status.value, reason] for number, (status, reason) in step.ended.items()],
        _CHANGES: [
            [number, [[change.epoch, dict(change.params)] for change in changes]]
            for number, changes in step.changes.items()
        ],
        _NOTES: list(step.report.notes) if step.report else [],
        _FOUND: [[number, dict(params)] for number, params in step.found.items()],
        _SECONDS: seconds,
    }
    if len(metrics) == 1:  # larger cohorts hold their own rungs
        (values,) = metrics.values()
        result[OBJECTIVE] = values[objective]
    return result


class Decoder:
    """Turns the results of one cohort, in their order, into what the study is told.

    A member ends once, also if a worker died after it told of that, and the one after it tells of it again.

    Args:
        numbers: of the members that have not ended before.
    """

    def __init__(self, numbers: Iterable[int]) -> None:
        self._left = dict.fromkeys(numbers)

    @property
    def left(self) -> tuple[int, ...]:
        """The members that have not ended."""
        return tuple(self._left)

    def decode(self, result: Mapping[str, Any]) -> Reported:
        metrics: dict[int, Metrics] = {}
        for number, *values in result[_ROWS]:
            pairs = zip(result[_NAMES], values, strict=True)
            metrics[number] = {name: value for name, value in pairs if value is not None}
        trained = metrics.keys() | {number for number, *_ in result[_ENDED]}
        return Reported(
            epoch=result[_EPOCH],
            metrics=metrics,
            changes={number: tuple(Change(*change) for change in made) for number, made in result[_CHANGES]},
            ended=tuple(
                self.end(number, Status(status), reason)
                for number, status, reason in result[_ENDED]
                if number in self._left
            ),
            notes=tuple(result[_NOTES]),
            found=dict(result[_FOUND]),
            seconds=result[_SECONDS] / max(len(trained), 1),
        )

    def end(self, number: int, status: Status, reason: str) -> Ended:
        """How a member that has not ended before ends."""
        del self._left[number]
        return Ended(number, status, reason)
