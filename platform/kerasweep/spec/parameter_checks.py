"""What the parameters of a space and of ``training.fixed`` must be, given what the model makes of them."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count

from kerasweep.errors import Problem, one_of
from kerasweep.spec.builders import Signature
from kerasweep.spec.families import (
    ARCHITECTURES,
    AUTO,
    FAMILIES,
    OPTIMIZER_PARAMETERS,
    OPTIMIZER_TAKES,
    TRAINING_PARAMETERS,
    Known,
    family_names,
    family_parameter,
    has_layer_widths,
    layer_of,
)
from kerasweep.spec.parameters import (
    FOUND_PARAMETER,
    Choice,
    Find,
    Fixed,
    Float,
    Int,
    Parameter,
    Value,
    admits,
    among,
    pinned,
)

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
    if family == AUTO:
        yield from _check_architectures(settings)
    elif has_layer_widths(family):
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


@dataclass(frozen=True)
class Switch:
    """A parameter by whose value others have a meaning or none.

    Attributes:
        name: of the parameter.
        what: its value is, for messages.
        takes: value -> the parameters that it gives a meaning.
        possible: the values that trials can have.
    """

    name: str
    what: str
    takes: Mapping[str, Collection[str]]
    possible: Sequence[str]


def check_optimizer(settings: Settings, taken: Collection[str] = ()) -> Iterator[Problem]:
    """An optimiser's own parameters are active only with optimisers that have them.

    Args:
        settings: all hyperparameters.
        taken: names that the model uses itself, whatever the optimiser.
    """
    if "optimizer" in settings.invalid:
        return
    possible = possible_values(settings, "optimizer", OPTIMIZER_PARAMETERS["optimizer"])
    names = [name for name in OPTIMIZER_PARAMETERS if name not in taken and name != "optimizer"]
    yield from check_switch(Switch("optimizer", "an optimizer", OPTIMIZER_TAKES, possible), names, settings)
    momentum = "momentum" in {*settings.all, *settings.invalid}
    if "nesterov" in names and "nesterov" in settings.all and not momentum:
        active = settings.compatible("nesterov", "optimizer", possible)
        if all("nesterov" in OPTIMIZER_TAKES[str(each)] for each in active):
            yield Problem("nesterov needs momentum. Received: nesterov without it", settings.path("nesterov"))


def possible_architectures(settings: Settings) -> list[str]:
    """The architectures of the family ``auto`` that trials can have."""
    if "architecture" not in settings.all:
        return []
    return possible_values(settings, "architecture", FAMILIES[AUTO]["architecture"])


def _check_architectures(settings: Settings) -> Iterator[Problem]:
    """Every trial has an architecture, and a parameter is active only with architectures that have it."""
    if "architecture" in settings.invalid:
        return
    if "architecture" not in settings.all:
        rule = f"the {AUTO} family needs an architecture, a choice of {', '.join(ARCHITECTURES)} in the space"
        yield Problem(f"{rule}. Received: none", ("space", "parameters"))
        return
    if settings.all["architecture"].when:
        message = "architecture must not have a condition, as every trial needs one. Received: a condition"
        yield Problem(message, settings.path("architecture", "when"))
        return
    switch = Switch("architecture", "an architecture", ARCHITECTURES, possible_architectures(settings))
    names = [name for name in FAMILIES[AUTO] if name != "architecture"]
    yield from check_switch(switch, names, settings)


def check_switch(switch: Switch, names: Sequence[str], settings: Settings) -> Iterator[Problem]:
    """Of these parameters, those that can be active where the switch gives them no meaning."""
    for name in names:
        if name not in settings.all:
            continue
        owners = [each for each in switch.possible if name in switch.takes[each]]
        compatible = settings.compatible(name, switch.name, switch.possible)
        strangers = [each for each in compatible if name not in switch.takes[str(each)]]
        if not strangers:
            continue
        having = [each for each, taken in switch.takes.items() if name in taken]
        received = f"Received: {name} with {', '.join(map(str, strangers))}"
        condition = f"when: {{{switch.name}: [{', '.join(owners)}]}}"
        rule = f"{name} must be active only with {switch.what} that has it"
        if not owners:
            message = f"{name} needs one of the {switch.name}s {', '.join(having)}. {received}"
        elif name in settings.parameters:
            message = f"{rule}: add {condition}. {received}"
        else:
            in_space = f"{name}: {{type: fixed, value: {_yaml(settings.fixed[name])}, {condition}}}"
            message = f"{rule}: put {in_space} into the space. {received}"
        yield Problem(message, settings.path(name))


def _yaml(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def possible_values(settings: Settings, name: str, known: Known) -> list[str]:
    """The values of a parameter that names something that trials can have, in the order of its names."""
    parameter = settings.all.get(name)
    if parameter is None:
        return [str(known.default)]
    values = _values(parameter) or []
    if parameter.when:
        values = [*values, str(known.default)]
    return [value for value in known.names if value in values]


def largest(parameter: Parameter) -> float:
    """The largest number that a parameter can be; 0 if it can be none."""
    return max(_ends(parameter), default=0.0)


def smallest(parameter: Parameter) -> float:
    """The smallest number that a parameter can be; infinite if it can be none."""
    return min(_ends(parameter), default=math.inf)


def _ends(parameter: Parameter) -> list[float]:
    """Numbers that a parameter can be, of a range its ends."""
    if isinstance(parameter, Float | Int):
        return [float(parameter.min), float(parameter.max)]
    return [float(value) for value in _values(parameter) or [] if isinstance(value, int | float)]


def _values(parameter: Parameter) -> list[Value] | None:
    """The values of a parameter that lists them, None for a range."""
    if isinstance(parameter, Choice):
        return parameter.values
    return [parameter.value] if isinstance(parameter, Fixed) else None


def _illegal(name: str, known: Known, parameter: Parameter, settings: Settings) -> Iterator[Problem]:
    """Values or bounds of a parameter that the model cannot take."""
    values: list[tuple[tuple[str | int, ...], Value]]
    if isinstance(parameter, Find) and name != FOUND_PARAMETER:
        return  # the space as a whole has been told
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
