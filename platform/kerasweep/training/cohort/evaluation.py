"""What a stack of models predicts and how good that is; used inside of compiled programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from kerasweep.data.rows import Array, row_count
from kerasweep.models.several import by_name
from kerasweep.training.cohort.blueprint import AUXILIARY, Model
from kerasweep.training.cohort.layers import Padding, Pass, penalties
from kerasweep.training.cohort.metrics import StackedMetric, row_losses
from kerasweep.training.order import VALIDATION_BATCH

Tensor = Any


class Evaluation:
    """The loss and metrics of a stack.

    Args:
        model: the stack's.
        blocks: see ``Padding.blocks``.
        members: how many.
        batch: rows evaluated at a time.
        measured: whether the model's metrics are counted beside the loss.
    """

    def __init__(
        self, model: Model, blocks: Mapping[str, str], members: int, batch: int, *, measured: bool = True
    ) -> None:
        self.model = model
        self.blocks = blocks
        self.members = members
        self.batch = batch
        self._metrics = dict(model.metrics) if measured else {}
        self._tracked = [each for each in model.losses if each.tracked is not None]

    def begin(self) -> list[Any]:
        """The sums before the first row: the loss, the tracked losses of outputs, and what the metrics keep."""
        from keras import ops

        losses = [ops.zeros((self.members,)) for _ in range(1 + len(self._tracked))]
        return [*losses, *(StackedMetric(each.metric).begin(self.members) for each in self._metrics.values())]

    def of(
        self,
        values: Sequence[Tensor],
        others: Sequence[Tensor],
        fixed: Mapping[str, Any],
        rows: tuple[Any, Any, Tensor | None],
        prefix: str,
    ) -> dict[str, Tensor]:
        """Metric -> ``(members,)``, over all rows, as ``Model.evaluate`` counts them.

        Args:
            values: of ``Model.trainable``, each ``(members, …)``.
            others: of ``Model.others``, likewise.
            fixed: see ``program.Fixed``.
            rows: features, targets, and perhaps weights, which weigh the loss and the metrics that heed them.
            prefix: of the metrics' names.
        """
        from keras import ops

        x, y, weights = rows
        count = row_count(y)
        size = min(self.batch, count)
        shares = ops.convert_to_tensor(_shares(count)) if self._tracked else None

        def batch(i: Tensor, sums: list[Any], size: int, new: Tensor | None = None) -> list[Any]:
            start = i if new is None else ops.minimum(i, count - size)

            def part(a: Tensor) -> Tensor:
                return ops.slice(a, (start, *([0] * (len(a.shape) - 1))), (size, *a.shape[1:]))

            xs, ys = each_of(part, x), each_of(part, y)
            ws = None if weights is None else part(weights)
            both = new if ws is None else ws if new is None else ws * new
            way = self.pass_of(values, others, fixed, training=False)
            predictions = self.outputs(way, xs)
            each = [
                row_losses(one.loss, of_output(ys, one.output), predictions[one.output]) for one in self.model.losses
            ]
            if both is not None:
                each = [one * both for one in each]
            total = self.total([ops.sum(one, axis=1) for one in each], fixed)
            total = total + penalties(way, self.model.penalised) * (float(size) if new is None else ops.sum(new))
            own = [] if shares is None else [ops.sum(one * part(shares), axis=1) for one in each]
            return self.counted(sums, ys, predictions, [total, *own], (new, both))

        def overlapping(i: Tensor, sums: list[Any]) -> list[Any]:
            """The last one looks again at rows that were counted before, and counts the others."""
            first = i * size
            new = ops.cast(ops.minimum(first, count - size) + ops.arange(size) >= first, "float32")
            return batch(first, sums, size, new)

        sums = self.begin()
        full, rest = divmod(count, size)
        if rest and not self.model.exact:
            return self.results(ops.fori_loop(0, full + 1, overlapping, sums), count, prefix)
        sums = ops.fori_loop(0, full, lambda i, sums: batch(i * size, sums, size), sums)
        return self.results(batch(full * size, sums, rest) if rest else sums, count, prefix)

    def pass_of(
        self,
        values: Sequence[Tensor],
        others: Sequence[Tensor],
        fixed: Mapping[str, Any],
        *,
        training: bool,
        real: Tensor | None = None,
    ) -> Pass:
        """A way through the stack for a batch."""
        variables = {id(v): value for v, value in zip(self.model.trainable, values, strict=True)}
        variables |= {id(v): value for v, value in zip(self.model.others, others, strict=True)}
        padding = Padding(fixed["units"], fixed["widths"], fixed["active"], self.blocks)
        return Pass(self.members, variables, fixed["knobs"], padding, training, real, held=self.model.held)

    def outputs(self, way: Pass, x: Any) -> dict[str, Tensor]:
        """Output -> predictions ``(members, batch, …)``; the only one, or the main one, has an empty name."""
        from keras import ops

        found = way.run(self.model.template, each_of(lambda a: a[None], x))
        if self.model.auxiliary:
            outputs = dict(zip(("", AUXILIARY), found, strict=True))
        else:
            outputs = by_name(self.model.template, found)
        return {name: ops.broadcast_to(y, (self.members, *y.shape[1:])) for name, y in outputs.items()}

    def total(self, losses: Sequence[Tensor], fixed: Mapping[str, Any]) -> Tensor:
        """The losses of all outputs, ``(members,)``, added up by their weights."""
        weighed = [
            value if each.knob is None else value * fixed["knobs"][each.knob]
            for each, value in zip(self.model.losses, losses, strict=True)
        ]
        return sum(weighed[1:], start=weighed[0])

    def counted(
        self,
        sums: list[Any],
        y: Any,
        predictions: Mapping[str, Tensor],
        losses: Sequence[Tensor],
        rows: tuple[Tensor | None, Tensor | None],
    ) -> list[Any]:
        """The sums after a batch.

        Args:
            sums: before it.
            y: its targets.
            predictions: of each output, ``(members, batch, …)``.
            losses: the loss summed over its rows, ``(members,)``, and the batch's share in each output's mean.
            rows: ``(batch,)``, 0 for rows that do not count, None if all do; and the same times the rows' weights.
        """
        real, both = rows
        first = 1 + len(self._tracked)
        counted = [old + new for old, new in zip(sums[:first], losses, strict=False)]
        for each, state in zip(self._metrics.values(), sums[first:], strict=True):
            weights = both if each.weighted else real
            metric = StackedMetric(each.metric)
            counted.append(metric.update(state, of_output(y, each.output), predictions[each.output], weights))
        return counted

    def results(self, sums: list[Any], count: int, prefix: str) -> dict[str, Tensor]:
        """Metric -> ``(members,)``, from the sums over ``count`` rows."""
        first = 1 + len(self._tracked)
        results = {f"{prefix}loss": sums[0] / float(count)}
        results |= {f"{prefix}{each.tracked}": value for each, value in zip(self._tracked, sums[1:first], strict=True)}
        for (name, each), state in zip(self._metrics.items(), sums[first:], strict=True):
            results[prefix + name] = StackedMetric(each.metric).result(state)
        return results


def each_of(function: Callable[[Tensor], Tensor], arrays: Any) -> Any:
    """A function of one array, or of each of several by name."""
    return {name: function(a) for name, a in arrays.items()} if isinstance(arrays, Mapping) else function(arrays)


def of_output(y: Any, output: str) -> Tensor:
    """The targets of one output."""
    return y[output] if isinstance(y, Mapping) else y


def _shares(count: int) -> Array:
    """What each row counts in the mean over the batches of a validation, ``(count,)`` float32.

    Keras means the loss of each of several outputs over batches, whatever their rows; and the loss itself over rows.
    """
    batch = np.arange(count) // VALIDATION_BATCH
    sizes = np.bincount(batch)
    return (1.0 / (sizes[batch] * len(sizes))).astype(np.float32)
