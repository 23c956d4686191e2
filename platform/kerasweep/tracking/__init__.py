"""Where experiments are kept: MLflow, behind three small doors. Importing this package does not import MLflow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from kerasweep.tracking.base import StudyHeader, StudyStore, Tracker
from kerasweep.tracking.board import board_of, make_folder, serve_board
from kerasweep.tracking.projection import project
from kerasweep.tracking.ui import serve_ui, ui_command
from kerasweep.tracking.untracked import Untracked
from kerasweep.tracking.uris import artifact_root, redact, resolve_uri

if TYPE_CHECKING:
    from kerasweep.tracking.registry import Registry

__all__ = [
    "StudyHeader",
    "StudyStore",
    "Tracker",
    "Untracked",
    "artifact_root",
    "board_of",
    "open_registry",
    "open_store",
    "open_tracker",
    "project",
    "redact",
    "resolve_uri",
    "serve_board",
    "serve_ui",
    "ui_command",
]


def open_tracker(
    uri: str, experiment: str, board: Path | None = None, *, resumed: bool = False, uploads: Path | None = None
) -> Tracker:
    """A tracker for one study. It opens the store in the background and returns at once.

    Args:
        uri: as ``resolve_uri`` takes it.
        experiment: the MLflow experiment, created if it does not exist.
        board: folder of this study for TensorBoard's event files, created if it does not exist; None writes none.
        resumed: the study was written there before, so a server that does not answer is waited for while the study goes
            on; a new study's address may be wrong, and one where nothing answers is an error.
        uploads: folder for copies of files that wait to be written, made when needed and deleted by ``close``; None for
            temporary ones.

    Raises:
        TrackingError: the uri cannot be a store, no server answers there, or the folder cannot be made.
    """
    from kerasweep.tracking.mlflow_tracker import MlflowTracker
    from kerasweep.tracking.uris import check_reachable

    resolved = resolve_uri(uri)
    if not resumed:
        check_reachable(resolved)
    if board is not None:
        make_folder(board)
    return MlflowTracker(resolved, experiment, board, uploads)


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
