"""A trial's network again, from its study's record and the weights that were kept."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kerasweep.errors import StudyNotFound
from kerasweep.records import StudyRecord, Trial, winner
from kerasweep.spec.pipeline import PipelineSpec
from kerasweep.tracking import StudyStore
from kerasweep.training import snapshots

if TYPE_CHECKING:
    import keras

    from kerasweep.data import SearchData
    from kerasweep.training.base import Array


@dataclass(frozen=True)
class Rebuilt:
    """A trial's model, and where it is from.

    Attributes:
        study: id of its study.
        trial: its number.
        model: from raw rows to predictions.
        data: of the study.
    """

    study: str
    trial: int
    model: keras.Model
    data: SearchData


def rebuilt(store: StudyStore, study: str, trial: int | None) -> Rebuilt:
    """Builds a trial's network and gives it the weights of its best epoch.

    Args:
        store: that holds the study.
        study: id or name (then the newest of that name).
        trial: its number; the winner if None.

    Raises:
        StudyNotFound: no such study, or no kept weights for that trial; the message lists those with weights.
        KerasweepError: its data cannot be read, or its builder makes no model.
    """
    record = store.load(study)
    spec = PipelineSpec.model_validate(json.loads(record.spec))
    chosen = _chosen(record, trial)
    if spec.search.folds is not None:
        rule = "only trials with a model of their own can be loaded, and a cross-validated one has one for each fold"
        raise StudyNotFound(f"{rule}. Received: trial {chosen.number} of {record.id}, with {spec.search.folds} folds")
    weights = _weights(store, record, chosen)

    from kerasweep.data import load_search
    from kerasweep.models import import_tensorflow
    from kerasweep.study.origin import Origin, models_for
    from kerasweep.study.winner import assembled

    import_tensorflow()
    origin = Origin(Path(record.directory))
    data = load_search(spec.data, origin.directory)
    model = assembled(spec, chosen, weights, models_for(spec, data, origin), data)
    return Rebuilt(record.id, chosen.number, model, data)


def _weights(store: StudyStore, record: StudyRecord, trial: Trial) -> tuple[Array, ...]:
    with tempfile.TemporaryDirectory(prefix="kerasweep-") as scratch:
        if store.fetch_files(record.id, "weights", Path(scratch), trial.number):
            return snapshots.best_weights(snapshots.load(Path(scratch)), trial.number)
    kept = [str(each.number) for each in _best(record) if _has_weights(store, record, each)]
    rule = f"a trial's weights must have been kept, as those of {record.id}'s trials {', '.join(kept)} were"
    if not kept:
        rule = f"a trial's weights must have been kept, and {record.id} kept none"
    raise StudyNotFound(f"{rule}. Received: trial {trial.number}")


def _best(record: StudyRecord) -> Sequence[Trial]:
    """The trials whose weights may have been kept, best first."""
    from kerasweep.report import tables
    from kerasweep.study.run import KEPT_TRIALS

    return tables.top(record.trials, record.objective, KEPT_TRIALS)


def _has_weights(store: StudyStore, record: StudyRecord, trial: Trial) -> bool:
    with tempfile.TemporaryDirectory(prefix="kerasweep-") as scratch:
        return bool(store.fetch_files(record.id, "weights", Path(scratch), trial.number))


def _chosen(record: StudyRecord, number: int | None) -> Trial:
    if number is None:
        if (best := winner(record.trials, record.objective)) is None:
            raise StudyNotFound(f"a study must have a trial that succeeded. Received: {record.id}, which has none")
        return best
    for trial in record.trials:
        if trial.number == number:
            return trial
    raise StudyNotFound(f"trial must be one of {record.id}'s {len(record.trials)}. Received: {number}")
