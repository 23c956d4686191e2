"""Keras's optimisers as one element-wise update, so that every member of a stack may have its own.

With the gradient g of a weight p, its momentum m and its second moment v, each optimiser is the same four lines; only
the coefficients differ, and those are numbers per member and step:

    v <- v_decay v + v_gain g²
    r  = 1 / (sqrt(v_scale v + inside) + outside)
    s  = s_gain g [r]         m <- m_decay m + s
    p <- keep p - (m_share m + s_share s) [r]

SGD leaves r out; RMSprop and AdaGrad divide where s is made, Adam, AdamW and Nadam where p is. Bias corrections and
schedules of the learning rate go into the coefficients, which are made on the host in double precision.

Sources: Keras's own formulas; Polyak 1964, Nesterov 1983 (SGD); Duchi et al. 2011 (AdaGrad); Tieleman and Hinton 2012
(RMSprop); Kingma and Ba 2015 (Adam); Dozat 2016 (Nadam); Loshchilov and Hutter 2019 (AdamW).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kerasweep.training.cohort.errors import Unstackable
from kerasweep.training.learning_rates import Factors, check_plain

if TYPE_CHECKING:
    import keras

Tensor = Any
Table = NDArray[np.float32]

# Rows of a table of coefficients.
V_DECAY, V_GAIN, V_SCALE, INSIDE, OUTSIDE, S_GAIN, M_DECAY, KEEP, M_SHARE, S_SHARE, CLIP = range(11)
ROWS = 11

_NEVER_CLIPPED = 1e38
_NADAM_DECAY = 0.96

_FROM_GRADIENT = frozenset({"sgd"})
_BEFORE_MOMENTUM = frozenset({"rmsprop", "adagrad"})
_AFTER_MOMENTUM = frozenset({"adam", "adamw", "nadam"})
KINDS = _FROM_GRADIENT | _BEFORE_MOMENTUM | _AFTER_MOMENTUM

# Settings of Keras's optimisers that have no place in the update above, with the value that turns each off.
_OFF: Mapping[str, object] = {
    "clipvalue": None,
    "global_clipnorm": None,
    "use_ema": False,
    "loss_scale_factor": None,
    "gradient_accumulation_steps": None,
    "amsgrad": False,
    "centered": False,
}

Schedule = Callable[[Any], Any]


@dataclass(frozen=True)
class Settings:
    """One member's optimiser.

    Attributes:
        kind: its name in lower case.
        learning_rate: a number, or Keras's schedule of the step.
        coefficients: the numbers it takes beside that, by Keras's names.
        factors: what multiplies the learning rate at each step; None for nothing.
    """

    kind: str
    learning_rate: float | Schedule
    coefficients: Mapping[str, float]
    factors: Factors | None = None

    def following(self, factors: Factors | None) -> Settings:
        """The same optimiser with its learning rate multiplied.

        Raises:
            ModelError: it has a schedule of its own.
        """
        if factors is None:
            return self
        check_plain(self.learning_rate, factors)
        return replace(self, factors=factors)

    def changed(self, params: Mapping[str, Any]) -> Settings:
        """The same optimiser with other coefficients; what it does not take is left out."""
        own = {name: float(value) for name, value in params.items() if name in self.coefficients}
        rate = params.get("learning_rate", self.learning_rate)
        return replace(self, learning_rate=rate, coefficients={**self.coefficients, **own})


@dataclass(frozen=True)
class Slots:
    """Which arrays beside the weights a stack of optimisers keeps, and which of them act on the gradient.

    Attributes:
        momentum: whether any member has one.
        second: whether any member has a second moment.
        clip: whether any member clips its gradients' norm.
    """

    momentum: bool
    second: bool
    clip: bool


def settings_of(optimizer: keras.optimizers.Optimizer) -> Settings:
    """The settings of an optimiser object.

    Raises:
        Unstackable: it is none of the six, or has an option that the update does not know.
    """
    kind = type(optimizer).__name__.lower()
    if kind not in KINDS or not type(optimizer).__module__.startswith("keras."):
        raise Unstackable(f"optimizer {type(optimizer).__name__}")
    if getattr(optimizer, "_exclude_from_weight_decay", None) or getattr(
        optimizer, "_exclude_from_weight_decay_pattern", None
    ):
        raise Unstackable(f"optimizer {type(optimizer).__name__} with weights excluded from weight decay")
    config = dict(optimizer.get_config())
    rate = optimizer._learning_rate
    return _settings(kind, {**config, "learning_rate": rate if callable(rate) else float(rate)})


def settings_from(optimizer_class: type, params: Mapping[str, Any]) -> Settings:
    """The settings that an optimiser made of these parameters would have, without making it."""
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(optimizer_class).parameters.items()
        if parameter.default is not parameter.empty
    }
    return _settings(optimizer_class.__name__.lower(), {**defaults, **params})


def _settings(kind: str, config: Mapping[str, Any]) -> Settings:
    if kind not in KINDS:
        raise Unstackable(f"optimizer {kind}")
    for name, off in _OFF.items():
        if config.get(name, off) not in (off, False, None):
            raise Unstackable(f"optimizer {kind} with {name}")
    names = ("momentum", "nesterov", "rho", "beta_1", "beta_2", "epsilon", "weight_decay", "clipnorm")
    own = {name: float(config[name] or 0.0) for name in names if name in config}
    if kind == "adagrad":
        own["initial_accumulator_value"] = float(config["initial_accumulator_value"])
    return Settings(kind, config["learning_rate"], own)


def slots(members: Sequence[Settings]) -> Slots:
    """What a stack of these optimisers keeps."""
    return Slots(
        momentum=any(each.kind in _AFTER_MOMENTUM or each.coefficients.get("momentum") for each in members),
        second=any(each.kind not in _FROM_GRADIENT for each in members),
        clip=any(each.coefficients.get("clipnorm") for each in members),
    )


def accumulators(members: Sequence[Settings]) -> Table:
    """Where each member's second moment starts, ``(members,)``."""
    return np.array([each.coefficients.get("initial_accumulator_value", 0.0) for each in members], np.float32)


