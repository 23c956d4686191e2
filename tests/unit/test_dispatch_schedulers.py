"""Ray's schedulers as the spec asks for them, and what ours add to them, driven event by event on Ray's own trials."""

from __future__ import annotations

from typing import Any

import pytest
from ray.tune.experiment import Trial
from ray.tune.schedulers import (
    AsyncHyperBandScheduler,
    FIFOScheduler,
    HyperBandScheduler,
    MedianStoppingRule,
    TrialScheduler,
)
from ray.tune.search import SearchAlgorithm

from kerasweep.dispatch.hanging import Watchdog
from kerasweep.dispatch.schedulers import ray_scheduler
from kerasweep.scheduling import hyperband_brackets
from kerasweep.spec.schedulers import AshaScheduler, HyperbandScheduler, MedianScheduler, NoScheduler, SchedulerSpec

CONTINUE, PAUSE, STOP = TrialScheduler.CONTINUE, TrialScheduler.PAUSE, TrialScheduler.STOP


class Controller:
    """The part of Ray's controller that schedulers use: it starts what they choose and stops what they tell it to."""

    def __init__(self, spec: SchedulerSpec, epochs: int) -> None:
        self.stopping = False
        self.search_alg = SearchAlgorithm()
        self.scheduler = ray_scheduler(spec, epochs, lambda: self.stopping, Watchdog(None))
        self.scheduler.set_search_properties("objective", "min")
        self.trials: list[Trial] = []
        self.stopped: list[Trial] = []

    def add(self, count: int = 1) -> list[Trial]:
        made = [Trial("none", stub=True, max_failures=1) for _ in range(count)]
        for trial in made:
            self.trials.append(trial)
            self.scheduler.on_trial_add(self, trial)
        return made

    def get_trials(self) -> list[Trial]:
        return self.trials

    def get_live_trials(self) -> set[Trial]:
        return {trial for trial in self.trials if trial.status not in (Trial.TERMINATED, Trial.ERROR)}

    def stop_trial(self, trial: Trial) -> None:
        if trial.status in (Trial.TERMINATED, Trial.ERROR):
            return
        self.scheduler.on_trial_remove(self, trial)
        trial.set_status(Trial.TERMINATED)
        self.stopped.append(trial)

    def report(self, trial: Trial, epoch: int, objective: float) -> str:
        """One more epoch of a running trial, and the scheduler's decision on it, carried out."""
        result = {"training_iteration": epoch, "objective": objective}
        trial.run_metadata.last_result = result
        decision = str(self.scheduler.on_trial_result(self, trial, result))
        if decision == PAUSE:
            trial.set_status(Trial.PAUSED)
        elif decision == STOP:
            self.complete(trial, result)
        return decision

    def complete(self, trial: Trial, result: dict[str, Any]) -> None:
        self.scheduler.on_trial_complete(self, trial, result)
        trial.set_status(Trial.TERMINATED)

    def crash(self, trial: Trial) -> None:
        """A worker dies: the trial is added again, or has died too often."""
        trial.run_metadata.num_failures += 1
        if trial.status == Trial.RUNNING and trial.should_recover():
            trial.set_status(Trial.ERROR)  # as Ray does before it asks the scheduler
            self.scheduler.on_trial_error(self, trial)
            trial.set_status(Trial.PENDING)
            self.scheduler.on_trial_add(self, trial)
        else:
            self.scheduler.on_trial_error(self, trial)
            trial.set_status(Trial.ERROR)

    def choose(self) -> Trial | None:
        return self.scheduler.choose_trial_to_run(self)


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        (NoScheduler(), FIFOScheduler),
        (AshaScheduler(), AsyncHyperBandScheduler),
        (HyperbandScheduler(), HyperBandScheduler),
        (MedianScheduler(), MedianStoppingRule),
    ],
)
def test_each_spec_has_its_scheduler_which_ends_everything_when_asked(spec: SchedulerSpec, kind: type) -> None:
    controller = Controller(spec, 9)
    assert isinstance(controller.scheduler, kind)
    training, fresh, waiting = controller.add(3)
    for trial in (training, fresh):
        trial.set_status(Trial.RUNNING)
    training.run_metadata.last_result = {"training_iteration": 1, "objective": 0.5}
    assert controller.choose() is waiting
    controller.stopping = True
    assert controller.choose() is None
    assert set(controller.stopped) == {fresh, waiting}  # what has finished an epoch ends after its next one
    assert training.status == Trial.RUNNING


