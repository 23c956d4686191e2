"""What a study's networks meet: the data's features and target, and which features each part of a network is fed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from kerasweep.data.base import SearchData
from kerasweep.data.several import features_at
from kerasweep.errors import Problem, SpecError
from kerasweep.models.base import Head, Inputs
from kerasweep.spec.checks import Sections, image_problems
from kerasweep.spec.columns import Columns, column_problems
from kerasweep.spec.families import AUTO
from kerasweep.spec.pipeline import PipelineSpec
from kerasweep.spec.several import family_rule
from kerasweep.spec.vocabulary import DATASETS


def inputs_of(spec: PipelineSpec, data: SearchData) -> Inputs:
    """What the networks of a study meet.

    Args:
        spec: of the study.
        data: its own.

    Raises:
        SpecError: the model names columns that the data does not have, or is one for images and rows are none, or of a
            family and the data have several inputs or outputs.
    """
    columns = _columns(spec, data)
    problems = list(column_problems(spec.model, columns))
    facts = data.facts
    inputs = Inputs(
        data.preprocessing.feature_shape,
        facts.task,
        facts.outputs,
        shapes=data.preprocessing.shapes,
        heads={name: Head(head.task, head.outputs) for name, head in facts.heads.items()},
    )
    if spec.model.family is not None:
        problems += [
            Problem(f"{family_rule(key)}. Received: {', '.join(names)}", ("data",))
            for key, names in (("inputs", inputs.shapes), ("outputs", inputs.heads))
            if names
        ]
    settings = Sections.of(spec).settings
    if spec.model.family == AUTO and not inputs.images and settings is not None:
        problems += image_problems(settings, data.source)
    if problems:
        raise SpecError(problems)
    return replace(
        inputs,
        wide=_features(spec.model.wide, columns, data),
        deep=_features(spec.model.deep, columns, data),
    )


def _columns(spec: PipelineSpec, data: SearchData) -> Columns:
    """The raw columns, by the names that the user knows."""
    if not data.facts.columns:
        names = DATASETS[spec.data.name].columns if spec.data.name is not None else ()
        return Columns(data.source, int(np.prod(data.preprocessing.feature_shape)), names)
    sources = {raw.name: raw.source for raw in data.preprocessing.inputs}
    return Columns(data.source, len(data.facts.columns), tuple(sources[name] for name in data.facts.columns))


def _features(chosen: Sequence[int | str] | None, columns: Columns, data: SearchData) -> tuple[int, ...] | None:
    """The features of the chosen columns, in their order; a column's one-hot ones go with it. None for all."""
    if chosen is None:
        return None
    positions = [columns.position(each) for each in chosen]
    return features_at(data.preprocessing, data.facts.columns, positions)
