"""An epoch of a stack as one compiled program: every mini-batch, then the validation rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kerasweep.training.cohort import optimizers
from kerasweep.training.cohort.backend import backend
from kerasweep.training.cohort.blueprint import Model
from kerasweep.training.cohort.layers import Padding, Pass, penalties
from kerasweep.training.cohort.metrics import StackedMetric, row_losses

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
        x: ``(rows, …)``, as are ``y`` and, unless None, ``weights``.
        validation: the same two of the validation rows; None without any.
    """

    x: Tensor
    y: Tensor
    weights: Tensor | None
    validation: tuple[Tensor, Tensor] | None


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
        self.blocks = blocks
        self.slots = slots
        self.members = members
        self.validation_batch = validation_batch
        self._compiled = backend().compiled(self._epoch)
        self._tried = False

    def run(self, state: State, fixed: Fixed, rows: Rows, epoch: Epoch) -> tuple[State, dict[str, Tensor]]:
        """The state after an epoch, and metric -> ``(members,)``.

        What XLA has no form for, such as a recurrent layer under ``vectorized_map``, is run without it.
        """
        arguments = (state, *(dict(vars(each)) for each in (fixed, rows, epoch)))
        try:
            after, results = self._compiled(*arguments)
        except Exception:
            traced = backend().traced(self._epoch)
            if self._tried or traced is None:
                raise
            after, results = traced(*arguments)
            self._compiled = traced
        self._tried = True
        return after, results

    def _epoch(
        self, state: State, fixed: dict[str, Any], rows: dict[str, Any], epoch: dict[str, Any]
    ) -> tuple[State, dict[str, Tensor]]:
        """``(state, fixed, rows, epoch)`` -> the state afterwards, and metric -> ``(members,)``."""
        from keras import ops

        order, real, rest = epoch["order"], epoch["real"], epoch["rest"]
        steps = order.shape[0]
        measured = [StackedMetric(metric) for metric in self.model.metrics.values()]

        def begin() -> list[Any]:
            return [ops.zeros((self.members,)), *(each.begin(self.members) for each in measured)]

        def step(at: Tensor, carry: tuple[State, list[Any]]) -> tuple[State, list[Any]]:
            return self._step(carry, fixed, rows, epoch, at, order[at], None if real is None else real[at])

        carry = (state, begin())
        if steps:
            carry = ops.fori_loop(0, steps, step, carry)
        if rest is not None:
            carry = self._step(carry, fixed, rows, epoch, steps, rest, None)
        state, sums = carry
        count = rows["x"].shape[0]
        results = self._results(sums, measured, count, "")
        if rows["validation"] is not None:
            x, y = rows["validation"]
            sums = self._validated(state, fixed, x, y, begin())
            results |= self._results(sums, measured, y.shape[0], "val_")
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
        x, y = (ops.take(rows[name], order, axis=0) for name in ("x", "y"))
        weights = None if rows["weights"] is None else ops.take(rows["weights"], order, axis=0)
        both = weights if real is None else real if weights is None else weights * real
        count = ops.sum(real) if real is not None else float(order.shape[0])

        def loss(values: list[Tensor]) -> tuple[Tensor, Any]:
            way = self._pass(values, state["others"], fixed, training=True, real=real)
            way.keys = {name: keys[at] for name, keys in epoch["keys"].items()}
            predictions = self._predictions(way, x)
            each = row_losses(self.model.loss, y, predictions)
            if both is not None:
                each = each * both
            total = ops.sum(each, axis=1) / count + penalties(way, self.model.penalised)
            others = [way.updates.get(id(v), old) for v, old in zip(self.model.others, state["others"], strict=True)]
            return ops.sum(total), (total, predictions, others)

        (total, predictions, others), gradients = backend().gradients(loss, state["weights"])
        row = optimizers.Row(epoch["table"][at], fixed["scaled"], self.slots)
        moved = [
            optimizers.update(weight, gradient, momentum, second, row)
            for weight, gradient, momentum, second in zip(
                state["weights"],
                gradients,
                state["momentum"] or [None] * len(gradients),
                state["second"] or [None] * len(gradients),
                strict=True,
            )
        ]
        weights_now = [
            new if variable.constraint is None else ops.vectorized_map(variable.constraint, new)
            for variable, (new, _, _) in zip(self.model.trainable, moved, strict=True)
        ]
        state = {
            "weights": weights_now,
            "momentum": [momentum for _, momentum, _ in moved] if self.slots.momentum else [],
            "second": [second for _, _, second in moved] if self.slots.second else [],
            "others": others,
        }
        return state, self._counted(sums, y, predictions, total * count, real, both)

    def _validated(self, state: State, fixed: dict[str, Any], x: Tensor, y: Tensor, sums: list[Any]) -> list[Any]:
        """The sums over all validation rows."""
        from keras import ops

        count, size = y.shape[0], min(self.validation_batch, y.shape[0])

        def batch(i: Tensor, sums: list[Any], size: int, new: Tensor | None = None) -> list[Any]:
            start = i if new is None else ops.minimum(i, count - size)
            xs, ys = (ops.slice(a, (start, *([0] * (len(a.shape) - 1))), (size, *a.shape[1:])) for a in (x, y))
            way = self._pass(state["weights"], state["others"], fixed, training=False, real=None)
            predictions = self._predictions(way, xs)
            each = row_losses(self.model.loss, ys, predictions)
            rows = float(size) if new is None else ops.sum(new)
            total = ops.sum(each if new is None else each * new, axis=1) + penalties(way, self.model.penalised) * rows
            return self._counted(sums, ys, predictions, total, new, new)

        def overlapping(i: Tensor, sums: list[Any]) -> list[Any]:
            """The last one looks again at rows that were counted before, and counts the others."""
            first = i * size
            new = ops.cast(ops.minimum(first, count - size) + ops.arange(size) >= first, "float32")
            return batch(first, sums, size, new)

        full, rest = divmod(count, size)
        if rest and not self.model.exact:
            sums = ops.fori_loop(0, full + 1, overlapping, sums)
            return sums
        sums = ops.fori_loop(0, full, lambda i, sums: batch(i * size, sums, size), sums)
        return batch(full * size, sums, rest) if rest else sums

    def _pass(
        self,
        values: Sequence[Tensor],
        others: Sequence[Tensor],
        fixed: dict[str, Any],
        training: bool,
        real: Tensor | None,
    ) -> Pass:
        variables = {id(v): value for v, value in zip(self.model.trainable, values, strict=True)}
        variables |= {id(v): value for v, value in zip(self.model.others, others, strict=True)}
        padding = Padding(fixed["units"], fixed["widths"], fixed["active"], self.blocks)
        return Pass(self.members, variables, fixed["knobs"], padding, training, real)

    def _predictions(self, way: Pass, x: Tensor) -> Tensor:
        from keras import ops

        y = way.run(self.model.template, x[None])
        return ops.broadcast_to(y, (self.members, *y.shape[1:]))

    def _counted(
        self, sums: list[Any], y: Tensor, predictions: Tensor, total: Tensor, real: Tensor | None, both: Tensor | None
    ) -> list[Any]:
        counted = [sums[0] + total]
        for name, state in zip(self.model.metrics, sums[1:], strict=True):
            weights = both if name in self.model.weighted else real
            counted.append(StackedMetric(self.model.metrics[name]).update(state, y, predictions, weights))
        return counted

    def _results(self, sums: list[Any], measured: list[StackedMetric], count: int, prefix: str) -> dict[str, Tensor]:
        results = {f"{prefix}loss": sums[0] / float(count)}
        for name, each, state in zip(self.model.metrics, measured, sums[1:], strict=True):
            results[prefix + name] = each.result(state)
        return results
