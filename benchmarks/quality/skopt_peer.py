"""scikit-optimize: its Gaussian process with the acquisition functions hedged, and its trees."""

from __future__ import annotations

import warnings
from typing import Any

from skopt import Optimizer
from skopt.space import Categorical, Integer, Real

from quality.asking import Asking, Dimension, dimensions
from quality.benchmark import Benchmark
from quality.simulation import Step


class SkoptPeer(Asking):
    """``skopt.Optimizer`` with its defaults, asked and told; every trial is trained fully.

    Args:
        benchmark: what is searched.
        seed: of the optimiser.
        estimator: ``GP``, ``ET`` (extra trees) or ``RF`` (a random forest).
    """

    def __init__(self, benchmark: Benchmark, seed: int, estimator: str) -> None:
        super().__init__()
        self._space = benchmark.space
        self._max_epochs = benchmark.max_epochs
        self._dimensions = list(dimensions(benchmark.space))
        self._optimizer = Optimizer(
            [_declared(each) for each in self._dimensions], base_estimator=estimator, random_state=seed
        )
        self._points: list[Any] = []

    def ask(self) -> Step:
        point = self._optimizer.ask()
        self._points.append(point)
        values = {each.name: each.value(number) for each, number in zip(self._dimensions, point, strict=True)}
        return Step(len(self._points) - 1, self._space.compose(values.__getitem__))

    def goes_on(self, number: int, epoch: int, value: float) -> bool:
        if epoch < self._max_epochs:
            return True
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the fit, which it tries again by itself, and of repeated points
            self._optimizer.tell(self._points[number], -value)
        return False


def _declared(dimension: Dimension) -> Any:
    scale = "log-uniform" if dimension.log else "uniform"
    if dimension.kind == "float":
        return Real(dimension.low, dimension.high, prior=scale, name=dimension.name)
    if dimension.kind == "int":
        return Integer(int(dimension.low), int(dimension.high), prior=scale, name=dimension.name)
    return Categorical(range(int(dimension.high) + 1), name=dimension.name)
