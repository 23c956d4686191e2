"""Members of one signature in training: their arrays, stacked, and what of them only the host needs."""

from __future__ import annotations

import copy
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from kerasweep.records import Copy, Params
from kerasweep.training.base import Array
from kerasweep.training.cohort import optimizers, philox
from kerasweep.training.cohort.blueprint import Part
from kerasweep.training.cohort.program import Epoch, Fixed, Rows, State
from kerasweep.training.cohort.shapes import Programs, Shape
from kerasweep.training.cohort.slots import Slot

Tensor = Any


class Stack:
    """Members that train as one program.

    Args:
        shape: of the run that they belong to.
        rows: of the shape, one a member.
        numbers: of the members.
        parts: what each brings.
        keeps: what their optimisers keep at least, and maybe some of other stacks.
        programs: where compiled programs are kept.
        size: slots; copies fill those that are left.
    """

    def __init__(
        self,
        shape: Shape,
        rows: Sequence[int],
        numbers: Sequence[int],
        parts: Sequence[Part],
        keeps: optimizers.Slots,
        programs: Programs,
        size: int,
    ) -> None:
        self._shape = shape
        self._programs = programs
        self._slots = [
            Slot(number, part.optimizer, dict(part.knobs), dict(part.seeds), row, row)
            for row, number, part in zip(rows, numbers, parts, strict=True)
        ]
        self._clock = optimizers.Clock([0] * len(parts), [1.0] * len(parts))
        self._keeps = keeps
        from keras import ops

        trainable = [
            self._padded(values, True, i) for i, values in enumerate(zip(*(p.trainable for p in parts), strict=True))
        ]
        others = [
            self._padded(values, False, i) for i, values in enumerate(zip(*(p.others for p in parts), strict=True))
        ]
        starts = optimizers.accumulators([part.optimizer for part in parts])
        self._state: State = {
            "weights": [ops.convert_to_tensor(values) for values in trainable],
            "momentum": [ops.zeros(values.shape) for values in trainable] if self._keeps.momentum else [],
            "second": [
                ops.convert_to_tensor(
                    np.broadcast_to(starts.reshape(-1, *[1] * (values.ndim - 1)), values.shape).copy()
                )
                for values in trainable
            ]
            if self._keeps.second
            else [],
            "others": [ops.convert_to_tensor(values) for values in others],
        }
        self._best: list[Tensor] = []
        self._resize(list(range(len(parts))), size)

    @property
    def numbers(self) -> list[int]:
        """The members, by slot; copies that fill up the stack are left out."""
        return [slot.number for slot in self._slots if slot.number is not None]

    @property
    def mapped(self) -> tuple[str, ...]:
        """See ``Model``."""
        return self._shape.model.mapped

    @property
    def size(self) -> int:
        """How many slots it has, copies included."""
        return len(self._slots)

    def epoch(self, rows: Rows, order: Array, batch: int, *, frozen: bool = False) -> dict[int, dict[str, float]]:
        """Trains one more epoch.

        Args:
            rows: the data.
            order: ``(rows,)`` int32, of the whole epoch.
            batch: rows of a mini-batch.
            frozen: whether layers are frozen in it.

        Returns:
            Member -> metric -> value.
        """
        from keras import ops

        members = [slot.optimizer for slot in self._slots]
        batch = min(batch, len(order))
        whole, rest = divmod(len(order), batch)
        steps = whole + (rest > 0)
        exact = self._shape.model.exact
        real = None
        if rest and not exact:
            fill = np.zeros(batch - rest, np.int32)
            real = np.ones((steps, batch), np.float32)
            real[-1, rest:] = 0
            full = np.concatenate([order, fill]).reshape(steps, batch)
        else:
            full = order[: whole * batch].reshape(whole, batch)
        keys = {
            layer: philox.keys(
                np.array([[slot.seeds[layer][0] for slot in self._slots]] * steps),
                np.array([slot.seeds[layer][1] for slot in self._slots]) + np.arange(steps)[:, None],
            )
            for layer in self._slots[0].seeds
        }
        fed = Epoch(
            order=ops.convert_to_tensor(full),
            real=None if real is None else ops.convert_to_tensor(real),
            rest=ops.convert_to_tensor(order[whole * batch :]) if rest and exact else None,
            table=ops.convert_to_tensor(optimizers.table(members, self._clock, steps)),
            keys={layer: ops.convert_to_tensor(words) for layer, words in keys.items()},
        )
        for slot in self._slots:
            slot.seeds = {layer: (seed, count + steps) for layer, (seed, count) in slot.seeds.items()}
        program = self._programs.of(self._shape, self._keeps, self.size, frozen=frozen)
        self._state, results = program.run(self._state, self._fixed(), rows, fed)
        values = {name: ops.convert_to_numpy(value) for name, value in results.items()}
        return {
            slot.number: {name: float(value[i]) for name, value in values.items()}
            for i, slot in enumerate(self._slots)
            if slot.number is not None
        }

    def keep_best(self, numbers: set[int]) -> None:
        """Keeps these members' weights as they are now as their best."""
        from keras import ops

        now = [*self._state["weights"], *self._state["others"]]
        if not self._best:
            self._best = list(now)
            return
        improved = np.array([slot.number in numbers for slot in self._slots])
        if improved.all():
            self._best = list(now)
        elif improved.any():
            self._best = [
                ops.where(ops.convert_to_tensor(improved.reshape(-1, *[1] * (len(new.shape) - 1))), new, old)
                for new, old in zip(now, self._best, strict=True)
            ]

    def best(self, number: int) -> tuple[Array, ...]:
        """A member's best weights, of its own size, in the order of ``model.weights``."""
        i = self._index(number)
        return self._unpadded([np.asarray(value)[i] for value in self._best], self._slots[i].row)

    def copy(self, copies: Mapping[int, tuple[Stack, int, Params]]) -> Callable[[], None]:
        """Prepares copies of other members' states into members of this stack.

        Args:
            copies: target -> (stack of the source, source, hyperparameters that change).

        Returns:
            What carries them out. All stacks prepare before any is changed, so that every copy is of a state before.
        """
        from keras import ops

        self._make_room([other._slots[other._index(source)].optimizer for other, source, _ in copies.values()])
        joined = {kind: list(values) for kind, values in self._state.items()}
        places = list(range(self.size))
        clock = optimizers.Clock(list(self._clock.steps), list(self._clock.products))
        slots = {}
        for target, (other, source, params) in copies.items():
            to, at = self._index(target), other._index(source)
            if other is self:
                places[to] = at
            else:
                places[to] = len(joined["weights"][0])
                arrived = other._carried(at, self)
                joined = {
                    kind: [ops.concatenate(pair) for pair in zip(joined[kind], arrived[kind], strict=True)]
                    for kind in joined
                }
            clock.steps[to], clock.products[to] = other._clock.steps[at], other._clock.products[at]
            theirs = other._slots[at]
            origin = theirs.origin if other is self else self._slots[to].origin
            slots[to] = replace(self._slots[to], optimizer=theirs.optimizer, knobs=dict(theirs.knobs), origin=origin)
            slots[to].change(params)

        def carry_out() -> None:
            index = ops.convert_to_tensor(np.array(places, np.int32))
            self._state = {
                kind: [ops.take(value, index, axis=0) for value in values] for kind, values in joined.items()
            }
            self._clock = clock
            for to, slot in slots.items():
                self._slots[to] = slot
            self._make_room([slot.optimizer for slot in slots.values()])

        return carry_out

    def change(self, number: int, params: Params) -> None:
        """Changes hyperparameters of a member."""
        slot = self._slots[self._index(number)]
        slot.change(params)
        self._make_room([slot.optimizer])

    def leave(self, numbers: Container[int]) -> None:
        """Members end, of this stack or another; their slots stay."""
        for slot in self._slots:
            if slot.number is not None and slot.number in numbers:
                slot.number = None

    def arrays(self) -> dict[str, Array]:
        """The whole state, by name."""
        named = {f"{kind}_{i}": np.asarray(v) for kind, values in self._state.items() for i, v in enumerate(values)}
        return named | {f"kept_{i}": np.asarray(value) for i, value in enumerate(self._best)}

    def host(self) -> dict[str, Any]:
        """What of the state is not in ``arrays``, as JSON values."""
        return {
            "slots": [slot.to_state() for slot in self._slots],
            "keeps": vars(self._keeps),
            "steps": self._clock.steps,
            "products": self._clock.products,
        }

    def restored(self, arrays: Mapping[str, Array], host: Mapping[str, Any]) -> Stack:
        """The stack of the same run that gave ``arrays`` and ``host``."""
        from keras import ops

        stack = copy.copy(self)
        stack._slots = [Slot.restored(state, self._shape.optimizers) for state in host["slots"]]
        stack._clock = optimizers.Clock(list(host["steps"]), list(host["products"]))
        stack._keeps = optimizers.Slots(**host["keeps"])

        def listed(kind: str) -> list[Tensor]:
            count = sum(name.startswith(f"{kind}_") for name in arrays)
            return [ops.convert_to_tensor(arrays[f"{kind}_{i}"]) for i in range(count)]

        stack._state = {kind: listed(kind) for kind in self._state}
        stack._best = listed("kept")
        return stack

    def _make_room(self, arriving: Sequence[optimizers.Settings]) -> None:
        """Adds what the optimisers of arriving members need: a momentum where all had none, clipping likewise."""
        from keras import ops

        has, needed = self._keeps, optimizers.slots(arriving)
        if needed.momentum and not has.momentum:
            self._state["momentum"] = [ops.zeros_like(value) for value in self._state["weights"]]
        self._keeps = optimizers.Slots(needed.momentum or has.momentum, has.second, needed.clip or has.clip)

    def _carried(self, at: int, to: Stack) -> dict[str, list[Tensor]]:
        """A slot's state ``(1, …)`` in the shapes of another stack, which holds members of the same size."""
        from keras import ops

        def fitted(value: Tensor, variable: Any) -> Tensor:
            own = np.asarray(value[at])
            room = np.zeros((1, *variable.shape), np.float32)
            common: tuple[slice, ...] = tuple(slice(min(a, b)) for a, b in zip(own.shape, variable.shape, strict=True))
            room[0][common] = own[common]
            return ops.convert_to_tensor(room)

        variables = {"others": to._shape.model.others}
        carried = {}
        for kind, targets in to._state.items():
            shapes = variables.get(kind, to._shape.model.trainable)[: len(targets)]
            values = self._state[kind] or [ops.zeros_like(value) for value in self._state["weights"][: len(targets)]]
            carried[kind] = [fitted(value, variable) for value, variable in zip(values, shapes, strict=True)]
        return carried

    def _index(self, number: int) -> int:
        return next(i for i, slot in enumerate(self._slots) if slot.number == number)

    def _resize(self, staying: list[int], size: int) -> None:
        """Gathers slots into a stack of another size; copies of the first one fill it up."""
        from keras import ops

        places = staying + [staying[0]] * (size - len(staying))
        filled = [None] * (size - len(staying))
        numbers: list[int | None] = [*(self._slots[i].number for i in staying), *filled]
        self._slots = [self._slots[i].copy(number) for number, i in zip(numbers, places, strict=True)]
        clock = self._clock
        self._clock = optimizers.Clock([clock.steps[i] for i in places], [clock.products[i] for i in places])
        if places == list(range(len(self._state["weights"][0]) if self._state["weights"] else 0)):
            return
        index = ops.convert_to_tensor(np.array(places, np.int32))
        self._state = {
            kind: [ops.take(value, index, axis=0) for value in values] for kind, values in self._state.items()
        }
        self._best = [ops.take(value, index, axis=0) for value in self._best]

    def _fixed(self) -> Fixed:
        from keras import ops

        rows = [slot.row for slot in self._slots]

        def of(values: Mapping[str, Array]) -> dict[str, Tensor]:
            return {name: ops.convert_to_tensor(value[rows]) for name, value in values.items()}

        knobs = {
            name: ops.convert_to_tensor(np.array([slot.knobs[name] for slot in self._slots], np.float32))
            for name in self._slots[0].knobs
        }
        scaled = ops.convert_to_tensor(optimizers.scaling([slot.optimizer for slot in self._slots]))
        return Fixed(knobs, of(self._shape.units), of(self._shape.widths), of(self._shape.active), scaled)

    def _padded(self, values: Sequence[Array], trainable: bool, index: int) -> Array:
        """One variable of all members, zeros where a member is smaller than the template."""
        variable = (self._shape.model.trainable if trainable else self._shape.model.others)[index]
        stacked = np.zeros((len(values), *variable.shape), np.float32)
        for row, value in enumerate(values):
            if value.size:
                stacked[row][tuple(slice(size) for size in value.shape)] = value
        return stacked

    def _unpadded(self, values: Sequence[Array], row: int) -> tuple[Array, ...]:
        """A member's own part of each variable, in the order of ``model.weights``."""
        trainable = len(self._shape.model.trainable)
        own = []
        for is_trainable, index in self._shape.model.order:
            value = values[index if is_trainable else trainable + index]
            if self._shape.sizes is not None:
                size = self._shape.sizes[row][0 if is_trainable else 1][index]
                if size is None:
                    continue
                value = value[tuple(slice(extent) for extent in size)]
            own.append(np.array(value))
        return tuple(own)


