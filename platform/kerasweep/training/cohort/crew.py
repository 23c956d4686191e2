"""A cohort taken apart into what can train together: stacks, and members that train alone."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Container, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kerasweep.errors import ModelError
from kerasweep.models.base import Frame, ModelBuilder, Size, optimizer_of
from kerasweep.models.families import FamilyBuilder
from kerasweep.spec.families import TRAINING_PARAMETERS
from kerasweep.training.base import Array, Member, Schedule, TrainingArrays
from kerasweep.training.cohort import blueprint, optimizers
from kerasweep.training.cohort.errors import Unstackable
from kerasweep.training.cohort.packing import Cost, Run, Work, cost_of, pack, together
from kerasweep.training.cohort.shapes import Programs, Shape
from kerasweep.training.cohort.stack import Stack, gather
from kerasweep.training.failures import reason
from kerasweep.training.freezing import Freeze
from kerasweep.training.learning_rates import Factors


@dataclass
class Squad:
    """A run in training.

    Attributes:
        stacks: that its members are in, all of one size.
        batch: the size of their mini-batches.
        cost: what one of them costs.
    """

    stacks: list[Stack]
    batch: int
    cost: Cost

    def leave(self, numbers: Container[int], steps: float) -> None:
        """Members end; the others are gathered if that saves something.

        Args:
            numbers: of members that have ended, in this squad or another.
            steps: that those left have before them.
        """
        for stack in self.stacks:
            stack.leave(numbers)
        left = sum(len(stack.numbers) for stack in self.stacks)
        if not left:
            self.stacks = []
            return
        before = self.stacks[0].size
        size = self.cost.resized(left, before, steps)
        if size < before or math.ceil(left / size) < len(self.stacks):
            self.stacks = gather(self.stacks, size)

    def restore(self, taken: Sequence[tuple[Mapping[str, Array], Mapping[str, Any]]]) -> None:
        """Takes over the stacks of a squad of the same members.

        Args:
            taken: what each one's ``arrays`` and ``host`` gave.
        """
        first = self.stacks[0]
        self.stacks = [first.restored(arrays, host) for arrays, host in taken]


@dataclass(frozen=True)
class Crew:
    """How a cohort trains.

    Attributes:
        squads: members that train in stacks.
        alone: members that train by themselves, with what of their model has no stacked form.
        failed: members whose model could not be built, with the reason.
    """

    squads: tuple[Squad, ...]
    alone: dict[int, str]
    failed: dict[int, str]


def batch_size(member: Member) -> int:
    """Rows of a member's mini-batches."""
    return int(member.params.get("batch_size", TRAINING_PARAMETERS["batch_size"].default or 32))


def _factors(member: Member, data: TrainingArrays, schedule: Schedule) -> Factors | None:
    """What multiplies a member's learning rate."""
    return schedule.factors(member.params, math.ceil(len(data) / batch_size(member)))


def muster(
    models: ModelBuilder, members: Sequence[Member], data: TrainingArrays, schedule: Schedule, programs: Programs
) -> Crew:
    """Takes a cohort apart.

    Args:
        models: builds the members' models.
        members: of the cohort.
        data: that they train on.
        schedule: that they obey.
        programs: of this process.
    """
    if isinstance(models, FamilyBuilder):
        return _family(models, members, data, schedule, programs)
    return _built(models, members, data, schedule, programs)


def _family(
    models: FamilyBuilder, members: Sequence[Member], data: TrainingArrays, schedule: Schedule, programs: Programs
) -> Crew:
    """Models of a family need not be built one by one: their sizes are known, and smaller ones are filled up."""
    stackable = models.stackable
    kinds: defaultdict[tuple[Hashable, int], list[tuple[Member, Size]]] = defaultdict(list)
    settings: dict[int, optimizers.Settings] = {}
    alone: dict[int, str] = {}
    failed: dict[int, str] = {}
    for member in members:
        size = stackable.size(member.params)
        if models.initial is not None:
            try:
                stackable.weights(member.params, member.seed, stackable.frame([member.params], roomy=False))
            except ModelError as error:  # the trained weights have other shapes than this configuration's
                failed[member.number] = reason(error)
                continue
        try:
            optimizer = optimizers.settings_from(*optimizer_of(member.params))
            settings[member.number] = optimizer.following(_factors(member, data, schedule))
        except Unstackable as unstackable:
            alone[member.number] = str(unstackable)
            continue
        except ValueError as error:  # of its schedule
            failed[member.number] = reason(error)
            continue
        # Where all have the layers that are frozen, these are a stack's first ones, however deep its members are.
        depth = 0 if schedule.freeze is None else min(len(size.hidden), schedule.freeze.layers)
        kinds[(size.kind, depth), batch_size(member)].append((member, size))
    roomy = len({size.hidden for group in kinds.values() for _, size in group}) > 1
    keeps = optimizers.slots(list(settings.values()))
    ground = _Ground(models, data, programs, settings, keeps, schedule.freeze)
    squads = []
    for (_, batch), group in kinds.items():
        work = Work(schedule.ahead(0), len(data), min(batch, len(data)))
        for run in pack([size for _, size in group], work):
            own = [group[i][0] for i in run.members]
            frame = stackable.frame([member.params for member in own], roomy=roomy)
            try:
                squads.append(_framed(ground, frame, own, run))
            except ModelError as error:  # nothing is left to train
                failed |= {member.number: reason(error) for member in own}
    return Crew(tuple(squads), alone, failed)


