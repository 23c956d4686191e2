"""A cohort taken apart into what can train together: stacks, and members that train alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from kerasweep.models.base import ModelBuilder, Size, Stackable, optimizer_of
from kerasweep.models.families import FamilyBuilder
from kerasweep.spec.families import TRAINING_PARAMETERS
from kerasweep.training.base import Array, Member, TrainingArrays
from kerasweep.training.cohort import blueprint, optimizers
from kerasweep.training.cohort.errors import Unstackable
from kerasweep.training.cohort.packing import Cost, Run, Work, cost_of, pack, together
from kerasweep.training.cohort.shapes import Programs, Shape
from kerasweep.training.cohort.stack import Stack
from kerasweep.training.failures import reason


@dataclass(frozen=True)
class Squad:
    """A stack, the size of its mini-batches, and what it costs."""

    stack: Stack
    batch: int
    cost: Cost


@dataclass(frozen=True)
class Crew:
    """How a cohort trains.

    Attributes:
        squads: the stacks.
        alone: members that train by themselves, with what of their model has no stacked form.
        failed: members whose model could not be built, with the reason.
    """

    squads: tuple[Squad, ...]
    alone: dict[int, str]
    failed: dict[int, str]


def batch_size(member: Member) -> int:
    """Rows of a member's mini-batches."""
    return int(member.params.get("batch_size", TRAINING_PARAMETERS["batch_size"].default or 32))


def muster(
    models: ModelBuilder, members: Sequence[Member], data: TrainingArrays, epochs: int, programs: Programs
) -> Crew:
    """Takes a cohort apart.

    Args:
        models: builds the members' models.
        members: of the cohort.
        data: that they train on.
        epochs: that each of them trains at most.
        programs: of this process.
    """
    if isinstance(models, FamilyBuilder):
        return _family(models, members, data, epochs, programs)
    return _built(models, members, data, epochs, programs)


def _family(
    models: FamilyBuilder, members: Sequence[Member], data: TrainingArrays, epochs: int, programs: Programs
) -> Crew:
    """Models of a family need not be built one by one: their sizes are known, and smaller ones are filled up."""
    stackable = models.stackable
    kinds: defaultdict[tuple[Hashable, int], list[tuple[Member, Size]]] = defaultdict(list)
    alone: dict[int, str] = {}
    for member in members:
        size = stackable.size(member.params)
        try:
            optimizers.settings_from(*optimizer_of(member.params))
        except Unstackable as unstackable:
            alone[member.number] = str(unstackable)
            continue
        kinds[size.kind, batch_size(member)].append((member, size))
    squads = []
    for (_, batch), group in kinds.items():
        work = Work(epochs, len(data.x), min(batch, len(data.x)))
        for run in pack([size for _, size in group], work):
            squads += _framed(models, stackable, [group[i][0] for i in run.members], run, data, programs)
    return Crew(tuple(squads), alone, {})


def _framed(
    models: FamilyBuilder,
    stackable: Stackable,
    members: Sequence[Member],
    run: Run,
    data: TrainingArrays,
    programs: Programs,
) -> list[Squad]:
    """Stacks of family members, filled up to the largest of them all."""
    frame = stackable.frame([member.params for member in members])
    template = models.build(frame.params, 0)
    model = blueprint.examine(template, data.x, data.y)
    batch = batch_size(members[0])
    names = tuple(tuple(sorted(each)) for each in (frame.units, frame.widths, frame.active))
    key = (blueprint.signature(model, data.x), batch, names)
    spent = cost_of(model, batch)
    squads = []
    for places in run.stacks:
        own = [members[place] for place in places]
        values = [stackable.weights(member.params, member.seed, frame) for member in own]
        shape = Shape(
            model=model,
            key=key,
            blocks=frame.blocks,
            units={
                layer: _mask(template.get_layer(layer).output.shape[-1], [units[place] for place in places])
                for layer, units in frame.units.items()
            },
            widths={layer: np.array([units[i] for i in places], np.int32) for layer, units in frame.widths.items()},
            active={layer: np.array([has[i] for i in places], np.float32) for layer, has in frame.active.items()},
            sizes=[
                ([_extent(each) for each in trainable], [_extent(each) for each in rest]) for trainable, rest in values
            ],
        )
        parts = [
            blueprint.Part(
                optimizer=optimizers.settings_from(*optimizer_of(member.params)),
                knobs=stackable.knobs(member.params, frame),
                seeds={layer: (seed, 0) for layer, seed in stackable.seeds(member.seed, frame).items()},
                trainable=tuple(np.zeros(0) if each is None else each for each in trainable),
                others=tuple(np.zeros(0) if each is None else each for each in rest),
            )
            for member, (trainable, rest) in zip(own, values, strict=True)
        ]
        stack = Stack(shape, [member.number for member in own], parts, programs, run.size)
        squads.append(Squad(stack, batch, spent))
    return squads


def _mask(room: int, units: Sequence[int]) -> Array:
    """``(members, room)``, 1 for the units that each has."""
    return (np.arange(room)[None, :] < np.array(units)[:, None]).astype(np.float32)


def _extent(values: Array | None) -> tuple[int, ...] | None:
    return None if values is None else tuple(values.shape)


def _built(
    models: ModelBuilder, members: Sequence[Member], data: TrainingArrays, epochs: int, programs: Programs
) -> Crew:
    """Any other models are built, each, and those that turn out the same go together."""
    groups: defaultdict[tuple[Hashable, int], list[tuple[int, blueprint.Part]]] = defaultdict(list)
    templates: dict[Hashable, blueprint.Model] = {}
    alone: dict[int, str] = {}
    failed: dict[int, str] = {}
    for member in members:
        try:
            model = models.build(member.params, member.seed)
        except Exception as error:
            failed[member.number] = reason(error)
            continue
        try:
            examined = blueprint.examine(model, data.x, data.y)
            part = blueprint.part(examined)
            key = (blueprint.signature(examined, data.x), batch_size(member))
        except Unstackable as unstackable:
            alone[member.number] = str(unstackable)
            continue
        except Exception as error:  # whatever stands in the way of looking at a model, fit will tell
            alone[member.number] = reason(error)
            continue
        templates.setdefault(key, examined)
        groups[key].append((member.number, part))
    squads = []
    for key, group in groups.items():
        shape = Shape(templates[key], key)
        spent = cost_of(shape.model, key[1])
        work = Work(epochs, len(data.x), min(key[1], len(data.x)))
        run = together(len(group), spent, work)
        for places in run.stacks:
            numbers, parts = zip(*(group[place] for place in places), strict=True)
            squads.append(Squad(Stack(shape, numbers, parts, programs, run.size), key[1], spent))
    return Crew(tuple(squads), alone, failed)
