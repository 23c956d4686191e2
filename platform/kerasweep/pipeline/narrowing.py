"""Writes the next space of a study that has ended, or is still running."""

from __future__ import annotations

import json
from pathlib import Path

from kerasweep.errors import Problem, SpecError
from kerasweep.report.narrowing import KEEP, NextSpace
from kerasweep.report.narrowing import narrow as narrowed_space
from kerasweep.report.space_file import space_file
from kerasweep.space import Space
from kerasweep.spec.pipeline import PipelineSpec
from kerasweep.tracking import open_store, resolve_uri


def narrow(
    study: str, out: Path | str | None = None, *, keep: float = KEEP, tracking_uri: str | None = None
) -> NextSpace:
    """The space of a study, narrowed around its best trials; see ``report.narrowing.narrow`` for the rules.

    Args:
        study: id or name (then the newest of that name).
        out: the space file to write, which must not exist yet; None writes none.
        keep: the share of the trials that are the best ones.
        tracking_uri: of the store; the one of the working directory by default.

    Returns:
        The next space, with the reasons; its ``spec`` is what the file holds.

    Raises:
        StudyNotFound: no such study.
        StudyError: it has too few trials with a value.
        SpecError: the file is there already.
    """
    path = None if out is None else Path(out)
    if path is not None and path.exists():
        raise SpecError([Problem(f"a space file to write must not exist yet. Received: {path}")])
    record = open_store(resolve_uri(tracking_uri or "auto", Path.cwd())).load(study)
    spec = PipelineSpec.model_validate(json.loads(record.spec))
    found = narrowed_space(record.trials, record.objective, Space(spec.space), keep, spec.model.family)
    if path is not None:
        path.write_text(space_file(record, found, keep), encoding="utf-8")
    return found
