"""Ray Tune's own schedulers, from the spec's words. A step is an epoch, so ``training_iteration`` counts epochs."""

from __future__ import annotations

from typing import Any

from ray.tune.schedulers import (
    AsyncHyperBandScheduler,
    FIFOScheduler,
    HyperBandScheduler,
    MedianStoppingRule,
    TrialScheduler,
)
from ray.tune.schedulers.hyperband import _Bracket

from kerasweep.spec.pipeline import AshaScheduler, HyperbandScheduler, MedianScheduler, SchedulerSpec

_EPOCH = "training_iteration"


def ray_scheduler(spec: SchedulerSpec, epochs: int) -> TrialScheduler:
    """Ray's scheduler for a spec.

    Args:
        spec: of the scheduler.
        epochs: the most a trial trains, the papers' R.
    """
    if isinstance(spec, AshaScheduler):
        return AsyncHyperBandScheduler(
            time_attr=_EPOCH,
            max_t=epochs,
            grace_period=spec.grace,
            reduction_factor=spec.eta,
            brackets=spec.brackets,
        )
    if isinstance(spec, HyperbandScheduler):
        return _Hyperband(time_attr=_EPOCH, max_t=epochs, reduction_factor=spec.eta)
    if isinstance(spec, MedianScheduler):
        return MedianStoppingRule(time_attr=_EPOCH, grace_period=spec.grace, min_samples_required=spec.min_trials)
    return FIFOScheduler()


class _ClosedBracket(_Bracket):  # type: ignore[misc]  # Ray's class has no types
    """A bracket that is full once it was given its number of trials, whether they still run or not."""

    def filled(self) -> bool:
        return bool(len(self._all_trials) >= self._n0)


class _Hyperband(HyperBandScheduler):  # type: ignore[misc]  # Ray's class has no types
    """Ray's Hyperband, for trials that may end by themselves, by early stopping or by failing.

    Ray's own loses its way when they do: its brackets count the trials alive, so the first bracket, which trains all
    of its trials to the end, takes a new one for each that has ended and never fills, and no other ever opens. And once
    a bracket was halved, a trial that ends no longer makes it look whether a rung is complete, so the trials that wait
    there wait for ever.
    """

    def _create_bracket(self, s: int) -> Any:
        bracket = super()._create_bracket(s)
        bracket.__class__ = _ClosedBracket
        return bracket

    def _process_bracket(self, tune_controller: Any, bracket: Any) -> Any:
        try:
            return super()._process_bracket(tune_controller, bracket)
        finally:
            bracket.is_being_processed = False

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        bracket, _ = self._trial_info[trial]
        bracket.cleanup_trial(trial)
        if not bracket.is_being_processed and bracket.current_trials():
            self._process_bracket(tune_controller, bracket)
