"""Optuna: its tree-structured Parzen estimator, alone and with its pruners, and its covariance matrix adaptation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import optuna
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, CmaEsSampler, TPESampler
from optuna.samplers._tpe import _truncnorm
from optuna.trial import TrialState
from scipy.special import log_ndtr

from kerasweep.records import ParamValue
from quality.asking import Asking, dimensions
from quality.benchmark import Benchmark
from quality.simulation import Step

# Epochs before the median rule may prune. Optuna's own default is 0, as the method ``default`` has it.
_WARM_UP = 5


@contextmanager
def _fast() -> Iterator[None]:
    """Within, Optuna takes the logarithm of the normal distribution function from SciPy."""
    own = _truncnorm._log_ndtr
    _truncnorm._log_ndtr = log_ndtr
    try:
        yield
    finally:
        _truncnorm._log_ndtr = own


class OptunaPeer(Asking):
    """A study as Optuna's documentation shows it: suggest, report every epoch, ask whether to prune.

    Conditions are expressed as Optuna wants it, by suggesting a parameter only where it is active. One function is
    SciPy's here: Optuna has a translation of it into Python, which gives the same numbers up to their last digits and
    takes most of the time.

    Args:
        benchmark: what is searched.
        seed: of the sampler.
        pruner: ``default`` leaves the choice to ``create_study``: the median rule from the first epoch on.
        sampler: ``tpe`` or ``cmaes``.
    """

    def __init__(self, benchmark: Benchmark, seed: int, pruner: str, sampler: str = "tpe") -> None:
        super().__init__()
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._space = benchmark.space
        self._dimensions = {dimension.name: dimension for dimension in dimensions(benchmark.space)}
        self._max_epochs = benchmark.max_epochs
        pruners: dict[str, BasePruner | None] = {
            "none": NopPruner(),
            "default": None,
            "median": MedianPruner(n_warmup_steps=_WARM_UP),
            "hyperband": HyperbandPruner(min_resource=1, max_resource=benchmark.max_epochs, reduction_factor=3),
        }
        samplers: dict[str, BaseSampler] = {"tpe": TPESampler(seed=seed), "cmaes": CmaEsSampler(seed=seed)}
        self._study = optuna.create_study(
            study_name=f"seed-{seed}",  # which the brackets of Hyperband depend on
            sampler=samplers[sampler],
            pruner=pruners[pruner],
            direction="maximize",
        )
        self._trials: dict[int, optuna.Trial] = {}

    def ask(self) -> Step:
        with _fast():
            trial = self._study.ask()
            self._trials[trial.number] = trial
            return Step(trial.number, self._space.compose(lambda name: self._suggested(trial, name)))

    def goes_on(self, number: int, epoch: int, value: float) -> bool:
        trial = self._trials[number]
        trial.report(value, epoch)
        if epoch == self._max_epochs:
            self._study.tell(trial, value)
            return False
        if trial.should_prune():
            self._study.tell(trial, state=TrialState.PRUNED)
            return False
        return True

    def _suggested(self, trial: optuna.Trial, name: str) -> ParamValue:
        dimension = self._dimensions[name]
        low, high = dimension.low, dimension.high
        if dimension.kind == "float":
            return dimension.value(trial.suggest_float(name, low, high, log=dimension.log))
        if dimension.kind == "int":
            return dimension.value(trial.suggest_int(name, int(low), int(high), log=dimension.log))
        return dimension.value(trial.suggest_categorical(name, range(int(high) + 1)))
