"""An epoch of a stack as one compiled program: every mini-batch, then the validation rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kerasweep.data.rows import Features, row_count
from kerasweep.training.base import TrainingArrays
from kerasweep.training.cohort import optimizers
from kerasweep.training.cohort.backend import Compiled, backend
from kerasweep.training.cohort.blueprint import AUXILIARY, AUXILIARY_WEIGHT, Model
from kerasweep.training.cohort.evaluation import Evaluation, each_of, of_output
from kerasweep.training.cohort.layers import penalties
from kerasweep.training.cohort.metrics import row_losses

if TYPE_CHECKING:
    import keras

Tensor = Any
State = dict[str, list[Tensor]]


@dataclass(frozen=True)
class Fixed:
    """What differs between members but not between steps; a program takes it as an argument.

    Attributes:
        knobs: see ``Pass.knobs``.
        units: see ``Padding``, as the next two.
        widths: of dropout layers.
        active: of blocks.
        scaled: see ``optimizers.scaling``.
    """

    knobs: Mapping[str, Tensor]
    units: Mapping[str, Tensor]
    widths: Mapping[str, Tensor]
    active: Mapping[str, Tensor]
    scaled: Tensor


@dataclass(frozen=True)
class Rows:
    """The data, on the device.

    Attributes:
        x: ``(rows, …)``, or those of each input by name; as are ``y`` and, unless None, ``weights``.
        validation: the same two of the validation rows; None without any.
    """

    x: Any
    y: Any
    weights: Tensor | None
    validation: tuple[Any, Any] | None


def rows_of(data: TrainingArrays) -> Rows:
    """The data, moved to the device."""
    from keras import ops, tree

    def moved(arrays: Features) -> Tensor:
        return tree.map_structure(ops.convert_to_tensor, arrays)

    weights = None if data.weights is None else moved(data.weights)
    validation = None if data.validation is None else (moved(data.validation[0]), moved(data.validation[1]))
    return Rows(moved(data.x), moved(data.y), weights, validation)


@dataclass(frozen=True)
class Epoch:
    """What one epoch feeds to a program.

    Attributes:
        order: ``(steps, batch)`` int32, rows of each mini-batch.
        real: ``(steps, batch)`` float32, 0 for entries of the last batch that only fill it up; None if there are none.
        rest: ``(fewer,)`` int32, the last mini-batch, if it must be as short as it is; else None.
        table: ``(steps in all, ROWS, members)`` of the optimisers.
        keys: dropout layer -> ``(steps in all, members, 4)``.
    """

    order: Tensor
    real: Tensor | None
    rest: Tensor | None
    table: Tensor
    keys: Mapping[str, Tensor]


class Program:
    """Trains a stack for one epoch, and validates it.

    Args:
        model: the stack's.
        blocks: see ``Padding.blocks``.
        slots: what the optimisers keep.
        members: how many.
        validation_batch: rows validated at a time.
    """

    def __init__(
        self, model: Model, blocks: Mapping[str, str], slots: optimizers.Slots, members: int, validation_batch: int
    ) -> None:
        self.model = model
        self.slots = slots
        self._trained = [i for i, variable in enumerate(model.trainable) if id(variable) not in model.held]
        self._evaluation = Evaluation(model, blocks, members, validation_batch)
        self._compiled = Compiled(self._epoch)

    def run(self, state: State, fixed: Fixed, rows: Rows, epoch: Epoch) -> tuple[State, dict[str, Tensor]]:
        """The state after an epoch, and metric -> ``(members,)``."""
        after, results = self._compiled(state, *(dict(vars(each)) for each in (fixed, rows, epoch)))
        return after, results

    def _epoch(
        self, state: State, fixed: dict[str, Any], rows: dict[str, Any], epoch: dict[str, Any]
    ) -> tuple[State, dict[str, Tensor]]:
        """``(state, fixed, rows, epoch)`` -> the state afterwards, and metric -> ``(members,)``."""
        from keras import ops

        order, real, rest = epoch["order"], epoch["real"], epoch["rest"]
        steps = order.shape[0]

        def step(at: Tensor, carry: tuple[State, list[Any]]) -> tuple[State, list[Any]]:
            return self._step(carry, fixed, rows, epoch, at, order[at], None if real is None else real[at])

        carry = (state, self._evaluation.begin())
        if steps:
            carry = ops.fori_loop(0, steps, step, carry)
        if rest is not None:
            carry = self._step(carry, fixed, rows, epoch, steps, rest, None)
        state, sums = carry
        results = self._evaluation.results(sums, row_count(rows["x"]), "")
        if rows["validation"] is not None:
            held = (*rows["validation"], None)
            results |= self._evaluation.of(state["weights"], state["others"], fixed, held, "val_")
        return state, results

    def _step(
        self,
        carry: tuple[State, list[Any]],
        fixed: dict[str, Any],
        rows: dict[str, Any],
        epoch: dict[str, Any],
        at: Tensor,
        order: Tensor,
        real: Tensor | None,
    ) -> tuple[State, list[Any]]:
        """One mini-batch."""
        from keras import ops

        state, sums = carry
        x, y = (each_of(lambda a: ops.take(a, order, axis=0), rows[name]) for name in ("x", "y"))
        weights = None if rows["weights"] is None else ops.take(rows["weights"], order, axis=0)
        both = weights if real is None else real if weights is None else weights * real
        count = ops.sum(real) if real is not None else float(order.shape[0])
        steps = float(epoch["order"].shape[0] + (epoch["rest"] is not None))

        def loss(values: list[Tensor]) -> tuple[Tensor, Any]:
            whole = list(state["weights"])
            for i, value in zip(self._trained, values, strict=True):
                whole[i] = value
            way = self._evaluation.pass_of(whole, state["others"], fixed, training=True, real=real)
            way.keys = {name: keys[at] for name, keys in epoch["keys"].items()}
            predictions = self._evaluation.outputs(way, x)
            penalty = penalties(way, self.model.penalised)
            losses = [
                _mean_loss(each.loss, of_output(y, each.output), predictions[each.output], both, count)
                for each in self.model.losses
            ]
            own = self._evaluation.total(losses, fixed)
            total = minimised = own + penalty
            if self.model.auxiliary:
                weight = fixed["knobs"][AUXILIARY_WEIGHT]
                auxiliary = _mean_loss(self.model.losses[0].loss, y, predictions[AUXILIARY], both, count)
                minimised = (1.0 - weight) * own + weight * auxiliary + penalty
            others = [way.updates.get(id(v), old) for v, old in zip(self.model.others, state["others"], strict=True)]
            return ops.sum(minimised), (total, losses, predictions, others)

        trained = [state["weights"][i] for i in self._trained]
        (total, losses, predictions, others), gradients = backend().gradients(loss, trained)
        row = optimizers.Row(epoch["table"][at], fixed["scaled"], self.slots)
        weights_now, momenta, seconds = (list(state[kind]) for kind in ("weights", "momentum", "second"))
        for i, gradient in zip(self._trained, gradients, strict=True):
            momentum, second = (each[i] if each else None for each in (momenta, seconds))
            new, momentum, second = optimizers.update(weights_now[i], gradient, momentum, second, row)
            constraint = self.model.trainable[i].constraint
            weights_now[i] = new if constraint is None else ops.vectorized_map(constraint, new)
            if momenta:
                momenta[i] = momentum
            if seconds:
                seconds[i] = second
        state = {"weights": weights_now, "momentum": momenta, "second": seconds, "others": others}
        shares = [value / steps for value in losses]  # Keras means the loss of each output over batches
        return state, self._evaluation.counted(sums, y, predictions, [total * count, *shares], (real, both))


def _mean_loss(
    loss: keras.losses.Loss, y: Tensor, predictions: Tensor, weights: Tensor | None, count: Tensor | float
) -> Tensor:
    """The loss of a batch, ``(members,)``; ``count`` rows of it are real."""
    from keras import ops

    each = row_losses(loss, y, predictions)
    return ops.sum(each if weights is None else each * weights, axis=1) / count
