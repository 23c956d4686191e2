"""Layers that stay as they are at first: those that start from trained weights (Géron 2019, chapter 11)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kerasweep.errors import ModelError
from kerasweep.models.transfer import WeightedLayer, weighted_layers
from kerasweep.spec.pipeline import InitialWeightsSpec

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Freeze:
    """Which layers stay as they are, and for how long.

    Attributes:
        layers: the first so many with weights.
        epochs: that they are not trained in; None for all.
    """

    layers: int
    epochs: int | None = None

    @classmethod
    def of(cls, spec: InitialWeightsSpec | None) -> Freeze | None:
        """What a pipeline says; None if all layers train from the first epoch on."""
        if spec is None or spec.freeze == 0:
            return None
        return cls(spec.layers, None if spec.freeze == "all" else spec.freeze)

    def holds(self, epoch: int) -> bool:
        """Whether they are frozen in the epoch that follows so many."""
        return self.epochs is None or epoch < self.epochs

    def of_model(self, model: keras.Model) -> list[WeightedLayer]:
        """The layers of a built model.

        Raises:
            ModelError: it has no other weights to train.
        """
        frozen = list(weighted_layers(model))[: self.layers]
        held = {id(variable) for each in frozen for variable in each.trainable}
        if all(id(variable) in held for variable in model.trainable_variables):
            names = ", ".join(each.layer.name for each in frozen)
            raise ModelError(f"initial_weights.freeze must leave layers to train. Received: a model of {names} alone")
        return frozen


@dataclass(frozen=True)
class _State:
    """What of a layer and its own weights is trainable."""

    layer: keras.Layer
    trainable: bool
    variables: tuple[tuple[keras.Variable, bool], ...]

    @classmethod
    def of(cls, layer: keras.Layer) -> _State:
        return cls(layer, layer.trainable, tuple((each, each.trainable) for each in layer._trainable_variables))

    def restore(self) -> None:
        self.layer.trainable = self.trainable
        for variable, trainable in self.variables:
            variable.trainable = trainable


class FrozenLayers:
    """The layers of a Keras model, held by Keras's own ``trainable = False``.

    The optimiser is built with all weights first: it goes on with what it has when the layers thaw. What the user's
    builder has made untrainable stays so.

    Keras leaves the penalties of such weights out of the loss. They have no part in the derivatives, but a loss that
    jumps when the layers thaw would make the epochs before and after incomparable: they are added to what is reported.

    Args:
        model: built and compiled.
        freeze: of its layers.

    Raises:
        ModelError: see ``Freeze.of_model``.
    """

    def __init__(self, model: keras.Model, freeze: Freeze) -> None:
        frozen = freeze.of_model(model)
        if not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
        chosen = {id(each.layer) for each in frozen}
        # A layer's flag becomes its inner layers' and its weights' as well, so that these must get their own back.
        touched = {id(layer): layer for each in frozen for layer in each.layer._flatten_layers()}
        self._model = model
        self._states = [_State.of(layer) for layer in touched.values()]
        self._penalty = sum(
            float(variable.regularizer(variable.value))
            for each in frozen
            for variable in each.trainable
            if variable.trainable and variable.regularizer is not None
        )
        for state in self._states:
            if id(state.layer) in chosen:
                state.layer.trainable = False
            else:
                state.restore()

    def reported(self, metrics: Mapping[str, float]) -> dict[str, float]:
        """An epoch's metrics with the penalties of the frozen layers in its losses."""
        return {
            name: value + self._penalty if name in ("loss", "val_loss") else value for name, value in metrics.items()
        }

    def thaw(self) -> None:
        """Lets them train, from the next mini-batch on."""
        for state in self._states:
            state.restore()
        self._model.make_train_function(force=True)
        self._model.make_test_function(force=True)
