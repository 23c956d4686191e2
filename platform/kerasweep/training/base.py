"""The contract of training: a cohort goes in, one outcome a member comes out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from numpy.typing import NDArray

from kerasweep.data.rows import Features, row_count
from kerasweep.records import Change, Decision, Metrics, Objective, Params, Status
from kerasweep.spec.learning_rates import ConstantRate
from kerasweep.spec.pipeline import EarlyStopping
from kerasweep.training.freezing import Freeze
from kerasweep.training.learning_rates import Factors, Rates

Array = NDArray[Any]

# Best weights are kept of so many members of a cohort that have ended. The best trials of a study are among them.
KEPT_MEMBERS = 5


@dataclass(frozen=True)
class Member:
    """One trial inside a cohort.

    Attributes:
        number: of the trial.
        params: the candidate's and ``training.fixed`` together.
        seed: of its initial weights and dropout.
        changes: hyperparameters that change on the way, by ascending epoch; a replay of population-based training.
        pace: the candidate's, for a scheduler; training does not look at it.
    """

    number: int
    params: Params
    seed: int
    changes: tuple[Change, ...] = ()
    pace: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Cohort:
    """Trials trained together in one process."""

    members: tuple[Member, ...]


@dataclass(frozen=True)
class TrainingArrays:
    """Preprocessed arrays, ready for a network's body.

    Attributes:
        x: features ``(rows, *shape)`` float32, or those of each input by name.
        y: targets as ``data.Split.y`` describes.
        validation: features and targets to validate on; None while retraining.
        weights: of the training rows ``(rows,)`` float32, None for equal ones. They weigh the loss, and of the metrics
            those that a builder compiled as ``weighted_metrics``; never anything of validation.
        folds: of a cross-validation: what each trains and validates on, in the place of the whole.
    """

    x: Features
    y: Features
    validation: tuple[Features, Features] | None
    weights: Array | None = None
    folds: tuple[TrainingArrays, ...] = ()

    def __len__(self) -> int:
        return row_count(self.x)


@dataclass(frozen=True)
class Snapshot:
    """All state of a cohort in training.

    Attributes:
        arrays: by name. The best weights of member 7 are ``best_7_0``, ``best_7_1``, … in the order of
            ``model.weights``, if it lives or its outcome has weights.
        state: what fits into JSON.
        decision: the answer to the report at which it was taken; training goes on by obeying it.
    """

    arrays: Mapping[str, Array]
    state: Mapping[str, Any]
    decision: Decision = field(default_factory=Decision)


@dataclass(frozen=True)
class EpochReport:
    """Sent after every epoch.

    Attributes:
        epoch: 1-based, just finished.
        metrics: by member number; a member that failed in this epoch is missing.
        snapshot: state from which ``train`` goes on at the next epoch; valid only during the report.
        last: the cohort ends after this report whatever the answer: no epoch is left, or all have ended by themselves.
        ended: the outcomes of the members that have ended by themselves in this epoch (early stopping, failure), or
            before it without an epoch of their own. At the last epoch of all: of all that were left.
        notes: what a user should read once, such as why a member trains alone.
        found: hyperparameters that members have found for themselves before they trained, by member number; told with
            the first report after a start.
    """

    epoch: int
    metrics: Mapping[int, Metrics]
    snapshot: Callable[[], Snapshot]
    last: bool
    ended: tuple[Outcome, ...] = ()
    notes: tuple[str, ...] = ()
    found: Mapping[int, Params] = field(default_factory=dict)


Report = Callable[[EpochReport], Decision]


@dataclass(frozen=True)
class Outcome:
    """How a member ended.

    Attributes:
        number: of the member.
        status: FINISHED, STOPPED (by a decision) or FAILED.
        reason: why it failed.
        weights: the model's weights at its best epoch, in the order of ``model.weights``; empty if it failed. Of a
            cohort that validates, the ``KEPT_MEMBERS`` best that have ended have them.
        history: metrics per epoch.
        epoch: the 1-based best epoch (the last one when there is no validation), None if there is none.
        value: the objective there, None if there is none.
        found: hyperparameters that it has found for itself before it trained.
    """

    number: int
    status: Status
    reason: str = ""
    weights: tuple[Array, ...] = ()
    history: tuple[Metrics, ...] = ()
    epoch: int | None = None
    value: float | None = None
    found: Params = field(default_factory=dict)


@dataclass(frozen=True)
class Schedule:
    """What is the same for all members of a cohort.

    Attributes:
        objective: decides which epoch is best and feeds early stopping.
        epochs: at most this many.
        early_stopping: None trains all epochs.
        order_seed: of the order of the mini-batches. All trials of a study share it: they are compared on the same
            sequence of rows (common random numbers), and a cohort needs one order for all its members.
        expected_epochs: of a member, on average, where some are stopped before their last; None for all epochs. How
            members share programs depends on it, for a program has to pay in the epochs that it trains.
        rates: how the learning rates of members go up and down.
        freeze: which layers stay as they are at first; None for none.
    """

    objective: Objective
    epochs: int
    early_stopping: EarlyStopping | None = None
    order_seed: int = 0
    expected_epochs: float | None = None
    rates: Rates = field(default_factory=Rates)
    freeze: Freeze | None = None

    def factors(self, params: Params, steps: int) -> Factors | None:
        """What multiplies a member's learning rate, None for one that stays as it is.

        Args:
            params: the member's.
            steps: mini-batches of its epochs.

        Raises:
            ValueError: an option is not one of the member's schedule.
        """
        schedule = self.rates.of(params)
        if schedule == ConstantRate():
            return None
        return Factors(schedule, self.rates.horizon or self.epochs, steps)

    def frozen(self, epoch: int) -> bool:
        """Whether layers are frozen in the epoch that follows so many."""
        return self.freeze is not None and self.freeze.holds(epoch)

    def ahead(self, epoch: int) -> float:
        """Epochs that a member has still before it, on average, after so many: as many again as it came through.

        That is what rungs whose epochs are powers of a number make likely, and other rules are no stricter later on.
        """
        expected = self.epochs if self.expected_epochs is None else self.expected_epochs
        return min(self.epochs - epoch, max(expected - epoch, epoch))


class Trainer(Protocol):
    """Trains cohorts.

    ``train`` calls ``report`` after every epoch with the metrics of all members that trained it, and obeys its decision
    before the next one. If no member comes through the first epoch there is no report. It never raises for what
    a member does wrong (NaN, an exception in a builder, memory): that member's outcome is FAILED with the reason.
    With ``resume`` it obeys the snapshot's decision and continues after the epoch at which it was taken, with the same
    numbers as if it had never stopped. The same cohort, data and schedule give the same numbers.
    """

    def train(
        self, cohort: Cohort, data: TrainingArrays, report: Report, resume: Snapshot | None = None
    ) -> tuple[Outcome, ...]: ...
