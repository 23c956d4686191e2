"""KerasTuner: its Hyperband and Bayesian oracles."""

from __future__ import annotations

from typing import Any, Literal

import keras_tuner

from quality.asking import Asking, dimensions
from quality.benchmark import Benchmark
from quality.simulation import Step

_VALUE = "value"


class KerasTunerPeer(Asking):
    """An oracle as KerasTuner's ``Tuner`` drives it.

    A trial is told once, with its best epoch, as ``Tuner.run_trial`` does. Hyperband's later rounds continue the trial
    that they were chosen from. The oracle writes no files.

    Args:
        benchmark: what is searched.
        seed: of the oracle.
        oracle: which one.
        budget: epochs in all; a bound on the number of trials.
    """

    def __init__(self, benchmark: Benchmark, seed: int, oracle: Literal["bayesian", "hyperband"], budget: int) -> None:
        super().__init__()
        self._space = benchmark.space
        self._max_epochs = benchmark.max_epochs
        self._dimensions = {dimension.name: dimension for dimension in dimensions(benchmark.space)}
        self._oracle = self._made(oracle, seed, budget)
        self._oracle.verbose = 0
        self._oracle.save = self._oracle._save_trial = _unsaved
        self._trials: dict[int, Any] = {}  # KerasTuner's, in training
        self._until: dict[int, int] = {}
        self._values: dict[int, list[float]] = {}
        self._numbers: dict[str, int] = {}  # KerasTuner's identifier -> the number of the trial that it continues
        self._asked = 0

    def ask(self) -> Step | None:
        self._asked += 1
        trial = self._oracle.create_trial(f"worker-{self._asked}")  # one that holds a trial would get it again
        if trial.status != "RUNNING":
            return None
        values = trial.hyperparameters.values
        number = self._numbers.get(values.get("tuner/trial_id"), len(self._numbers))
        self._numbers[trial.trial_id] = number
        self._trials[number] = trial
        self._until[number] = values.get("tuner/epochs", self._max_epochs)
        self._values[number] = []
        return Step(number, self._space.compose(lambda name: self._dimensions[name].value(values[name])))

    def goes_on(self, number: int, epoch: int, value: float) -> bool:
        self._values[number].append(value)
        if epoch < self._until[number]:
            return True
        trial = self._trials.pop(number)
        self._oracle.update_trial(trial.trial_id, {_VALUE: max(self._values[number])})
        trial.status = "COMPLETED"
        self._oracle.end_trial(trial)
        return False

    def _made(self, oracle: str, seed: int, budget: int) -> Any:
        common = {
            "objective": keras_tuner.Objective(_VALUE, "max"),
            "seed": seed + 1,  # 0 would mean none
            "hyperparameters": self._declared(),
            "tune_new_entries": False,
            "allow_new_entries": False,
        }
        if oracle == "bayesian":
            return keras_tuner.oracles.BayesianOptimizationOracle(max_trials=budget, **common)
        return keras_tuner.oracles.HyperbandOracle(
            max_epochs=self._max_epochs, factor=3, hyperband_iterations=budget, **common
        )

    def _declared(self) -> Any:
        declared = keras_tuner.HyperParameters()
        for name, dimension in self._dimensions.items():
            sampling = "log" if dimension.log else "linear"
            if dimension.kind == "float":
                declared.Float(name, dimension.low, dimension.high, sampling=sampling)
            elif dimension.kind == "int":
                declared.Int(name, int(dimension.low), int(dimension.high), sampling=sampling)
            else:
                declared.Choice(name, list(range(int(dimension.high) + 1)), ordered=False)
        return declared


def _unsaved(*_: object) -> None:
    """In the place of what writes files."""
