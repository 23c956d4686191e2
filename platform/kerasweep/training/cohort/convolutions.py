"""Convolutions of a stack: each member has kernels of its own.

They become products of matrices, which was measured faster on CPUs than a grouped convolution, for which XLA has no
fast gradient.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
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
    rows, columns = axes = _axes_of(layer, x)
    x, kernel = _padded(x, axes, 0.0), way.value(layer._kernel)
    _, _, width, channels, filters = kernel.shape
    if x.shape[0] < way.members:
        y = _of_one_image(x, kernel, axes)
    elif rows.stride == 1 and filters < width * channels:  # else the products are more than the windows would be
        y = _by_rows(x, kernel, axes)
    else:
        y = _by_windows(x, kernel, axes)
    y = ops.reshape(y, (way.members, x.shape[1], rows.length, columns.length, -1))
    if layer.bias is not None:
        y = y + ops.reshape(way.value(layer.bias), (way.members, 1, 1, 1, -1))
    return _activated(layer, y)


def _of_one_image(x: Tensor, kernel: Tensor, axes: tuple[Axis, Axis]) -> Tensor:
    """All members see the same images: one product of their windows with everybody's kernels side by side."""
    from keras import ops

    members, filters, size = kernel.shape[0], kernel.shape[-1], math.prod(kernel.shape[1:-1])
    windows = ops.reshape(ops.concatenate(_windows(x, axes), axis=-1), (-1, size))
    wide = ops.reshape(ops.transpose(ops.reshape(kernel, (members, size, filters)), (1, 0, 2)), (size, -1))
    return ops.transpose(ops.reshape(ops.matmul(windows, wide), (-1, members, filters)), (1, 0, 2))


def _by_windows(x: Tensor, kernel: Tensor, axes: tuple[Axis, Axis]) -> Tensor:
    """The windows of each member's images times its kernels."""
    from keras import ops

    members, filters, size = kernel.shape[0], kernel.shape[-1], math.prod(kernel.shape[1:-1])
    windows = ops.reshape(ops.concatenate(_windows(x, axes), axis=-1), (members, -1, size))
    return ops.matmul(windows, ops.reshape(kernel, (members, size, filters)))


def _by_rows(x: Tensor, kernel: Tensor, axes: tuple[Axis, Axis]) -> Tensor:
    """Windows of one row each, times all rows of the kernel side by side; what belongs together is then summed.

    Measured an eighth faster than by windows of several rows, most of which are copies of each other.
    """
    from keras import ops

    rows, columns = axes
    members, height, width, channels, filters = kernel.shape
    windows = ops.concatenate([x[:, :, :, columns.seen(j)] for j in columns.starts], axis=-1)
    flat = ops.reshape(windows, (members, -1, width * channels))
    wide = ops.reshape(ops.transpose(kernel, (0, 2, 3, 1, 4)), (members, width * channels, height * filters))
    products = ops.reshape(ops.matmul(flat, wide), (*windows.shape[:4], height, filters))
    return sum(products[:, :, rows.seen(i), :, place] for place, i in enumerate(rows.starts))


def depthwise_conv2d(way: Pass, layer: keras.layers.DepthwiseConv2D, x: Tensor) -> Tensor:
    """``(members or 1, batch, height, width, channels)`` -> ``(members, batch, height', width', channels · depth)``."""
    from keras import ops

    _check(layer)
    axes = _axes_of(layer, x)
    kernel = way.value(layer.kernel)  # (members, height, width, channels, depth)
    places = [kernel[:, i, j] for i in range(kernel.shape[1]) for j in range(kernel.shape[2])]
    y = sum(
        window[..., None] * ops.reshape(weights, (way.members, 1, 1, 1, *weights.shape[1:]))
        for window, weights in zip(_windows(_padded(x, axes, 0.0), axes), places, strict=True)
    )
    y = ops.reshape(y, (*y.shape[:4], y.shape[4] * y.shape[5]))
    if layer.bias is not None:
        y = y + ops.reshape(way.value(layer.bias), (way.members, 1, 1, 1, -1))
    return _activated(layer, y)


def max_pooling2d(way: Pass, layer: keras.layers.MaxPooling2D, x: Tensor) -> Tensor:
    """``(…, batch, height, width, channels)`` -> ``(…, batch, height', width', channels)``.

    XLA's own pooling has a slow gradient on CPUs. Here it is the largest of the image shifted to each place of the
    window, and faster still where windows do not overlap.
    """
    from keras import ops

    _check(layer)
    extents = tuple(layer.pool_size)
    if tuple(layer.strides) == extents and (layer.padding == "valid" or not any(np.mod(x.shape[2:4], extents))):
        return _tiled_max(x, extents)
    axes = _axes(x, extents, layer.strides, (1, 1), layer.padding)
    return functools.reduce(ops.maximum, _windows(_padded(x, axes, -np.inf), axes))


