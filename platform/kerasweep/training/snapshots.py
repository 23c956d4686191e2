"""Snapshots on disk: one ``.npz`` of plain arrays, never a pickle, written whole or not at all."""

from __future__ import annotations

import json
import zipfile
import zlib
from pathlib import Path

import numpy as np

from kerasweep.training.base import Array, Snapshot

_FILE = "cohort.npz"
_STATE = "state"


def save(snapshot: Snapshot, folder: Path) -> None:
    """Writes a snapshot into a folder that exists."""
    partial = folder / f"{_FILE}.partial"
    with partial.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **{_STATE: np.array(json.dumps(snapshot.state)), **snapshot.arrays})
    partial.replace(folder / _FILE)


def load(folder: Path) -> Snapshot:
    """Reads what ``save`` wrote.

    Raises:
        FileNotFoundError: the folder holds no snapshot.
        ValueError: the file is damaged.
    """
    try:
        with np.load(folder / _FILE, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files if name != _STATE}
            return Snapshot(arrays, json.loads(str(archive[_STATE])))
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, ValueError) as error:
        raise ValueError(f"a snapshot must be whole. Received: {folder / _FILE}, damaged: {error}") from error


def best_weights(snapshot: Snapshot) -> tuple[Array, ...]:
    """The weights of the best epoch, in the order of ``model.weights``; empty before the first epoch."""
    count = sum(name.startswith("best_") for name in snapshot.arrays)
    return tuple(snapshot.arrays[f"best_{i}"] for i in range(count))
