"""What a searcher has proposed so far: numbers, nothing twice, and which trials are still out."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Sequence

import numpy as np

from kerasweep.records import Candidate, Params, Trial
from kerasweep.space import Space

# Draws before the free configurations are counted off instead. Only a space that is nearly used up needs that many.
_DRAWS = 100

# Draws before an infinite space is given up: it can be down to real numbers that almost no configuration activates.
_LAST_DRAWS = 10_000


class Proposals:
    """Hands out candidates of one space, numbered from 0, no configuration twice.

    Args:
        space: what the candidates come from.
        rng: draws where nothing better is known.
        points: configurations to begin with; parameters that one leaves out are drawn.
    """

    def __init__(self, space: Space, rng: np.random.Generator, points: Sequence[Params] = ()) -> None:
        self._space = space
        self._rng = rng
        self._keys: set[Hashable] = set()
        self._open: set[int] = set()
        self._points = deque(points)
        self._began = False

    @property
    def count(self) -> int:
        """How many candidates were handed out; the next one's number."""
        return len(self._keys)

    @property
    def used_up(self) -> bool:
        """Whether every configuration of a finite space was handed out."""
        return len(self._keys) == self._space.size()

    def is_new(self, params: Params) -> bool:
        """Whether this configuration was not handed out before."""
        return self._space.key(params) not in self._keys

    def issue(self, params: Params) -> Candidate:
        """Hands out a new configuration."""
        self._keys.add(self._space.key(params))
        number = len(self._keys) - 1
        self._open.add(number)
        return Candidate(number, params)

    def close(self, trial: Trial) -> None:
        """Takes note that a trial ended.

        Raises:
            ValueError: if it was never asked for, or ended before.
        """
        if trial.number not in self._open:
            raise ValueError(
                f"a trial must have been asked for, and can be told once. Received: trial {trial.number}, while "
                f"{', '.join(map(str, sorted(self._open))) or 'none'} are open"
            )
        self._open.remove(trial.number)

    def point(self) -> Params | None:
        """The next of the points to begin with, completed; None if there is no other."""
        while self._points:
            params = self._space.completed(self._points.popleft(), self._rng)
            if self.is_new(params):
                return params
        return None

    def first(self) -> Params | None:
        """What to begin with: the points, then all declared priors; None later on, or if there is neither."""
        if (params := self.point()) is not None:
            return params
        if self._began:
            return None
        self._began = True
        typical = self._space.typical(self._rng)
        return typical if typical is not None and self.is_new(typical) else None

    def varied(self, params: Params, free: frozenset[str]) -> Params | None:
        """A new random configuration that differs from this one in ``free`` only; None after too many vain draws."""
        for _ in range(_DRAWS):
            other = self._space.vary(params, free, self._rng)
            if self.is_new(other):
                return other
        return None

    def draw(self) -> Params | None:
        """A random configuration that was not handed out before, None if the space has no other.

        A finite space gives its very last one. An infinite space is given up after ten thousand draws in vain.
        """
        if self.used_up:
            return None
        size = self._space.size()
        for _ in range(_LAST_DRAWS if size is None else _DRAWS):
            params = self._space.sample(self._rng)
            if self.is_new(params):
                return params
        if size is None:
            return None
        start = int.from_bytes(self._rng.bytes(size.bit_length() // 8 + 9), "big")
        return next(
            params
            for offset in range(size)
            if self.is_new(params := self._space.configuration((start + offset) % size))
        )
