"""Hyperopt: its tree-structured Parzen estimator and its annealing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import hyperopt
import numpy as np
from hyperopt import hp
from hyperopt.base import JOB_STATE_DONE, JOB_STATE_RUNNING, Domain, Trials

from quality.asking import Asking, Dimension, dimensions
from quality.benchmark import Benchmark
from quality.simulation import Step


class HyperoptPeer(Asking):
    """Trials suggested and told as Hyperopt's ``fmin`` does; every trial is trained fully.

    Args:
        benchmark: what is searched.
        seed: of the generator that seeds each suggestion.
        suggest: ``hyperopt.tpe.suggest`` or ``hyperopt.anneal.suggest``.
    """

    def __init__(self, benchmark: Benchmark, seed: int, suggest: Callable[..., Any]) -> None:
        super().__init__()
        self._space = benchmark.space
        self._max_epochs = benchmark.max_epochs
        self._dimensions = {each.name: each for each in dimensions(benchmark.space)}
        self._declared = {name: _declared(each) for name, each in self._dimensions.items()}
        self._domain = Domain(None, self._declared)
        self._suggest = suggest
        self._generator = np.random.default_rng(seed)
        self._trials = Trials()
        self._documents: list[Any] = []

    def ask(self) -> Step:
        number = len(self._documents)
        ids = self._trials.new_trial_ids(1)
        self._trials.refresh()
        documents = self._suggest(ids, self._domain, self._trials, int(self._generator.integers(2**31 - 1)))
        self._trials.insert_trial_docs(documents)
        self._trials.refresh()
        document = self._trials._dynamic_trials[-1]
        document["state"] = JOB_STATE_RUNNING
        self._documents.append(document)
        chosen = {name: values[0] for name, values in document["misc"]["vals"].items() if values}
        values = hyperopt.space_eval(self._declared, chosen)
        return Step(number, self._space.compose(lambda name: self._dimensions[name].value(values[name])))

    def goes_on(self, number: int, epoch: int, value: float) -> bool:
        if epoch < self._max_epochs:
            return True
        self._documents[number].update(
            state=JOB_STATE_DONE, result={"status": hyperopt.STATUS_OK, "loss": -float(value)}
        )
        self._trials.refresh()
        return False


def _declared(dimension: Dimension) -> Any:
    """As Hyperopt's documentation recommends for such a parameter."""
    name, low, high = dimension.name, dimension.low, dimension.high
    if dimension.kind == "category":
        return hp.choice(name, list(range(int(high) + 1)))
    if dimension.kind == "float":
        return hp.loguniform(name, math.log(low), math.log(high)) if dimension.log else hp.uniform(name, low, high)
    if dimension.log:
        return hp.qloguniform(name, math.log(low), math.log(high), 1)
    return hp.uniformint(name, low, high)
