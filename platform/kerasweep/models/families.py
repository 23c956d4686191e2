"""The built-in model families."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kerasweep.models.base import Inputs, compile_for, seed_everything
from kerasweep.records import Params, ParamValue
from kerasweep.spec.families import FAMILIES

if TYPE_CHECKING:
    import keras


def mlp(params: Params, inputs: Inputs) -> keras.Model:
    """A multilayer perceptron, after chapter 10 of Géron's book; without hidden layers, a linear model.

    Every hidden layer is dense, then batch normalisation if asked for (before the activation, as its authors have it),
    the activation, and dropout if any.

    Args:
        params: any of ``spec.families.FAMILIES["mlp"]``; ``n_neurons_k`` sets the k-th hidden layer alone.
        inputs: shape of a row (flattened first if it has several axes) and the task.
    """
    import keras
    from keras import layers

    def setting(name: str) -> ParamValue:
        default = FAMILIES["mlp"][name].default
        return params.get(name, default if default is not None else 0)

    decay = float(setting("l2"))
    regularizer = keras.regularizers.L2(decay) if decay else None
    stack: list[keras.Layer] = [keras.Input(inputs.shape)]
    if len(inputs.shape) != 1:
        stack.append(layers.Flatten())
    for layer in range(1, int(setting("n_hidden")) + 1):
        units = int(params.get(f"n_neurons_{layer}", setting("n_neurons")))
        stack.append(
            layers.Dense(units, kernel_initializer=str(setting("initializer")), kernel_regularizer=regularizer)
        )
        if setting("batch_norm"):
            stack.append(layers.BatchNormalization())
        stack.append(layers.Activation(str(setting("activation"))))
        if rate := float(setting("dropout")):
            stack.append(layers.Dropout(rate))
    stack.append(layers.Dense(inputs.outputs, activation=inputs.output_activation, kernel_regularizer=regularizer))
    return keras.Sequential(stack)


_FAMILIES: Mapping[str, Callable[[Params, Inputs], keras.Model]] = {"mlp": mlp}


@dataclass(frozen=True)
class FamilyBuilder:
    """Builds models of one family (see ``ModelBuilder``)."""

    family: str
    inputs: Inputs

    def build(self, params: Params, seed: int) -> keras.Model:
        seed_everything(seed)
        model = _FAMILIES[self.family](params, self.inputs)
        compile_for(model, params, self.inputs.task)
        return model
