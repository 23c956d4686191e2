"""A digest that tells whether two studies saw the same data, split in the same way."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import numpy as np

from kerasweep.data.rows import Array, Features, Rows
from kerasweep.spec.pipeline import DataSpec


def fingerprint(x: Rows, y: Features, spec: DataSpec, weights: Array | None = None) -> str:
    """SHA-256 over the arrays (names, types, shapes, values) and the options of the split, in hexadecimal.

    It does not depend on the machine, the process or the path of the file. For data with a test split of their own it
    covers the rest: the test files are not opened for it.
    """
    digest = hashlib.sha256(b"kerasweep data 1\n")
    parts = {f"x/{name}": column for name, column in x.items()} if isinstance(x, Mapping) else {"x": x}
    own = {} if weights is None else {"weights": weights}
    targets = {f"y/{name}": target for name, target in y.items()} if isinstance(y, Mapping) else {"y": y}
    for name, array in {**parts, **targets, **own}.items():
        _add(digest, name, array)
    options = {"seed": spec.seed, "test": spec.test, "validation": spec.validation}
    digest.update(json.dumps(options, sort_keys=True).encode())
    return digest.hexdigest()


def _add(digest: hashlib._Hash, name: str, array: Array) -> None:
    header = [name, "object" if array.dtype.kind == "O" else array.dtype.newbyteorder("<").str, list(array.shape)]
    digest.update(json.dumps(header).encode() + b"\n")
    if array.dtype.kind == "O":
        # JSON keeps None, True and "True", and one value and the next, apart.
        digest.update(json.dumps(array.tolist()).encode())
    else:
        little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        digest.update(little.reshape(-1).view(np.uint8).data)
