"""Exports a trial of a study that ended long ago."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from kerasweep.errors import StudyNotFound
from kerasweep.records import StudyRecord, Trial, winner
from kerasweep.spec.pipeline import PipelineSpec
from kerasweep.tracking import open_store, resolve_uri
from kerasweep.training import snapshots


def export_trial(
    study: str, formats: Sequence[str], out: Path, *, trial: int | None = None, tracking_uri: str | None = None
) -> Mapping[str, Path]:
    """Builds a trial's model again from its study's record and weights, and exports it.

    Args:
        study: id or name (then the newest of that name).
        formats: see ``delivery.export``.
        out: folder that the exports are written into.
        trial: its number; the winner by default.
        tracking_uri: of the store; the one of the working directory by default.

    Returns:
        format -> path.

    Raises:
        StudyNotFound: no such study, or no kept weights for that trial.
    """
    from kerasweep.data import load_search
    from kerasweep.data.rows import head
    from kerasweep.delivery import export
    from kerasweep.models import import_tensorflow
    from kerasweep.study.run import Origin, models_for
    from kerasweep.study.winner import PARITY_ROWS, assembled

    import_tensorflow()
    store = open_store(resolve_uri(tracking_uri or "auto", Path.cwd()))
    record = store.load(study)
    spec = PipelineSpec.model_validate(json.loads(record.spec))
    chosen = _chosen(record, trial)
    with tempfile.TemporaryDirectory(prefix="kerasweep-") as scratch:
        if not store.fetch_files(record.id, "weights", Path(scratch), chosen.number):
            kept = "the best trials' weights are kept only"
            raise StudyNotFound(f"{kept}; see `kerasweep show {record.id}`. Received: trial {chosen.number}")
        weights = snapshots.best_weights(snapshots.load(Path(scratch)), chosen.number)
    origin = Origin(Path(record.directory))
    data = load_search(spec.data, origin.directory)
    model = assembled(spec, chosen, weights, models_for(spec, data, origin), data)
    return export(model, formats, out, head(data.validation.x, PARITY_ROWS), data.facts)


def _chosen(record: StudyRecord, number: int | None) -> Trial:
    if number is None:
        if (best := winner(record.trials, record.objective)) is None:
            raise StudyNotFound(f"a study must have a trial that succeeded. Received: {record.id}, which has none")
        return best
    for trial in record.trials:
        if trial.number == number:
            return trial
    raise StudyNotFound(f"trial must be one of {record.id}'s {len(record.trials)}. Received: {number}")
