"""The IDX format of the MNIST family: a big-endian header, then bytes.

Header: two zero bytes, the type (0x08: unsigned byte), the number of dimensions, then the size of each as 32 bits.
Described by LeCun, Cortes and Burges with the MNIST database.
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from kerasweep.data.rows import Array
from kerasweep.errors import DataError

_UNSIGNED_BYTE = 0x08


def read_idx(path: Path, dimensions: int) -> Array:
    """The array of a gzipped IDX file, uint8.

    Args:
        path: of the ``.gz`` file.
        dimensions: that it must have: 3 for images ``(rows, height, width)``, 1 for labels ``(rows,)``.

    Raises:
        DataError: it cannot be read, or its header or size is wrong.
    """
    try:
        with gzip.open(path) as file:
            content = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: the file must be gzipped IDX data. Received: {error}") from error
    magic = bytes((0, 0, _UNSIGNED_BYTE, dimensions))
    if content[:4] != magic:
        raise DataError(
            f"{path}: an IDX file of {dimensions}-d bytes must begin with {magic.hex()}. Received: {content[:4].hex()}"
        )
    start = 4 + 4 * dimensions
    shape = tuple(int.from_bytes(content[4 + 4 * axis : 8 + 4 * axis], "big") for axis in range(dimensions))
    if len(content) != start + math.prod(shape):
        raise DataError(
            f"{path}: an IDX file of shape {shape} must have {start + math.prod(shape)} bytes. Received: {len(content)}"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
