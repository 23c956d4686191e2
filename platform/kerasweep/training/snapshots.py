"""Snapshots on disk: one ``.npz`` of plain arrays, never a pickle, written whole or not at all."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from kerasweep.records import Copy, Decision
from kerasweep.training.base import Array, Snapshot

_FILE = "cohort.npz"
_STATE = "state"
_DECISION = "decision"


def save(snapshot: Snapshot, folder: Path) -> None:
    """Writes a snapshot into a folder that exists."""
    partial = folder / f"{_FILE}.partial"
    decision = {
        "stop": sorted(snapshot.decision.stop),
        "copies": [[target, copy.source, dict(copy.params)] for target, copy in snapshot.decision.copies.items()],
    }
    texts = {name: np.array(json.dumps(value)) for name, value in ((_STATE, snapshot.state), (_DECISION, decision))}
    with partial.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **texts, **snapshot.arrays)
    partial.replace(folder / _FILE)


def there(folder: Path) -> bool:
    """Whether a folder holds a snapshot."""
    return (folder / _FILE).is_file()


def load(folder: Path) -> Snapshot:
    """Reads what ``save`` wrote.

    Raises:
        FileNotFoundError: the folder holds no snapshot.
        ValueError: the file is damaged.
    """
    try:
        with (folder / _FILE).open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files if name not in (_STATE, _DECISION)}
            state, decided = (json.loads(str(archive[name])) for name in (_STATE, _DECISION))
            copies = {target: Copy(source, params) for target, source, params in decided["copies"]}
            return Snapshot(arrays, state, Decision(frozenset(decided["stop"]), copies))
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, ValueError) as error:
        raise ValueError(f"a snapshot must be whole. Received: {folder / _FILE}, damaged: {error}") from error


def named_best(number: int, weights: tuple[Array, ...]) -> dict[str, Array]:
    """A member's best weights under the names that they have in a snapshot."""
    return {f"best_{number}_{i}": weight for i, weight in enumerate(weights)}


def best_weights(snapshot: Snapshot, number: int) -> tuple[Array, ...]:
    """A member's weights of its best epoch, in the order of ``model.weights``; empty if the snapshot has none."""
    prefix = f"best_{number}_"
    count = sum(name.startswith(prefix) for name in snapshot.arrays)
    return tuple(snapshot.arrays[f"{prefix}{i}"] for i in range(count))


def under(prefix: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The arrays whose names begin so, without that beginning."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