@dataclass(frozen=True)
class _Ground:
    """What the stacks of a cohort of one family have in common.

    Attributes:
        models: the family.
        data: that they train on.
        programs: of this process.
        settings: member -> its optimiser.
        keeps: what all of these together keep. Every stack keeps it, and so needs the same program as other stacks.
        freeze: which layers are frozen at first; None for none.
    """

    models: FamilyBuilder
    data: TrainingArrays
    programs: Programs
    settings: Mapping[int, optimizers.Settings]
    keeps: optimizers.Slots
    freeze: Freeze | None


def _framed(ground: _Ground, frame: Frame, members: Sequence[Member], run: Run) -> Squad:
    """A run of family members in a frame."""
    stackable, data = ground.models.stackable, ground.data
    template = ground.models.template(frame.params, 0)
    model = blueprint.examine(template, data.x, data.y)
    batch = batch_size(members[0])
    names = tuple(tuple(sorted(each)) for each in (frame.units, frame.widths, frame.active))
    key = (blueprint.signature(model, data.x), batch, names)
    values = [stackable.weights(member.params, member.seed, frame) for member in members]
    shape = Shape(
        model=model,
        key=key,
        optimizers=[ground.settings[member.number] for member in members],
        blocks=frame.blocks,
        units={layer: _mask(template.get_layer(layer).output.shape[-1], units) for layer, units in frame.units.items()},
        widths={layer: np.array(units, np.int32) for layer, units in frame.widths.items()},
        active={layer: np.array(has, np.float32) for layer, has in frame.active.items()},
        sizes=[([_extent(each) for each in trainable], [_extent(each) for each in rest]) for trainable, rest in values],
        frozen=_frozen(model, ground.freeze),
    )
    parts = [
        blueprint.Part(
            optimizer=optimizer,
            knobs=stackable.knobs(member.params, frame),
            seeds={layer: (seed, 0) for layer, seed in stackable.seeds(member.seed, frame).items()},
            trainable=tuple(np.zeros(0) if each is None else each for each in trainable),
            others=tuple(np.zeros(0) if each is None else each for each in rest),
        )
        for member, optimizer, (trainable, rest) in zip(members, shape.optimizers, values, strict=True)
    ]
    numbers = [member.number for member in members]
    return Squad(_stacks(shape, numbers, parts, ground.keeps, ground.programs, run), batch, cost_of(model, batch))


def _stacks(
    shape: Shape,
    numbers: Sequence[int],
    parts: Sequence[blueprint.Part],
    keeps: optimizers.Slots,
    programs: Programs,
    run: Run,
) -> list[Stack]:
    """Of a run whose members are these."""
    return [
        Stack(shape, rows, [numbers[row] for row in rows], [parts[row] for row in rows], keeps, programs, run.size)
        for rows in run.stacks
    ]


def _mask(room: int, units: Sequence[int]) -> Array:
    """``(members, room)``, 1 for the units that each has."""
    return (np.arange(room)[None, :] < np.array(units)[:, None]).astype(np.float32)


def _frozen(model: blueprint.Model, freeze: Freeze | None) -> blueprint.Model | None:
    return None if freeze is None else blueprint.frozen(model, freeze)


def _extent(values: Array | None) -> tuple[int, ...] | None:
    return None if values is None else tuple(values.shape)


def _built(
    models: ModelBuilder, members: Sequence[Member], data: TrainingArrays, schedule: Schedule, programs: Programs
) -> Crew:
    """Any other models are built, each, and those that turn out the same go together."""
    groups: defaultdict[tuple[Hashable, int], list[tuple[int, blueprint.Part]]] = defaultdict(list)
    templates: dict[Hashable, tuple[blueprint.Model, blueprint.Model | None]] = {}
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
            frozen = _frozen(examined, schedule.freeze)
            part = blueprint.part(examined)
            part = replace(part, optimizer=part.optimizer.following(_factors(member, data, schedule)))
            key = (blueprint.signature(examined, data.x), batch_size(member))
        except Unstackable as unstackable:
            alone[member.number] = str(unstackable)
            continue
        except ModelError as error:
            failed[member.number] = reason(error)
            continue
        except Exception as error:  # whatever stands in the way of looking at a model, fit will tell
            alone[member.number] = reason(error)
            continue
        templates.setdefault(key, (examined, frozen))
        groups[key].append((member.number, part))
    squads = []
    for key, group in groups.items():
        numbers, parts = zip(*group, strict=True)
        model, frozen = templates[key]
        shape = Shape(model, key, [part.optimizer for part in parts], frozen=frozen)
        spent = cost_of(shape.model, key[1])
        run = together(len(group), spent, Work(schedule.ahead(0), len(data), min(key[1], len(data))))
        keeps = optimizers.slots(shape.optimizers)
        squads.append(Squad(_stacks(shape, numbers, parts, keeps, programs, run), key[1], spent))
    return Crew(tuple(squads), alone, failed)
