"""The multilayer perceptron: as a Keras model, and as what it brings into a stack of such models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kerasweep.models import hidden
from kerasweep.models.base import Frame, Inputs, Size
from kerasweep.records import Params

if TYPE_CHECKING:
    import keras


def mlp(params: Params, inputs: Inputs, seed: int) -> keras.Model:
    """A multilayer perceptron, after chapter 10 of Géron's book; without hidden layers, a linear model.

    Args:
        params: any of ``spec.families.HIDDEN_PARAMETERS``; ``n_neurons_k`` sets the k-th hidden layer alone.
        inputs: shape of a row (flattened first if it has several axes) and the task.
        seed: of the initial weights and of dropout.
    """
    import keras

    stack: list[keras.Layer] = [keras.Input(inputs.shape)]
    if len(inputs.shape) != 1:
        stack.append(keras.layers.Flatten(name="flatten"))
    stack += hidden.hidden_layers(params, seed)
    return keras.Sequential([*stack, hidden.output_layer(params, inputs, seed)])


@dataclass(frozen=True)
class StackedMlp:
    """See ``models.base.Stackable``; ``inputs`` as in ``mlp``."""

    inputs: Inputs

    def size(self, params: Params) -> Size:
        """Depth and widths may be filled up; activation and batch normalisation are the same for a whole stack."""
        units = hidden.widths(params)
        outputs = self.inputs.outputs
        products, parameters, values = hidden.cost(params, self.inputs.features)
        last = (units or (self.inputs.features,))[-1] * outputs
        return Size(
            kind=(*hidden.kind(params), bool(units)),
            hidden=units,
            products=products + last,
            parameters=parameters + last + outputs,
            units=values + outputs,
        )

    def frame(self, members: Sequence[Params], *, roomy: bool) -> Frame:
        """As deep and wide as the largest member."""
        return hidden.hidden_frame(members, roomy=roomy)

    def weights(self, params: Params, seed: int, frame: Frame) -> hidden.Variables:
        """Initial values, as ``mlp`` would have them."""
        trainable, others = hidden.hidden_weights(params, seed, frame, self.inputs.features)
        before = (hidden.widths(params) or (self.inputs.features,))[-1]
        return [*trainable, *hidden.output_weights(seed, before, self.inputs.outputs)], others

    def knobs(self, params: Params, frame: Frame) -> dict[str, float]:
        """Dropout rates and penalties."""
        return hidden.hidden_knobs(params, frame)

    def seeds(self, seed: int, frame: Frame) -> dict[str, int]:
        """Of the dropout layers."""
        return hidden.hidden_seeds(seed, frame)
