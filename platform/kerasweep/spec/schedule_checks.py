"""What the learning rate's schedule must be, given the hyperparameters that speak of it and how long trials train."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from kerasweep.errors import Problem
from kerasweep.spec.families import SCHEDULE_PARAMETERS, SCHEDULE_TAKES
from kerasweep.spec.learning_rates import ConstantRate, OneCycleRate, PiecewiseRate, RateSchedule
from kerasweep.spec.parameter_checks import Settings, Switch, check_switch, largest, possible_values

_WARMUPS = ("warmup_epochs", "warmup_share")


def check_schedule(
    schedule: RateSchedule, settings: Settings, epochs: int | None, taken: Collection[str] = ()
) -> Iterator[Problem]:
    """Options are active only with schedules that have them, nothing is said twice, and everything can happen.

    Args:
        schedule: of ``training``.
        settings: all hyperparameters.
        epochs: that a trial trains at most; None if that is not known.
        taken: names that the model uses itself.
    """
    names = [name for name in SCHEDULE_PARAMETERS if name in settings.all and name not in taken]
    if "schedule" in names and schedule != ConstantRate():
        rule = "the schedule must be said in one place, as training.schedule or as the parameter schedule"
        yield Problem(f"{rule}. Received: both", settings.path("schedule"))
        return
    yield from _check_twice(schedule, settings, names)
    if "schedule" not in settings.invalid or "schedule" in taken:
        possible: Sequence[str] = [schedule.name]
        if "schedule" in names:
            possible = possible_values(settings, "schedule", SCHEDULE_PARAMETERS["schedule"])
        options = [name for name in names if name != "schedule"]
        yield from check_switch(Switch("schedule", "a schedule", SCHEDULE_TAKES, possible), options, settings)
    if epochs is not None:
        yield from _check_epochs(schedule, settings, epochs, names)


def _check_twice(schedule: RateSchedule, settings: Settings, names: Collection[str]) -> Iterator[Problem]:
    said = [name for name, value in schedule if value != type(schedule).model_fields[name].default]
    for name in names:
        if name in said:
            rule = f"{name} must be said in one place, in training.schedule or as a parameter"
            yield Problem(f"{rule}. Received: both", settings.path(name))
    warmups = [name for name in _WARMUPS if name in names]
    if len(warmups) == 2 or (warmups and any(name in said for name in _WARMUPS if name not in warmups)):
        yield Problem(f"only one of {' and '.join(_WARMUPS)} may be set. Received: both", settings.path(warmups[-1]))


def _check_epochs(schedule: RateSchedule, settings: Settings, epochs: int, names: Collection[str]) -> Iterator[Problem]:
    """What is counted in epochs must lie within a training."""
    own = ("training", "schedule")
    if not isinstance(schedule, OneCycleRate) and schedule.warmup_epochs > epochs:
        yield _beyond("warmup_epochs", schedule.warmup_epochs, epochs, (*own, "warmup_epochs"))
    if "warmup_epochs" in names and (longest := largest(settings.all["warmup_epochs"])) > epochs:
        yield _beyond("warmup_epochs", longest, epochs, settings.path("warmup_epochs"))
    if isinstance(schedule, PiecewiseRate) and schedule.epochs is not None:
        for position, epoch in enumerate(schedule.epochs):
            if epoch >= epochs:
                message = f"a change must come before search.max_epochs, {epochs}. Received: {epoch:g}"
                yield Problem(message, (*own, "epochs", position))


def _beyond(name: str, value: float, epochs: int, path: tuple[str | int, ...]) -> Problem:
    return Problem(f"{name} <= max_epochs must hold. Received: {name}={value:g}, max_epochs={epochs}", path)
