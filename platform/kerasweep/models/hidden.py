"""Hidden layers, one after another: as Keras layers, and as what a member brings of them into a stack."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kerasweep.models.base import Array, Frame, Inputs
from kerasweep.records import Params, ParamValue
from kerasweep.seeds import derive
from kerasweep.spec.families import HIDDEN_PARAMETERS

if TYPE_CHECKING:
    import keras

Variables = tuple[list[Array | None], list[Array | None]]
"""Initial values of the trainable and of the other variables; None for those that a member lacks."""


def setting(params: Params, name: str) -> ParamValue:
    """A parameter of ``spec.families.HIDDEN_PARAMETERS``."""
    default = HIDDEN_PARAMETERS[name].default
    return params.get(name, default if default is not None else 0)


def widths(params: Params) -> tuple[int, ...]:
    """Units of each hidden layer."""
    return tuple(
        int(params.get(f"n_neurons_{layer}", setting(params, "n_neurons")))
        for layer in range(1, int(setting(params, "n_hidden")) + 1)
    )


def hidden_layers(params: Params, seed: int) -> list[keras.Layer]:
    """Each is dense, then batch normalisation if asked for (before the activation, as its authors have it, and in the
    place of the dense layer's bias), the activation, and dropout if any.

    Args:
        params: any of ``HIDDEN_PARAMETERS``; ``n_neurons_k`` sets the k-th hidden layer alone.
        seed: of the initial weights and of dropout.
    """
    from keras import layers

    normalised = bool(setting(params, "batch_norm"))
    stack: list[keras.Layer] = []
    for layer, units in enumerate(widths(params), 1):
        stack.append(
            layers.Dense(
                units,
                use_bias=not normalised,
                kernel_initializer=initializer(params, derive(seed, "kernel", layer)),
                kernel_regularizer=regularizer(params),
                name=f"hidden_{layer}",
            )
        )
        if normalised:
            stack.append(layers.BatchNormalization(name=f"norm_{layer}"))
        stack.append(layers.Activation(str(setting(params, "activation")), name=f"activation_{layer}"))
        if rate := float(setting(params, "dropout")):
            stack.append(layers.Dropout(rate, seed=_dropout_seed(seed, layer), name=f"dropout_{layer}"))
    return stack


def output_layer(params: Params, inputs: Inputs, seed: int, name: str = "output") -> keras.Layer:
    """An output layer, which has the task's activation and no other initialiser than Keras's own."""
    from keras import initializers, layers

    return layers.Dense(
        inputs.outputs,
        inputs.output_activation,
        kernel_initializer=initializers.GlorotUniform(derive(seed, "kernel", name)),
        kernel_regularizer=regularizer(params),
        name=name,
    )


def initializer(params: Params, seed: int) -> keras.Initializer:
    """The initialiser the parameters name."""
    import keras

    return keras.initializers.get({"class_name": str(setting(params, "initializer")), "config": {"seed": seed}})


def regularizer(params: Params) -> keras.Regularizer | None:
    """The penalty on every kernel; None without one."""
    import keras

    decay = float(setting(params, "l2"))
    return keras.regularizers.L2(decay) if decay else None


def cost(params: Params, features: int) -> tuple[int, int, int]:
    """Of the hidden layers alone: multiplications of a row's way forward, parameters, and units that hold a value."""
    normalised = bool(setting(params, "batch_norm"))
    hidden = widths(params)
    products = sum(a * b for a, b in itertools.pairwise((features, *hidden)))
    units = sum(hidden)
    return products, products + units * (4 if normalised else 1), units * (2 if normalised else 1)


def kind(params: Params) -> tuple[str, bool]:
    """What must be the same for a whole stack, whose members' depths and widths are filled up."""
    hidden = bool(widths(params))
    return str(setting(params, "activation")) if hidden else "", hidden and bool(setting(params, "batch_norm"))


def hidden_frame(members: Sequence[Params], *, roomy: bool) -> Frame:
    """As deep and wide as the largest member, widths rounded up if it is to be roomy."""
    hidden = [widths(params) for params in members]
    depth = max(map(len, hidden))
    if len({len(each) for each in hidden}) > 1:  # a layer that some lack must be as wide as what goes around it
        largest = [max(max(each, default=0) for each in hidden)] * depth
    else:
        largest = [max(each[layer] for each in hidden) for layer in range(depth)]
    if roomy:
        largest = [rounded(units) for units in largest]
    params: dict[str, ParamValue] = {
        **members[0],
        "n_hidden": depth,
        **{f"n_neurons_{layer}": units for layer, units in enumerate(largest, 1)},
        "dropout": max(float(setting(each, "dropout")) for each in members),
        "l2": max(float(setting(each, "l2")) for each in members),
    }
    dropping = drops(params)
    ends = [f"dropout_{layer}" if dropping else f"activation_{layer}" for layer in range(1, depth + 1)]
    own = [(*each, *[0] * (depth - len(each))) for each in hidden]
    uneven = roomy or len(set(hidden)) > 1
    missing = any(0 in each for each in own)
    return Frame(
        params=params,
        units={f"activation_{i + 1}": [each[i] for each in own] for i in range(depth) if uneven},
        widths={f"dropout_{i + 1}": [each[i] for each in own] for i in range(depth) if uneven and dropping},
        active={ends[i]: [each[i] > 0 for each in own] for i in range(1, depth) if missing},
        blocks={end: f"hidden_{i + 1}" for i, end in enumerate(ends)},
    )


def hidden_weights(params: Params, seed: int, frame: Frame, features: int) -> Variables:
    """Initial values of the frame's hidden layers, as ``hidden_layers`` would have them."""
    import numpy as np

    hidden = widths(params)
    norm = bool(setting(params, "batch_norm"))
    trainable: list[Array | None] = []
    others: list[Array | None] = []
    before = features
    for layer in range(1, int(frame.params["n_hidden"]) + 1):
        if layer > len(hidden):
            trainable += [None] * (3 if norm else 2)
            others += [None] * (2 if norm else 0)
            continue
        units = hidden[layer - 1]
        kernel, bias = dense_weights(params, seed, layer, (before, units))
        # The normalisation's factor, and its shift in the place of the bias.
        trainable += [kernel, np.ones(units, np.float32), bias] if norm else [kernel, bias]
        if norm:
            others += [np.zeros(units, np.float32), np.ones(units, np.float32)]
        before = units
    return trainable, others


def dense_weights(params: Params, seed: int, layer: str | int, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Initial values of a layer's kernel, with the initialiser that the parameters name, and of its bias."""
    import keras
    import numpy as np

    kernel = initializer(params, derive(seed, "kernel", layer))(shape, "float32")
    return keras.ops.convert_to_numpy(kernel), np.zeros(shape[-1], np.float32)


def output_weights(seed: int, before: int, outputs: int, name: str = "output") -> list[Array | None]:
    """Initial values of ``output_layer``, behind so many values."""
    import keras
    import numpy as np

    kernel = keras.initializers.GlorotUniform(derive(seed, "kernel", name))((before, outputs), "float32")
    return [keras.ops.convert_to_numpy(kernel), np.zeros(outputs, np.float32)]


def hidden_knobs(params: Params, frame: Frame, outputs: Sequence[str] = ("output",)) -> dict[str, float]:
    """Dropout rates, and the penalties of hidden layers and of the outputs, or whatever else is around them."""
    layers = range(1, int(frame.params["n_hidden"]) + 1)
    penalised = [*(f"hidden_{layer}" for layer in layers), *outputs]
    return layer_knobs(params, frame, [f"dropout_{layer}" for layer in layers], penalised)


def layer_knobs(params: Params, frame: Frame, dropouts: Sequence[str], penalised: Sequence[str]) -> dict[str, float]:
    """The rate of these dropout layers, and the penalty of these other layers, as far as the frame has them."""
    found: dict[str, float] = {}
    if drops(frame.params):
        found |= {f"{name}/rate": float(setting(params, "dropout")) for name in dropouts}
    if float(frame.params["l2"]) > 0:
        found |= {f"{name}/kernel_regularizer.l2": float(setting(params, "l2")) for name in penalised}
    return found


def hidden_seeds(seed: int, frame: Frame) -> dict[str, int]:
    """Of the dropout layers."""
    if not drops(frame.params):
        return {}
    return {f"dropout_{layer}": _dropout_seed(seed, layer) for layer in range(1, int(frame.params["n_hidden"]) + 1)}


def _dropout_seed(seed: int, layer: int) -> int:
    return derive(seed, "dropout", layer)


def rounded(units: int) -> int:
    """Up to a whole multiple of 8, or of a power of two that is at most a tenth of it."""
    grain = max(8, 1 << max(0, int(math.log2(max(units, 1) / 10))))
    return -(-units // grain) * grain


def drops(params: Params) -> bool:
    """Whether there are dropout layers."""
    return float(setting(params, "dropout")) > 0
