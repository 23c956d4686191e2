"""Whether searcher, scheduler, points and space go together."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from kerasweep.errors import Problem, one_of
from kerasweep.spec.parameters import Choice, Fixed, Parameter, admits
from kerasweep.spec.pipeline import SearchSpec
from kerasweep.spec.schedulers import AshaScheduler, AutoScheduler, HyperbandScheduler, MedianScheduler
from kerasweep.spec.searchers import BohbSearch, CmaesSearch, KerasTunerSearch, ZoomSearch

# Schedulers with rungs, at which a searcher can compare trials of different lengths.
_RUNGS = (HyperbandScheduler, AshaScheduler, AutoScheduler)


def check_combination(search: SearchSpec) -> Iterator[Problem]:
    """Searchers and schedulers that make no sense together, with what to use instead."""
    searcher, scheduler = search.searcher, search.scheduler
    place = ("search", "scheduler", "name")
    if isinstance(scheduler, AshaScheduler | MedianScheduler) and scheduler.grace > search.max_epochs:
        message = f"grace <= max_epochs must hold. Received: grace={scheduler.grace}, max_epochs={search.max_epochs}"
        yield Problem(message, ("search", "scheduler", "grace"))
    if isinstance(searcher, BohbSearch) and not isinstance(scheduler, _RUNGS):
        rule = "bohb learns at the rungs of a scheduler: hyperband (as in its paper), asha or auto"
        yield Problem(f"{rule}; without rungs use tpe. Received: {scheduler.name}", place)
    if isinstance(searcher, KerasTunerSearch) and searcher.oracle == "hyperband":
        if not isinstance(scheduler, HyperbandScheduler):
            rule = "the oracle hyperband proposes for brackets: the scheduler must be hyperband"
            yield Problem(f"{rule}; with another one use the oracle random. Received: {scheduler.name}", place)
        elif scheduler.eta != searcher.factor:
            rule = "the oracle's factor and the scheduler's eta must be the same"
            received = f"factor={searcher.factor}, eta={scheduler.eta:g}"
            yield Problem(f"{rule}. Received: {received}", ("search", "searcher", "factor"))
    if isinstance(searcher, ZoomSearch) and (searcher.rounds - 1) * searcher.trials >= search.trials:
        rule = "(rounds - 1) * trials < search.trials must hold, or the last round never begins"
        received = f"rounds={searcher.rounds}, trials={searcher.trials}, search.trials={search.trials}"
        yield Problem(f"{rule}. Received: {received}", ("search", "searcher", "trials"))


def check_points(
    search: SearchSpec, parameters: Mapping[str, Parameter], invalid: Collection[str]
) -> Iterator[Problem]:
    """Points to try first that the space does not have.

    Args:
        search: with the points.
        parameters: the valid parameters of the space.
        invalid: names of its other parameters; nothing is said about them.
    """
    for position, point in enumerate(search.points):
        for name, value in point.items():
            path = ("search", "points", position, name)
            if name in invalid:
                continue
            if name not in parameters:
                yield Problem(one_of("a point's parameter", name, parameters), path)
            elif not admits(parameters[name], value):
                yield Problem(
                    f"a point must lie in the space: {_range(name, parameters[name])}. Received: {value!r}", path
                )


def check_searchable(search: SearchSpec, parameters: Mapping[str, Parameter]) -> Iterator[Problem]:
    """Parameters that the searcher cannot search."""
    if not isinstance(search.searcher, CmaesSearch):
        return
    strange = [
        name
        for name, parameter in parameters.items()
        if parameter.when or (isinstance(parameter, Choice) and len(parameter.values) > 1)
    ]
    if strange:
        rule = "cmaes searches numbers only, without conditions; tpe and auto search choices and conditions too"
        yield Problem(f"{rule}. Received: {', '.join(strange)}", ("search", "searcher", "name"))


def _range(name: str, parameter: Parameter) -> str:
    if isinstance(parameter, Fixed):
        return f"{name} is {parameter.value!r}"
    if isinstance(parameter, Choice):
        return f"{name} is one of {', '.join(map(repr, parameter.values))}"
    step = f" in steps of {parameter.step:g}" if parameter.step is not None else ""
    return f"{name} goes from {parameter.min:g} to {parameter.max:g}{step}"
