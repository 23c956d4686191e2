"""Convolutions of a stack: each member has kernels of its own.

The windows of an image become rows, so that a convolution is a product of matrices, and one large product does it for
all members as long as they see the same image. On CPUs that was measured faster than a grouped convolution, which XLA
has no fast gradient for.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from kerasweep.training.cohort.errors import Unstackable

if TYPE_CHECKING:
    import keras

    from kerasweep.training.cohort.layers import Pass

Tensor = Any
Pair = tuple[int, int]


def conv2d(way: Pass, layer: keras.layers.Conv2D, x: Tensor) -> Tensor:
    """``(members or 1, batch, height, width, channels)`` -> ``(members, batch, height', width', filters)``."""
    from keras import ops

    _check(layer)
    if layer.groups != 1:
        raise Unstackable(f"layer {layer.name} (Conv2D with groups)")
    windows = ops.concatenate(_windows(layer, x), axis=-1)
    kernel = way.value(layer._kernel)
    filters = kernel.shape[-1]
    size = math.prod(kernel.shape[1:-1])
    shape = windows.shape[1:-1]
    rows = math.prod(shape)
    kernel = ops.reshape(kernel, (way.members, size, filters))
    flat = ops.reshape(windows, (windows.shape[0], rows, size))
    if windows.shape[0] == 1:
        wide = ops.reshape(ops.transpose(kernel, (1, 0, 2)), (size, way.members * filters))
        y = ops.transpose(ops.reshape(ops.matmul(flat[0], wide), (rows, way.members, filters)), (1, 0, 2))
    else:
        y = ops.matmul(flat, kernel)
    if layer.bias is not None:
        y = y + way.value(layer.bias)[:, None, :]
    return _activated(layer, ops.reshape(y, (way.members, *shape, filters)))


def depthwise_conv2d(way: Pass, layer: keras.layers.DepthwiseConv2D, x: Tensor) -> Tensor:
    """``(members or 1, batch, height, width, channels)`` -> ``(members, batch, height', width', channels · depth)``."""
    from keras import ops

    _check(layer)
    kernel = way.value(layer.kernel)  # (members, height, width, channels, depth)
    places = [kernel[:, i, j] for i in range(kernel.shape[1]) for j in range(kernel.shape[2])]
    y = sum(
        window[..., None] * ops.reshape(weights, (way.members, 1, 1, 1, *weights.shape[1:]))
        for window, weights in zip(_windows(layer, x), places, strict=True)
    )
    y = ops.reshape(y, (*y.shape[:4], y.shape[4] * y.shape[5]))
    if layer.bias is not None:
        y = y + ops.reshape(way.value(layer.bias), (way.members, 1, 1, 1, -1))
    return _activated(layer, y)


def max_pooling2d(way: Pass, layer: keras.layers.MaxPooling2D, x: Tensor) -> Tensor:
    """``(…, batch, height, width, channels)`` -> ``(…, batch, height', width', channels)``.

    The largest of the image shifted to each place of the window: XLA's own pooling has a slow gradient on CPUs.
    """
    from keras import ops

    _check(layer)
    return functools.reduce(ops.maximum, _shifted(x, layer.pool_size, layer.strides, (1, 1), layer.padding, -np.inf))


def _activated(layer: keras.Layer, y: Tensor) -> Tensor:
    return y if layer.activation is None else layer.activation(y)


def _check(layer: keras.Layer) -> None:
    if layer.data_format != "channels_last":
        raise Unstackable(f"layer {layer.name} ({type(layer).__name__} with {layer.data_format})")


def _windows(layer: keras.Layer, x: Tensor) -> list[Tensor]:
    """The image shifted to each place of a layer's kernel."""
    return _shifted(x, layer.kernel_size, layer.strides, layer.dilation_rate, layer.padding, 0.0)


def _shifted(x: Tensor, extents: Pair, strides: Pair, spacings: Pair, padding: str, outside: float) -> list[Tensor]:
    """The image shifted to each place of a window, row by row; each ``(…, height', width', channels)``.

    Args:
        x: ``(…, batch, height, width, channels)``.
        extents: of the window, as the next two in height and width.
        strides: from one window to the next.
        spacings: between the window's places.
        padding: ``same`` or ``valid``, as TensorFlow has them.
        outside: what is seen beyond the image.
    """
    from keras import ops

    axes = []  # of height and width: padding, start of each place, and length of a window's sweep
    for size, extent, stride, spacing in zip(x.shape[2:4], extents, strides, spacings, strict=True):
        reach = (extent - 1) * spacing + 1
        if padding == "same":
            length = -(-size // stride)
            missing = max((length - 1) * stride + reach - size, 0)
        else:
            length, missing = (size - reach) // stride + 1, 0
        axes.append(((missing // 2, missing - missing // 2), [i * spacing for i in range(extent)], stride, length))
    (pad_y, starts_y, stride_y, height), (pad_x, starts_x, stride_x, width) = axes
    if any(pad_y) or any(pad_x):
        x = ops.pad(x, ((0, 0), (0, 0), pad_y, pad_x, (0, 0)), constant_values=outside)
    return [
        x[:, :, i : i + (height - 1) * stride_y + 1 : stride_y, j : j + (width - 1) * stride_x + 1 : stride_x]
        for i in starts_y
        for j in starts_x
    ]
