"""Whether the method of training goes together with everything else: what it does not have must not be set."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from kerasweep.errors import Problem
from kerasweep.spec.families import EVOLUTION_PARAMETERS, OPTIMIZER_PARAMETERS, SCHEDULE_PARAMETERS
from kerasweep.spec.learning_rates import ConstantRate
from kerasweep.spec.methods import Neuroevolution
from kerasweep.spec.parameter_checks import Settings, largest, smallest
from kerasweep.spec.pipeline import ModelSpec, SearchSpec, TrainingSpec
from kerasweep.spec.schedulers import PopulationScheduler

# What only training by gradients makes something of, by name.
_OF_GRADIENTS = (*OPTIMIZER_PARAMETERS, *SCHEDULE_PARAMETERS, "batch_size", "dropout", "batch_norm", "aux_weight")


def check_method(
    training: TrainingSpec, search: SearchSpec | None, settings: Settings, taken: Collection[str] = ()
) -> Iterator[Problem]:
    """What the method of training makes nothing of, and numbers of it that do not go together.

    Args:
        training: with the method.
        search: None when it breaks a rule of its own.
        settings: all hyperparameters.
        taken: names that the model uses itself.
    """
    method = training.method
    if not isinstance(method, Neuroevolution):
        for name in EVOLUTION_PARAMETERS:
            if name in settings.all and name not in taken:
                message = f"{name} needs training.method neuroevolution. Received: {method.name}"
                yield Problem(message, settings.path(name))
        return
    for name in settings.all:
        if name in _OF_GRADIENTS and name not in taken:
            rule = f"{name} belongs to training by gradients, and would be ignored"
            yield Problem(f"{rule}. Received: {name} with training.method neuroevolution", settings.path(name))
    if training.schedule != ConstantRate():
        rule = "a schedule is of the learning rate, which neuroevolution does not have"
        yield Problem(f"{rule}. Received: {training.schedule.name}", ("training", "schedule"))
    if training.callbacks:
        rule = "callbacks are called by Model.fit, which neuroevolution does not use"
        yield Problem(f"{rule}. Received: {len(training.callbacks)} callback(s)", ("training", "callbacks"))
    if search is not None and isinstance(search.scheduler, PopulationScheduler):
        rule = f"{search.scheduler.name} changes what training by gradients has, and neuroevolution does not"
        yield Problem(f"{rule}. Received: both", ("search", "scheduler", "name"))
    yield from _check_numbers(method, settings, [name for name in EVOLUTION_PARAMETERS if name not in taken])


def check_frozen(training: TrainingSpec, model: ModelSpec) -> Iterator[Problem]:
    """Whether the method can leave layers as they are."""
    initial = model.initial_weights
    if initial is not None and initial.freeze and isinstance(training.method, Neuroevolution):
        rule = "freeze keeps layers out of training by gradients, and neuroevolution changes all weights"
        yield Problem(f"{rule}. Received: {initial.freeze}", ("model", "initial_weights", "freeze"))


def _check_numbers(method: Neuroevolution, settings: Settings, own: Collection[str]) -> Iterator[Problem]:
    """In every trial."""
    names = [name for name in own if name in settings.all]
    for name in names:
        if getattr(method, name) != type(method).model_fields[name].default:
            rule = f"{name} must be said in one place, in training.method or as a parameter"
            yield Problem(f"{rule}. Received: both", settings.path(name))
    if "sigma" in names and smallest(settings.all["sigma"]) <= 0:
        yield Problem("sigma must be > 0. Received: a range or values from 0 on", settings.path("sigma"))
    bounds = {}
    for name in ("population", "parents"):
        said = float(getattr(method, name))
        low, high = (bound(settings.all[name]) for bound in (smallest, largest)) if name in names else (said, said)
        if name in names and settings.all[name].when:
            low, high = min(low, said), max(high, said)
        bounds[name] = (low, high)
    (fewest, _), (least, most) = bounds["population"], bounds["parents"]
    path = settings.path(names[0]) if names else ("training", "method")
    if most > fewest and {"population", "parents"} & set(names):
        received = f"up to {most:g} parents in populations from {fewest:g} on"
        yield Problem(f"parents <= population must hold in every trial. Received: {received}", path)
    elif method.elites > least or method.elites >= fewest:
        received = f"elites={method.elites}, parents from {least:g} and populations from {fewest:g} on"
        yield Problem(f"elites <= parents and elites < population must hold in every trial. Received: {received}", path)
