"""How many trials train together as one program."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kerasweep.data.base import SearchData
from kerasweep.dispatch.base import Allocation
from kerasweep.dispatch.resources import allocate, card_memory, host_memory
from kerasweep.models import FamilyBuilder, Inputs
from kerasweep.records import Params, ParamValue
from kerasweep.scheduling import hyperband_brackets
from kerasweep.space import Space
from kerasweep.spec.families import AUTO, IMAGES_ONLY, TRAINING_PARAMETERS
from kerasweep.spec.methods import Neuroevolution
from kerasweep.spec.parameter_checks import Settings, possible_architectures
from kerasweep.spec.parameters import Choice, Fixed, Parameter
from kerasweep.spec.pipeline import PipelineSpec, ResourcesSpec
from kerasweep.spec.schedulers import HyperbandScheduler, PopulationScheduler
from kerasweep.spec.searchers import GridSearch, RandomSearch, SobolSearch
from kerasweep.training.inputs import inputs_of

# More members than this make a step no cheaper for each of them.
_MOST = 512

# Of a builder's own networks nothing is known before they are built.
_UNKNOWN = 16

# A searcher that learns is asked at least so often, unless it would then be asked for fewer trials than this.
_ASKED = 6
_FEWEST_ASKED_FOR = 8

# Arithmetic of a training step above which a trial alone keeps the device busy.
_BUSY_CPU = 200e6
_BUSY_GPU = 20e9

# Of the memory there, what members may fill; the rest is TensorFlow's, and what a compiled program sets aside.
_FILLED = 0.5

# For each parameter of a network: its weight, gradient, two values of the optimiser, best weight and snapshot, float32.
_BYTES_A_PARAMETER = 6 * 4
# For each unit and row of a batch: what comes in, what goes out, and the gradient.
_BYTES_AN_ACTIVATION = 3 * 4

# Of the data: as it comes, and as the device holds it.
_COPIES = 2

# Of a card that cannot be asked, because it is in another machine.
_SMALL_CARD = 8 * 2.0**30

# Why a study with callbacks of the user's own has no cohorts.
_ALONE = (
    "1: a callback sees one model only, so with training.callbacks each trial trains with Model.fit, which for small "
    "networks takes up to a hundred times as long as a cohort"
)

_SAMPLED = 101  # configurations, for the median network


@dataclass(frozen=True)
class Networks:
    """What is known of a space's networks before any is built.

    Attributes:
        parameters: of the largest.
        bytes: that the largest takes in a cohort.
        flop: floating-point operations of a training step of the median one; 0 where cohorts have no steps in common.
    """

    parameters: int
    bytes: float
    flop: float


@dataclass(frozen=True)
class Room:
    """What there is for cohorts.

    Attributes:
        workers: that train cohorts at a time.
        memory: bytes there for each worker, on its card if it has one.
        card: whether it has one.
        data: bytes of the training and validation rows, which every worker holds.
    """

    workers: int
    memory: float
    card: bool = False
    data: float = 0.0


def share(
    spec: PipelineSpec, trials: int, data: SearchData, available: Mapping[str, float], *, local: bool
) -> Allocation:
    """How a study's trials share the machines, and how many of them train together.

    Args:
        spec: of the study.
        trials: of the study, if its space has as many configurations.
        data: of the study.
        available: ``{"CPU": …, "GPU": …, "memory": …}`` of the machine or cluster; memory in bytes.
        local: whether that is this machine.

    Raises:
        ResourceError: see ``allocate``.
    """
    resources = spec.resources
    if spec.alone:
        return alone(spec, trials, available)
    workers = allocate(resources, available, trials, together=True).concurrency
    inputs = inputs_of(spec, data)
    folds = max(1, len(data.folds))
    rows = folds * (len(data.train) + len(data.validation))
    room = Room(
        workers=workers,
        memory=_memory(available, local) / workers if not resources.gpus_per_trial else _card(resources, local),
        card=resources.gpus_per_trial > 0,
        data=float(_COPIES * 4 * rows * inputs.features),
    )
    found = networks(spec, inputs)
    if found is not None:
        found = replace(found, bytes=folds * found.bytes)
    size, reason = cohort_size(spec, trials, found, room)
    if size == 1:
        return replace(allocate(resources, available, trials), reason=reason)
    cohorts = math.ceil(trials / size)
    return replace(allocate(resources, available, cohorts, together=True), cohort=size, reason=reason)


def alone(spec: PipelineSpec, trials: int, available: Mapping[str, float]) -> Allocation:
    """How a study's trials share the machines if each of them trains by itself; see ``share``."""
    return replace(allocate(spec.resources, available, trials), reason=_ALONE if spec.training.callbacks else "")


def _memory(available: Mapping[str, float], local: bool) -> float:
    return host_memory() if local else available.get("memory", 0.0)


def _card(resources: ResourcesSpec, local: bool) -> float:
    """Bytes of one worker's card, or of its share of it."""
    whole = card_memory() if local else None
    return (whole or _SMALL_CARD) * min(1.0, resources.gpus_per_trial)


