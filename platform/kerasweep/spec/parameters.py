"""What a user writes about one hyperparameter, and about all of them.

Bounds are closed. ``log`` and ``step`` are independent of the type: a step counts from ``min``, and a logarithmic
parameter with a step is drawn on the logarithmic scale and then rounded to its nearest step.
"""

from __future__ import annotations

import keyword
import math
from collections.abc import Collection, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Annotated, Literal

from pydantic import Field, StrictBool, StrictFloat, StrictInt, StrictStr, field_validator, model_validator

from kerasweep.errors import Problem, one_of
from kerasweep.spec.base import Frozen, RuleError, broken

Value = StrictBool | StrictInt | StrictFloat | StrictStr
# The only parameter that a trial can find by itself, and the fewest steps in which it can.
FOUND_PARAMETER = "learning_rate"
FEWEST_TEST_STEPS = 40
Condition = dict[str, list[Value]]


class _Parameter(Frozen):
    when: Condition = Field(
        default_factory=dict, description="Active only if every named parameter is active and has one of these values."
    )

    @field_validator("when")
    @classmethod
    def _conditions_name_values(cls, when: Condition) -> Condition:
        for other, values in when.items():
            if not values:
                raise broken("a condition must list at least one value. Received: []", other)
        return when


class _Range(_Parameter):
    log: StrictBool = Field(False, description="Drawn on a logarithmic scale.")

    def _check_range(self, low: float, high: float, step: float | None, prior: float | None) -> None:
        if low > high:
            raise broken(f"min <= max must hold. Received: min={low}, max={high}", "min")
        if not math.isfinite(high - low):
            raise broken(f"max - min must be a finite number. Received: min={low}, max={high}", "max")
        problems = []
        if self.log and low <= 0:
            problems.append(Problem(f"min must be > 0 when log is true. Received: min={low}", ("min",)))
        if step is not None and step <= 0:
            problems.append(Problem(f"step must be > 0. Received: {step}", ("step",)))
        elif step is not None and not _is_whole((high - low) / step, 1e-9):
            received = f"min={low}, max={high}, step={step}"
            problems.append(Problem(f"step must divide max - min. Received: {received}", ("step",)))
        if prior is not None and not low <= prior <= high:
            received = f"prior={prior}, min={low}, max={high}"
            problems.append(Problem(f"min <= prior <= max must hold. Received: {received}", ("prior",)))
        if problems:
            raise RuleError(*problems)


def _is_whole(steps: float, tolerance: float) -> bool:
    """Whether a quotient is a whole number, up to the rounding of its division."""
    return math.isfinite(steps) and math.isclose(steps, round(steps), abs_tol=tolerance, rel_tol=1e-9)


# Beyond this a 64-bit array cannot hold the value.
_Whole = Annotated[StrictInt, Field(ge=-(2**63), le=2**63 - 1)]


class Float(_Range):
    """A real number in ``[min, max]``."""

    type: Literal["float"] = "float"
    min: StrictFloat = Field(description="The smallest value, itself included.")
    max: StrictFloat = Field(description="The largest value, itself included.")
    step: StrictFloat | None = Field(None, description="Distance between neighbouring values, counted from min.")
    prior: StrictFloat | None = Field(None, description="A typical good value.")

    @model_validator(mode="after")
    def _check(self) -> Float:
        self._check_range(self.min, self.max, self.step, self.prior)
        return self


class Int(_Range):
    """A whole number in ``[min, max]``."""

    type: Literal["int"] = "int"
    min: _Whole = Field(description="The smallest value, itself included.")
    max: _Whole = Field(description="The largest value, itself included.")
    step: _Whole | None = Field(None, description="Distance between neighbouring values, counted from min.")
    prior: _Whole | None = Field(None, description="A typical good value.")

    @model_validator(mode="after")
    def _check(self) -> Int:
        self._check_range(self.min, self.max, self.step, self.prior)
        return self


class Choice(_Parameter):
    """One of a list of values, without an order."""

    type: Literal["choice"] = "choice"
    values: list[Value] = Field(description="What it can be.")
    prior: Value | None = Field(None, description="A typical good value.")

    @model_validator(mode="after")
    def _check(self) -> Choice:
        if not self.values:
            raise broken("values must hold at least one value. Received: []", "values")
        problems = []
        seen: set[tuple[type, Value]] = set()
        for position, value in enumerate(self.values):
            if (type(value), value) in seen:
                message = f"values must differ from each other. Received: {value!r} twice"
                problems.append(Problem(message, ("values", position)))
            seen.add((type(value), value))
        if self.prior is not None and not admits(self, self.prior):
            message = f"prior must be one of values. Received: prior={self.prior!r}, values={self.values!r}"
            problems.append(Problem(message, ("prior",)))
        if problems:
            raise RuleError(*problems)
        return self


class Fixed(_Parameter):
    """A value that does not vary; with ``when``, one that is only set under a condition."""

    type: Literal["fixed"] = "fixed"
    value: Value = Field(description="What it is.")


class Find(_Parameter):
    """A learning rate that every trial finds before it trains, by a range test (Smith 2017); nothing searches it."""

    type: Literal["find"] = "find"
    min: StrictFloat = Field(1e-5, description="The rate of the test's first step.")
    max: StrictFloat = Field(10.0, description="The rate of its last step.")
    steps: StrictInt = Field(300, description="Mini-batches from the first to the last, in equal ratios of the rate.")

    @model_validator(mode="after")
    def _check(self) -> Find:
        problems = []
        if not 0 < self.min < self.max < math.inf:
            message = f"0 < min < max must hold for rates to test. Received: min={self.min:g}, max={self.max:g}"
            problems.append(Problem(message, ("min",)))
        if self.steps < FEWEST_TEST_STEPS:
            message = f"a range test needs at least {FEWEST_TEST_STEPS} steps. Received: {self.steps}"
            problems.append(Problem(message, ("steps",)))
        if problems:
            raise RuleError(*problems)
        return self

    def applies(self, params: Mapping[str, Value]) -> bool:
        """Whether its condition holds in a configuration."""
        return all(switch in params and among(params[switch], values) for switch, values in self.when.items())