def scaling(members: Sequence[Settings]) -> Table:
    """Where each member divides by the root of its second moment, ``(2, members)``: at s, at p."""
    kinds = [each.kind for each in members]
    return np.array([[k in _BEFORE_MOMENTUM for k in kinds], [k in _AFTER_MOMENTUM for k in kinds]], np.float32)


@dataclass
class Clock:
    """How far each member's optimiser is: ``steps`` done, and Nadam's product of all its momenta so far."""

    steps: list[int]
    products: list[float]


def table(members: Sequence[Settings], clock: Clock, steps: int) -> Table:
    """The coefficients of the next steps, ``(steps, ROWS, members)``; the clock moves on."""
    columns = []
    for i, each in enumerate(members):
        column, clock.products[i] = _column(each, clock.steps[i], clock.products[i], steps)
        clock.steps[i] += steps
        columns.append(column)
    return np.stack(columns, axis=-1).astype(np.float32)


def _column(each: Settings, done: int, product: float, steps: int) -> tuple[NDArray[np.float64], float]:
    """One member's coefficients ``(steps, ROWS)``, and Nadam's product after them."""
    own = each.coefficients
    t = np.arange(done + 1, done + steps + 1, dtype=np.float64)
    rate = _rates(each.learning_rate, done, steps)
    if each.factors is not None:
        rate = rate * each.factors.at(done, steps)
    rows = np.zeros((steps, ROWS))
    rows[:, V_SCALE] = 1.0
    rows[:, CLIP] = own.get("clipnorm") or _NEVER_CLIPPED
    rows[:, KEEP] = 1.0 - rate * own.get("weight_decay", 0.0)
    if each.kind in _AFTER_MOMENTUM:
        b1, b2 = own["beta_1"], own["beta_2"]
        rows[:, V_DECAY], rows[:, V_GAIN] = b2, 1 - b2
        rows[:, M_DECAY], rows[:, S_GAIN] = b1, 1 - b1
        rows[:, OUTSIDE] = own["epsilon"]
        with np.errstate(divide="ignore", invalid="ignore"):
            if each.kind == "nadam":
                u = b1 * (1 - 0.5 * _NADAM_DECAY**t)
                following = b1 * (1 - 0.5 * _NADAM_DECAY ** (t + 1))
                products = product * np.cumprod(u)
                product = float(products[-1])
                rows[:, V_SCALE] = 1 / (1 - b2**t)
                rows[:, M_SHARE] = rate * following / (1 - products * following)
                rows[:, S_SHARE] = rate * (1 - u) / (1 - products) / (1 - b1)
            else:
                rows[:, M_SHARE] = rate * np.sqrt(1 - b2**t) / (1 - b1**t)
        return rows, product
    momentum = own.get("momentum", 0.0)
    rows[:, M_DECAY] = momentum
    rows[:, S_GAIN] = rate
    if each.kind == "rmsprop":
        rows[:, V_DECAY], rows[:, V_GAIN] = own["rho"], 1 - own["rho"]
    elif each.kind == "adagrad":
        rows[:, V_DECAY] = rows[:, V_GAIN] = 1.0
    rows[:, INSIDE] = own.get("epsilon", 0.0)
    if momentum and own.get("nesterov"):
        rows[:, M_SHARE], rows[:, S_SHARE] = momentum, 1.0
    elif momentum:
        rows[:, M_SHARE] = 1.0
    else:
        rows[:, S_SHARE] = 1.0
    return rows, product


