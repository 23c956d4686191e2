"""Searches on a real Ray with real training: schedulers, reproducibility, and workers that die; alone and in cohorts.

One Ray serves the whole module; a search costs the start of its workers and little else.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from kerasweep.data import load_search
from kerasweep.dispatch import RaySession, Work, epochs_of
from kerasweep.records import Direction, Metrics, Objective, Status, Trial
from kerasweep.report import top
from kerasweep.scheduling import bracket_of, hyperband_brackets
from kerasweep.spec import pipeline_from_mapping
from kerasweep.spec.pipeline import ResourcesSpec
from kerasweep.study.budget import search_size
from kerasweep.study.events import Progress
from kerasweep.study.ledger import Watchers
from kerasweep.study.origin import Origin, models_for
from kerasweep.study.run import KEPT_TRIALS
from kerasweep.study.search import Searched, SearchPlace, rates_of, run_search, search_schedule
from kerasweep.tracking import StudyHeader
from kerasweep.training import CohortTrainer, KerasTrainer, Trainer, snapshots

pytestmark = pytest.mark.timeout(600)

MOODY = """
import keras


def build(units, mood, input_shape, n_outputs, output_activation):
    if mood == "bad":
        raise ValueError("in a bad mood")
    model = keras.Sequential(
        [keras.Input(input_shape), keras.layers.Dense(units), keras.layers.Dense(n_outputs, output_activation)]
    )
    # Stands still, so that it stops early; or explodes after two epochs of four steps; or learns.
    late = keras.optimizers.schedules.PiecewiseConstantDecay([8], [0.01, 1e30])
    rate = {"still": 0.0, "wild": late, "good": 0.05}[mood]
    model.compile(keras.optimizers.SGD(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model
"""

DEADLY = """
import os
import signal
from pathlib import Path

import keras

HERE = Path(__file__).parent
CALM = HERE / "calm"


class Deadly(keras.Sequential):
    fate = "fine"

    def train_step(self, data):
        step = int(self.optimizer.iterations)
        if self.fate == "always" and step == 1:
            if CALM.exists():
                raise RuntimeError("would have died")
            os.kill(os.getpid(), signal.SIGKILL)
        marker = HERE / "died"
        if self.fate == "once" and step == 6 and not CALM.exists() and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().train_step(data)


def build(units, input_shape, n_outputs, output_activation):
    hidden, out = keras.layers.Dense(units), keras.layers.Dense(n_outputs, output_activation)
    model = Deadly([keras.Input(input_shape), hidden, out])
    model.fate = {4: "once", 6: "always"}.get(units, "fine")
    model.compile(keras.optimizers.SGD(0.05), "sparse_categorical_crossentropy", run_eagerly=True)
    return model
"""


@dataclass
class Notes:
    """A tracker and an observer that keep what must end as it began."""

    begun: list[int] = field(default_factory=list)
    ended: list[Trial] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    steps: list[Progress] = field(default_factory=list)

    def start(self, header: StudyHeader) -> None: ...

    def begin_trial(self, trial: Trial) -> None:
        self.begun.append(trial.number)

    def log_epochs(self, number: int, first_epoch: int, metrics: Sequence[Metrics]) -> None: ...

    def end_trial(self, trial: Trial) -> None:
        self.ended.append(trial)

    def log_files(self, files: Sequence[Path], folder: str, trial: int | None = None) -> None: ...

    def log_summary(self, summary: Mapping[str, object]) -> None: ...

    def end(self, status: str) -> None: ...

    def flush(self, trials: bool = True) -> None: ...

    def close(self) -> None: ...

    def stage(self, name: str, detail: str) -> None: ...

    def progress(self, progress: Progress) -> None:
        self.steps.append(progress)

    def trial_ended(self, trial: Trial) -> None: ...

    def note(self, message: str) -> None:
        self.said.append(message)


LOSS = Objective("val_loss", Direction.MINIMIZE)

Search = Callable[..., tuple[Searched, Notes]]


@pytest.fixture(scope="module")
def session() -> Iterator[RaySession]:
    opened = RaySession(ResourcesSpec(cpus=2))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def search(session: RaySession, tmp_path_factory: pytest.TempPathFactory) -> Search:
    """Runs a search in a folder that holds the user's module."""

    def run(
        builder: str,
        space: Mapping[str, Any],
        settings: Mapping[str, Any],
        folder: Path,
        cohort: int | str = "off",
        patience: int = 2,
    ) -> tuple[Searched, Notes]:
        mapping = {
            "name": "search",
            "data": {"name": "wine"},
            "model": {"builder": builder} if ":" in builder else {"family": builder},
            "space": {"parameters": space},
            "search": {"seed": 9, **settings},
            "training": {"early_stopping": {"patience": patience}},
            "resources": {"cohort": cohort},
        }
        spec = pipeline_from_mapping(mapping, folder).spec
        data = load_search(spec.data, folder)
        allocation = session.allocation(spec, search_size(spec), data)
        models, schedule = (
            models_for(spec, data, Origin(folder)),
            search_schedule(spec, allocation.cohort, rates_of(spec, ())),
        )
        trainer: Trainer = KerasTrainer(models, schedule)
        if allocation.cohort > 1:
            trainer = CohortTrainer(models, schedule, allocation.threads)
        work = Work(trainer, data, (str(folder),))
        storage = tmp_path_factory.mktemp("checkpoints")
        notes = Notes()
        place = SearchPlace(session, allocation, storage, "search")
        searched = run_search(spec, work, place, Watchers(notes, notes))
        for notes_of in ([trial.number for trial in notes.ended], notes.begun):
            assert sorted(notes_of) == [trial.number for trial in searched.trials]
        return searched, notes

    return run


@pytest.fixture(scope="module")
def moody(search: Search, tmp_path_factory: pytest.TempPathFactory) -> Search:
    folder = tmp_path_factory.mktemp("moody")
    (folder / "moody.py").write_text(MOODY)
    space = {
        "units": {"type": "int", "min": 1, "max": 40},
        "mood": {"type": "choice", "values": ["good", "bad", "wild", "still"]},
    }

    def run(
        searcher: object, scheduler: object, trials: int, epochs: int = 6, cohort: int | str = "off"
    ) -> tuple[Searched, Notes]:
        settings = {"searcher": searcher, "scheduler": scheduler, "trials": trials, "max_epochs": epochs}
        return search("moody:build", space, settings, folder, cohort)

    return run


def check_moods(searched: Searched, notes: Notes, trials: int, epochs: int) -> None:
    """Every trial ended, as its mood would have it, unless the scheduler was faster; and the counts add up."""
    assert [trial.number for trial in searched.trials] == list(range(trials))
    assert {trial.params["mood"] for trial in searched.trials} == {"good", "bad", "wild", "still"}
    assert searched.stop_reason == ""
    for trial in searched.trials:
        by_scheduler = trial.status is Status.STOPPED and trial.reason == "scheduler"
        assert all(math.isfinite(value) for metrics in trial.history for value in metrics.values())
        match trial.params["mood"]:
            case "bad":
                assert trial.status is Status.FAILED
                assert trial.reason == "ValueError: in a bad mood (moody.py:7)"
                assert trial.history == ()
            case "wild" if not by_scheduler and len(trial.history) < epochs:
                assert trial.status is Status.FAILED
                assert trial.reason.startswith("FloatingPointError: loss is ")
                assert len(trial.history) == 2
            case "still" if not by_scheduler:
                assert trial.status is Status.FINISHED
                assert len(trial.history) <= 3  # the first epoch is the best, and patience is 2
            case "good" if not by_scheduler:
                assert trial.status is Status.FINISHED
    for trial in top(searched.trials, LOSS, KEPT_TRIALS):  # those of others are deleted on the way
        assert trial.number in searched.snapshots
    counts = Counter(trial.status for trial in searched.trials)
    last = notes.steps[-1]
    assert (last.finished, last.stopped, last.failed, last.running) == (
        counts[Status.FINISHED],
        counts[Status.STOPPED],
        counts[Status.FAILED],
        0,
    )


def same(one: Searched, two: Searched) -> None:
    """The same trials with the same numbers, bit by bit, down to the weights that are kept."""

    def facts(searched: Searched) -> list[tuple[object, ...]]:
        return [
            (t.number, dict(t.params), t.seed, t.status, t.reason, t.history, t.value, t.epoch, t.changes)
            for t in searched.trials
        ]

    assert facts(one) == facts(two)
    for trial in top(one.trials, LOSS, KEPT_TRIALS):
        a, b = (weights(each, trial) for each in (one, two))
        assert a
        assert all((x == y).all() for x, y in zip(a, b, strict=True))


def weights(searched: Searched, trial: Trial) -> tuple[Any, ...]:
    """Of a trial's best epoch."""
    snapshot = snapshots.load(searched.snapshots[trial.number])
    assert epochs_of(snapshot, trial.number) == len(trial.history)
    return snapshots.best_weights(snapshot, trial.number)


@pytest.mark.slow
def test_without_a_scheduler_trials_end_as_they_will_and_a_seed_repeats_them(moody: Search) -> None:
    settings = ({"name": "tpe", "startup": 4}, "none", 12)
    first, notes = moody(*settings)
    check_moods(first, notes, 12, 6)
    assert not any(trial.status is Status.STOPPED for trial in first.trials)
    second, _ = moody(*settings)
    same(first, second)


@pytest.mark.slow
@pytest.mark.parametrize(
    "scheduler", [{"name": "asha", "eta": 2}, {"name": "median", "grace": 1, "min_trials": 2}, "auto"]
)
def test_asynchronous_schedulers_outlive_trials_that_end_by_themselves(moody: Search, scheduler: object) -> None:
    searched, notes = moody("random", scheduler, 14)
    check_moods(searched, notes, 14, 6)
    assert any(trial.status is Status.STOPPED for trial in searched.trials)


@pytest.mark.slow
def test_hyperband_halves_as_planned_and_a_seed_repeats_it(moody: Search) -> None:
    epochs, eta = 4, 2.0
    brackets = hyperband_brackets(epochs, eta)
    trials = sum(bracket.trials for bracket in brackets) + 2  # a whole band, and the beginning of the next
    settings = ({"name": "tpe", "startup": 4}, {"name": "hyperband", "eta": eta}, trials, epochs)
    first, notes = moody(*settings)
    check_moods(first, notes, trials, epochs)
    for index, bracket in enumerate(brackets):
        own = [t for t in first.trials if t.number < trials - 2 and bracket_of(t.number, brackets) == index]
        for rung, survivors, following in zip(bracket.rungs, bracket.survivors[1:], bracket.rungs[1:], strict=False):
            here = [t for t in own if len(t.history) >= rung]
            went_on = [t for t in here if len(t.history) > rung]
            # Those that end by themselves at or after this rung were let through as well.
            by_themselves = [t for t in here if len(t.history) == rung and t.status is not Status.STOPPED]
            assert len(went_on) <= survivors
            assert len(went_on) + len(by_themselves) >= min(survivors, len(here))
            ended_here = [t for t in here if len(t.history) == rung and t.status is Status.STOPPED]
            if went_on and ended_here:  # on the value at the rung, the best go on
                worst = max(t.curve("val_loss")[rung - 1] for t in went_on)
                assert worst <= min(t.curve("val_loss")[rung - 1] for t in ended_here)
            assert all(len(t.history) <= rung or len(t.history) <= following or t in went_on for t in here)
    second, _ = moody(*settings)
    same(first, second)


@pytest.mark.slow
def test_a_worker_that_dies_changes_no_number_and_stops_no_study(search: Search, tmp_path: Path) -> None:
    (tmp_path / "deadly.py").write_text(DEADLY)
    space = {"units": {"type": "choice", "values": [2, 3, 4, 5, 6, 7, 8, 9, 10, 11]}}
    settings = {"searcher": "grid", "scheduler": {"name": "hyperband", "eta": 2.0}, "trials": 10, "max_epochs": 4}
    disturbed, notes = search("deadly:build", space, settings, tmp_path)
    once, always = (next(t for t in disturbed.trials if t.params["units"] == units) for units in (4, 6))
    assert always.status is Status.FAILED
    assert always.reason.startswith("its worker died 3 times: The actor is dead because its worker process has died")
    assert once.status is not Status.FAILED
    assert len(disturbed.trials) == 10
    assert Counter(t.status for t in disturbed.trials)[Status.FAILED] == 1
    assert sum(f"trial {always.number}: its worker died" in message for message in notes.said) == 2
    if (tmp_path / "died").exists():  # its bracket may have ended it before it came so far
        assert sum(f"trial {once.number}: its worker died" in message for message in notes.said) == 1

    (tmp_path / "calm").touch()
    undisturbed, _ = search("deadly:build", space, settings, tmp_path)
    for a, b in zip(disturbed.trials, undisturbed.trials, strict=True):
        assert (a.params, a.history, a.value, a.status) == (b.params, b.history, b.value, b.status)


# In cohorts.


@pytest.mark.slow
def test_cohorts_end_their_members_as_they_will_and_a_seed_repeats_them(moody: Search) -> None:
    settings = ({"name": "tpe", "startup": 4}, "none", 16)
    first, notes = moody(*settings, cohort=5)
    check_moods(first, notes, 16, 6)
    assert not any(trial.status is Status.STOPPED for trial in first.trials)
    assert len(notes.steps) <= 4 * 6  # one a cohort's epoch
    second, _ = moody(*settings, cohort=5)
    same(first, second)


@pytest.mark.slow
@pytest.mark.parametrize(
    "scheduler", [{"name": "asha", "eta": 2}, {"name": "median", "grace": 1, "min_trials": 2}, "auto"]
)
def test_schedulers_within_cohorts_outlive_members_that_end_by_themselves(moody: Search, scheduler: object) -> None:
    searched, notes = moody("random", scheduler, 14, cohort=7)
    check_moods(searched, notes, 14, 6)
    assert any(trial.status is Status.STOPPED for trial in searched.trials)


SMALL = {
    "n_neurons": {"type": "int", "min": 4, "max": 24},
    "learning_rate": {"type": "float", "min": 0.0003, "max": 0.03, "log": True},
}


@pytest.mark.slow
def test_hyperband_in_cohorts_halves_as_the_paper_has_it_and_a_seed_repeats_it(search: Search, tmp_path: Path) -> None:
    epochs, eta = 4, 2.0
    brackets = hyperband_brackets(epochs, eta, cohort=2)
    trials = sum(bracket.trials for bracket in brackets) + 3  # a whole band, and the beginning of the next
    settings = {
        "searcher": {"name": "tpe", "startup": 4},
        "scheduler": {"name": "hyperband", "eta": eta},
        "trials": trials,
        "max_epochs": epochs,
    }
    first, notes = search("mlp", SMALL, settings, tmp_path, "auto", patience=epochs)
    assert len(first.trials) == trials
    for index, bracket in enumerate(brackets):
        own = [t for t in first.trials if t.number < trials - 3 and bracket_of(t.number, brackets) == index]
        assert tuple(sum(len(t.history) >= rung for t in own) for rung in bracket.rungs) == bracket.survivors
        for rung in bracket.rungs[:-1]:
            here = [(len(t.history), t.curve("val_loss")[rung - 1]) for t in own if len(t.history) >= rung]
            went_on = [value for trained, value in here if trained > rung]
            ended = [value for trained, value in here if trained == rung]
            assert max(went_on) <= min(ended)
        assert {t.status for t in own if len(t.history) == epochs} == {Status.FINISHED}
        assert {t.reason for t in own if len(t.history) < epochs} <= {"scheduler"}
    assert sum(len(t.history) for t in first.trials if t.number < trials - 3) == sum(
        sum(count * (rung - before) for count, rung, before in zip(b.survivors, b.rungs, (0, *b.rungs), strict=False))
        for b in brackets
    )
    assert notes.steps[-1].running == 0
    second, _ = search("mlp", SMALL, settings, tmp_path, "auto", patience=epochs)
    same(first, second)


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", ["pbt", "pb2"])
def test_a_population_copies_its_best_and_tells_what_changed(search: Search, tmp_path: Path, scheduler: str) -> None:
    settings = {"searcher": "random", "scheduler": {"name": scheduler, "interval": 2}, "trials": 8, "max_epochs": 8}
    space = {"learning_rate": {"type": "float", "min": 0.00001, "max": 0.03, "log": True}}
    first, _ = search("mlp", space, settings, tmp_path, "auto", patience=8)
    assert [len(t.history) for t in first.trials] == [8] * 8
    assert {t.status for t in first.trials} == {Status.FINISHED}
    changed = [t for t in first.trials if t.changes]
    assert changed
    for trial in changed:
        assert trial.epoch is not None
        assert [change.epoch for change in trial.changes] == sorted({change.epoch for change in trial.changes})
        assert all(change.epoch in (0, 2, 4, 6) and change.epoch < trial.epoch for change in trial.changes)
        assert all(change.params.keys() == {"learning_rate"} for change in trial.changes)
    second, _ = search("mlp", space, settings, tmp_path, "auto", patience=8)
    same(first, second)


@pytest.mark.slow
def test_a_worker_that_dies_amid_a_cohort_changes_no_number_and_a_deadly_member_fails_alone(
    search: Search, tmp_path: Path
) -> None:
    (tmp_path / "deadly.py").write_text(DEADLY)
    space = {"units": {"type": "choice", "values": [2, 3, 4, 5, 6, 7, 8, 9]}}
    settings = {"searcher": "grid", "scheduler": "none", "trials": 8, "max_epochs": 3}
    disturbed, notes = search("deadly:build", space, settings, tmp_path, 4)
    once, always = (next(t for t in disturbed.trials if t.params["units"] == units) for units in (4, 6))
    assert always.status is Status.FAILED
    assert always.reason.startswith("its worker died 3 times: The actor is dead because its worker process has died")
    assert [t.number for t in disturbed.trials if t.status is Status.FAILED] == [always.number]
    assert (tmp_path / "died").exists()
    apart = [message for message in notes.said if "every one starts again by itself" in message]
    assert len(apart) == 1
    assert sum("they start again from their checkpoint" in message for message in notes.said) in (2, 3)
    assert sum(f"trial {always.number}: its worker died" in message for message in notes.said) == 2
    assert once.status is Status.FINISHED

    (tmp_path / "calm").touch()
    undisturbed, _ = search("deadly:build", space, settings, tmp_path, 4)
    for a, b in zip(disturbed.trials, undisturbed.trials, strict=True):
        assert (a.params, a.history, a.value, a.status) == (b.params, b.history, b.value, b.status)
    for trial in top(undisturbed.trials, LOSS, KEPT_TRIALS):
        a, b = (weights(each, trial) for each in (disturbed, undisturbed))
        assert all((x == y).all() for x, y in zip(a, b, strict=True))