Searchable = Float | Int | Choice | Fixed
Parameter = Annotated[Searchable | Find, Field(discriminator="type")]


class SpaceSpec(Frozen):
    """All hyperparameters of a study by name."""

    parameters: dict[str, Parameter] = Field(description="Each hyperparameter by its name.")

    @field_validator("parameters")
    @classmethod
    def _names(cls, parameters: dict[str, Parameter]) -> dict[str, Parameter]:
        if not parameters:
            raise ValueError("a space must have at least one parameter. Received: {}")
        for name in parameters:
            if not name.isidentifier() or keyword.iskeyword(name):
                raise broken(f"a parameter's name must be a Python identifier. Received: {name!r}", name)
        return parameters

    @model_validator(mode="after")
    def _conditions(self) -> SpaceSpec:
        problems = [
            Problem(problem.message, ("parameters", *problem.path)) for problem in space_problems(self.parameters)
        ]
        if problems:
            raise RuleError(*problems)
        return self


def space_problems(parameters: Mapping[str, Parameter], invalid: Collection[str] = ()) -> Iterator[Problem]:
    """Conditions that no configuration can meet, and what no range test can find.

    Args:
        parameters: the valid parameters of a space.
        invalid: names of parameters that are there but break a rule of their own; nothing is said about them.

    Yields:
        problems whose paths begin with a parameter's name.
    """
    yield from _unreachable(parameters, invalid)
    yield from _cycles(parameters)
    for name, parameter in parameters.items():
        if isinstance(parameter, Find) and name != FOUND_PARAMETER:
            message = f"only {FOUND_PARAMETER} can be found by a range test. Received: {name}"
            yield Problem(message, (name, "type"))


def _unreachable(parameters: Mapping[str, Parameter], invalid: Collection[str]) -> Iterator[Problem]:
    for name, parameter in parameters.items():
        for other, values in parameter.when.items():
            if other in invalid:
                continue
            path = (name, "when", other)
            if other not in parameters:
                yield Problem(one_of("a condition's parameter", other, [*parameters, *invalid]), path)
                continue
            if isinstance(parameters[other], Find):
                message = (
                    f"a condition must name what is known before a trial begins. Received: {other}, which is found"
                )
                yield Problem(message, path)
                continue
            for position, value in enumerate(values):
                if not admits(parameters[other], value):
                    message = f"a condition must name values that {other} can take. Received: {value!r}"
                    yield Problem(message, (*path, position))


def _cycles(parameters: Mapping[str, Parameter]) -> Iterator[Problem]:
    known = {name: [other for other in each.when if other in parameters] for name, each in parameters.items()}
    try:
        TopologicalSorter(known).prepare()
    except CycleError as error:
        cycle: list[str] = error.args[1][::-1]
        message = f"conditions must not form a cycle. Received: {' -> '.join(cycle)}"
        yield Problem(message, (cycle[0], "when", cycle[1]))


def among(value: Value, values: Collection[Value]) -> bool:
    """Whether a value is one of these; 1 and 1.0 are the same, 1 and true are not."""
    return any(value == each and isinstance(value, bool) == isinstance(each, bool) for each in values)


def admits(parameter: Parameter, value: Value) -> bool:
    """Whether a parameter can take this value (its condition aside); what is to be found may also be held at one."""
    if isinstance(parameter, Fixed):
        return among(value, [parameter.value])
    if isinstance(parameter, Choice):
        return among(value, parameter.values)
    if isinstance(parameter, Find):
        return not isinstance(value, bool | str) and value > 0
    if isinstance(value, bool | str) or not parameter.min <= value <= parameter.max:
        return False
    if isinstance(parameter, Int) and value != int(value):
        return False
    if parameter.step is None:
        return True
    return _is_whole((value - parameter.min) / parameter.step, 1e-6)


def pinned(parameters: Mapping[str, Parameter], values: Mapping[str, Value]) -> dict[str, Parameter]:
    """A space with some of its parameters held at a value.

    What can then never be active is left out, and so is what a condition names that its switch can no longer be.

    Args:
        parameters: of the space.
        values: by name; a parameter keeps its condition. Names that the space does not have are passed over.
    """
    space = {
        name: Fixed(value=values[name], when=parameter.when) if name in values else parameter
        for name, parameter in parameters.items()
    }
    while True:
        out_of_reach = [
            name
            for name, parameter in space.items()
            for other, wanted in parameter.when.items()
            if other not in space or not any(admits(space[other], value) for value in wanted)
        ]
        if not out_of_reach:
            return {name: _with_conditions_left(parameter, space) for name, parameter in space.items()}
        space = {name: parameter for name, parameter in space.items() if name not in out_of_reach}


def _with_conditions_left(parameter: Parameter, space: Mapping[str, Parameter]) -> Parameter:
    """A parameter whose conditions name only what their switches can be."""
    left = {other: [each for each in wanted if admits(space[other], each)] for other, wanted in parameter.when.items()}
    return parameter if left == parameter.when else parameter.model_copy(update={"when": left})
