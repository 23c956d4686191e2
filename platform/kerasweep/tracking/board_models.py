"""What TensorBoard shows of trained networks: histograms of their weights, and their graph of operations.

They are a run of their own below the trial's, ``trial_0007/model``, since another process may still add to that one.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerasweep.errors import TrackingError
from kerasweep.tracking import event_files

# As many as TensorFlow's own histograms have.
_BUCKETS = 30


def write_model(
    folder: Path, trial: int, epoch: int, weights: Mapping[str, NDArray[Any]], graph: bytes | None = None
) -> None:
    """Writes what TensorBoard shows of a trial's network.

    Args:
        folder: of the study's event files.
        trial: its number.
        epoch: at which the weights were so, 1-based; its step is one less, as that of its metrics.
        weights: by name; none are shown that are empty or hold a value that is not finite.
        graph: a serialised ``GraphDef``; None for none.

    Raises:
        TrackingError: it cannot be written.
    """
    at = time.time()
    events = [event_files.first_event(at)]
    if graph is not None:
        events.append(event_files.graph_event(graph, at))
    shown = {name: _buckets(values) for name, values in weights.items() if values.size and np.isfinite(values).all()}
    if shown:
        events.append(event_files.histogram_event(shown, epoch - 1, at))
    path = folder / event_files.trial_folder(trial) / "model" / event_files.file_name(at)
    try:
        event_files.append(path, events)
    except OSError as error:
        raise TrackingError(f"event files must be writable. Received: {error}") from error


def _buckets(values: NDArray[Any]) -> NDArray[np.float64]:
    """``(buckets, 3)``: where each begins and ends, and how many values it has."""
    counts, edges = np.histogram(values.astype(np.float64), _BUCKETS)
    return np.stack([edges[:-1], edges[1:], counts], axis=1)
