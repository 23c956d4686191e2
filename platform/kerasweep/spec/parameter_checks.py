"""What the parameters of a space and of ``training.fixed`` must be, given what the model makes of them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import count

from kerasweep.errors import Problem, one_of
from kerasweep.spec.builders import Signature
from kerasweep.spec.families import (
    FAMILIES,
    OPTIMIZER_PARAMETERS,
    OPTIMIZER_TAKES,
    OPTIMIZERS,
    TRAINING_PARAMETERS,
    Known,
    family_names,
    family_parameter,
    layer_of,
)
from kerasweep.spec.parameters import Choice, Fixed, Float, Int, Parameter, Value, admits, among, pinned

# What a user's builder may ask for by name besides its hyperparameters; the data answers.
FACTS = ("input_shape", "n_outputs", "output_activation")

_MANY_LAYERS = 1000


@dataclass(frozen=True)
class Settings:
    """All hyperparameters by name: those of the space, then those of ``training.fixed``.

    Attributes:
        space: as it was written.
        fixed: of ``training.fixed``; a parameter of the space that is here too is held at this value.
        invalid: names that are set, but to something that breaks a rule of its own.
    """

    space: Mapping[str, Parameter]
    fixed: Mapping[str, Value]
    invalid: Collection[str] = ()

    @cached_property
    def parameters(self) -> dict[str, Parameter]:
        """The space's, those held at a value as such."""
        return pinned(self.space, self.fixed)

    @property
    def all(self) -> dict[str, Parameter]:
        beside = {name: Fixed(value=value) for name, value in self.fixed.items() if name not in self.space}
        return {**beside, **self.parameters}

    def path(self, name: str, *rest: str | int) -> tuple[str | int, ...]:
        """Where a parameter, or a part of it, is set."""
        if name in self.parameters and name not in self.fixed:
            return ("space", "parameters", name, *rest)
        return ("training", "fixed", name)

    def while_active(self, name: str, other: str) -> list[list[Value]]:
        """What ``other`` must be one of for ``name`` to be active: one list for each condition, nested ones too."""
        lists, waiting, seen = [], [name], {name}
        while waiting:
            parameter = self.parameters.get(waiting.pop())
            for condition, values in () if parameter is None else parameter.when.items():
                if condition == other:
                    lists.append(values)
                if condition not in seen:
                    seen.add(condition)
                    waiting.append(condition)
        return lists

    def compatible(self, name: str, other: str, values: Collection[Value]) -> list[Value]:
        """Those of the values of ``other`` with which ``name`` can be active."""
        lists = self.while_active(name, other)
        return [value for value in values if all(among(value, each) for each in lists)]


def check_settings(settings: Settings) -> Iterator[Problem]:
    """What holds for every model: values within their ranges, and conditions that can all hold."""
    for name, value in settings.fixed.items():
        if name in settings.space and not admits(settings.space[name], value):
            message = f"a fixed value must be one that its parameter in the space can take. Received: {value!r}"
            yield Problem(message, ("training", "fixed", name))
    for name, parameter in settings.parameters.items():
        for other, values in parameter.when.items():
            if not settings.compatible(name, other, values):
                lists = " and ".join(str(each) for each in settings.while_active(name, other))
                message = f"conditions must be able to hold together. Received: {other} in {lists}"
                yield Problem(message, settings.path(name, "when", other))


def check_family(family: str, settings: Settings) -> Iterator[Problem]:
    """What a built-in family takes."""
    for name, parameter in settings.all.items():
        known = family_parameter(family, name)
        if known is None:
            message = one_of(f"a parameter of the {family} family", name, family_names(family))
            yield Problem(message, settings.path(name))
        else:
            yield from _illegal(name, known, parameter, settings)
    yield from check_optimizer(settings)
    if "n_neurons" in FAMILIES[family]:
        yield from _check_layers(family, settings)


def check_builder(name: str, signature: Signature, settings: Settings, complete: bool) -> Iterator[Problem]:
    """What a user's builder takes.

    Args:
        name: of the function, for messages.
        signature: of the function.
        settings: all hyperparameters.
        complete: whether ``settings`` is all that the user set; if not, nothing is said about missing ones.
    """
    ours = {**TRAINING_PARAMETERS, **OPTIMIZER_PARAMETERS}
    for own, parameter in settings.all.items():
        if own in FACTS:
            message = f"{', '.join(FACTS)} come from the data and are not hyperparameters. Received: {own!r}"
            yield Problem(message, settings.path(own))
        elif own in ours and own not in signature.names:
            yield from _illegal(own, ours[own], parameter, settings)
        elif own not in signature.names and not signature.has_kwargs:
            valid = [*signature.names, *(each for each in ours if each not in signature.names)]
            message = one_of(
                f"a parameter for {name} or its training", own, [each for each in valid if each not in FACTS]
            )
            yield Problem(message, settings.path(own))
    if "optimizer" not in signature.names:
        yield from check_optimizer(settings, taken=signature.names)
    for needed in signature.required:
        if needed in FACTS or needed in settings.invalid:
            continue
        if needed not in settings.all or needed not in signature.names:
            if complete:
                message = f"{needed} must be in the space or in training.fixed, as {name} has no default for it."
                yield Problem(f"{message} Received: nothing", ("model", "builder"))
        elif settings.all[needed].when:
            message = f"{needed} must not have a condition, as {name} has no default for it. Received: a condition"
            yield Problem(message, settings.path(needed, "when"))


