"""Shows a study's event files in TensorBoard."""

from __future__ import annotations

import sys
from pathlib import Path

from kerasweep.errors import StudyNotFound, TrackingError
from kerasweep.spec.files import located
from kerasweep.spec.pipeline import TensorBoardSpec
from kerasweep.tracking.base import StudyStore
from kerasweep.tracking.login import is_local
from kerasweep.tracking.ui import check_free, serve

# Of a study's summary: where its event files are.
BOARD = "tensorboard"


def board_folder(chosen: TensorBoardSpec | None, directory: Path, study: str) -> Path | None:
    """Where a study's event files go.

    Args:
        chosen: ``tracking.tensorboard`` of its spec: None for nowhere, else ``mlruns/tensorboard`` in the working
            directory unless it says another one.
        directory: from which a relative one counts.
        study: its id, under which its own folder lies there.
    """
    if chosen is None:
        return None
    if chosen.directory is None:
        return Path.cwd() / "mlruns" / BOARD / study
    return located(chosen.directory, directory.absolute()) / study


def make_folder(folder: Path) -> None:
    """Make a folder for event files, before anything is trained.

    Raises:
        TrackingError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrackingError(f"the folder for TensorBoard's event files must be writable. Received: {error}") from error


def board_of(store: StudyStore, study: str | None) -> Path:
    """The folder of a study's event files.

    Args:
        store: that holds the study.
        study: id or name (then the newest of that name); the newest study that wrote any if left out.

    Raises:
        StudyNotFound: no such study, or it wrote none, or they are not on this machine.
    """
    records = [record for record in store.list() if study is None or study in (record.id, record.name)]
    if study is not None:
        records = records[:1] or [store.load(study)]
    written = [str(record.summary[BOARD]) for record in records if record.summary.get(BOARD)]
    if not written:
        received = "no study that did" if study is None else f"{records[0].id}, which did not"
        raise StudyNotFound(
            f"a study must have written event files, as it does with tracking: {{tensorboard: true}}. "
            f"Received: {received}"
        )
    if not Path(written[0]).is_dir():
        raise StudyNotFound(
            f"a study's event files must be on this machine. Received: {written[0]}, which is not there"
        )
    return Path(written[0])


def serve_board(folder: Path, host: str = "127.0.0.1", port: int = 6006, *, open_to_all: bool = False) -> int:
    """Run TensorBoard until it ends or Ctrl-C; only this machine reaches it unless ``host`` says otherwise.

    Args:
        folder: of event files.
        host: to listen on.
        port: to listen on.
        open_to_all: TensorBoard has no login; whether everyone who reaches ``host`` may see the study.

    Returns:
        The exit code; 0 after Ctrl-C, which is how one leaves it.

    Raises:
        TrackingError: the port is taken, or other machines reach ``host`` and may not.
    """
    if not is_local(host) and not open_to_all:
        raise TrackingError(
            "TensorBoard has no login, so it must listen on this machine only, unless --no-login says that everyone "
            f"who reaches it may see the study. Received: {host}"
        )
    check_free(host, port)
    options = ["--logdir", str(folder), "--host", host, "--port", str(port), "--window_title", folder.name]
    return serve([sys.executable, "-m", "tensorboard.main", *options], {})
