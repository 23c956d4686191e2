"""What is known about trials and studies: frozen records that travel between the rooms."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

ParamValue = bool | int | float | str
Params = Mapping[str, ParamValue]
Metrics = Mapping[str, float]


# The metric that is recorded beside those a model reports; see ``loss_ratio``.
LOSS_RATIO = "loss_ratio"

# Above this ratio of the two losses at its best epoch a trial overfits: more than 1 - 1/1.3, or 23 %, of what it loses
# on validation data it does not lose on what it was trained on. The luck of a split does not explain that: over 300
# random splits of five small tables (28 to 337 validation rows), linear models too simple to overfit came above it 3
# times. An epoch's training loss is a mean over the epoch, which makes the ratio smaller, so a trial is rather passed
# over than accused.
OVERFITTING = 1.3


class Direction(StrEnum):
    MINIMIZE = "minimize"
    MAXIMIZE = "maximize"

    def better(self, a: float, b: float) -> bool:
        """Whether ``a`` is strictly better than ``b``."""
        return a < b if self is Direction.MINIMIZE else a > b

    @property
    def opposite(self) -> Direction:
        """The other one."""
        return Direction.MAXIMIZE if self is Direction.MINIMIZE else Direction.MINIMIZE


@dataclass(frozen=True)
class Objective:
    """The metric a study optimises, e.g. ``val_loss`` to be minimised."""

    metric: str
    direction: Direction

    def best(self, values: Mapping[int, float]) -> int | None:
        """The key of the best finite value (the lowest key on a tie), or None when there is none."""
        finite = {key: value for key, value in values.items() if math.isfinite(value)}
        if not finite:
            return None
        sign = 1 if self.direction is Direction.MINIMIZE else -1
        return min(finite, key=lambda key: (sign * finite[key], key))


class Status(StrEnum):
    """How a trial stands.

    ``FINISHED``: trained to its last epoch or to its own early stopping. ``STOPPED``: ended from outside, by the
    scheduler, the time limit or an interrupt. ``FAILED``: NaN, an exception, or a worker that died too often.
    """

    RUNNING = "running"
    FINISHED = "finished"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True)
class Candidate:
    """A configuration a searcher proposes.

    Attributes:
        number: 0-based, in the order in which they are proposed.
        params: the active parameters only.
        pace: epoch -> the value of the objective that is wanted there; the scheduler ``auto`` stops what is behind.
    """

    number: int
    params: Params
    pace: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Change:
    """Hyperparameters that change while a trial trains (population-based training).

    Attributes:
        epoch: finished epochs after which they hold; 0 changes them from the start.
        params: name -> new value.
    """

    epoch: int
    params: Params


@dataclass(frozen=True)
class Copy:
    """A member of a cohort goes on from another one's state.

    Attributes:
        source: number of the member whose weights and optimiser state are copied.
        params: hyperparameters that change with it; those that are not named are the source's.
    """

    source: int
    params: Params = field(default_factory=dict)


@dataclass(frozen=True)
class Decision:
    """What a scheduler decides after an epoch; both are by member number, and no member is in both.

    Attributes:
        stop: members that end here.
        copies: members that go on from another member's state. All copies are of the states before this decision.
    """

    stop: frozenset[int] = frozenset()
    copies: Mapping[int, Copy] = field(default_factory=dict)


@dataclass(frozen=True)
class Takeover:
    """A member of a cohort went on from another one's state.

    Attributes:
        epoch: finished epochs after which it did.
        source: number of the member whose state it took.
        params: its own hyperparameters until then.
    """

    epoch: int
    source: int
    params: Params


@dataclass(frozen=True)
class Standing:
    """How a member of a cohort stands, for a scheduler to decide on.

    Attributes:
        values: of the objective, one a finished epoch.
        params: its hyperparameters as they are now.
        takeovers: what it gave up on its way, by epoch; its values are those that it had itself.
        pace: its candidate's.
        failed: whether it failed, in the epoch after its last value.
    """

    values: tuple[float, ...]
    params: Params
    takeovers: tuple[Takeover, ...] = ()
    pace: Mapping[int, float] = field(default_factory=dict)
    failed: bool = False


@dataclass(frozen=True)
class Trial:
    """One configuration, trained once.

    Attributes:
        number: 0-based, in the order in which the searcher proposed them.
        params: the active parameters of the space (fixed ones are in the spec), and what it found for itself.
        seed: of its initial weights, shuffling and dropout.
        status: see ``Status``.
        reason: why it was stopped or failed; empty otherwise.
        history: metrics per epoch; ``history[0]`` is epoch 1.
        value: the best value of the objective over its epochs, None if it never reported a finite one.
        epoch: the 1-based epoch of that value, None likewise.
        started: seconds since the Unix epoch.
        seconds: of wall time for the epochs of its history, pauses not counted; a member of a cohort has its share of
            the cohort's.
        ended: seconds since the Unix epoch; 0 while it has not ended.
        changes: of its hyperparameters on the way to its best epoch, as far as they differ from ``params``; replayed
            when it is retrained.
    """

    number: int
    params: Params
    seed: int
    status: Status = Status.RUNNING
    reason: str = ""
    history: tuple[Metrics, ...] = ()
    value: float | None = None
    epoch: int | None = None
    started: float = 0.0
    seconds: float = 0.0
    ended: float = 0.0
    changes: tuple[Change, ...] = ()

    @property
    def loss_ratio(self) -> float | None:
        """Validation loss over training loss at the best epoch; None if there is none, or if it says nothing."""
        if self.epoch is None or self.epoch > len(self.history):
            return None
        return loss_ratio(self.history[self.epoch - 1])

    @property
    def overfits(self) -> bool | None:
        """Whether ``loss_ratio`` is above ``OVERFITTING``; None if it is not known."""
        ratio = self.loss_ratio
        return None if ratio is None else ratio > OVERFITTING

    def curve(self, metric: str) -> tuple[float, ...]:
        """One metric's value at each epoch, NaN where it is missing."""
        return tuple(float(metrics.get(metric, math.nan)) for metrics in self.history)


