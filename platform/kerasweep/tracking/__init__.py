"""Where experiments are kept: MLflow, behind three small doors. Importing this package does not import MLflow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kerasweep.tracking.base import StudyHeader, StudyStore, Tracker
from kerasweep.tracking.ui import serve_ui, ui_command
from kerasweep.tracking.uris import artifact_root, redact, resolve_uri

if TYPE_CHECKING:
    from kerasweep.tracking.registry import Registry

__all__ = [
    "StudyHeader",
    "StudyStore",
    "Tracker",
    "artifact_root",
    "open_registry",
    "open_store",
    "open_tracker",
    "redact",
    "resolve_uri",
    "serve_ui",
    "ui_command",
]


def open_tracker(uri: str, experiment: str) -> Tracker:
    """A tracker for one study. It opens the store in the background and returns at once.

    Args:
        uri: as ``resolve_uri`` takes it.
        experiment: the MLflow experiment, created if it does not exist.

    Raises:
        TrackingError: the uri cannot be a store, or no server answers there.
    """
    from kerasweep.tracking.mlflow_tracker import MlflowTracker
    from kerasweep.tracking.uris import check_reachable

    resolved = resolve_uri(uri)
    check_reachable(resolved)
    return MlflowTracker(resolved, experiment)


def open_store(uri: str, experiment: str | None = None) -> StudyStore:
    """The studies of one experiment, or of all. A store that does not exist yet is empty, and stays uncreated.

    Raises:
        TrackingError: the uri cannot be a store, or no server answers there.
    """
    from kerasweep.tracking.mlflow_store import MlflowStore
    from kerasweep.tracking.uris import check_reachable

    resolved = resolve_uri(uri)
    check_reachable(resolved)
    return MlflowStore(resolved, experiment)


def open_registry(uri: str) -> Registry:
    """The model registry that belongs to a store.

    Raises:
        TrackingError: the uri cannot be a store, or no server answers there.
    """
    from kerasweep.tracking.registry import Registry
    from kerasweep.tracking.uris import check_reachable

    resolved = resolve_uri(uri)
    check_reachable(resolved)
    return Registry(resolved)
