"""Benchmarks that need no download: formulas over a space with conditions, choices, steps and logarithms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from kerasweep.records import Params
from kerasweep.space import Space
from kerasweep.spec.parameters import Choice, Float, Int
from quality.benchmark import Array, Facts

SPACE = Space.of(
    optimizer=Choice(values=["sgd", "adam", "rmsprop"]),
    momentum=Float(min=0.0, max=0.99, when={"optimizer": ["sgd"]}),
    learning_rate=Float(min=1e-4, max=1e-1, log=True),
    n_hidden=Int(min=0, max=4),
    n_neurons=Int(min=8, max=512, log=True, when={"n_hidden": [1, 2, 3, 4]}),
    batch_size=Int(min=32, max=512, step=32, log=True),
    dropout=Float(min=0.0, max=0.5, step=0.1),
)
_CURVES = 27  # epochs of a full training
_BEST = 95.0
_CHANCE = 10.0

# The best learning rate of each optimiser, and what it loses against the best optimiser, in points.
_OPTIMIZERS = {"sgd": (2e-2, 0.0), "adam": (1e-3, 1.0), "rmsprop": (3e-4, 4.0)}


@dataclass(frozen=True)
class Synthetic:
    """A smooth loss around one best configuration, approached exponentially.

    High learning rates come close to their end sooner, so that curves cross, as those of networks do.

    Attributes:
        curves: whether there are values on the way; without, ``max_epochs`` is 1.
    """

    curves: bool = True

    space = SPACE

    @property
    def name(self) -> str:
        return "synthetic-curves" if self.curves else "synthetic-table"

    @property
    def max_epochs(self) -> int:
        return _CURVES if self.curves else 1

    @cached_property
    def facts(self) -> Facts:
        """The best is known; the seconds are the mean of a fixed sample."""
        rng = np.random.default_rng(0)
        seconds = [self.evaluate(SPACE.sample(rng), [self.max_epochs])[1][0] for _ in range(1000)]
        return Facts(_BEST, float(np.mean(seconds)))

    def evaluate(self, params: Params, epochs: Sequence[int]) -> tuple[Array, Array]:
        share = np.asarray(epochs, np.float64) / self.max_epochs
        final = _BEST - _loss(params)
        rate = math.log10(float(params["learning_rate"]) / 1e-4)  # 0 to 3
        left = np.exp(-(2 + 4 * rate) * share) - math.exp(-(2 + 4 * rate))
        work = 1 + float(params["n_hidden"]) * float(params.get("n_neurons", 0)) / 256
        return final - (final - _CHANCE) * left, share * _CURVES * work * (1 + 32 / float(params["batch_size"]))


def _loss(params: Params) -> float:
    """Points below the best at full training: 0 for sgd with 0.9, 0.02, two layers of 128, batches of 64 and 0.2."""
    best, total = _OPTIMIZERS[str(params["optimizer"])]
    total += 6 * math.log10(float(params["learning_rate"]) / best) ** 2
    total += 20 * (float(params.get("momentum", 0.9)) - 0.9) ** 2
    total += (float(params["n_hidden"]) - 2) ** 2
    total += 0.5 * math.log2(float(params.get("n_neurons", 128)) / 128) ** 2
    total += 0.3 * math.log2(float(params["batch_size"]) / 64) ** 2
    total += 30 * (float(params["dropout"]) - 0.2) ** 2
    return min(total, _BEST - _CHANCE)
