"""Whether searcher, scheduler, points and space go together."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from kerasweep.errors import Problem, one_of
from kerasweep.spec.parameters import Choice, Find, Fixed, Float, Int, Parameter, Searchable, admits
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
                continue
            parameter = parameters[name]
            if isinstance(parameter, Find):
                yield Problem(f"a point must leave {name} out, as every trial finds its own. Received: {value!r}", path)
            elif not admits(parameter, value):
                yield Problem(f"a point must lie in the space: {_range(name, parameter)}. Received: {value!r}", path)


def check_searchable(search: SearchSpec, parameters: Mapping[str, Parameter]) -> Iterator[Problem]:
    """Parameters that the searcher cannot search."""
    if isinstance(search.searcher, CmaesSearch):
        yield from plain_numbers_only(parameters)


def plain_numbers_only(parameters: Mapping[str, Parameter]) -> Iterator[Problem]:
    """What covariance matrix adaptation cannot search: choices, and what is not active in every configuration."""
    if strange := _no_plain_numbers(parameters):
        rule = "cmaes searches numbers only, without conditions; auto, tpe and others search all spaces"
        yield Problem(f"{rule}. Received: {', '.join(strange)}", ("search", "searcher", "name"))


def _no_plain_numbers(parameters: Mapping[str, Parameter]) -> list[str]:
    """The parameters that vary and are a choice, or not active in every configuration, each with its reason."""

    def varies(name: str) -> bool:
        parameter = parameters.get(name)  # a condition may name one that is not there, or breaks a rule of its own
        if isinstance(parameter, Choice):
            return len(parameter.values) > 1
        return isinstance(parameter, Float | Int) and parameter.min < parameter.max

    def switches(name: str, above: tuple[str, ...] = ()) -> list[str]:
        """Those that decide whether it is active."""
        when = parameters[name].when if name in parameters and name not in above else {}  # conditions may go in circles
        return [switch for switch in when if varies(switch) or switches(switch, (*above, name))]

    found = []
    for name, parameter in parameters.items():
        if varies(name) and (deciding := switches(name)):
            found.append(f"{name} (depends on {', '.join(deciding)})")
        elif varies(name) and isinstance(parameter, Choice):
            found.append(f"{name} (a choice)")
    return found


def _range(name: str, parameter: Searchable) -> str:
    if isinstance(parameter, Fixed):
        return f"{name} is {parameter.value!r}"
    if isinstance(parameter, Choice):
        return f"{name} is one of {', '.join(map(repr, parameter.values))}"
    step = f" in steps of {parameter.step:g}" if parameter.step is not None else ""
    return f"{name} goes from {parameter.min:g} to {parameter.max:g}{step}"