def _rates(rate: float | Schedule, done: int, steps: int) -> NDArray[np.float64]:
    """The learning rate of each step, ``(steps,)``."""
    if not callable(rate):
        return np.full(steps, float(rate))
    from keras import ops

    at = np.arange(done, done + steps)
    try:  # most schedules work on many steps at once …
        rates = np.broadcast_to(ops.convert_to_numpy(rate(ops.convert_to_tensor(at))), at.shape)
        probes = {0, steps // 2, steps - 1}
        if all(np.isclose(rates[i], float(rate(ops.convert_to_tensor(at[i]))), rtol=1e-6) for i in probes):
            return rates.astype(np.float64)
    except Exception:  # … one that branches on the step does not, and says so in whatever way it likes
        pass
    return np.array([float(rate(ops.convert_to_tensor(step))) for step in at])


class Row:
    """The coefficients of one step, in the shapes of whatever they multiply.

    Args:
        row: ``(ROWS, members)`` of the table.
        scaled: from ``scaling``.
        has: from ``slots``.
    """

    def __init__(self, row: Tensor, scaled: Tensor, has: Slots) -> None:
        self._row = row
        self._scaled = scaled
        self.has = has
        self._shaped: dict[int, tuple[list[Tensor], list[Tensor]]] = {}

    def of(self, weight: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """The coefficients, and where to divide by the second moment's root; each ``(members, 1, …)``."""
        from keras import ops

        rank = len(weight.shape)
        if rank not in self._shaped:
            each = (-1, *[1] * (rank - 1))
            flags = ops.unstack(ops.reshape(self._scaled > 0, (2, *each)), num=2)
            self._shaped[rank] = ops.unstack(ops.reshape(self._row, (ROWS, *each)), num=ROWS), flags
        return self._shaped[rank]


def update(
    weight: Tensor, gradient: Tensor, momentum: Tensor | None, second: Tensor | None, row: Row
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """One step of one weight.

    Args:
        weight: ``(members, …)``, as are gradient, momentum and second moment.
        gradient: of each member's own loss.
        momentum: None if no member has one.
        second: None likewise.
        row: the step's coefficients.

    Returns:
        The three, updated.
    """
    from keras import ops

    gradient = ops.reshape(gradient, weight.shape)  # vectorized_map may have lost what is known of its shape
    coefficient, (divides_early, divides_late) = row.of(weight)
    if row.has.clip:
        limit = coefficient[CLIP]
        square = ops.sum(ops.square(gradient), axis=tuple(range(1, len(weight.shape))), keepdims=True)
        gradient = gradient * (limit / ops.maximum(ops.sqrt(square), limit))
    step = coefficient[S_GAIN] * gradient
    late: Tensor = 1.0
    if row.has.second:
        second = coefficient[V_DECAY] * second + coefficient[V_GAIN] * ops.square(gradient)
        root = ops.sqrt(coefficient[V_SCALE] * second + coefficient[INSIDE]) + coefficient[OUTSIDE]
        step = ops.where(divides_early, step / root, step)
        late = ops.where(divides_late, root, 1.0)
    moved = coefficient[S_SHARE] * step
    if row.has.momentum:
        momentum = coefficient[M_DECAY] * momentum + step
        moved = moved + coefficient[M_SHARE] * momentum
    return coefficient[KEEP] * weight - moved / late, momentum, second
