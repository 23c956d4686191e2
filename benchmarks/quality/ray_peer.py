"""Ray Tune: its ASHA scheduler over random configurations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler

from quality.asking import Asking
from quality.benchmark import Benchmark
from quality.simulation import Step


@dataclass(frozen=True)
class _Trial:
    """All that the scheduler looks at."""

    trial_id: str


class RayAsha(Asking):
    """Ray's own scheduler object, told of every epoch in the order in which they end.

    Args:
        benchmark: what is searched.
        seed: of the configurations, uniform in their scales.
        grace: epochs before the first rung.
        eta: at each rung the best 1/eta go on.
    """

    def __init__(self, benchmark: Benchmark, seed: int, grace: int, eta: float) -> None:
        super().__init__()
        self._space = benchmark.space
        self._rng = np.random.default_rng(seed)
        self._scheduler = AsyncHyperBandScheduler(
            metric="value",
            mode="max",
            max_t=benchmark.max_epochs,
            grace_period=min(grace, benchmark.max_epochs),
            reduction_factor=eta,
        )
        self._trials: list[_Trial] = []

    def ask(self) -> Step:
        number = len(self._trials)
        self._trials.append(_Trial(str(number)))
        self._scheduler.on_trial_add(None, self._trials[number])
        return Step(number, self._space.sample(self._rng))

    def goes_on(self, number: int, epoch: int, value: float) -> bool:
        result = {"training_iteration": epoch, "value": value}
        decision = self._scheduler.on_trial_result(None, self._trials[number], result)
        return bool(decision == TrialScheduler.CONTINUE)