def check_optimizer(settings: Settings, taken: Collection[str] = ()) -> Iterator[Problem]:
    """An optimiser's own parameters are active only with optimisers that have them.

    Args:
        settings: all hyperparameters.
        taken: names that the model uses itself, whatever the optimiser.
    """
    if "optimizer" in settings.invalid:
        return
    everything = settings.all
    possible = _possible_optimizers(everything)
    for name in everything:
        if name in taken or name not in OPTIMIZER_PARAMETERS or name == "optimizer":
            continue
        owners = [each for each in possible if name in OPTIMIZER_TAKES[each]]
        strangers = [
            each for each in settings.compatible(name, "optimizer", possible) if name not in OPTIMIZER_TAKES[str(each)]
        ]
        if not strangers:
            if name == "nesterov" and "momentum" not in {*everything, *settings.invalid}:
                yield Problem("nesterov needs momentum. Received: nesterov without it", settings.path(name))
            continue
        having = [each for each in OPTIMIZERS if name in OPTIMIZER_TAKES[each]]
        received = f"Received: {name} with {', '.join(map(str, strangers))}"
        condition = f"when: {{optimizer: [{', '.join(owners)}]}}"
        if not owners:
            message = f"{name} needs one of the optimizers {', '.join(having)}. {received}"
        elif name in settings.parameters:
            message = f"{name} must be active only with an optimizer that has it: add {condition}. {received}"
        else:
            in_space = f"{name}: {{type: fixed, value: {_yaml(settings.fixed[name])}, {condition}}}"
            message = (
                f"{name} must be active only with an optimizer that has it: put {in_space} into the space. {received}"
            )
        yield Problem(message, settings.path(name))


def _yaml(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _possible_optimizers(everything: Mapping[str, Parameter]) -> list[str]:
    default = str(OPTIMIZER_PARAMETERS["optimizer"].default)
    parameter = everything.get("optimizer")
    if parameter is None:
        return [default]
    values = _values(parameter) or []
    if parameter.when:
        values = [*values, default]
    return [value for value in OPTIMIZERS if value in values]


def _values(parameter: Parameter) -> list[Value] | None:
    """The values of a parameter that lists them, None for a range."""
    if isinstance(parameter, Choice):
        return parameter.values
    return [parameter.value] if isinstance(parameter, Fixed) else None


def _illegal(name: str, known: Known, parameter: Parameter, settings: Settings) -> Iterator[Problem]:
    """Values or bounds of a parameter that the model cannot take."""
    values: list[tuple[tuple[str | int, ...], Value]]
    if isinstance(parameter, Choice):
        values = [(("values", position), value) for position, value in enumerate(parameter.values)]
    elif isinstance(parameter, Fixed):
        values = [(("value",), parameter.value)]
    elif known.kind == "float" or (known.kind == "int" and isinstance(parameter, Int)):
        values = [(("min",), parameter.min), (("max",), parameter.max)]
    else:
        rules = {
            "bool": "a choice of true and false",
            "name": f"a choice of {', '.join(known.names)}",
            "int": "of type int, or a choice of whole numbers",
        }
        message = f"{name} must be {rules[known.kind]}. Received: type {parameter.type}"
        yield Problem(message, settings.path(name, "type"))
        return
    for rest, value in values:
        if rule := known.problem(name, value):
            yield Problem(rule, settings.path(name, *rest))


def _check_layers(family: str, settings: Settings) -> Iterator[Problem]:
    """Widths per layer: for every layer there can be, for no other, and not beside one width for all."""
    everything = settings.all
    layers = {layer: name for name in everything if (layer := layer_of(name)) is not None}
    if not layers:
        return
    if "n_neurons" in everything:
        names = ", ".join(["n_neurons", *(layers[layer] for layer in sorted(layers))])
        message = f"n_neurons and n_neurons_1, n_neurons_2, … must not be set together. Received: {names}"
        yield Problem(message, settings.path("n_neurons"))
        return
    if "n_hidden" in settings.invalid:
        return
    depths = _depths(everything.get("n_hidden"), FAMILIES[family]["n_hidden"])
    deepest = max(depths, default=0)
    for layer, name in sorted(layers.items()):
        if layer > deepest:
            message = f"{name} needs at least {layer} hidden layers. Received: n_hidden of at most {deepest}"
            yield Problem(message, settings.path(name))
            continue
        reached = [depth for depth in depths if depth >= layer]
        active = settings.compatible(name, "n_hidden", reached)
        if len(active) < len(reached):
            absent = ", ".join(str(depth) for depth in reached if depth not in active)
            message = f"{name} must be active whenever there are at least {layer} hidden layers."
            yield Problem(f"{message} Received: not with n_hidden = {absent}", settings.path(name, "when"))
    missing = next(layer for layer in count(1) if layer not in layers)
    if missing <= deepest and not any(layer_of(name) for name in settings.invalid):
        message = f"every layer needs its width once one has: n_neurons_{missing} is required."
        name = layers[min(layers)]
        yield Problem(f"{message} Received: {', '.join(layers.values())}", settings.path(name))


def _depths(parameter: Parameter | None, known: Known) -> list[int]:
    """The numbers of hidden layers there can be; of a very long range only the ends."""
    values: Collection[Value]
    if isinstance(parameter, Int):
        step = parameter.step or 1
        steps = (parameter.max - parameter.min) // step
        values = range(
            parameter.min, parameter.max + 1, step if steps <= _MANY_LAYERS else parameter.max - parameter.min
        )
    elif parameter is None or isinstance(parameter, Float):
        values = [known.default or 0]
    else:
        values = _values(parameter) or []
    return [int(value) for value in values if isinstance(value, int | float) and value == int(value)]
