"""Ray Tune's own schedulers, from the spec's words. A step is an epoch, so ``training_iteration`` counts epochs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import (
    AsyncHyperBandScheduler,
    FIFOScheduler,
    HyperBandScheduler,
    MedianStoppingRule,
    TrialScheduler,
)
from ray.tune.schedulers.hyperband import _Bracket

from kerasweep.dispatch.hanging import Watchdog
from kerasweep.scheduling import auto_rungs
from kerasweep.spec.schedulers import AshaScheduler, AutoScheduler, HyperbandScheduler, MedianScheduler, SchedulerSpec

_EPOCH = "training_iteration"


def ray_scheduler(
    spec: SchedulerSpec, epochs: int, should_stop: Callable[[], bool], watchdog: Watchdog
) -> TrialScheduler:
    """Ray's scheduler for a spec.

    Args:
        spec: of the scheduler.
        epochs: the most a trial trains, the papers' R.
        should_stop: whether the study wants all trials to end.
        watchdog: looks at the trials now and then.
    """
    scheduler = _scheduler(spec, epochs)
    scheduler.should_stop, scheduler.watchdog = should_stop, watchdog
    return scheduler


def _scheduler(spec: SchedulerSpec, epochs: int) -> _Ending:
    if isinstance(spec, AshaScheduler):
        return _Asha(
            time_attr=_EPOCH,
            max_t=epochs,
            grace_period=spec.grace,
            reduction_factor=spec.eta,
            brackets=spec.brackets,
        )
    if isinstance(spec, AutoScheduler):  # trials alone: each is compared with those that came before it
        rungs = auto_rungs(epochs, spec.eta) or (epochs,)
        return _Asha(time_attr=_EPOCH, max_t=epochs, grace_period=rungs[0], reduction_factor=spec.eta, brackets=1)
    if isinstance(spec, HyperbandScheduler):
        return _Hyperband(time_attr=_EPOCH, max_t=epochs, reduction_factor=spec.eta)
    if isinstance(spec, MedianScheduler):
        return _Median(time_attr=_EPOCH, grace_period=spec.grace, min_samples_required=spec.min_trials)
    return _Fifo()


class _Ending(TrialScheduler):  # type: ignore[misc]  # Ray's class has no types
    """Ends all trials once the study asks for it; the base of every scheduler here.

    Ray's own way, ``Stopper.stop_all``, cuts trials off in the middle of an epoch, without a checkpoint and without a
    word to the callbacks. Here a trial in training ends after its epoch, with its checkpoint (``tuner._FeedStopper``
    sees to that); one that waits, or has not finished an epoch yet, ends at once.
    """

    should_stop: Callable[[], bool]
    watchdog: Watchdog

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        self.watchdog.look(list(tune_controller.get_live_trials()))
        if not self.should_stop():
            return super().choose_trial_to_run(tune_controller)
        for trial in list(tune_controller.get_live_trials()):
            reported = _EPOCH in trial.run_metadata.last_result  # trial.last_result would ask its worker
            if trial.status in (Trial.PENDING, Trial.PAUSED) or not reported:
                tune_controller.stop_trial(trial)
        return None


class _Fifo(_Ending, FIFOScheduler):  # type: ignore[misc]  # Ray's class has no types
    """Every trial trains to its end."""


class _Asha(_Ending, AsyncHyperBandScheduler):  # type: ignore[misc]  # Ray's class has no types
    """Ray's ASHA as it is."""


class _Median(_Ending, MedianStoppingRule):  # type: ignore[misc]  # Ray's class has no types
    """Ray's median rule, for trials that may fail and are costly to pause.

    Ray's own keeps a trial's last result even if that has no objective, and then stumbles over it in every later
    decision. And while there are too few trials for a median it lets all that there are take turns, epoch by epoch.
    """

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        if self._metric in result:
            super().on_trial_complete(tune_controller, trial, result)

    def _on_insufficient_samples(self, tune_controller: Any, trial: Any, time: float) -> str:
        return str(TrialScheduler.CONTINUE)


class _ClosedBracket(_Bracket):  # type: ignore[misc]  # Ray's class has no types
    """A bracket that is full once it was given its number of trials, whether they still run or not, and that does not
    decide before, nor while one of them is being saved."""

    no_more = False  # the search has no other trials, so that it stays as it is
    waits = False  # for states to be saved, and to be looked at again then

    def filled(self) -> bool:
        return bool(len(self._all_trials) >= self._n0)

    def cur_iter_done(self) -> bool:
        done = bool((self.no_more or self.filled()) and super().cur_iter_done())
        self.waits = done and self.saving
        return done and not self.waits

    @property
    def saving(self) -> bool:
        """Whether a trial on its way into a pause is being saved. Ended now, it would lose that state."""
        return any(trial.is_saving for trial in self.current_trials())

    def forget_progress(self, trial: Any) -> None:
        """Counts a trial as not yet at the next rung, until it reports again."""
        self._live_trials[trial] = None


class _Hyperband(_Ending, HyperBandScheduler):  # type: ignore[misc]  # Ray's class has no types
    """Ray's Hyperband, for trials that may end by themselves, by early stopping or by failing.

    Ray's own loses its way when they do: its brackets count the trials alive, so the first bracket, which trains all
    of its trials to the end, takes a new one for each that has ended and never fills, and no other ever opens. And once
    a bracket was halved, a trial that ends no longer makes it look whether a rung is complete, so the trials that wait
    there wait for ever.

    Three more differences make what it leaves independent of who is faster. A bracket decides only when it has all of
    its trials; Ray's own decides as soon as those it has so far stand at the rung. A trial that it ends has the state
    of its last epoch; Ray's own ends one whose state is being saved together with the saving. And a trial whose worker
    died keeps its place, and its bracket waits for it; Ray's own puts it into another one, among trials that it was not
    meant to be compared with.
    """

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        if trial not in self._trial_info:
            super().on_trial_add(tune_controller, trial)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        # Ray recovers a trial whose worker died in training, never one whose worker did not start: that one is PENDING.
        if trial.status != Trial.PENDING and trial.should_recover():
            bracket, _ = self._trial_info[trial]
            bracket.forget_progress(trial)
        else:
            super().on_trial_error(tune_controller, trial)

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        bracket = self._state["bracket"]
        if bracket is not None and not bracket.no_more and tune_controller.search_alg.is_finished():
            bracket.no_more = True
            if bracket.current_trials():
                self._process_bracket(tune_controller, bracket)
        for waiting in [bracket for band in self._hyperbands for bracket in band if bracket is not None]:
            if waiting.waits and not waiting.saving:
                self._process_bracket(tune_controller, waiting)
        return super().choose_trial_to_run(tune_controller)

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
