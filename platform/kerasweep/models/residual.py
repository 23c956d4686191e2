"""The residual network for tables: as a Keras model, and as what it brings into a stack of such models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kerasweep.models import hidden
from kerasweep.models.base import Array, Frame, Inputs, Size
from kerasweep.records import Params, ParamValue
from kerasweep.seeds import derive
from kerasweep.spec.families import RESIDUAL_PARAMETERS

if TYPE_CHECKING:
    import keras

# Inside a block there are so many times the units that go from block to block, as in the authors' own default.
_WIDER = 2


def residual(params: Params, inputs: Inputs, seed: int) -> keras.Model:
    """A residual network of dense layers.

    After Gorishniy et al., "Revisiting Deep Learning Models for Tabular Data" (2021), who took it from He et al., "Deep
    Residual Learning for Image Recognition" (2016): a dense layer without activation, then ``n_blocks`` blocks of
    ``x + dense(dropout(activation(dense(norm(x)))))``, then the output layer on ``activation(norm(x))``. Between blocks
    there are ``n_neurons`` units, inside of them twice as many.

    Args:
        params: any of ``spec.families.RESIDUAL_PARAMETERS``; batch normalisation is left out unless asked for. With it,
            layers that it alone is fed by have no bias: it would take away any.
        inputs: shape of a row (flattened first if it has several axes) and the task.
        seed: of the initial weights and of dropout.
    """
    import keras
    from keras import layers

    def dense(units: int, name: str, bias: bool) -> keras.Layer:
        return layers.Dense(
            units,
            use_bias=bias,
            kernel_initializer=hidden.initializer(params, derive(seed, "kernel", name)),
            kernel_regularizer=hidden.regularizer(params),
            name=name,
        )

    def activated(x: keras.KerasTensor, place: str) -> keras.KerasTensor:
        return layers.Activation(str(hidden.setting(params, "activation")), name=f"activation_{place}")(x)

    def normalised(x: keras.KerasTensor, place: str) -> keras.KerasTensor:
        return layers.BatchNormalization(name=f"norm_{place}")(x) if norm else x

    norm = bool(hidden.setting(params, "batch_norm"))
    width, rate = _width(params), float(hidden.setting(params, "dropout"))
    rows = keras.Input(inputs.shape)
    x = rows if len(inputs.shape) == 1 else layers.Flatten(name="flatten")(rows)
    x = dense(width, "stem", not norm)(x)
    for block in range(1, _blocks(params) + 1):
        inner = dense(_WIDER * width, f"inner_{block}", True)(normalised(x, str(block)))
        inner = activated(inner, str(block))
        if rate:
            inner = layers.Dropout(rate, seed=_dropout_seed(seed, block), name=f"dropout_{block}")(inner)
        x = layers.Add(name=f"block_{block}")([x, dense(width, f"outer_{block}", not norm)(inner)])
    return keras.Model(rows, hidden.output_layer(params, inputs, seed)(activated(normalised(x, "last"), "last")))


def _width(params: Params) -> int:
    return int(hidden.setting(params, "n_neurons"))


def _blocks(params: Params) -> int:
    return int(params.get("n_blocks", RESIDUAL_PARAMETERS["n_blocks"].default or 1))


def _dropout_seed(seed: int, block: int) -> int:
    return derive(seed, "dropout", block)


@dataclass(frozen=True)
class StackedResidual:
    """See ``models.base.Stackable``; ``inputs`` as in ``residual``.

    Widths are filled up as those of hidden layers are. A block that a member lacks hands on what it is given.
    """

    inputs: Inputs

    def size(self, params: Params) -> Size:
        """Widths and the number of blocks may be filled up; activation and batch normalisation are a stack's own."""
        width, blocks, outputs = _width(params), _blocks(params), self.inputs.outputs
        inner = _WIDER * width
        norms = blocks + 1 if hidden.setting(params, "batch_norm") else 0
        biases = blocks * inner + outputs + (0 if norms else (blocks + 1) * width)
        products = self.inputs.features * width + blocks * 2 * width * inner + width * outputs
        return Size(
            kind=(str(hidden.setting(params, "activation")), norms > 0),
            hidden=(width, *(inner, width) * blocks),
            products=products,
            parameters=products + biases + norms * 4 * width,
            units=width + blocks * 2 * (inner + width) + norms * width + width + outputs,
        )

    def frame(self, members: Sequence[Params], *, roomy: bool) -> Frame:
        """As wide as the widest member, rounded up if it is to be roomy, with as many blocks as any has."""
        widths, depths = [_width(params) for params in members], [_blocks(params) for params in members]
        deepest = range(1, max(depths) + 1)
        params: dict[str, ParamValue] = {
            **members[0],
            "n_neurons": hidden.rounded(max(widths)) if roomy else max(widths),
            "n_blocks": max(depths),
            "dropout": max(float(hidden.setting(each, "dropout")) for each in members),
            "l2": max(float(hidden.setting(each, "l2")) for each in members),
        }
        inner = [_WIDER * width for width in widths]
        uneven = roomy or len(set(widths)) > 1
        units = {f"activation_{block}": inner for block in deepest} | {"activation_last": widths}
        first = "norm" if hidden.setting(params, "batch_norm") else "inner"
        return Frame(
            params=params,
            units=units if uneven else {},
            widths={f"dropout_{block}": inner for block in deepest if uneven and hidden.drops(params)},
            active={f"block_{block}": [depth >= block for depth in depths] for block in deepest if block > min(depths)},
            blocks={f"block_{block}": f"{first}_{block}" for block in deepest},
        )

    def weights(self, params: Params, seed: int, frame: Frame) -> hidden.Variables:
        """Initial values, as ``residual`` would have them."""
        width, inner = _width(params), _WIDER * _width(params)
        norm = bool(hidden.setting(params, "batch_norm"))
        scale, shift = np.ones(width, np.float32), np.zeros(width, np.float32)  # of a normalisation

        def dense(before: int, units: int, name: str, bias: bool) -> tuple[Array, ...]:
            return hidden.dense_weights(params, seed, name, (before, units))[: 2 if bias else 1]

        trainable: list[Array | None] = [*dense(self.inputs.features, width, "stem", not norm)]
        others: list[Array | None] = []
        for block in range(1, int(frame.params["n_blocks"]) + 1):
            if block > _blocks(params):
                trainable += [None] * (5 if norm else 4)
                others += [None] * (2 if norm else 0)
                continue
            trainable += [scale, shift] if norm else []
            others += [shift, scale] if norm else []
            trainable += dense(width, inner, f"inner_{block}", True)
            trainable += dense(inner, width, f"outer_{block}", not norm)
        trainable += [scale, shift] if norm else []
        others += [shift, scale] if norm else []
        return [*trainable, *hidden.output_weights(seed, width, self.inputs.outputs)], others

    def knobs(self, params: Params, frame: Frame) -> dict[str, float]:
        """Dropout rates and penalties."""
        blocks = range(1, int(frame.params["n_blocks"]) + 1)
        dense = [f"{part}_{block}" for block in blocks for part in ("inner", "outer")]
        drops = [f"dropout_{block}" for block in blocks]
        return hidden.layer_knobs(params, frame, drops, ("stem", *dense, "output"))

    def seeds(self, seed: int, frame: Frame) -> dict[str, int]:
        """Of the dropout layers."""
        if not hidden.drops(frame.params):
            return {}
        return {f"dropout_{block}": _dropout_seed(seed, block) for block in range(1, int(frame.params["n_blocks"]) + 1)}
