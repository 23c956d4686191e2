"""Counting and numbering the distinct active configurations of a space without walking through them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# Where the values of a switch lie that no condition mentions.
_OTHER = -1

# The state of the switches that later parameters depend on: the position of each one's value, _OTHER, None if inactive.
_State = tuple[tuple[str, int | None], ...]


@dataclass(frozen=True)
class Slot:
    """One parameter of an enumeration.

    Attributes:
        name: of the parameter.
        size: how many values it has, None for infinitely many.
        when: for every switch it depends on, the positions of the switch's values that activate it.
    """

    name: str
    size: int | None
    when: Mapping[str, frozenset[int]]


class Enumeration:
    """Numbers the configurations of parameters that may switch each other on and off.

    Counting merges all values of a switch that no condition mentions, and forgets a switch after the last parameter
    that depends on it; so it takes time in the number of parameters and mentioned values, not in that of
    configurations.

    Args:
        slots: the parameters; each stands after those that its condition names.
    """

    def __init__(self, slots: tuple[Slot, ...]) -> None:
        self._slots = slots
        mentioned: dict[str, set[int]] = {}
        self._needed_until: dict[str, int] = {}
        for place, slot in enumerate(slots):
            for switch, positions in slot.when.items():
                mentioned.setdefault(switch, set()).update(positions)
                self._needed_until[switch] = place
        self._mentioned = {switch: sorted(positions) for switch, positions in mentioned.items()}
        self._counts: dict[tuple[int, _State], int | None] = {}

    @property
    def size(self) -> int | None:
        """How many distinct configurations there are, None for infinitely many."""
        return self._count(0, ())

    def positions(self, rank: int) -> dict[str, int]:
        """The configuration of a rank in ``[0, size)``: each active parameter's position among its values.

        Raises:
            IndexError: if there are infinitely many configurations, or not that many.
        """
        size = self.size
        if size is None or not 0 <= rank < size:
            raise IndexError(f"0 <= rank < size must hold. Received: rank={rank}, size={size}")
        found: dict[str, int] = {}
        state: _State = ()
        for place, slot in enumerate(self._slots):
            if not self._active(place, state):
                state = self._after(place, state, None)
                continue
            for position in self._mentioned.get(slot.name, ()):
                count = self._finite(place + 1, self._after(place, state, position))
                if rank < count:
                    found[slot.name] = position
                    state = self._after(place, state, position)
                    break
                rank -= count
            else:
                state = self._after(place, state, _OTHER)
                nth, rank = divmod(rank, self._finite(place + 1, state))
                found[slot.name] = self._nth_other(slot.name, nth)
        return found

    def _count(self, place: int, state: _State) -> int | None:
        if place == len(self._slots):
            return 1
        key = (place, state)
        if key not in self._counts:
            self._counts[key] = self._count_from(place, state)
        return self._counts[key]

    def _count_from(self, place: int, state: _State) -> int | None:
        slot = self._slots[place]
        if not self._active(place, state):
            return self._count(place + 1, self._after(place, state, None))
        if slot.size is None:
            return None
        mentioned = self._mentioned.get(slot.name, [])
        total = 0
        for position in mentioned:
            count = self._count(place + 1, self._after(place, state, position))
            if count is None:
                return None
            total += count
        others = slot.size - len(mentioned)
        if others:
            count = self._count(place + 1, self._after(place, state, _OTHER))
            if count is None:
                return None
            total += others * count
        return total

    def _finite(self, place: int, state: _State) -> int:
        count = self._count(place, state)
        if count is None:
            raise IndexError("only finitely many configurations can be numbered. Received: a space with real numbers")
        return count

    def _active(self, place: int, state: _State) -> bool:
        known = dict(state)
        return all(known[switch] in positions for switch, positions in self._slots[place].when.items())

    def _after(self, place: int, state: _State, position: int | None) -> _State:
        """The state past a parameter: with its value if it is a switch, without the switches nobody needs any more."""
        name = self._slots[place].name
        grown = (*state, (name, position)) if name in self._needed_until else state
        return tuple(entry for entry in grown if self._needed_until[entry[0]] > place)

    def _nth_other(self, name: str, nth: int) -> int:
        position = nth
        for mentioned in self._mentioned.get(name, ()):
            if mentioned <= position:
                position += 1
        return position
