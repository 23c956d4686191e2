"""The space of a KerasTuner model, found by building it again and again."""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from pydantic import ValidationError

from kerasweep.errors import ModelError
from kerasweep.models.base import seed_everything
from kerasweep.models.hypermodel import import_keras_tuner, opened, parameter_name
from kerasweep.records import ParamValue
from kerasweep.spec.builders import Signature
from kerasweep.spec.parameters import Choice, Fixed, Float, Int, Parameter, SpaceSpec, admits, pinned

# Builds in a row, of random hyperparameters, after which nothing new is expected any more.
_QUIET = 8

# Builds at most. A model that still asks for something new has no end of hyperparameters.
_BUILDS = 300

Values = dict[str, Any]


@dataclass(frozen=True)
class Found:
    """What building a KerasTuner model has told.

    Attributes:
        space: all hyperparameters that some build asked for.
        defaults: of each of them, by the name that the space has for it.
        compiled: whether the model compiles itself.
        notes: for the user, a sentence each.
    """

    space: SpaceSpec
    defaults: Mapping[str, ParamValue]
    compiled: bool
    notes: tuple[str, ...]

    @property
    def signature(self) -> Signature:
        """Of a function that would take all hyperparameters as arguments with defaults."""
        return Signature(tuple(self.defaults))


def find_space(function: Any) -> Found:
    """Builds a model until no new hyperparameter appears, and tells the space of all that did.

    The first build has all defaults. Those after it follow KerasTuner's ``BaseTuner``: each ``conditional_scope`` that
    was not active yet is made so. KerasTuner meets what hides behind a plain ``if`` or a longer loop in the middle of
    its search only; here every value of each choice, and both ends of each range, are tried as well, and at last
    random values, until eight builds in a row bring nothing new. Nothing is trained.

    What becomes of a hyperparameter:

    - its name is made an identifier (``models.hypermodel.parameter_name``): ``dense/units`` becomes ``dense_units``;
    - ``Int`` and ``Float`` become the parameters of these types, with their bounds, a linear ``step`` (the largest
      value is then the last one that the steps reach) and ``sampling="log"``. A step in another sampling multiplies in
      KerasTuner, so it becomes a ``Choice`` of the same values. ``"reverse_log"`` is drawn linearly, with a note;
    - ``Choice``, ``Boolean`` and ``Fixed`` become choices and fixed values;
    - a ``default`` becomes the prior, if the range has it and it is not what KerasTuner takes where none is stated: the
      smallest or first value, or ``False``;
    - a ``conditional_scope``, with those around it, becomes ``when``. What is asked for under a plain ``if`` is always
      active, as in KerasTuner: only its value goes unused in some models;
    - one name under several conditions is one parameter, if its kind and range are the same everywhere and the
      conditions differ in the values of one hyperparameter only. Of one name under the same condition the range that
      appears first counts, as in KerasTuner.

    Args:
        function: a function of ``hp``, a ``HyperModel``, or a subclass of it that needs no arguments.

    Raises:
        MissingExtra: KerasTuner is not installed.
        ModelError: no build succeeded, or the hyperparameters make no space.
    """
    hunt = _Hunt(opened(function))
    hunt.run()
    parameters, notes = _parameters(hunt.known.space)
    if not parameters:
        raise ModelError("a KerasTuner model must ask for a hyperparameter to be searched. Received: none")
    try:
        space = SpaceSpec(parameters=parameters)
    except ValidationError as error:
        raise ModelError(f"the hyperparameters must make a space. Received: {error}") from error
    listed = f"{hunt.builds} builds of the model found the space: {', '.join(space.parameters)}"
    return Found(
        space=space,
        defaults={parameter_name(each.name): _plain(each.default) for each in hunt.known.space},
        compiled=hunt.compiled,
        notes=(listed, *hunt.notes(), *notes),
    )


