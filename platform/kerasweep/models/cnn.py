"""The convolutional network for images: as a Keras model, and as what it brings into a stack of such models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kerasweep.errors import ModelError
from kerasweep.models import hidden
from kerasweep.models.base import Array, Frame, Inputs, Size
from kerasweep.records import Params
from kerasweep.seeds import derive
from kerasweep.spec.families import CNN_PARAMETERS

if TYPE_CHECKING:
    import keras

_KERNEL = 3


def cnn(params: Params, inputs: Inputs, seed: int) -> keras.Model:
    """A convolutional network, in the manner of chapter 14 of Géron's book.

    ``n_conv`` blocks of a convolution of 3 x 3, batch normalisation if asked for (in the place of its bias), the
    activation, and the maximum of 2 x 2; each has twice the filters of the one before, beginning with ``filters``. Then
    hidden layers, as ``mlp`` has them, and the output layer. At the margins images are filled up, so that even small
    ones go through many blocks.

    Args:
        params: any of ``spec.families.CNN_PARAMETERS``.
        inputs: shape of an image, ``(height, width)`` or ``(height, width, channels)``, and the task.
        seed: of the initial weights and of dropout.

    Raises:
        ModelError: rows are no images.
    """
    import keras
    from keras import layers

    normalised = bool(hidden.setting(params, "batch_norm"))
    stack: list[keras.Layer] = [keras.Input(inputs.shape)]
    if len(inputs.shape) == 2:
        stack.append(layers.Reshape((*inputs.shape, 1), name="channels"))
    for block in _blocks(params, inputs):
        stack.append(
            layers.Conv2D(
                block.filters,
                _KERNEL,
                padding="same",
                use_bias=not normalised,
                kernel_initializer=hidden.initializer(params, derive(seed, "kernel", block.layer)),
                kernel_regularizer=hidden.regularizer(params),
                name=block.layer,
            )
        )
        if normalised:
            stack.append(layers.BatchNormalization(name=f"{block.layer}_norm"))
        stack.append(layers.Activation(str(hidden.setting(params, "activation")), name=f"{block.layer}_activation"))
        stack.append(layers.MaxPooling2D(2, padding="same", name=f"{block.layer}_pool"))
    stack.append(layers.Flatten(name="flatten"))
    stack += hidden.hidden_layers(params, seed)
    return keras.Sequential([*stack, hidden.output_layer(params, inputs, seed)])


@dataclass(frozen=True)
class _Block:
    """A convolution and what follows it.

    Attributes:
        layer: its name.
        places: of its output, before the maximum is taken.
        channels: of its input.
        filters: of its output.
        left: numbers of a row after the maximum.
    """

    layer: str
    places: int
    channels: int
    filters: int
    left: int


def _blocks(params: Params, inputs: Inputs) -> Iterator[_Block]:
    if not inputs.images:
        raise ModelError(f"the architecture cnn needs rows of 2 or 3 axes: images. Received: rows of {inputs.shape}")
    height, width = inputs.shape[:2]
    channels = inputs.shape[2] if len(inputs.shape) == 3 else 1
    filters = _setting(params, "filters")
    for number in range(1, _setting(params, "n_conv") + 1):
        places = height * width
        height, width = -(-height // 2), -(-width // 2)
        yield _Block(f"conv_{number}", places, channels, filters, height * width * filters)
        channels, filters = filters, 2 * filters


def _setting(params: Params, name: str) -> int:
    return int(params.get(name, CNN_PARAMETERS[name].default or 1))


@dataclass(frozen=True)
class StackedCnn:
    """See ``models.base.Stackable``; ``inputs`` as in ``cnn``.

    Members of a stack have the same convolutions; their hidden layers are filled up as those of ``mlp`` are.
    """

    inputs: Inputs

    def size(self, params: Params) -> Size:
        """Hidden layers may be filled up; convolutions, activation and batch normalisation are a stack's own."""
        blocks = list(_blocks(params, self.inputs))
        normalised = bool(hidden.setting(params, "batch_norm"))
        units, outputs = hidden.widths(params), self.inputs.outputs
        products, parameters, values = hidden.cost(params, blocks[-1].left)
        last = (units or (blocks[-1].left,))[-1] * outputs
        for block in blocks:
            kernel = _KERNEL**2 * block.channels * block.filters
            products += block.places * kernel
            parameters += kernel + block.filters * (4 if normalised else 1)
            # A stack cuts images into the windows that a convolution looks at, one beside the other.
            windows = _KERNEL**2 * block.channels
            values += block.places * (windows + (3 if normalised else 2) * block.filters) + block.left
        return Size(
            kind=(*hidden.kind(params), bool(units), len(blocks), blocks[0].filters),
            hidden=units,
            products=products + last,
            parameters=parameters + last + outputs,
            units=values + outputs,
        )

    def frame(self, members: Sequence[Params], *, roomy: bool) -> Frame:
        """The hidden layers are as deep and wide as the largest member's."""
        return hidden.hidden_frame(members, roomy=roomy)

    def weights(self, params: Params, seed: int, frame: Frame) -> hidden.Variables:
        """Initial values, as ``cnn`` would have them."""
        trainable: list[Array | None] = []
        others: list[Array | None] = []
        blocks = list(_blocks(params, self.inputs))
        for block in blocks:
            shape = (_KERNEL, _KERNEL, block.channels, block.filters)
            kernel, bias = hidden.dense_weights(params, seed, block.layer, shape)
            if hidden.setting(params, "batch_norm"):
                trainable += [kernel, np.ones(block.filters, np.float32), bias]
                others += [np.zeros(block.filters, np.float32), np.ones(block.filters, np.float32)]
            else:
                trainable += [kernel, bias]
        left = blocks[-1].left
        own, rest = hidden.hidden_weights(params, seed, frame, left)
        before = (hidden.widths(params) or (left,))[-1]
        return [*trainable, *own, *hidden.output_weights(seed, before, self.inputs.outputs)], [*others, *rest]

    def knobs(self, params: Params, frame: Frame) -> dict[str, float]:
        """Dropout rates and penalties."""
        convolutions = [block.layer for block in _blocks(params, self.inputs)]
        return hidden.hidden_knobs(params, frame, (*convolutions, "output"))

    def seeds(self, seed: int, frame: Frame) -> dict[str, int]:
        """Of the dropout layers."""
        return hidden.hidden_seeds(seed, frame)
