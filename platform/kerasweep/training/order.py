"""The order of the mini-batches: the same for every trainer and every backend."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Rows that a model is validated on at a time. Validation needs no gradients, so its batches only have to be large
# enough to keep the processor busy; but Keras means the loss of each of several outputs over them.
VALIDATION_BATCH = 1024


def epoch_order(seed: int, epoch: int, rows: int) -> NDArray[np.int32]:
    """The rows in the order of one epoch, ``(rows,)`` int32.

    Args:
        seed: ``Schedule.order_seed``.
        epoch: 0-based.
        rows: how many there are.
    """
    return np.random.default_rng((seed, epoch)).permutation(rows).astype(np.int32)
