"""A trial of a study that ended long ago: loaded as a model again, or exported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kerasweep.study.rebuilding import rebuilt
from kerasweep.tracking import StudyStore, open_store, resolve_uri

if TYPE_CHECKING:
    import keras


def load_model(study: str, trial: int | None = None, *, tracking_uri: str | None = None) -> keras.Model:
    """A trial's model as it was at its best epoch of the search.

    Only the best trials' weights are kept. The study's data must be where they were, and the user's builder importable
    from where the study was, or from the working directory.

    Example:
        >>> model = load_model("churn@1b2c3d4e", trial=3)  # doctest: +SKIP
        >>> model.predict(rows)  # doctest: +SKIP

    Args:
        study: id or name (then the newest of that name).
        trial: its number; the winner by default.
        tracking_uri: of the store; the one of the working directory by default.

    Returns:
        From raw rows to predictions; not compiled.

    Raises:
        StudyNotFound: no such study, or no kept weights for that trial; the message lists those with weights.
        DataError: the study's data cannot be read again, as those that were handed over as arrays.
        ModelError: the builder cannot be imported, or builds no model.
    """
    return rebuilt(_store(tracking_uri), study, trial).model


def export_trial(
    study: str, formats: Sequence[str], out: Path, *, trial: int | None = None, tracking_uri: str | None = None
) -> Mapping[str, Path]:
    """Exports what ``load_model`` loads.

    Args:
        study: see ``load_model``, as ``trial`` and ``tracking_uri``.
        formats: see ``delivery.export``.
        out: folder that the exports are written into.
        trial: its number.
        tracking_uri: of the store.

    Returns:
        format -> path.

    Raises:
        KerasweepError: see ``load_model`` and ``delivery.export``.
    """
    from kerasweep.data.rows import head
    from kerasweep.delivery import export
    from kerasweep.study.winner import PARITY_ROWS

    found = rebuilt(_store(tracking_uri), study, trial)
    rows = head(found.data.validation.x, PARITY_ROWS)
    return export(found.model, formats, out, rows, found.data.facts)


def _store(tracking_uri: str | None) -> StudyStore:
    return open_store(resolve_uri(tracking_uri or "auto", Path.cwd()))
