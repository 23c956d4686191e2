"""Schedules of the learning rate, as factors that multiply a trial's own rate at each step.

Pure NumPy on the host, in double precision, and the only place where a schedule's numbers are made: cohorts and
``Model.fit`` take them from here. A factor depends on how many epochs (parts of one included) have been trained, and on
the horizon, never on how many will be: trials that end early, and retrainings, follow the same curve.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from kerasweep.errors import ModelError
from kerasweep.records import Params
from kerasweep.spec.families import SCHEDULE_PARAMETERS
from kerasweep.spec.learning_rates import (
    ConstantRate,
    CosineRate,
    ExponentialRate,
    OneCycleRate,
    PiecewiseRate,
    RateSchedule,
    resolved,
)

Numbers = NDArray[np.float64]

_HALF_AND_THREE_QUARTERS = (0.5, 0.75)


@dataclass(frozen=True)
class Factors:
    """What multiplies one trial's learning rate.

    Attributes:
        schedule: which, with its options.
        horizon: epochs that it is made for.
        steps: mini-batches of an epoch.
    """

    schedule: RateSchedule
    horizon: int
    steps: int

    def at(self, first: int, count: int) -> Numbers:
        """The factors of ``count`` steps, ``(count,)``, from the 0-based step ``first`` on."""
        epochs = np.arange(first, first + count) / self.steps
        schedule = self.schedule
        if isinstance(schedule, OneCycleRate):
            return self._one_cycle(schedule, epochs)
        warmup = schedule.warmup_epochs or schedule.warmup_share * self.horizon
        factors = self._after(schedule, epochs, warmup)
        if warmup:
            factors = factors * np.minimum(1.0, (epochs + 1 / self.steps) / warmup)  # the first step moves, too
        return factors

    def _after(self, schedule: RateSchedule, epochs: Numbers, warmup: float) -> Numbers:
        """Without the warm-up; exponential and cosine begin when it is over."""
        left = self.horizon - warmup
        since = np.maximum(epochs - warmup, 0.0)
        if isinstance(schedule, ExponentialRate):
            turns = since / (schedule.decay_epochs or max(left, 1.0))
            return np.asarray(schedule.decay_rate ** (np.floor(turns) if schedule.staircase else turns))
        if isinstance(schedule, CosineRate):
            part = np.minimum(since / left, 1.0) if left > 0 else np.zeros_like(since)
            return schedule.final_factor + (1 - schedule.final_factor) * (1 + np.cos(np.pi * part)) / 2
        if isinstance(schedule, PiecewiseRate):
            changes = schedule.epochs or [share * self.horizon for share in _HALF_AND_THREE_QUARTERS]
            return np.array([1.0, *schedule.factors])[np.searchsorted(changes, epochs, side="right")]
        return np.ones_like(epochs)

    def _one_cycle(self, schedule: OneCycleRate, epochs: Numbers) -> Numbers:
        cycle = 1 - schedule.final_share
        corners = [0.0, cycle / 2, cycle, 1.0]
        heights = [schedule.start_factor, 1.0, schedule.start_factor, schedule.final_factor]
        return np.interp(epochs / self.horizon, corners, heights)


@dataclass(frozen=True)
class Rates:
    """How the learning rates of a study's trials go up and down.

    Attributes:
        schedule: of all of them, as far as their hyperparameters say nothing else.
        horizon: epochs of a whole training; None for those of the trainer's ``Schedule``.
        parameters: hyperparameters that speak of the schedule; a user's builder may take some of these names itself.
    """

    schedule: RateSchedule = field(default_factory=ConstantRate)
    horizon: int | None = None
    parameters: Collection[str] = tuple(SCHEDULE_PARAMETERS)

    def of(self, params: Params) -> RateSchedule:
        """The schedule of a trial with these hyperparameters.

        Raises:
            ValueError: an option is not one of the trial's schedule.
        """
        return resolved(self.schedule, {name: params[name] for name in self.parameters if name in params})


def check_plain(rate: object, factors: Factors) -> None:
    """A schedule multiplies a number, and no schedule that the model has of its own.

    Raises:
        ModelError: ``rate``, of the model's optimiser, is one.
    """
    if callable(rate):
        rule = "a model whose optimizer has a schedule of its own must train with the schedule constant"
        raise ModelError(f"{rule}. Received: {type(rate).__name__} and {factors.schedule.name}")
