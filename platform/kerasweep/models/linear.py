"""The network without hidden layers: as a Keras model, and as what it brings into a stack of such models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kerasweep.models import hidden
from kerasweep.models.base import Frame, Inputs, Size
from kerasweep.records import Params
from kerasweep.seeds import derive
from kerasweep.spec.families import LINEAR_PARAMETERS

if TYPE_CHECKING:
    import keras


def linear(params: Params, inputs: Inputs, seed: int) -> keras.Model:
    """Linear regression, or logistic (softmax) regression: the output layer alone.

    It is ``mlp`` with 0 hidden layers, and for the same seed has its numbers. What Géron's book calls a threshold logic
    unit, or many of them side by side a perceptron, is this network with a step in the place of the sigmoid.

    Args:
        params: any of ``spec.families.LINEAR_PARAMETERS``.
        inputs: shape of a row (flattened first if it has several axes) and the task.
        seed: of the initial weights.
    """
    import keras
    from keras import layers

    l1, l2 = (_penalty(params, name) for name in ("l1", "l2"))
    stack: list[keras.Layer] = [keras.Input(inputs.shape)]
    if len(inputs.shape) != 1:
        stack.append(layers.Flatten(name="flatten"))
    stack.append(
        layers.Dense(
            inputs.outputs,
            inputs.output_activation,
            kernel_initializer=hidden.initializer(params, derive(seed, "kernel", "output")),
            kernel_regularizer=keras.regularizers.L1L2(l1, l2) if l1 or l2 else None,
            name="output",
        )
    )
    return keras.Sequential(stack)


def _penalty(params: Params, name: str) -> float:
    return float(params.get(name, LINEAR_PARAMETERS[name].default or 0))


@dataclass(frozen=True)
class StackedLinear:
    """See ``models.base.Stackable``; ``inputs`` as in ``linear``."""

    inputs: Inputs

    def size(self, params: Params) -> Size:
        """All are of one size."""
        products = self.inputs.features * self.inputs.outputs
        outputs = self.inputs.outputs
        return Size(kind=(), hidden=(), products=products, parameters=products + outputs, units=outputs)

    def frame(self, members: Sequence[Params], *, roomy: bool) -> Frame:
        """With each penalty that any member has."""
        largest = {name: max(_penalty(params, name) for params in members) for name in ("l1", "l2")}
        return Frame(params={**members[0], **largest}, units={}, widths={}, active={}, blocks={})

    def weights(self, params: Params, seed: int, frame: Frame) -> hidden.Variables:
        """Initial values, as ``linear`` would have them."""
        return [*hidden.dense_weights(params, seed, "output", (self.inputs.features, self.inputs.outputs))], []

    def knobs(self, params: Params, frame: Frame) -> dict[str, float]:
        """Penalties."""
        if not any(_penalty(frame.params, name) for name in ("l1", "l2")):
            return {}
        return {f"output/kernel_regularizer.{name}": _penalty(params, name) for name in ("l1", "l2")}

    def seeds(self, seed: int, frame: Frame) -> dict[str, int]:
        """None: nothing is dropped."""
        return {}