def _tiled_max(x: Tensor, extents: Pair) -> Tensor:
    """The largest of each window of images that windows without overlap cover, up to a margin at bottom and right.

    The gradient goes to the first of the largest, as Keras has it. It needs no more of the images than where that was.
    """
    from keras import ops

    (rows, columns), (height, width) = extents, x.shape[2:4]
    tall, wide = height // rows, width // columns
    places = np.arange(rows * columns).reshape(1, 1, 1, rows, 1, columns, 1)

    @ops.custom_gradient  # type: ignore[untyped-decorator]  # Keras has no types here
    def largest(x: Tensor) -> tuple[Tensor, Any]:
        tiles = ops.reshape(x[:, :, : tall * rows, : wide * columns], (*x.shape[:2], tall, rows, wide, columns, -1))
        parts = [tiles[:, :, :, i, :, j] for i in range(rows) for j in range(columns)]
        y = functools.reduce(ops.maximum, parts)
        first = ops.full_like(y, len(parts) - 1, dtype="int32")
        for place in range(len(parts) - 2, -1, -1):
            first = ops.where(parts[place] == y, place, first)

        def gradient(upstream: Tensor) -> Tensor:
            here = first[:, :, :, None, :, None] == ops.convert_to_tensor(places, "int32")
            spread = ops.where(here, upstream[:, :, :, None, :, None], 0.0)
            spread = ops.reshape(spread, (*x.shape[:2], tall * rows, wide * columns, -1))
            margin = ((0, 0), (0, 0), (0, height - tall * rows), (0, width - wide * columns), (0, 0))
            return ops.pad(spread, margin) if any(map(any, margin)) else spread

        return y, gradient

    return largest(x)


def _activated(layer: keras.Layer, y: Tensor) -> Tensor:
    return y if layer.activation is None else layer.activation(y)


def _check(layer: keras.Layer) -> None:
    if layer.data_format != "channels_last":
        raise Unstackable(f"layer {layer.name} ({type(layer).__name__} with {layer.data_format})")


@dataclass(frozen=True)
class Axis:
    """How windows sweep over the height or the width of images.

    Attributes:
        margins: that are added before and after.
        starts: where the first window has each of its places.
        stride: from one window to the next.
        length: how many windows there are.
    """

    margins: Pair
    starts: tuple[int, ...]
    stride: int
    length: int

    def seen(self, start: int) -> slice:
        """What all windows have at one of their places."""
        return slice(start, start + (self.length - 1) * self.stride + 1, self.stride)


def _axes_of(layer: keras.Layer, x: Tensor) -> tuple[Axis, Axis]:
    """Of a layer's kernel."""
    return _axes(x, layer.kernel_size, layer.strides, layer.dilation_rate, layer.padding)


def _axes(x: Tensor, extents: Pair, strides: Pair, spacings: Pair, padding: str) -> tuple[Axis, Axis]:
    """Of height and width.

    Args:
        x: ``(…, batch, height, width, channels)``.
        extents: of the window, as the next two in height and width.
        strides: from one window to the next.
        spacings: between the window's places.
        padding: ``same`` or ``valid``, as TensorFlow has them.
    """

    def axis(size: int, extent: int, stride: int, spacing: int) -> Axis:
        reach = (extent - 1) * spacing + 1
        if padding == "same":
            length = -(-size // stride)
            missing = max((length - 1) * stride + reach - size, 0)
        else:
            length, missing = (size - reach) // stride + 1, 0
        return Axis((missing // 2, missing - missing // 2), tuple(i * spacing for i in range(extent)), stride, length)

    rows, columns = map(axis, x.shape[2:4], extents, strides, spacings)
    return rows, columns


def _padded(x: Tensor, axes: tuple[Axis, Axis], outside: float) -> Tensor:
    """The images with margins that look so."""
    from keras import ops

    if not any(any(axis.margins) for axis in axes):
        return x
    return ops.pad(x, ((0, 0), (0, 0), *(axis.margins for axis in axes), (0, 0)), constant_values=outside)


def _windows(x: Tensor, axes: tuple[Axis, Axis]) -> list[Tensor]:
    """Padded images shifted to each place of the windows, row by row; each ``(…, height', width', channels)``."""
    rows, columns = axes
    return [x[:, :, rows.seen(i), columns.seen(j)] for i in rows.starts for j in columns.starts]
