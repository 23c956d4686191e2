"""Where a study comes from and where it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kerasweep.data import SearchData
from kerasweep.models import FamilyBuilder, InitialWeights, UserBuilder
from kerasweep.spec.builders import Signature
from kerasweep.spec.families import mutable_parameters
from kerasweep.spec.pipeline import PipelineSpec
from kerasweep.study.events import Observer, Silent
from kerasweep.training.inputs import inputs_of


@dataclass(frozen=True)
class Origin:
    """Where a study was written down, and what of it only Python can hold.

    Attributes:
        directory: relative paths and the user's modules are looked for there.
        text: the pipeline file as written; empty for a study made in Python.
        memory: features, targets and perhaps weights handed over as arrays.
        builder: the model builder handed over as a function, or KerasTuner's ``HyperModel``.
        callbacks: classes of callbacks handed over, by the names that the specification has for them.
    """

    directory: Path
    text: str = ""
    memory: tuple[Any, ...] | None = None
    builder: Any = None
    callbacks: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Destination:
    """Where a study runs and is kept; None takes what its spec says."""

    ray_address: str | None = None
    tracking_uri: str | None = None
    observer: Observer = field(default_factory=Silent)


def models_for(
    spec: PipelineSpec, data: SearchData, origin: Origin, initial: InitialWeights | None = None
) -> FamilyBuilder | UserBuilder:
    """The builder of a study's models, which start from ``initial`` where they start from trained weights."""
    inputs = inputs_of(spec, data)
    if spec.model.family is not None:
        return FamilyBuilder(spec.model.family, inputs, initial)
    return UserBuilder(origin.builder or str(spec.model.builder), origin.directory, inputs, initial)


def mutable_of(spec: PipelineSpec, signature: Signature | None) -> tuple[str, ...]:
    """The parameters that may change while a trial of a study trains.

    Args:
        spec: of the study.
        signature: of the user's builder, if that is no KerasTuner model.
    """
    if spec.model.family is not None:
        return mutable_parameters(spec.model.family)
    return mutable_parameters(None, signature.names if signature else ())
