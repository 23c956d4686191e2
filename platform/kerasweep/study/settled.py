"""The space of a study that leaves it out: a KerasTuner model's, or the default one of the family ``auto``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kerasweep.errors import ModelError, Problem, SpecError
from kerasweep.models import import_tensorflow
from kerasweep.models.hypermodel_space import Found, find_space
from kerasweep.spec.builders import Signature, resolve
from kerasweep.spec.checks import NO_SPACE, Sections, check
from kerasweep.spec.default_space import default_space
from kerasweep.spec.families import EVOLUTION_PARAMETERS, OPTIMIZER_PARAMETERS, SCHEDULE_PARAMETERS
from kerasweep.spec.importing import import_function
from kerasweep.spec.parameters import Fixed
from kerasweep.spec.pipeline import PipelineSpec

# Hyperparameters of training that may be a builder's own.
_OF_TRAINING = {*SCHEDULE_PARAMETERS, *EVOLUTION_PARAMETERS}


@dataclass(frozen=True)
class Settled:
    """A study that can begin.

    Attributes:
        spec: with a space.
        signature: of its builder, of a KerasTuner model with all hyperparameters as its arguments; None for a family,
            or where it is not known before a worker calls it.
        notes: for the user.
    """

    spec: PipelineSpec
    signature: Signature | None
    notes: tuple[str, ...] = ()


def settle(spec: PipelineSpec, directory: Path, builder: Any, *, images: bool) -> Settled:
    """Finds the hyperparameters of a study that leaves them out; any other study with a space stays as it is.

    The family ``auto`` has a default space. That of a KerasTuner model is found by building it, but for what
    ``training.fixed`` holds; a declared one is checked against it, and what it does not have of it is fixed at its
    default, with a note.

    Args:
        spec: of the study.
        directory: its modules are looked for there first.
        builder: at hand; None for a family, or where the spec names it as ``module:function``.
        images: whether a row of its data is an image.

    Raises:
        ModelError: the model cannot be imported or built, or has no hyperparameters.
        SpecError: the study does not go with the hyperparameters.
    """
    if spec.model.family is not None:
        return Settled(spec if spec.space_ is not None else _defaulted(spec, directory, images), None)
    reference = str(spec.model.builder)
    signature = Signature.of(builder) if builder is not None else resolve(reference, directory)
    takes_hp = signature.takes_hp if signature is not None else spec.space_ is None
    if not takes_hp:
        if signature is None and builder is None and _named(spec) & _OF_TRAINING:
            # Whether these are its own, or training's, can be told of such a function by importing it only.
            signature = Signature.of(_imported(reference, directory))
        return Settled(spec, signature)
    found = find_space(builder if builder is not None else _model(reference, directory))
    notes = found.notes
    if spec.space_ is None:
        spec = spec.with_space(found.space)
    elif held := _held(spec, found):
        spec = spec.with_fixed(held)
        listed = ", ".join(f"{name} at {value}" for name, value in held.items())
        notes = (*notes, f"not in the space, and so at their defaults: {listed}")
    problems = [*_problems(spec, directory, {reference: found.signature}), *_unheard(spec, found)]
    if problems:
        raise SpecError(problems)
    return Settled(spec, found.signature, notes)


def _defaulted(spec: PipelineSpec, directory: Path, images: bool) -> PipelineSpec:
    """A study of a family with its default space, now that it is known which one that is."""
    settled = spec.with_space(default_space(images))
    if problems := _problems(settled, directory, {}):
        raise SpecError(problems)
    return settled


def _problems(spec: PipelineSpec, directory: Path, functions: Mapping[str, object]) -> list[Problem]:
    """What is wrong with a study, once its space is known; other functions than these were checked before."""
    before: dict[str, object] = {callback.name: None for callback in spec.training.callbacks}
    if spec.data.python:
        before[spec.data.python] = None
    return check(Sections.of(spec), directory, {**before, **functions})


def _imported(reference: str, directory: Path) -> Any:
    import_tensorflow()  # quietly; the user's module would import it too
    try:
        function = import_function(reference, directory)
    except ImportError as error:
        raise ModelError(str(error)) from error
    return function


def _model(reference: str, directory: Path) -> Any:
    """KerasTuner's, by its name."""
    function = _imported(reference, directory)
    signature = Signature.of(function)
    if signature is None or not signature.takes_hp:
        raise SpecError([Problem(NO_SPACE, ("space",))])
    return function


def _named(spec: PipelineSpec) -> set[str]:
    """All hyperparameters of a study whose space is known."""
    return {*spec.space.parameters, *spec.training.fixed}


def _held(spec: PipelineSpec, found: Found) -> dict[str, Any]:
    """The hyperparameters that a declared space leaves at their defaults."""
    given = _named(spec)
    free = (name for name, parameter in found.space.parameters.items() if not isinstance(parameter, Fixed))
    return {name: found.defaults[name] for name in free if name not in given}


def _unheard(spec: PipelineSpec, found: Found) -> Iterator[Problem]:
    """Parameters of an optimiser that the model makes itself, without asking for them."""
    places = {name: ("training", "fixed", name) for name in spec.training.fixed}
    places |= {name: ("space", "parameters", name) for name in spec.space.parameters}
    for name, place in places.items():
        if found.compiled and name in OPTIMIZER_PARAMETERS and name not in found.defaults:
            rule = f"a KerasTuner model that compiles itself must ask for {name}"
            yield Problem(f"{rule}. Received: a compiled model that does not", place)