def test_options_reach_ray() -> None:
    asha = ray_scheduler(AshaScheduler(grace=2, eta=4, brackets=2), 32, bool, Watchdog(None))
    assert [[rung for rung, _ in bracket._rungs] for bracket in asha._brackets] == [[32, 8, 2], [32, 8]]
    median = ray_scheduler(MedianScheduler(grace=3, min_trials=7), 32, bool, Watchdog(None))
    assert (median._grace_period, median._min_samples_required) == (3, 7)


def test_hyperband_gives_a_crashed_trial_its_place_back() -> None:
    controller = Controller(HyperbandScheduler(eta=2), 4)
    brackets = hyperband_brackets(4, 2)
    groups = [controller.add(bracket.trials) for bracket in brackets]
    last = groups[-1]  # four trials, rungs at 1, 2 and 4
    for trial in last:
        trial.set_status(Trial.RUNNING)
    for trial, value in zip(last[:3], (3.0, 2.0, 1.0), strict=True):
        assert controller.report(trial, 1, value) == PAUSE
    controller.crash(last[3])
    assert controller.stopped == []  # the rung waits for it
    last[3].set_status(Trial.RUNNING)
    assert controller.report(last[3], 1, 0.5) == CONTINUE
    assert controller.stopped == [last[0], last[1]]  # the two best of all four go on
    # All brackets are full, so the next trial opens a new band, and the crashed one took nobody's place there.
    following = controller.add(brackets[0].trials + 1)
    bands = controller.scheduler._hyperbands
    assert [bracket._all_trials for bracket in bands[0]] == groups
    assert [bracket._all_trials for bracket in bands[1]] == [following[:-1], following[-1:]]


def test_a_crash_while_pausing_at_a_rung_is_waited_for_too() -> None:
    controller = Controller(HyperbandScheduler(eta=2), 4)
    one, two, three, four = [controller.add(bracket.trials) for bracket in hyperband_brackets(4, 2)][-1]
    for trial in (one, two, three, four):
        trial.set_status(Trial.RUNNING)
    result = {"training_iteration": 1, "objective": 9.0}
    assert controller.scheduler.on_trial_result(controller, one, result) == PAUSE
    controller.crash(one)  # before its state was saved
    for trial in (two, three, four):
        assert controller.report(trial, 1, 1.0) == PAUSE
    one.set_status(Trial.RUNNING)
    assert controller.report(one, 1, 9.0) == STOP
    assert one not in controller.scheduler._hyperbands[0][2].current_trials()


def test_no_rung_is_decided_while_a_trial_that_may_end_there_is_being_saved() -> None:
    controller = Controller(HyperbandScheduler(eta=2), 4)
    one, two, three, four = [controller.add(bracket.trials) for bracket in hyperband_brackets(4, 2)][-1]
    for trial in (one, two, three, four):
        trial.set_status(Trial.RUNNING)
    for trial in (one, two):
        assert controller.report(trial, 1, 2.0) == PAUSE
    # Ray goes on with the next result while the worker of this one writes its state.
    assert controller.scheduler.on_trial_result(controller, three, {"training_iteration": 1, "objective": 9.0}) == PAUSE
    three.temporary_state.saving_to = object()
    assert controller.report(four, 1, 1.0) == PAUSE
    assert controller.choose() not in (one, two, three, four)
    assert controller.stopped == []
    three.temporary_state.saving_to = None
    three.set_status(Trial.PAUSED)
    controller.choose()
    assert three in controller.stopped
    assert len(controller.stopped) == 2
    assert four in controller.scheduler._hyperbands[0][2].trials_to_unpause


