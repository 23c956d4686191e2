"""The learning-rate range test: from a tiny to a huge rate in a few hundred steps, watching the loss (Smith 2017).

The loss falls while the rate is right, and turns up where the rate becomes too large. Géron (Hands-On Machine Learning,
chapter 11) starts from a tenth of the rate at that point, and so is suggested here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kerasweep.data.rows import take
from kerasweep.errors import Problem, SpecError
from kerasweep.models.base import ModelBuilder
from kerasweep.spec.parameters import FEWEST_TEST_STEPS
from kerasweep.training.base import Array, Member, Schedule, TrainingArrays
from kerasweep.training.cohort.crew import batch_size, muster
from kerasweep.training.cohort.program import rows_of
from kerasweep.training.cohort.shapes import Programs
from kerasweep.training.cohort.stack import Stack
from kerasweep.training.failures import reason
from kerasweep.training.freezing import FrozenLayers
from kerasweep.training.keras_trainer import follow
from kerasweep.training.learning_rates import Rates
from kerasweep.training.order import epoch_order

Numbers = NDArray[np.float64]

# Of the weights that smooth the losses: so much for the next step in either direction.
BETA = 0.95
# So many losses make a mean to go by (half as many as the shortest test has); only then can the test end before its
# last step, unless a loss is not finite.
_SETTLED = 20
# A mean has turned for good where it has climbed so many times as far as it had fallen, and by such a share of what it
# was at first.
_CLIMBED, _CLIMBED_SHARE = 2.0, 0.5
# A loss must have fallen by such a share of what it was, or the test says nothing.
_FALLEN = 0.02
_SHARE = 0.1


@dataclass(frozen=True)
class Sweep:
    """The rates of a range test, from ``low`` to ``high`` in equal ratios, one for each of so many mini-batches."""

    low: float = 1e-5
    high: float = 10.0
    steps: int = 500

    def __post_init__(self) -> None:
        if not 0 < self.low < self.high < math.inf:
            rule = "0 < lowest rate < highest rate must hold"
            raise SpecError([Problem(f"{rule}. Received: {self.low:g} and {self.high:g}")])
        if self.steps < FEWEST_TEST_STEPS:
            raise SpecError([Problem(f"a range test needs at least {FEWEST_TEST_STEPS} steps. Received: {self.steps}")])

    @property
    def rates(self) -> Numbers:
        """``(steps,)``."""
        return np.geomspace(self.low, self.high, self.steps)


@dataclass(frozen=True)
class RangeTest:
    """What came of a range test.

    Attributes:
        rates: of the steps that came through, ``(steps,)``.
        losses: of the mini-batches at these rates, before each step.
        smoothed: the same, see ``smoothed``, cut off where they have turned for good.
        turning: the rate at which the loss turns up, None if there is none.
        reason: why not.
    """

    rates: Numbers
    losses: Numbers
    smoothed: Numbers
    turning: float | None
    reason: str = ""

    @property
    def suggestion(self) -> float | None:
        """A tenth of the turning point."""
        return None if self.turning is None else _SHARE * self.turning


def range_tests(
    models: ModelBuilder,
    members: Sequence[Member],
    data: TrainingArrays,
    schedule: Schedule,
    sweep: Sweep,
    programs: Programs | None = None,
) -> Mapping[int, RangeTest]:
    """Range tests of many members, together where their models can train together.

    The learning rates, and schedules of them, that the members have are left aside; everything else is theirs, layers
    that are frozen in the first epoch included.

    Args:
        models: builds their models.
        members: what to test.
        data: to train on; nothing is validated.
        schedule: its order of the mini-batches is taken, an epoch after another, and what it freezes.
        sweep: the rates.
        programs: of earlier tests with the same models, data and schedule, which these may share; None for none.

    Returns:
        Member -> its test.
    """
    bare = replace(schedule, rates=Rates(parameters=()))
    training = replace(data, validation=None)
    meters = {member.number: _Meter() for member in members}
    crew = muster(models, members, training, bare, Programs() if programs is None else programs)
    for number, why in crew.failed.items():
        meters[number].end(why)
    alone = set(crew.alone)
    for squad in crew.squads:
        for stack in squad.stacks:
            alone |= _together(stack, squad.batch, meters, training, schedule, sweep)
    for member in members:
        if member.number in alone:
            _by_itself(models, member, meters[member.number], training, schedule, sweep)
    return {number: meter.result(sweep) for number, meter in meters.items()}


def smoothed(losses: Numbers) -> Numbers:
    """Means over the steps around each, weighted by ``BETA`` to the power of their distance.

    Weights are divided by their sum, which corrects the bias towards zero at either end; and as they go both ways, the
    curve does not lag behind the losses, as one of past losses alone would.
    """
    sums, weights = np.zeros_like(losses), np.zeros_like(losses)
    for way in (slice(None), slice(None, None, -1)):
        total = weight = 0.0
        for i, loss in enumerate(losses[way]):
            total, weight = BETA * total + loss, BETA * weight + 1
            sums[way][i] += total
            weights[way][i] += weight
    return (sums - losses) / (weights - 1)  # each step's own loss was counted twice


class _Meter:
    """Takes one member's losses, until they have turned for good."""

    def __init__(self) -> None:
        self._losses: list[float] = []
        self._total = self._weight = 0.0
        self._first = self._least = math.inf
        self._why = ""
        self.over = False

    def add(self, loss: float) -> None:
        """One more loss; what is not a number ends the test."""
        if self.over or not math.isfinite(loss):
            self.over = True
            return
        self._losses.append(loss)
        self._total, self._weight = BETA * self._total + loss, BETA * self._weight + 1
        mean = self._total / self._weight
        if len(self._losses) == _SETTLED:
            self._first = self._least = mean
        if len(self._losses) >= _SETTLED:
            self._least = min(self._least, mean)
            self.over = mean > self._limit

    @property
    def _limit(self) -> float:
        """A mean above it has turned for good."""
        if not math.isfinite(self._first):
            return math.inf
        return self._least + max(_CLIMBED * (self._first - self._least), _CLIMBED_SHARE * abs(self._first))

    def end(self, why: str) -> None:
        """The test failed."""
        self._why, self.over = why, True

    def result(self, sweep: Sweep) -> RangeTest:
        """See ``RangeTest``."""
        losses = np.array(self._losses)
        rates = sweep.rates[: len(losses)]
        # Whatever is beyond the limit is so by the same amount: one mini-batch that explodes must not raise the curve
        # long before it.
        curve = smoothed(np.minimum(losses, self._limit)) if len(losses) > 1 else losses
        turning, why = None, self._why
        if not why:
            turning, why = _turning(rates, curve, whole=len(losses) == sweep.steps and not self.over)
        return RangeTest(rates, losses, curve, turning, why)


