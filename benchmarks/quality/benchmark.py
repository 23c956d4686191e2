"""The contract of a benchmark: a space, and what each of its configurations reaches after each epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kerasweep.records import Params
from kerasweep.space import Space

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Facts:
    """What is known of a benchmark as a whole.

    Attributes:
        best: the best value at full training that is known.
        seconds: of a full training, on average over random configurations.
    """

    best: float
    seconds: float


class Benchmark(Protocol):
    """Values that are already known, or cheap to compute, instead of training.

    An epoch is whatever a trial can be stopped after and resumed from: of a table without curves, ``max_epochs`` is 1;
    of one with other fidelities (rows of data, trees of a forest), the fidelities counted from 1. The same
    configuration has the same curve whenever and by whomever it is asked for. Benchmarks survive pickling.

    Attributes:
        name: unique among all benchmarks, e.g. ``lcbench-3945``.
        space: what is searched.
        max_epochs: of a full training, at least 1.
        facts: of the benchmark as a whole.
    """

    @property
    def name(self) -> str: ...

    @property
    def space(self) -> Space: ...

    @property
    def max_epochs(self) -> int: ...

    @property
    def facts(self) -> Facts: ...

    def evaluate(self, params: Params, epochs: Sequence[int]) -> tuple[Array, Array]:
        """What one configuration reaches after each of these epochs.

        Args:
            params: of the space.
            epochs: ascending, each in ``[1, max_epochs]``.

        Returns:
            Values of the objective, the greater the better, ``(len(epochs),)``, and the seconds that training takes up
            to each epoch, ``(len(epochs),)``, ascending.
        """
        ...


@dataclass(frozen=True)
class Final:
    """A benchmark of which nothing is seen before the end: its only epoch is a full training.

    Args:
        whole: the same with its curves.
    """

    whole: Benchmark

    @property
    def name(self) -> str:
        return f"{self.whole.name}-final"

    @property
    def space(self) -> Space:
        return self.whole.space

    @property
    def max_epochs(self) -> int:
        return 1

    @property
    def facts(self) -> Facts:
        return self.whole.facts

    def evaluate(self, params: Params, epochs: Sequence[int]) -> tuple[Array, Array]:
        return self.whole.evaluate(params, [self.whole.max_epochs] * len(epochs))
