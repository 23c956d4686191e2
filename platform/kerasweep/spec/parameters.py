"""What a user writes about one hyperparameter, and about all of them.

Bounds are closed. ``log`` and ``step`` are independent of the type: a step counts from ``min``, and a logarithmic
parameter with a step is drawn on the logarithmic scale and then rounded to its nearest step.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from pydantic import Field, StrictBool, StrictFloat, StrictInt, StrictStr, field_validator, model_validator

from kerasweep.spec.base import Frozen

Value = StrictBool | StrictInt | StrictFloat | StrictStr
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
                raise ValueError(f"a condition must list at least one value. Received: {other}: []")
        return when


class _Range(_Parameter):
    log: bool = Field(False, description="Drawn on a logarithmic scale.")

    def _check_range(self, low: float, high: float, step: float | None, prior: float | None) -> None:
        if low > high:
            raise ValueError(f"min <= max must hold. Received: min={low}, max={high}")
        if self.log and low <= 0:
            raise ValueError(f"min must be > 0 when log is true. Received: min={low}")
        if step is not None:
            if step <= 0:
                raise ValueError(f"step must be > 0. Received: step={step}")
            steps = (high - low) / step
            if not math.isclose(steps, round(steps), abs_tol=1e-9, rel_tol=1e-9):
                raise ValueError(f"step must divide max - min. Received: min={low}, max={high}, step={step}")
        if prior is not None and not low <= prior <= high:
            raise ValueError(f"min <= prior <= max must hold. Received: prior={prior}, min={low}, max={high}")


class Float(_Range):
    """A real number in ``[min, max]``."""

    type: Literal["float"] = "float"
    min: float
    max: float
    step: float | None = Field(None, description="Distance between neighbouring values, counted from min.")
    prior: float | None = Field(None, description="A typical good value.")

    @model_validator(mode="after")
    def _check(self) -> Float:
        self._check_range(self.min, self.max, self.step, self.prior)
        return self


class Int(_Range):
    """A whole number in ``[min, max]``."""

    type: Literal["int"] = "int"
    min: StrictInt
    max: StrictInt
    step: StrictInt | None = Field(None, description="Distance between neighbouring values, counted from min.")
    prior: StrictInt | None = Field(None, description="A typical good value.")

    @model_validator(mode="after")
    def _check(self) -> Int:
        self._check_range(self.min, self.max, self.step, self.prior)
        return self


class Choice(_Parameter):
    """One of a list of values, without an order."""

    type: Literal["choice"] = "choice"
    values: list[Value]
    prior: Value | None = Field(None, description="A typical good value.")

    @model_validator(mode="after")
    def _check(self) -> Choice:
        if not self.values:
            raise ValueError("values must hold at least one value. Received: []")
        seen: set[tuple[type, Value]] = set()
        for value in self.values:
            if (type(value), value) in seen:
                raise ValueError(f"values must differ from each other. Received: {value!r} twice")
            seen.add((type(value), value))
        if self.prior is not None and self.prior not in self.values:
            raise ValueError(f"prior must be one of values. Received: prior={self.prior!r}, values={self.values!r}")
        return self


class Fixed(_Parameter):
    """A value that does not vary; with ``when``, one that is only set under a condition."""

    type: Literal["fixed"] = "fixed"
    value: Value


Parameter = Annotated[Float | Int | Choice | Fixed, Field(discriminator="type")]


class SpaceSpec(Frozen):
    """All hyperparameters of a study by name."""

    parameters: dict[str, Parameter]

    @field_validator("parameters")
    @classmethod
    def _names(cls, parameters: dict[str, Parameter]) -> dict[str, Parameter]:
        if not parameters:
            raise ValueError("a space must have at least one parameter. Received: {}")
        for name in parameters:
            if not name.isidentifier():
                raise ValueError(f"a parameter's name must be a Python identifier. Received: {name!r}")
        return parameters

    @model_validator(mode="after")
    def _conditions(self) -> SpaceSpec:
        problems = [*_unreachable(self.parameters), *_cycles(self.parameters)]
        if problems:
            raise ValueError("\n".join(problems))
        return self


def _unreachable(parameters: Mapping[str, Parameter]) -> Iterator[str]:
    for name, parameter in parameters.items():
        for other, values in parameter.when.items():
            if other not in parameters:
                yield f"a condition must name a parameter of the space. Received: {name}: when {other!r}"
                continue
            for value in values:
                if not admits(parameters[other], value):
                    yield (
                        f"a condition must name values its parameter can take. "
                        f"Received: {name}: when {other!r} is {value!r}"
                    )


def _cycles(parameters: Mapping[str, Parameter]) -> Iterator[str]:
    done: set[str] = set()
    for start in parameters:
        trail: list[str] = []
        if found := _cycle_from(start, parameters, trail, done):
            yield f"conditions must not form a cycle. Received: {' -> '.join(found)}"
            return


def _cycle_from(
    name: str, parameters: Mapping[str, Parameter], trail: list[str], done: set[str]
) -> list[str] | None:
    if name in trail:
        return [*trail[trail.index(name) :], name]
    if name in done or name not in parameters:
        return None
    trail.append(name)
    for other in parameters[name].when:
        if found := _cycle_from(other, parameters, trail, done):
            return found
    trail.pop()
    done.add(name)
    return None


def admits(parameter: Parameter, value: Value) -> bool:
    """Whether a parameter can take this value (its condition aside)."""
    if isinstance(parameter, Fixed):
        return value == parameter.value and isinstance(value, bool) == isinstance(parameter.value, bool)
    if isinstance(parameter, Choice):
        return any(value == own and isinstance(value, bool) == isinstance(own, bool) for own in parameter.values)
    if isinstance(value, bool | str) or not parameter.min <= value <= parameter.max:
        return False
    if isinstance(parameter, Int) and value != int(value):
        return False
    if parameter.step is None:
        return True
    steps = (value - parameter.min) / parameter.step
    return math.isclose(steps, round(steps), abs_tol=1e-6)