def networks(spec: PipelineSpec, inputs: Inputs) -> Networks | None:
    """The networks of a built-in family; None for a user's builder.

    Args:
        spec: of the study.
        inputs: of its networks.
    """
    if spec.model.family is None:
        return None
    family = FamilyBuilder(spec.model.family, inputs).stackable
    fixed, space = spec.training.fixed, Space(spec.space)
    rng = np.random.default_rng(0)
    sampled = [{**fixed, **space.sample(rng)} for _ in range(_SAMPLED)]
    # Two operations for every weight and row forwards, four backwards; a convolution's weights meet a row many times.
    sizes = [(family.size(params), _batch(params)) for params in sampled]
    flop = statistics.median(6.0 * max(size.parameters, size.products) * batch for size, batch in sizes)
    extremes = list(_largest(spec))
    largest = [(family.size(params), _batch(params)) for params in extremes]
    needed = max(
        _BYTES_A_PARAMETER * size.parameters + _BYTES_AN_ACTIVATION * batch * (size.units + inputs.features)
        for size, batch in largest
    )
    if isinstance(method := spec.training.method, Neuroevolution):  # whose populations each evolve by themselves
        needed, flop = needed * max(int(params.get("population", method.population)) for params in extremes), 0.0
    return Networks(max(size.parameters for size, _ in largest), float(needed), flop)


def cohort_size(spec: PipelineSpec, trials: int, found: Networks | None, room: Room) -> tuple[int, str]:
    """How many members a cohort has at most, and why, in a sentence without its full stop.

    Args:
        spec: of the study; ``resources.cohort`` is not ``off``.
        trials: of the study.
        found: the space's networks, None if nothing is known of them.
        room: what there is.
    """
    searcher, scheduler = spec.search.searcher, spec.search.scheduler
    workers = f"{room.workers} worker{'s' if room.workers > 1 else ''}"
    if isinstance(spec.resources.cohort, int):
        size = min(spec.resources.cohort, trials)
        return size, f"{size}: {trials:,} trials on {workers}, with resources.cohort {spec.resources.cohort}"
    population = isinstance(scheduler, PopulationScheduler)
    busy = _BUSY_GPU if room.card else _BUSY_CPU
    if found is not None and found.flop > busy and not population:
        return 1, f"1: the median network's {_short(found.flop)}FLOP a step keep the device busy by themselves"
    limits = [
        (_MOST, f"more than {_MOST} gain nothing"),
        (math.ceil(trials / room.workers), f"{searcher.name} search of {trials:,} trials on {workers}"),
    ]
    if isinstance(scheduler, HyperbandScheduler):
        brackets = hyperband_brackets(spec.search.max_epochs, scheduler.eta, cohort=2)
        limits.append((max(bracket.trials for bracket in brackets), "the largest bracket of hyperband"))
    elif not population and not isinstance(searcher, RandomSearch | SobolSearch | GridSearch):
        asked_for = max(_FEWEST_ASKED_FOR, math.ceil(trials / _ASKED))
        reason = f"{searcher.name} learns {_ASKED} times or more in {trials:,} trials on {workers}"
        limits.append((math.ceil(asked_for / room.workers), reason))
    needs = ""
    if found is None:
        limits.append((_UNKNOWN, "a builder's own networks are not known before they are built"))
    else:
        free = max(0.0, _FILLED * room.memory - room.data)
        limits.append((int(free / found.bytes), "the memory holds no more"))
    size, reason = min(limits, key=lambda limit: limit[0])
    size = max(size, min(2, trials) if population else 1)
    if found is not None:
        used = f"{_binary(size * found.bytes)} of {_binary(room.memory)}"
        needs = f"; {_short(found.parameters)} parameters at most, {used}"
    return size, f"{size}: {reason}{needs}"


def _batch(params: Params) -> int:
    return int(params.get("batch_size", TRAINING_PARAMETERS["batch_size"].default or 0))


def _largest(spec: PipelineSpec) -> Iterator[Params]:
    """Configurations among which is the largest network; of several architectures, some for each."""
    space, fixed = spec.space.parameters, spec.training.fixed
    everything = {**fixed, **{name: _extreme(parameter, max) for name, parameter in space.items()}}
    if spec.model.family != AUTO:
        yield everything
        return
    for architecture in possible_architectures(Settings(space, fixed)):
        yield {**everything, "architecture": architecture}
        if architecture == IMAGES_ONLY and "n_conv" in space:  # fewer convolutions leave more to the layer behind them
            yield {**everything, "architecture": architecture, "n_conv": _extreme(space["n_conv"], min)}


def _extreme(parameter: Parameter, pick: Callable[[list[Any]], Any]) -> ParamValue:
    """The least or the greatest that a parameter can be, as ``pick`` is ``min`` or ``max``."""
    if isinstance(parameter, Fixed):
        return parameter.value
    if isinstance(parameter, Choice):
        numbers = [value for value in parameter.values if not isinstance(value, str)]
        value: ParamValue = pick(numbers) if numbers else parameter.values[0]
        return value
    bound: ParamValue = pick([parameter.min, parameter.max])
    return bound


def _short(number: float) -> str:
    """``853``, ``2.3 k`` or ``350 M``."""
    for power, prefix in ((9, "G"), (6, "M"), (3, "k")):
        if number >= 10**power:
            return f"{_digits(number / 10**power)} {prefix}"
    return f"{number:.0f}"


def _digits(number: float) -> str:
    return f"{number:.0f}" if number >= 10 else f"{number:.1f}"


def _binary(size: float) -> str:
    return f"{_digits(size / 2**30)} GiB" if size >= 2**30 else f"{_digits(size / 2**20)} MiB"