class _Hunt:
    """Builds a model with ever other values.

    Attributes:
        known: KerasTuner's ``HyperParameters`` that were asked for so far.
        builds: how many there were.
        compiled: whether any model came compiled.
    """

    def __init__(self, hypermodel: Any) -> None:
        self.known = import_keras_tuner().HyperParameters()
        self.builds = 0
        self.compiled = False
        self._hypermodel = hypermodel
        self._failed = 0
        self._failure: Exception | None = None  # the first
        self._waiting: deque[Values] = deque([{}])
        # Hyperparameters, values of theirs that were tried or wait to be, and scopes that were active or wait to be.
        self._met: set[str] = set()

    def run(self) -> None:
        """Builds until nothing new appears.

        Raises:
            ModelError: no build succeeded.
        """
        self._hypermodel.declare_hyperparameters(self.known)
        for each in self.known.space:
            self._met.add(_identity(each))
            self._probe(each, {})
        rng = random.Random(0)
        quiet = 0
        while (self._waiting or quiet < _QUIET) and self.builds < _BUILDS:
            drawn = not self._waiting
            wanted = self._waiting.popleft() if self._waiting else self._drawn(rng)
            appeared = self._build(wanted)
            quiet = quiet + 1 if drawn and not appeared else 0
        if self._failure is not None and self._failed == self.builds:
            rule = "a KerasTuner model must build with some values of its hyperparameters"
            received = f"{_told(self._failure)} first, and no model from any of {self.builds} builds"
            raise ModelError(f"{rule}. Received: {received}") from self._failure

    def notes(self) -> Iterator[str]:
        """What did not go as it should."""
        if self._failure is not None:
            failed = f"{self._failed} of {self.builds} builds failed"
            yield f"{failed} while the space was looked for, the first with {_told(self._failure)}"
        if self.builds == _BUILDS:
            yield f"{_BUILDS} builds did not come to an end of the space; trials fail that need more than it has"

    def _build(self, wanted: Values) -> bool:
        """Builds once, as far as possible with these values; returns whether a hyperparameter appeared."""
        import keras

        kinds = import_keras_tuner().engine.hyperparameters
        hp = self.known.copy()
        hp.values = {}
        for each in hp.space:
            if hp.is_active(each):
                value = wanted.get(each.name, each.default)
                hp.values[each.name] = each.default if isinstance(each, kinds.Fixed) else value
        seed_everything(0)
        self.builds += 1
        try:
            model = self._hypermodel.build(hp)
            if not isinstance(model, keras.Model):
                raise ModelError(f"a builder must return a keras.Model. Received: {type(model).__name__}")
            self.compiled = self.compiled or bool(model.compiled)
        except Exception as error:  # whatever the user's code raises; a trial with these values would fail alike
            self._failed += 1
            self._failure = self._failure or error
        new = [each for each in hp.space if _identity(each) not in self._met]
        self._met.update(map(_identity, new))
        self.known.merge(new)
        for scope in hp.active_scopes:
            self._met.add(_key(scope))
        for scope in hp.inactive_scopes:
            self._enqueue(_key(scope), {**wanted, **_activating(scope)})
        for each in new:
            self._probe(each, wanted)
        return bool(new)

    def _probe(self, hyperparameter: Any, wanted: Values) -> None:
        """Has each value tried that may show something new, beside what had to be so for the hyperparameter itself."""
        kinds = import_keras_tuner().engine.hyperparameters
        if isinstance(hyperparameter, kinds.Int | kinds.Float):
            values = [hyperparameter.max_value, hyperparameter.min_value]
        else:
            values = list(hyperparameter.values)
        for value in values:
            if value != hyperparameter.default:
                needed = {**wanted, **_activating(hyperparameter.conditions), hyperparameter.name: value}
                self._enqueue(f"{_identity(hyperparameter)} {value!r}", needed)

    def _enqueue(self, key: str, wanted: Values) -> None:
        if key not in self._met:
            self._met.add(key)
            self._waiting.append(wanted)

    def _drawn(self, rng: random.Random) -> Values:
        return {each.name: each.random_sample(rng.getrandbits(32)) for each in self.known.space}


def _key(conditions: list[Any]) -> str:
    return repr([(condition.name, condition.values) for condition in conditions])


def _identity(hyperparameter: Any) -> str:
    """KerasTuner tells hyperparameters apart by name and condition."""
    return f"{_key(hyperparameter.conditions)} {hyperparameter.name!r}"


def _activating(conditions: list[Any]) -> Values:
    """Values with which conditions hold."""
    return {condition.name: condition.values[0] for condition in conditions}


def _told(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:600]


def _parameters(hyperparameters: list[Any]) -> tuple[dict[str, Parameter], list[str]]:
    """The parameters of a space, each after those that its condition names; and notes.

    Raises:
        ModelError: two hyperparameters cannot be told apart, or be one.
    """
    titles: dict[str, str] = {}
    found: dict[str, Parameter] = {}
    notes = []
    for each in hyperparameters:
        name = parameter_name(each.name)
        if titles.setdefault(name, each.name) != each.name:
            rule = "the names of hyperparameters must differ as identifiers, too"
            raise ModelError(f"{rule}. Received: {titles[name]!r} and {each.name!r}")
        parameter = _parameter(each)
        if getattr(each, "sampling", None) == "reverse_log" and not isinstance(parameter, Choice):
            notes.append(f"{name} is drawn on a linear scale: there is no reverse_log")
        when = _when(each.conditions, found)
        if when is None:  # out of reach
            continue
        parameter = parameter.model_copy(update={"when": when})
        found[name] = _united(name, found[name], parameter) if name in found else parameter
    return pinned(found, {}), list(dict.fromkeys(notes))


