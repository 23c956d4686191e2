"""The user's own callbacks: are their classes there, and do they take what they are to be called with?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from kerasweep.errors import Problem, one_of
from kerasweep.spec.builders import Signature, resolve_class
from kerasweep.spec.pipeline import CallbackSpec, ResourcesSpec, TrainingSpec


def check_callbacks(
    training: TrainingSpec, resources: ResourcesSpec | None, directory: Path, classes: Mapping[str, object]
) -> Iterator[Problem]:
    """What is wrong with ``training.callbacks``.

    Args:
        training: names the callbacks.
        resources: None when it breaks a rule of its own.
        directory: where the user's modules are looked for first.
        classes: those at hand, by the name that ``training`` has for them; None leaves one unchecked.
    """
    for position, callback in enumerate(training.callbacks):
        place = ("training", "callbacks", position)
        try:
            signature = _signature(callback.name, directory, classes)
        except ValueError as error:
            yield Problem(str(error), (*place, "name"))
            continue
        if signature is not None:
            yield from _check_arguments(callback, signature, place)
    if training.callbacks and resources is not None and isinstance(resources.cohort, int) and resources.cohort > 1:
        rule = "a callback sees one model only, so with training.callbacks cohort must be auto, off or 1"
        yield Problem(f"{rule}. Received: {resources.cohort}", ("resources", "cohort"))


def _signature(name: str, directory: Path, classes: Mapping[str, object]) -> Signature | None:
    if name not in classes:
        return resolve_class(name, directory)
    return Signature.of(classes[name])


def _check_arguments(callback: CallbackSpec, signature: Signature, place: tuple[str | int, ...]) -> Iterator[Problem]:
    name = callback.name.partition(":")[2]
    for argument in callback.args:
        if argument not in signature.names and not signature.has_kwargs:
            if signature.names:
                message = one_of(f"an argument of {name}", argument, signature.names)
            else:
                message = f"{name} takes no arguments. Received: {argument!r}"
            yield Problem(message, (*place, "args", argument))
    missing = [each for each in signature.required if each not in callback.args]
    if missing:
        yield Problem(f"args must hold {', '.join(missing)}, for which {name} has no default. Received: nothing", place)
