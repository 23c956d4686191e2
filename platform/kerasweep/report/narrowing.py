"""The next space: what a study's best trials leave of the space it searched."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from kerasweep.errors import StudyError
from kerasweep.records import Objective, Params, ParamValue, Status, Trial
from kerasweep.report.tables import top
from kerasweep.space import Space
from kerasweep.space.axes import Continuous, Steps
from kerasweep.space.ranges import Interval, Run, whole
from kerasweep.spec.families import Known, family_parameter
from kerasweep.spec.parameters import Choice, Condition, Find, Fixed, Float, Int, Parameter, SpaceSpec, admits

# The share of the trials that are the best ones, unless another is asked for.
KEEP = 0.2

# However few trials there are, so many are the best ones; of twice as many it can be said which these are.
_FEWEST_BEST = 3
FEWEST = 2 * _FEWEST_BEST

# A range reaches beyond the best values by at least this share of the declared one.
_MARGIN = 0.1

# A value of a choice is dropped if it would be among the best with at least this probability, were it as good as any.
_CONFIDENCE = 0.9

# The best press against a border if at least half of them, and twice as many as chance would put there, lie within
# this share of the declared range of it.
_OUTER = 0.1
_PRESSING = 0.5


@dataclass(frozen=True)
class Narrowed:
    """One parameter of the next space.

    Attributes:
        name: of the parameter.
        parameter: as it is in the next space; None if no configuration of that can have it.
        why: what the trials say of it, in a few words.
        hint: that the optimum may lie outside of the declared range, and what to consider; empty if not.
        share: how much of its declared range it keeps.
    """

    name: str
    parameter: Parameter | None
    why: str
    hint: str = ""
    share: float = 1.0


@dataclass(frozen=True)
class NextSpace:
    """A space narrowed around the best trials of a study.

    Attributes:
        parameters: what became of each parameter, as declared.
        best: how many trials it is narrowed around.
        trials: of how many.
    """

    parameters: tuple[Narrowed, ...]
    best: int
    trials: int

    @property
    def spec(self) -> SpaceSpec:
        """What a space file would hold."""
        return SpaceSpec(parameters={each.name: each.parameter for each in self.parameters if each.parameter})

    @property
    def volume(self) -> float:
        """How much of the declared space is left, each parameter in its scale."""
        return math.prod(each.share for each in self.parameters if each.parameter)

    @property
    def hints(self) -> tuple[str, ...]:
        return tuple(f"{each.name}: {each.hint}" for each in self.parameters if each.hint)


def best_values(
    trials: Sequence[Trial], objective: Objective, space: Space, keep: float = KEEP
) -> dict[str, list[ParamValue]]:
    """The values that each varying parameter has in the best trials, best first; see ``narrow``."""
    best = _best(_ranked(trials, objective, space), keep)
    return {name: [trial.params[name] for trial in best if name in trial.params] for name in space.dimensions}


def _ranked(trials: Sequence[Trial], objective: Objective, space: Space) -> list[Trial]:
    return [trial for trial in top(trials, objective, len(trials)) if space.contains(trial.params)]


def _best(ranked: Sequence[Trial], keep: float) -> Sequence[Trial]:
    return ranked[: max(math.ceil(keep * len(ranked)), _FEWEST_BEST)]


def narrow(
    trials: Sequence[Trial], objective: Objective, space: Space, keep: float = KEEP, family: str | None = None
) -> NextSpace:
    """Narrows a space around the best share of the trials.

    Ranks count, not values. Of the best trials that have a parameter (at least two, or it stays as it was),

    - a range goes from their lowest value to their highest, and beyond on either side by a tenth of the declared range,
      or by ``spread / (n - 1)`` if that is more: by so much n uniform draws fall short of their range's ends. It ends
      at the declared borders, and nowhere else at the best value;
    - a choice keeps the values that occur among them, and those that were tried too seldom to tell: a value that t of
      N trials had is dropped if, were it as good as any, n of them would all be without it with a probability of less
      than a tenth (hypergeometric).

    Kind, scale and step stay. The prior becomes the best trial's value. A condition keeps the values that its switch
    still has; a parameter that is left without one is left out.

    Args:
        trials: of one study.
        objective: of the study.
        space: of the study.
        keep: the share of the trials with a value that are the best ones; at least three are.
        family: the built-in family, whose limits no hint exceeds.

    Raises:
        StudyError: there are too few trials with a value.
        ValueError: ``keep`` is no share.
    """
    if not 0 < keep < 1:
        raise ValueError(f"0 < keep < 1 must hold. Received: {keep}")
    ranked = _ranked(trials, objective, space)
    if len(ranked) < FEWEST:
        raise StudyError(f"narrowing takes at least {FEWEST} trials with a value. Received: {len(ranked)}")
    best = _best(ranked, keep)
    failed = [trial for trial in trials if trial.status is Status.FAILED]
    tried = [trial.params for trial in (*ranked, *failed)]
    found: dict[str, Narrowed] = {}
    for name in (*space.names, *space.found):
        declared = space.spec.parameters[name]
        when = _left(declared.when, found)
        if when is None:
            found[name] = Narrowed(name, None, "left out: its condition can no longer be met")
        else:
            evidence = _Evidence(name, [trial.params for trial in best], tried)
            found[name] = _narrowed(space, evidence, when, family)
    return NextSpace(tuple(found[name] for name in space.spec.parameters), len(best), len(ranked))


@dataclass(frozen=True)
class _Evidence:
    """What is known of one parameter: configurations of the best trials, best first, and of all that ended."""

    name: str
    best: Sequence[Params]
    tried: Sequence[Params]

    @property
    def values(self) -> list[ParamValue]:
        return [params[self.name] for params in self.best if self.name in params]

    @property
    def all(self) -> list[ParamValue]:
        return [params[self.name] for params in self.tried if self.name in params]


def _left(when: Condition, found: Mapping[str, Narrowed]) -> Condition | None:
    """What is left of a condition; None if it cannot be met."""
    left: Condition = {}
    for switch, values in when.items():
        parameter = found[switch].parameter
        left[switch] = [value for value in values if parameter is not None and admits(parameter, value)]
        if not left[switch]:
            return None
    return left


def _narrowed(space: Space, evidence: _Evidence, when: Condition, family: str | None) -> Narrowed:
    name = evidence.name
    declared = space.spec.parameters[name]
    kept = _with(declared, {"when": when})
    if isinstance(declared, Find):
        return Narrowed(name, kept, "as it was: every trial finds its own")
    if isinstance(declared, Fixed) or name not in space.dimensions:
        return Narrowed(name, kept, "a single value")
    values = evidence.values
    if len(values) < 2:
        said = "none" if not values else "a single one"
        return Narrowed(name, kept, f"as it was: {said} of the best {len(evidence.best)} has it")
    if isinstance(declared, Choice):
        return _choice(declared, evidence, when)
    axis = space.axes[name]
    places = [axis.coordinate(value) for value in values]
    margin = max(_MARGIN, (max(places) - min(places)) / (len(places) - 1))
    part = whole(axis).around(values, margin)
    if isinstance(part, Interval):
        low, high = _tidy(part)
        ends: tuple[ParamValue, ParamValue] = (low, high)
        share = part.axis.coordinate(high) - part.axis.coordinate(low)
    elif isinstance(part, Run):
        part = part.beside(values[0])
        ends, share = (part.axis.value(part.first), part.axis.value(part.last)), part.share
    else:
        raise TypeError(f"a range must have an order. Received: {part}")
    update = {"min": ends[0], "max": ends[1], "prior": values[0], "when": when}
    why = f"{_number(declared.min)} to {_number(declared.max)} before; the best {len(values)} have "
    why += f"{_number(min(values))} to {_number(max(values))}, the best one {_number(values[0])}"
    hint = _hint(declared, part, places, None if family is None else family_parameter(family, name))
    return Narrowed(name, _with(declared, update), why, hint, share)


def _choice(declared: Choice, evidence: _Evidence, when: Condition) -> Narrowed:
    values, tried = evidence.values, evidence.all
    kept: list[ParamValue] = []
    seldom: list[str] = []
    dropped: list[str] = []
    for value in declared.values:
        count, used = _count(value, tried), _count(value, values)
        if used:
            kept.append(value)
        elif _missed(count, len(tried), len(values)) > 1 - _CONFIDENCE:
            kept.append(value)
            seldom.append(f"{value} (tried {count} times)")
        else:
            dropped.append(f"{value} (tried {count} times)")
    uses = ", ".join(f"{value} {_count(value, values)}" for value in kept if _count(value, values))
    why = f"of the best {len(values)} have {uses}"
    why += f"; dropped: {', '.join(dropped)}" if dropped else ""
    why += f"; tried too seldom to drop: {', '.join(seldom)}" if seldom else ""
    update = {"values": kept, "prior": values[0], "when": when}
    return Narrowed(evidence.name, _with(declared, update), why, share=len(kept) / len(declared.values))


def _with(declared: Parameter, update: Mapping[str, object]) -> Parameter:
    """A parameter with some of its keys changed, checked."""
    return type(declared).model_validate({**declared.model_dump(), **update})


def _count(value: ParamValue, values: Sequence[ParamValue]) -> int:
    return sum(value == each and type(value) is type(each) for each in values)


def _missed(count: int, population: int, drawn: int) -> float:
    """The probability that none of ``drawn`` trials is one of ``count`` in a population, drawn without return."""
    return math.comb(population - count, drawn) / math.comb(population, drawn)


def _tidy(part: Interval) -> tuple[float, float]:
    """The ends of an interval with few digits, rounded outwards as far as its axis goes."""
    axis = part.axis
    low, high = axis.at(part.low), axis.at(part.high)
    if low > axis.low:
        low = max(_rounded(low, low if axis.log else high - low, ROUND_FLOOR), axis.low)
    if high < axis.high:
        high = min(_rounded(high, high if axis.log else high - low, ROUND_CEILING), axis.high)
    return low, high


def _rounded(value: float, scale: float, rounding: str) -> float:
    """A value to a hundredth, or less, of a scale."""
    exponent = math.floor(math.log10(scale)) - 2
    return float(Decimal(repr(value)).quantize(Decimal((0, (1,), exponent)), rounding=rounding))


def _hint(declared: Float | Int, part: Interval | Run, places: Sequence[float], known: Known | None) -> str:
    """Whether the best trials press against a declared border, and what lies beyond it."""
    axis = part.axis
    ends = (_OUTER, _OUTER) if isinstance(axis, Continuous) else (axis.cell(0)[1], 1 - axis.cell(axis.size - 1)[0])
    below, above = (max(_OUTER, end) for end in ends)
    if sum(place <= below for place in places) >= max(_PRESSING, 2 * below) * len(places):
        least = _first_given(None if known is None else known.low, 0 if declared.min >= 0 else -math.inf)
        least = max(least, 1) if declared.log and isinstance(declared, Int) else least
        border, beyond = "min", max(_beyond(part, upwards=False), least)
        outside = beyond < declared.min
    elif sum(place >= 1 - above for place in places) >= max(_PRESSING, 2 * above) * len(places):
        most = _first_given(None if known is None else known.high, math.inf)
        border, beyond = "max", min(_beyond(part, upwards=True), most)
        outside = beyond > declared.max
    else:
        return ""
    if not outside:
        return ""
    return (
        f"the best trials press against {border}, so the optimum may lie outside: consider {border}: {_number(beyond)}"
    )


def _first_given(limit: float | None, otherwise: float) -> float:
    return otherwise if limit is None else limit


def _beyond(part: Interval | Run, *, upwards: bool) -> float:
    """As far beyond the border, in the parameter's scale, as the narrowed range reaches inwards from it."""
    axis = part.axis
    if isinstance(part, Interval):
        near, far = part.axis.at(part.low), part.axis.at(part.high)
    else:
        near, far = float(part.axis.value(part.first)), float(part.axis.value(part.last))
    if not upwards:
        near, far = far, near
    value = far * (far / near) if axis.log else far + (far - near)
    if isinstance(axis, Steps):
        steps = max(round(abs(value - far) / axis.step), 1)
        stepped = far + (steps if upwards else -steps) * axis.step
        return int(stepped) if axis.whole else float(Decimal(repr(stepped)).quantize(Decimal(repr(axis.step))))
    return float(f"{value:.2g}")


def _number(value: ParamValue) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