def _when(conditions: list[Any], found: Mapping[str, Parameter]) -> dict[str, list[ParamValue]] | None:
    """The condition of a parameter, None if it can never hold."""
    when: dict[str, list[ParamValue]] = {}
    for condition in conditions:
        name = parameter_name(condition.name)
        if name not in found:
            return None
        when[name] = _taken(found[name], condition.values)
        if not when[name]:
            return None
    return when


def _taken(parameter: Parameter, values: list[ParamValue]) -> list[ParamValue]:
    """Those of the values that a parameter can take, as it has them: KerasTuner takes ``True`` for ``1``."""
    if isinstance(parameter, Choice):
        return [own for own in parameter.values if own in values]
    if isinstance(parameter, Fixed):
        return [parameter.value] if parameter.value in values else []
    numbers = [value + 0 for value in values if not isinstance(value, str)]
    return list(dict.fromkeys(value for value in numbers if admits(parameter, value)))


def _united(name: str, one: Parameter, other: Parameter) -> Parameter:
    """One parameter for two hyperparameters of a name."""
    if one.model_copy(update={"when": {}}) != other.model_copy(update={"when": {}}):
        rule = "hyperparameters of one name must be of one kind and range"
        raise ModelError(f"{rule}. Received: {name} as {one!r} and as {other!r}")
    if not one.when or not other.when:
        return one if not one.when else other
    differing = [switch for switch in {**one.when, **other.when} if one.when.get(switch) != other.when.get(switch)]
    if len(differing) > 1 or one.when.keys() != other.when.keys():
        rule = "the conditions of hyperparameters of one name must differ in the values of one hyperparameter only"
        raise ModelError(f"{rule}. Received: {name} when {one.when} and when {other.when}")
    united = {
        switch: [*values, *(value for value in other.when[switch] if value not in values)]
        for switch, values in one.when.items()
    }
    return one.model_copy(update={"when": united})


def _parameter(hyperparameter: Any) -> Parameter:
    """The parameter of a hyperparameter, its condition aside."""
    kinds = import_keras_tuner().engine.hyperparameters
    parameter: Parameter
    if isinstance(hyperparameter, kinds.Fixed):
        return Fixed(value=hyperparameter.value)
    if isinstance(hyperparameter, kinds.Boolean):
        parameter = Choice(values=[False, True])
    elif isinstance(hyperparameter, kinds.Choice):
        parameter = Choice(values=[_plain(value) for value in dict.fromkeys(hyperparameter.values)])
    elif hyperparameter.step is not None and hyperparameter.sampling != "linear":
        number = int if isinstance(hyperparameter, kinds.Int) else float
        parameter = Choice(values=list(dict.fromkeys(number(value) for value in hyperparameter.values)))
    elif isinstance(hyperparameter, kinds.Int):
        low, step = hyperparameter.min_value, hyperparameter.step or 1
        high = low + (hyperparameter.max_value - low) // step * step
        parameter = Int(min=low, max=high, step=step if step > 1 else None, log=hyperparameter.sampling == "log")
    else:
        parameter = _float(hyperparameter)
    prior = _plain(hyperparameter.default)
    if prior == _unstated(hyperparameter) or not admits(parameter, prior):
        return parameter
    if not isinstance(parameter, Choice):
        prior = int(prior) if isinstance(parameter, Int) else float(prior)
    return parameter.model_copy(update={"prior": prior})


def _unstated(hyperparameter: Any) -> Any:
    """KerasTuner's default where none is stated; it does not keep whether one was."""
    kinds = import_keras_tuner().engine.hyperparameters
    if isinstance(hyperparameter, kinds.Boolean):
        return False
    return hyperparameter.values[0] if isinstance(hyperparameter, kinds.Choice) else hyperparameter.min_value


def _float(hyperparameter: Any) -> Float:
    low, high, step = hyperparameter.min_value, hyperparameter.max_value, hyperparameter.step
    if step is None:
        return Float(min=low, max=high, log=hyperparameter.sampling == "log")
    steps = math.floor((high - low) / step + 1e-9)
    last = float(Decimal(repr(low)) + steps * Decimal(repr(float(step))))  # 0.3, not 0.30000000000000004
    return Float(min=low, max=last, step=float(step) if steps else None)


def _plain(value: Any) -> ParamValue:
    """A number of NumPy's as Python's own."""
    plain: ParamValue = value.item() if hasattr(value, "item") else value
    return plain
