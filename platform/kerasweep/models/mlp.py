"""The multilayer perceptron: as a Keras model, and as what it brings into a stack of such models."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kerasweep.models.base import Array, Frame, Inputs, Size
from kerasweep.records import Params, ParamValue
from kerasweep.seeds import derive
from kerasweep.spec.families import FAMILIES

if TYPE_CHECKING:
    import keras


def _setting(params: Params, name: str) -> ParamValue:
    default = FAMILIES["mlp"][name].default
    return params.get(name, default if default is not None else 0)


def widths(params: Params) -> tuple[int, ...]:
    """Units of each hidden layer."""
    return tuple(
        int(params.get(f"n_neurons_{layer}", _setting(params, "n_neurons")))
        for layer in range(1, int(_setting(params, "n_hidden")) + 1)
    )


def mlp(params: Params, inputs: Inputs, seed: int) -> keras.Model:
    """A multilayer perceptron, after chapter 10 of Géron's book; without hidden layers, a linear model.

    Every hidden layer is dense, then batch normalisation if asked for (before the activation, as its authors have it,
    and in the place of the dense layer's bias), the activation, and dropout if any.

    Args:
        params: any of ``spec.families.FAMILIES["mlp"]``; ``n_neurons_k`` sets the k-th hidden layer alone.
        inputs: shape of a row (flattened first if it has several axes) and the task.
        seed: of the initial weights and of dropout.
    """
    import keras
    from keras import layers

    decay = float(_setting(params, "l2"))
    regularizer = keras.regularizers.L2(decay) if decay else None
    normalised = bool(_setting(params, "batch_norm"))
    stack: list[keras.Layer] = [keras.Input(inputs.shape)]
    if len(inputs.shape) != 1:
        stack.append(layers.Flatten(name="flatten"))
    for layer, units in enumerate(widths(params), 1):
        stack.append(
            layers.Dense(
                units,
                use_bias=not normalised,
                kernel_initializer=_initializer(params, seed, layer),
                kernel_regularizer=regularizer,
                name=f"hidden_{layer}",
            )
        )
        if normalised:
            stack.append(layers.BatchNormalization(name=f"norm_{layer}"))
        stack.append(layers.Activation(str(_setting(params, "activation")), name=f"activation_{layer}"))
        if rate := float(_setting(params, "dropout")):
            stack.append(layers.Dropout(rate, seed=_dropout_seed(seed, layer), name=f"dropout_{layer}"))
    output = keras.initializers.GlorotUniform(derive(seed, "kernel", "output"))
    stack.append(
        layers.Dense(
            inputs.outputs,
            inputs.output_activation,
            kernel_initializer=output,
            kernel_regularizer=regularizer,
            name="output",
        )
    )
    return keras.Sequential(stack)


def _initializer(params: Params, seed: int, layer: int) -> keras.Initializer:
    import keras

    config = {"seed": derive(seed, "kernel", layer)}
    return keras.initializers.get({"class_name": str(_setting(params, "initializer")), "config": config})


def _dropout_seed(seed: int, layer: int) -> int:
    return derive(seed, "dropout", layer)


def _rounded(units: int) -> int:
    """Up to a whole multiple of 8, or of a power of two that is at most a tenth of it."""
    grain = max(8, 1 << max(0, int(math.log2(max(units, 1) / 10))))
    return -(-units // grain) * grain


def _drops(params: Params) -> bool:
    return float(_setting(params, "dropout")) > 0


@dataclass(frozen=True)
class StackedMlp:
    """See ``models.base.Stackable``; ``inputs`` as in ``mlp``."""

    inputs: Inputs

    def size(self, params: Params) -> Size:
        """Depth and widths may be filled up; activation and batch normalisation are the same for a whole stack."""
        hidden = widths(params)
        normalised = bool(_setting(params, "batch_norm")) and bool(hidden)
        kind = (str(_setting(params, "activation")) if hidden else "", normalised, bool(hidden))
        edges = [self._features, *hidden, self.inputs.outputs]
        return Size(kind, hidden, sum(a * b for a, b in itertools.pairwise(edges)))

    def frame(self, members: Sequence[Params], *, roomy: bool) -> Frame:
        """As deep and wide as the largest member, widths rounded up if it is to be roomy."""
        hidden = [widths(params) for params in members]
        depth = max(map(len, hidden))
        if len({len(each) for each in hidden}) > 1:  # a layer that some lack must be as wide as what goes around it
            largest = [max(max(each, default=0) for each in hidden)] * depth
        else:
            largest = [max(each[layer] for each in hidden) for layer in range(depth)]
        if roomy:
            largest = [_rounded(units) for units in largest]
        params: dict[str, ParamValue] = {
            **members[0],
            "n_hidden": depth,
            **{f"n_neurons_{layer}": units for layer, units in enumerate(largest, 1)},
            "dropout": max(float(_setting(each, "dropout")) for each in members),
            "l2": max(float(_setting(each, "l2")) for each in members),
        }
        drops = _drops(params)
        ends = [f"dropout_{layer}" if drops else f"activation_{layer}" for layer in range(1, depth + 1)]
        own = [(*each, *[0] * (depth - len(each))) for each in hidden]
        uneven = roomy or len(set(hidden)) > 1
        missing = any(0 in each for each in own)
        return Frame(
            params=params,
            units={f"activation_{i + 1}": [each[i] for each in own] for i in range(depth) if uneven},
            widths={f"dropout_{i + 1}": [each[i] for each in own] for i in range(depth) if uneven and drops},
            active={ends[i]: [each[i] > 0 for each in own] for i in range(1, depth) if missing},
            blocks={end: f"hidden_{i + 1}" for i, end in enumerate(ends)},
        )

    def weights(self, params: Params, seed: int, frame: Frame) -> tuple[list[Array | None], list[Array | None]]:
        """Initial values, as ``mlp`` would have them."""
        import keras
        import numpy as np

        hidden = widths(params)
        norm = bool(_setting(params, "batch_norm"))
        trainable: list[Array | None] = []
        others: list[Array | None] = []
        before = self._features
        for layer in range(1, int(frame.params["n_hidden"]) + 1):
            if layer > len(hidden):
                trainable += [None] * (3 if norm else 2)
                others += [None] * (2 if norm else 0)
                continue
            units = hidden[layer - 1]
            kernel = _initializer(params, seed, layer)((before, units), "float32")
            trainable.append(keras.ops.convert_to_numpy(kernel))
            trainable += [np.ones(units, np.float32)] if norm else []  # the factor
            trainable.append(np.zeros(units, np.float32))  # the bias, or the shift that takes its place
            if norm:
                others += [np.zeros(units, np.float32), np.ones(units, np.float32)]
            before = units
        output = keras.initializers.GlorotUniform(derive(seed, "kernel", "output"))(
            (before, self.inputs.outputs), "float32"
        )
        trainable += [keras.ops.convert_to_numpy(output), np.zeros(self.inputs.outputs, np.float32)]
        return trainable, others

    def knobs(self, params: Params, frame: Frame) -> dict[str, float]:
        """Dropout rates and penalties."""
        depth = int(frame.params["n_hidden"])
        found: dict[str, float] = {}
        if _drops(frame.params):
            found |= {f"dropout_{layer}/rate": float(_setting(params, "dropout")) for layer in range(1, depth + 1)}
        if float(frame.params["l2"]) > 0:
            penalised = [*(f"hidden_{layer}" for layer in range(1, depth + 1)), "output"]
            found |= {f"{name}/kernel_regularizer.l2": float(_setting(params, "l2")) for name in penalised}
        return found

    def seeds(self, seed: int, frame: Frame) -> dict[str, int]:
        """Of the dropout layers."""
        if not _drops(frame.params):
            return {}
        return {f"dropout_{layer}": _dropout_seed(seed, layer) for layer in range(1, int(frame.params["n_hidden"]) + 1)}

    @property
    def _features(self) -> int:
        return math.prod(self.inputs.shape)
