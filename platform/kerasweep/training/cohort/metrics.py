"""Losses and metrics of a stack: one value a member."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras

Tensor = Any


def row_losses(loss: keras.losses.Loss, y: Tensor, predictions: Tensor) -> Tensor:
    """The loss of each row, ``(members, batch)``.

    Args:
        loss: Keras's, reduced by its mean.
        y: ``(batch, …)``, the same for all members.
        predictions: ``(members, batch, …)``.
    """
    return _by_row(loss.call, y, predictions)


def _by_row(function: Any, y: Tensor, predictions: Tensor) -> Tensor:
    """``function(y, predictions)`` for all members' rows at once, the mean over what is left of each row."""
    from keras import ops

    members, batch = predictions.shape[:2]
    targets = ops.reshape(ops.broadcast_to(y[None], (members, *y.shape)), (members * batch, *y.shape[1:]))
    flat = ops.reshape(predictions, (members * batch, *predictions.shape[2:]))
    if len(targets.shape) == len(flat.shape) - 1 and flat.shape[-1] == 1:
        targets = targets[..., None]
    values = ops.cast(function(targets, flat), "float32")
    return ops.mean(ops.reshape(values, (members, batch, -1)), axis=-1)


@dataclass(frozen=True)
class StackedMetric:
    """One of Keras's metrics, kept for every member.

    A metric that is the mean of a value a row, or the root of one, is a sum over all rows; any other one runs as it is
    for each member, under ``vectorized_map``.
    """

    metric: keras.metrics.Metric

    def begin(self, members: int) -> list[Tensor]:
        """Its state before the first row, each ``(members, …)``."""
        from keras import ops

        if self._is_mean:
            return [ops.zeros((members,)), ops.zeros((members,))]
        self.metric.reset_state()
        return [ops.repeat(v.value[None], members, axis=0) for v in self.metric.variables]

    def update(self, state: list[Tensor], y: Tensor, predictions: Tensor, weights: Tensor | None) -> list[Tensor]:
        """Its state after a batch; ``weights`` is ``(batch,)``, None for equal ones."""
        import keras
        from keras import ops

        if self._is_mean:
            values = _by_row(self._function, y, predictions)
            weights = ops.ones((y.shape[0],)) if weights is None else weights
            return [state[0] + ops.sum(values * weights, axis=1), state[1] + ops.sum(weights)]

        def one(given: tuple[list[Tensor], Tensor]) -> list[Tensor]:
            pairs = list(zip(self.metric.variables, given[0], strict=True))
            with keras.StatelessScope(state_mapping=pairs) as scope:
                self.metric.update_state(y, given[1], sample_weight=weights)
            return [scope.get_current_value(variable) for variable in self.metric.variables]

        after: list[Tensor] = ops.vectorized_map(one, (state, predictions))
        return after

    def result(self, state: list[Tensor]) -> Tensor:
        """Its values, ``(members,)``."""
        import keras
        from keras import ops

        if self._is_root:
            return ops.sqrt(state[0] / state[1])
        if self._is_mean:
            return state[0] / state[1]

        def one(given: list[Tensor]) -> Tensor:
            with keras.StatelessScope(state_mapping=list(zip(self.metric.variables, given, strict=True))):
                return self.metric.result()

        return ops.vectorized_map(one, state)

    @property
    def _is_root(self) -> bool:
        from keras.metrics import RootMeanSquaredError

        return type(self.metric) is RootMeanSquaredError

    @property
    def _is_mean(self) -> bool:
        from keras.metrics import MeanMetricWrapper

        kind = type(self.metric)
        return self._is_root or (
            isinstance(self.metric, MeanMetricWrapper)
            and kind.update_state is MeanMetricWrapper.update_state
            and kind.result is MeanMetricWrapper.result
        )

    def _function(self, y: Tensor, predictions: Tensor) -> Tensor:
        if self._is_root:
            from keras.losses import mean_squared_error

            return mean_squared_error(y, predictions)
        return self.metric._fn(y, predictions, **self.metric._fn_kwargs)