def gather(stacks: Sequence[Stack], size: int) -> list[Stack]:
    """The members of stacks of one run, in as few stacks of so many slots as hold them."""
    from keras import ops

    slots = [slot for stack in stacks for slot in stack._slots]
    for stack in stacks:
        stack._make_room([slot.optimizer for slot in slots])
    whole = copy.copy(stacks[0])
    whole._slots = slots
    whole._clock = optimizers.Clock(
        [steps for stack in stacks for steps in stack._clock.steps],
        [product for stack in stacks for product in stack._clock.products],
    )
    if len(stacks) > 1:
        whole._state = {
            kind: [ops.concatenate(values) for values in zip(*(stack._state[kind] for stack in stacks), strict=True)]
            for kind in whole._state
        }
        whole._best = [ops.concatenate(values) for values in zip(*(stack._best for stack in stacks), strict=True)]
    staying = [i for i, slot in enumerate(slots) if slot.number is not None]
    gathered = []
    for start in range(0, len(staying), size):
        stack = copy.copy(whole)
        stack._resize(staying[start : start + size], size)
        gathered.append(stack)
    return gathered


def copy_members(stacks: Sequence[Stack], copies: Mapping[int, Copy]) -> None:
    """Puts members' states into other members' places, within a stack or between two."""
    homes = {number: stack for stack in stacks for number in stack.numbers}
    prepared = []
    for stack in stacks:
        own = {
            target: (homes[each.source], each.source, each.params)
            for target, each in copies.items()
            if homes.get(target) is stack
        }
        if own:
            prepared.append(stack.copy(own))
    for carry_out in prepared:
        carry_out()
