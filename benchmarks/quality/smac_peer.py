"""SMAC3: its multi-fidelity facade, random forests over Hyperband's brackets."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any

from ConfigSpace import Categorical, ConfigurationSpace, Float, Integer

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of modules that it deprecated itself
    from smac import MultiFidelityFacade, Scenario
    from smac.runhistory.dataclasses import TrialInfo, TrialValue

from quality.asking import Asking, dimensions
from quality.benchmark import Benchmark
from quality.simulation import Step


class SmacPeer(Asking):
    """The facade as its documentation shows it, asked and told.

    Its budgets are fractions of ``max_epochs`` and are rounded to whole epochs. A configuration that comes again with
    a larger budget goes on where it was.

    Args:
        benchmark: what is searched.
        seed: of the scenario.
        budget: epochs in all; a bound on the number of trials.
    """

    def __init__(self, benchmark: Benchmark, seed: int, budget: int) -> None:
        super().__init__()
        self._space = benchmark.space
        self._dimensions = {dimension.name: dimension for dimension in dimensions(benchmark.space)}
        self._folder = tempfile.TemporaryDirectory(prefix="smac-")
        scenario = Scenario(
            ConfigurationSpace(space=[self._declared(name) for name in self._dimensions], seed=seed),
            output_directory=Path(self._folder.name),
            deterministic=True,
            n_trials=budget,
            min_budget=1,
            max_budget=benchmark.max_epochs,
            seed=seed,
        )
        self._facade = MultiFidelityFacade(scenario, _trained_elsewhere, logging_level=False, overwrite=True)
        self._numbers: dict[Any, int] = {}  # by configuration
        self._infos: dict[int, TrialInfo] = {}

    def ask(self) -> Step:
        info = self._facade.ask()
        number = self._numbers.setdefault(info.config, len(self._numbers))
        self._infos[number] = info
        return Step(number, self._space.compose(lambda name: self._dimensions[name].value(info.config[name])))

    def goes_on(self, number: int, epoch: int, value: float) -> bool:
        info = self._infos[number]
        if epoch < max(1, round(info.budget or 1)):
            return True
        self._facade.tell(info, TrialValue(cost=-value), save=False)
        return False

    def _declared(self, name: str) -> Any:
        dimension = self._dimensions[name]
        if dimension.kind == "float":
            return Float(name, (dimension.low, dimension.high), log=dimension.log)
        if dimension.kind == "int":
            return Integer(name, (int(dimension.low), int(dimension.high)), log=dimension.log)
        return Categorical(name, list(range(int(dimension.high) + 1)))


def _trained_elsewhere(config: Any, seed: int = 0, budget: float = 0.0) -> float:
    raise RuntimeError("trials are trained by the simulation, never by SMAC")
