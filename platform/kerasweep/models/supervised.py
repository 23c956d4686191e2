"""A network with an auxiliary output. Only what is about to build or train one imports this module: it loads Keras."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


class Supervised(keras.Model):  # type: ignore[misc]  # Keras has no types
    """A graph of two outputs, the main one first, that are both trained towards the same target.

    Training minimises ``(1 - aux_weight) * main + aux_weight * auxiliary`` and the weight penalties. What it reports is
    the main output's alone: ``loss`` is that of the main output and the penalties, in training as in validation, so
    that it says the same of networks with and without an auxiliary output. Metrics are the main output's likewise.

    Attributes:
        aux_weight: of the auxiliary output's loss, from 0 to 1.
    """

    aux_weight = 0.0

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """The value of the main output's loss, with the derivatives of what is minimised."""
        main, auxiliary = y_pred
        loss = super().compute_loss(x, y, main, sample_weight, training)
        if not training:
            return loss
        both = [self._compile_loss(y, each, sample_weight) for each in (main, auxiliary)]
        pull = self.aux_weight * (both[1] - both[0])
        return loss + (pull - ops.stop_gradient(pull))

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Of the main output."""
        return super().compute_metrics(x, y, y_pred[0], sample_weight)


def delivered(model: keras.Model) -> keras.Model:
    """A trained model without what has only served its training; the two share their weights."""
    return keras.Model(model.input, model.outputs[0]) if isinstance(model, Supervised) else model