def test_a_trial_that_crashed_too_often_holds_nobody_up() -> None:
    controller = Controller(HyperbandScheduler(eta=2), 4)
    one, two, three, four = [controller.add(bracket.trials) for bracket in hyperband_brackets(4, 2)][-1]
    for trial in (one, two, three, four):
        trial.set_status(Trial.RUNNING)
    for trial, value in ((one, 1.0), (two, 2.0), (three, 3.0)):
        assert controller.report(trial, 1, value) == PAUSE
    controller.crash(four)
    four.set_status(Trial.RUNNING)
    controller.crash(four)
    assert four.status == Trial.ERROR
    assert controller.stopped == [three]
    assert {one, two} == controller.scheduler._hyperbands[0][2].trials_to_unpause


def test_the_median_rule_bears_trials_that_end_without_an_objective() -> None:
    controller = Controller(MedianScheduler(grace=1, min_trials=2), 9)
    good, fair, failed, late = controller.add(4)
    for trial in controller.trials:
        trial.set_status(Trial.RUNNING)
    for epoch in range(1, 4):
        for trial, value in ((good, 1.0), (fair, 2.0), (failed, 1.5)):
            assert controller.report(trial, epoch, value) == CONTINUE
    controller.complete(failed, {"training_iteration": 4, "done": True})  # its loss became NaN
    assert controller.report(late, 1, 9.0) == STOP
    assert controller.report(good, 4, 1.0) == CONTINUE


def test_the_median_rule_pauses_nobody_while_it_has_too_few_trials() -> None:
    controller = Controller(MedianScheduler(grace=1, min_trials=3), 9)
    first, _ = controller.add(2)
    first.set_status(Trial.RUNNING)
    assert [controller.report(first, epoch, 1.0) for epoch in (1, 2, 3)] == [CONTINUE] * 3


def test_a_trial_whose_worker_never_started_leaves_its_bracket() -> None:
    controller = Controller(HyperbandScheduler(eta=2), 4)
    one, two, three, four = [controller.add(bracket.trials) for bracket in hyperband_brackets(4, 2)][-1]
    controller.crash(four)
    assert four.status == Trial.ERROR
    for trial, value in ((one, 1.0), (two, 2.0)):
        trial.set_status(Trial.RUNNING)
        assert controller.report(trial, 1, value) == PAUSE
    three.set_status(Trial.RUNNING)
    assert controller.report(three, 1, 3.0) == STOP


def test_a_bracket_does_not_decide_before_it_has_all_of_its_trials() -> None:
    controller = Controller(HyperbandScheduler(eta=2), 4)
    first, second, third = hyperband_brackets(4, 2)
    controller.add(first.trials + second.trials)
    early = controller.add(third.trials - 1)
    for trial, value in zip(early, (3.0, 1.0, 2.0), strict=True):
        trial.set_status(Trial.RUNNING)
        assert controller.report(trial, 1, value) == PAUSE
    assert controller.choose() not in early
    assert controller.stopped == []
    (late,) = controller.add()
    late.set_status(Trial.RUNNING)
    assert controller.report(late, 1, 4.0) == STOP
    assert controller.stopped == [early[0]]


def test_the_last_bracket_decides_with_what_it_has_once_no_trial_follows() -> None:
    controller = Controller(HyperbandScheduler(eta=2), 4)
    first, second, third = hyperband_brackets(4, 2)
    controller.add(first.trials + second.trials)
    some = controller.add(third.trials - 1)
    for trial, value in zip(some, (3.0, 1.0, 2.0), strict=True):
        trial.set_status(Trial.RUNNING)
        assert controller.report(trial, 1, value) == PAUSE
    controller.search_alg.set_finished()
    controller.choose()
    assert controller.stopped == [some[0]]
    assert controller.scheduler._hyperbands[0][2].trials_to_unpause == {some[1], some[2]}
