"""Datasets by name: bundled with kerasweep or scikit-learn, the Playground's, or image sets, wherever they lie."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from kerasweep.data.arrays import npz_arrays, npz_names
from kerasweep.data.idx import read_idx
from kerasweep.data.playground import CLASSES, playground
from kerasweep.data.rows import Array, Rows
from kerasweep.data.sources import Raw, checked
from kerasweep.errors import DataError
from kerasweep.spec.pipeline import DataSpec
from kerasweep.spec.vocabulary import DATASETS

DATA_VARIABLE = "KERASWEEP_DATA"
"""Environment variable: a folder in which the image sets are looked for first."""

_VALIDATION_IMAGES = 5000
_CLASSES = {
    "mnist": tuple("0123456789"),
    "fashion_mnist": (
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
    ),
}  # fmt: skip
_IDX = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}
_SERVER = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"
_MNIST_SHA256 = "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1"


def read_named(spec: DataSpec) -> Raw:
    """A dataset of ``vocabulary.DATASETS``.

    Raises:
        DataError: an image set is nowhere to be found and cannot be downloaded, or its files are damaged.
    """
    name = str(spec.name)
    if name == "california_housing":
        return _california(spec)
    if name.startswith("playground_"):
        return _raw(spec, *playground(name), classes=CLASSES, targets=("colour",))
    return _images(name, spec) if DATASETS[name].images else _scikit_learn(name, spec)


def _california(spec: DataSpec) -> Raw:
    with resources.as_file(resources.files("kerasweep.data") / "bundled" / "california_housing.npz") as path:
        x, y = npz_arrays(path, "X", "y")
    return _raw(spec, x, y, targets=("MedHouseVal",))


def _scikit_learn(name: str, spec: DataSpec) -> Raw:
    from sklearn import datasets

    bunch: Any = getattr(datasets, f"load_{name}")()
    classes = tuple(map(str, bunch.target_names)) if "target_names" in bunch else ()
    return _raw(spec, bunch.data, bunch.target, classes=classes, targets=("target",))


def _raw(spec: DataSpec, x: Rows, y: Array, **known: Any) -> Raw:
    name = str(spec.name)
    rows, target, _ = checked(name, x, y, missing_allowed=False)
    return Raw(rows, target, name, task=DATASETS[name].task, **known)


@dataclass(frozen=True)
class _Place:
    """An image set on disk: a folder of IDX files, or a NumPy archive."""

    path: Path

    def missing(self) -> str:
        """What keeps this place from holding the set; empty if nothing does. No file is opened."""
        if self.path.suffix == ".npz":
            return "" if self.path.is_file() else "no such file"
        if not self.path.is_dir():
            return "no such folder"
        lacking = [name for part in _IDX.values() for name in part if not (self.path / name).is_file()]
        return f"the folder lacks {', '.join(lacking)}" if lacking else ""

    def read(self, part: str) -> tuple[Array, Array]:
        """Images ``(rows, 28, 28)`` uint8 and labels ``(rows,)`` of ``train`` or ``test``; the other is not opened."""
        if self.path.suffix == ".npz":
            wanted = (f"x_{part}", f"y_{part}")
            if not set(wanted) <= npz_names(self.path):
                raise DataError(
                    f"{self.path}: the archive must hold {wanted[0]} and {wanted[1]}. Received: one without them"
                )
            x, y = npz_arrays(self.path, *wanted)
        else:
            images, labels = _IDX[part]
            x, y = read_idx(self.path / images, 3), read_idx(self.path / labels, 1)
        if x.shape[1:] != (28, 28) or x.dtype != np.uint8:
            raise DataError(f"{self.path}: images must be 28 x 28 bytes. Received: {x.shape[1:]}, {x.dtype}")
        return x, y


def _images(name: str, spec: DataSpec) -> Raw:
    place = _found(name)
    x, y = place.read("train")
    rows, target, _ = checked(f"{name} in {place.path}", x, y, missing_allowed=False)
    return Raw(
        rows,
        target,
        f"{name} in {place.path}",
        task=DATASETS[name].task,
        classes=_CLASSES[name],
        targets=("label",),
        validation_rows=_VALIDATION_IMAGES,
        own_test=lambda: place.read("test"),
    )


def _found(name: str) -> _Place:
    tried = []
    for place in _places(name):
        lacking = place.missing()
        if not lacking:
            return place
        tried.append(f"  {place.path}: {lacking}")
    try:
        return _downloaded(name)
    except Exception as error:  # whatever a proxy, a socket, a full disk or Keras raises
        raise DataError(
            f"{name} must be in one of these places, or be downloaded. Received:\n"
            + "\n".join(tried)
            + f"\n  {_SERVER}: {type(error).__name__}: {error}\n"
            f"Set {DATA_VARIABLE} to a folder that holds it."
        ) from error


def _places(name: str) -> Iterator[_Place]:
    roots = [Path(os.environ[DATA_VARIABLE]).expanduser()] if os.environ.get(DATA_VARIABLE) else []
    for root in (*roots, _keras_cache(), Path("/usr/share/datasets")):
        for stem in dict.fromkeys((name.replace("_", "-"), name)):
            yield _Place(root / f"{stem}.npz")
            yield _Place(root / stem / f"{stem}.npz")
            yield _Place(root / stem)


def _keras_cache() -> Path:
    home = os.environ.get("KERAS_HOME")
    return (Path(home) if home else Path.home() / ".keras") / "datasets"


def _downloaded(name: str) -> _Place:
    """Has Keras fetch the set into its cache, and says where it is."""
    import keras

    cache = str(_keras_cache().parent)
    # Keras draws its progress on standard output, which belongs to what the user asked to be printed.
    with contextlib.redirect_stdout(sys.stderr):
        if name == "mnist":
            got = keras.utils.get_file("mnist.npz", f"{_SERVER}mnist.npz", file_hash=_MNIST_SHA256, cache_dir=cache)
            return _Place(Path(got))
        folder = name.replace("_", "-")
        for file in (file for part in _IDX.values() for file in part):
            got = keras.utils.get_file(file, _SERVER + file, cache_subdir=f"datasets/{folder}", cache_dir=cache)
    return _Place(Path(got).parent)