@dataclass(frozen=True)
class StudyRecord:
    """A study as the tracking store keeps it.

    Attributes:
        id: ``name@xxxxxxxx``, unique in the store.
        name: the pipeline's name; several studies may share it.
        status: ``running``, ``finished``, ``interrupted`` or ``failed``.
        started: seconds since the Unix epoch.
        objective: what was optimised.
        spec: the normalised pipeline file, as JSON text.
        trials: may be empty when only an overview was asked for.
        summary: test metrics, baselines, exports, model version and seconds, as far as the pipeline came.
        directory: the directory of the pipeline file; its relative paths count from there.
    """

    id: str
    name: str
    status: str
    started: float
    objective: Objective
    spec: str
    trials: tuple[Trial, ...] = ()
    summary: Mapping[str, object] = field(default_factory=dict)
    directory: str = ""


def loss_ratio(metrics: Metrics) -> float | None:
    """Validation loss over training loss of one epoch (Géron, Hands-On Machine Learning, chapter 10).

    None where it says nothing: without one of the losses, for a training loss of zero or below (as likelihoods have),
    or where the quotient is no finite number.
    """
    training, validation = metrics.get("loss", math.nan), metrics.get("val_loss", math.nan)
    if not training > 0:
        return None
    ratio = validation / training
    return ratio if math.isfinite(ratio) else None


def with_loss_ratio(metrics: Metrics) -> Metrics:
    """An epoch's metrics with their ``loss_ratio``, if there is one and the model has no metric of that name."""
    ratio = None if LOSS_RATIO in metrics else loss_ratio(metrics)
    return metrics if ratio is None else {**metrics, LOSS_RATIO: ratio}


def winner(trials: Mapping[int, Trial] | tuple[Trial, ...], objective: Objective) -> Trial | None:
    """The trial with the best objective value among those that did not fail, or None."""
    by_number = trials if isinstance(trials, Mapping) else {trial.number: trial for trial in trials}
    values = {
        number: trial.value
        for number, trial in by_number.items()
        if trial.value is not None and trial.status is not Status.FAILED
    }
    best = objective.best(values)
    return None if best is None else by_number[best]
