"""Which parameters of a study mattered, read from its record."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kerasweep.records import ParamValue, StudyRecord
from kerasweep.report.narrowing import best_values
from kerasweep.space import Space
from kerasweep.spec.pipeline import PipelineSpec
from kerasweep.tracking import open_store, resolve_uri


@dataclass(frozen=True)
class Together:
    """Two parameters that act together.

    Attributes:
        pair: their names.
        share: of the differences between the ranks of unseen trials, what they explain beyond what each does alone.
        best: the values, of those looked at, that are best together; empty for a pair too weak to be looked at.
    """

    pair: tuple[str, str]
    share: float
    best: Mapping[str, ParamValue]


@dataclass(frozen=True)
class Mattering:
    """What ``kerasweep importance`` prints.

    Attributes:
        study: the study's id.
        trials: that have a value.
        explained: the share of the differences between ranks that is predicted of unseen trials; None if there are too
            few trials to tell, and nothing else is known then.
        shares: parameter -> share of the importance, the largest first.
        best: parameter -> its values in the best trials, best first.
        interactions: strongest first.
        figures: the files that were written.
    """

    study: str
    trials: int
    explained: float | None
    shares: Mapping[str, float]
    best: Mapping[str, Sequence[ParamValue]]
    interactions: tuple[Together, ...]
    figures: tuple[Path, ...] = ()


def importance(study: str, *, out: Path | str | None = None, tracking_uri: str | None = None) -> Mattering:
    """Which parameters of a study mattered, and which act together; see ``report.importance``.

    Args:
        study: id or name (then the newest of that name).
        out: folder that the figures are written into; None writes none.
        tracking_uri: of the store; the one of the working directory by default.

    Raises:
        StudyNotFound: no such study.
    """
    from kerasweep.report.figures import write_importance
    from kerasweep.report.importance import importance as found_by
    from kerasweep.report.interactions import surfaces
    from kerasweep.report.tables import usable

    record: StudyRecord = open_store(resolve_uri(tracking_uri or "auto", Path.cwd())).load(study)
    space = Space(PipelineSpec.model_validate(json.loads(record.spec)).space)
    found = found_by(record.trials, space)
    drawn = surfaces(found, record.trials, record.objective, space)
    best = {surface.pair: surface.best for surface in drawn}
    pairs = found.interactions if found else ()
    return Mattering(
        study=record.id,
        trials=len(usable(record.trials)),
        explained=found.explained if found else None,
        shares=found.shares if found else {},
        best=best_values(record.trials, record.objective, space),
        interactions=tuple(Together((each.first, each.second), each.share, best.get(each, {})) for each in pairs),
        figures=() if out is None else write_importance(found, drawn, record.trials, record.objective, Path(out)),
    )