def _turning(rates: Numbers, curve: Numbers, whole: bool) -> tuple[float | None, str]:
    """Where a smoothed loss is least, or why it says nothing.

    Args:
        rates: of the steps.
        curve: the smoothed losses.
        whole: whether the loss had not turned for good at the last rate.
    """
    if len(curve) < 2:
        return None, "the loss is not finite even at the lowest rate"
    least = int(curve.argmin())
    if curve[0] - curve[least] < _FALLEN * abs(curve[0]):
        return None, f"the loss did not fall by {_FALLEN:.0%} at any rate: begin lower, or take more steps"
    if whole and least == len(curve) - 1:
        return None, "the loss still falls at the highest rate: end higher"
    return float(rates[least]), ""


def _together(
    stack: Stack, batch: int, meters: Mapping[int, _Meter], data: TrainingArrays, schedule: Schedule, sweep: Sweep
) -> frozenset[int]:
    """Tests the members of a stack, a step of all of them at a time; returns those that cannot be trained so."""
    batch = min(batch, len(data))
    numbers, whole = stack.numbers, np.arange(batch, dtype=np.int32)
    for rate, order in zip(sweep.rates, _mini_batches(schedule.order_seed, len(data), batch), strict=False):
        for number in numbers:
            stack.change(number, {"learning_rate": float(rate)})
        try:
            rows = rows_of(_rows(data, order))  # these only: fewer to hand over
            metrics = stack.epoch(rows, whole, batch, frozen=schedule.frozen(0))
        except Exception:
            if rate == sweep.rates[0]:  # what a stack cannot do, Keras may
                return frozenset(numbers)
            raise
        for number in numbers:
            meters[number].add(metrics[number]["loss"])
        if all(meters[number].over for number in numbers):
            break
    return frozenset()


def _rows(data: TrainingArrays, order: Array) -> TrainingArrays:
    """Some of the training rows."""
    weights = None if data.weights is None else data.weights[order]
    return TrainingArrays(take(data.x, order), take(data.y, order), None, weights)


def _by_itself(
    models: ModelBuilder, member: Member, meter: _Meter, data: TrainingArrays, schedule: Schedule, sweep: Sweep
) -> None:
    """Tests one member with Keras's own training step."""
    batch = min(batch_size(member), len(data))
    try:
        model = models.build(member.params, member.seed)
        follow(model.optimizer, sweep.rates)
        if schedule.freeze is not None:
            FrozenLayers(model, schedule.freeze)
        for _, order in zip(sweep.rates, _mini_batches(schedule.order_seed, len(data), batch), strict=False):
            rows = _rows(data, order)
            model.reset_metrics()
            metrics = model.train_on_batch(rows.x, rows.y, sample_weight=rows.weights, return_dict=True)
            meter.add(float(metrics["loss"]))
            if meter.over:
                break
    except Exception as error:
        meter.end(reason(error))


def _mini_batches(order_seed: int, rows: int, batch: int) -> Iterator[Array]:
    """Rows of full mini-batches without an end, from one epoch's order into the next one's."""
    left = np.zeros(0, np.int32)
    epoch = 0
    while True:
        while len(left) < batch:
            left = np.concatenate([left, epoch_order(order_seed, epoch, rows)])
            epoch += 1
        yield left[:batch]
        left = left[batch:]
