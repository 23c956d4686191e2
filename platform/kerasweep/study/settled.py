"""What only the model itself can tell of a study: the space of a KerasTuner model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kerasweep.errors import ModelError, Problem, SpecError
from kerasweep.models import import_tensorflow
from kerasweep.models.hypermodel_space import Found, find_space
from kerasweep.spec.builders import Signature, resolve
from kerasweep.spec.checks import NO_SPACE, Sections, check
from kerasweep.spec.families import OPTIMIZER_PARAMETERS
from kerasweep.spec.importing import import_function
from kerasweep.spec.parameters import Fixed
from kerasweep.spec.pipeline import PipelineSpec


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


def settle(spec: PipelineSpec, directory: Path, builder: Any) -> Settled:
    """Finds the hyperparameters of a KerasTuner model, by building it; any other study stays as it is.

    A space that the file leaves out is the one that is found, but for what ``training.fixed`` holds. A declared one is
    checked against it, and what it does not have of it is fixed at its default, with a note.

    Args:
        spec: of the study.
        directory: its modules are looked for there first.
        builder: at hand; None for a family, or where the spec names it as ``module:function``.

    Raises:
        ModelError: the model cannot be imported or built, or has no hyperparameters.
        SpecError: the study does not go with the hyperparameters.
    """
    if spec.model.family is not None:
        return Settled(spec, None)
    reference = str(spec.model.builder)
    signature = Signature.of(builder) if builder is not None else resolve(reference, directory)
    takes_hp = signature.takes_hp if signature is not None else spec.space_ is None
    if not takes_hp:
        return Settled(spec, signature)
    found = find_space(builder if builder is not None else _imported(reference, directory))
    notes = found.notes
    if spec.space_ is None:
        spec = spec.with_space(found.space)
    elif held := _held(spec, found):
        spec = spec.with_fixed(held)
        listed = ", ".join(f"{name} at {value}" for name, value in held.items())
        notes = (*notes, f"not in the space, and so at their defaults: {listed}")
    functions = {reference: found.signature, **({spec.data.python: None} if spec.data.python else {})}
    problems = [*check(Sections.of(spec), directory, functions), *_unheard(spec, found)]
    if problems:
        raise SpecError(problems)
    return Settled(spec, found.signature, notes)


def _imported(reference: str, directory: Path) -> Any:
    import_tensorflow()  # quietly; the user's module would import it too
    try:
        function = import_function(reference, directory)
    except ImportError as error:
        raise ModelError(str(error)) from error
    signature = Signature.of(function)
    if signature is None or not signature.takes_hp:
        raise SpecError([Problem(NO_SPACE, ("space",))])
    return function


def _held(spec: PipelineSpec, found: Found) -> dict[str, Any]:
    """The hyperparameters that a declared space leaves at their defaults."""
    given = {*spec.space.parameters, *spec.training.fixed}
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
