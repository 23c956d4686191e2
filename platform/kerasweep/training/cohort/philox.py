"""The random bits of Keras's Dropout on TensorFlow, for many members at once; and normal numbers of them.

A member of a cohort must drop the very units that its own ``Model.fit`` would drop. TensorFlow's stateless generator
has no form for a stack of seeds, so its bits are computed here.

Source: Salmon, Moraes, Dror, Shaw: Parallel Random Numbers: As Easy as 1, 2, 3, SC 2011 (Philox4x32-10); which counter
and which key a seed gives, and how bits become numbers, is TensorFlow's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Tensor = Any
Words = NDArray[np.uint32]

_ROUNDS = 10
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_SCRAMBLE = (0x3EC8F720, 0x02461E29)
_MANTISSA = 0x7FFFFF
# Keras folds a seed into 31 bits like this, as TensorFlow wants.
_FOLD = 2**31 - 2


def keys(seeds: NDArray[np.int64], counts: NDArray[np.int64]) -> Words:
    """The generator's state for each call of a seed generator.

    Args:
        seeds: of ``keras.random.SeedGenerator``, any shape.
        counts: how often each has drawn before, of the same shape.

    Returns:
        ``(*shape, 4)``: the two words of the key, and the upper two of the counter.
    """
    low, count = (np.asarray(part % _FOLD, np.uint32) for part in (seeds, counts))
    zero = np.zeros_like(low)
    key = tuple(np.full_like(low, word) for word in _SCRAMBLE)
    return np.stack(_rounds_on_host((low, zero, count, zero), key), axis=-1)


def _rounds_on_host(counter: tuple[Words, ...], key: tuple[Words, ...]) -> tuple[Words, ...]:
    a, b, c, d = counter
    key_0, key_1 = key
    with np.errstate(over="ignore"):
        for _ in range(_ROUNDS):
            first = a.astype(np.uint64) * np.uint64(_MULTIPLIERS[0])
            second = c.astype(np.uint64) * np.uint64(_MULTIPLIERS[1])
            high = [(product >> np.uint64(32)).astype(np.uint32) for product in (first, second)]
            a, b, c, d = high[1] ^ b ^ key_0, second.astype(np.uint32), high[0] ^ d ^ key_1, first.astype(np.uint32)
            key_0, key_1 = key_0 + np.uint32(_WEYL[0]), key_1 + np.uint32(_WEYL[1])
    return a, b, c, d


def uniform(state: Tensor, count: int) -> Tensor:
    """Numbers in [0, 1), as ``tf.random.stateless_uniform`` draws them.

    Args:
        state: ``(members, 4)`` uint32 from ``keys``.
        count: how many for each member.

    Returns:
        ``(members, count)`` float32.
    """
    from keras import ops

    def word(value: int) -> Tensor:
        return ops.convert_to_tensor(np.uint32(value))

    def multiply(x: Tensor, factor: int) -> tuple[Tensor, Tensor]:
        """High and low word of a product; in halves, since not every backend has words of 64 bits."""
        half, sixteen = word(0xFFFF), word(16)
        high, low = word(factor >> 16), word(factor & 0xFFFF)
        x_high, x_low = ops.right_shift(x, sixteen), ops.bitwise_and(x, half)
        middle = x_high * low + ops.right_shift(x_low * low, sixteen)
        cross = x_low * high + ops.bitwise_and(middle, half)
        top = x_high * high + ops.right_shift(middle, sixteen) + ops.right_shift(cross, sixteen)
        return top, x * word(factor)

    groups = -(-count // 4)
    key_0, key_1, c, d = (state[:, i : i + 1] for i in range(4))
    a = ops.convert_to_tensor(np.arange(groups, dtype=np.uint32))[None, :]
    b = ops.zeros_like(a)
    for _ in range(_ROUNDS):
        (high_a, low_a), (high_c, low_c) = multiply(a, _MULTIPLIERS[0]), multiply(c, _MULTIPLIERS[1])
        a, b, c, d = (
            ops.bitwise_xor(ops.bitwise_xor(high_c, b), key_0),
            low_c,
            ops.bitwise_xor(ops.bitwise_xor(high_a, d), key_1),
            low_a,
        )
        key_0, key_1 = key_0 + word(_WEYL[0]), key_1 + word(_WEYL[1])
    bits = ops.reshape(ops.stack([a, b, c, d], axis=-1), (-1, groups * 4))[:, :count]
    return ops.cast(ops.cast(ops.bitwise_and(bits, word(_MANTISSA)), "int32"), "float32") * np.float32(2.0**-23)


def normal(state: Tensor, count: int) -> Tensor:
    """Standard normal numbers, by the transform of Box and Muller (1958); the largest possible one is 5.6.

    Args:
        state: ``(members, 4)`` uint32 from ``keys``.
        count: how many for each member.

    Returns:
        ``(members, count)`` float32.
    """
    from keras import ops

    half = -(-count // 2)
    drawn = uniform(state, 2 * half)
    radius = ops.sqrt(-2.0 * ops.log(1.0 - drawn[:, :half]))
    angle = np.float32(2.0 * np.pi) * drawn[:, half:]
    return ops.concatenate([radius * ops.cos(angle), radius * ops.sin(angle)], axis=1)[:, :count]
