"""Searches on a real Ray with real training: schedulers, reproducibility, and workers that die.

One Ray serves the whole module; a search costs the start of its two workers and little else.
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
from kerasweep.dispatch import RaySession, Work
from kerasweep.records import Metrics, Status, Trial
from kerasweep.scheduling import bracket_of, hyperband_brackets
from kerasweep.spec import pipeline_from_mapping
from kerasweep.spec.pipeline import ResourcesSpec
from kerasweep.study.events import Progress
from kerasweep.study.ledger import Watchers
from kerasweep.study.run import Origin, models_for
from kerasweep.study.search import Searched, SearchPlace, run_search, search_schedule
from kerasweep.tracking import StudyHeader
from kerasweep.training import KerasTrainer, snapshots

pytestmark = pytest.mark.timeout(240)

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

    def flush(self) -> None: ...

    def close(self) -> None: ...

    def stage(self, name: str, detail: str) -> None: ...

    def progress(self, progress: Progress) -> None:
        self.steps.append(progress)

    def trial_ended(self, trial: Trial) -> None: ...

    def note(self, message: str) -> None:
        self.said.append(message)


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
        builder: str, space: Mapping[str, Any], settings: Mapping[str, Any], folder: Path
    ) -> tuple[Searched, Notes]:
        mapping = {
            "name": "search",
            "data": {"name": "wine"},
            "model": {"builder": builder},
            "space": {"parameters": space},
            "search": {"seed": 9, **settings},
            "training": {"early_stopping": {"patience": 2}},
        }
        spec = pipeline_from_mapping(mapping, folder).spec
        data = load_search(spec.data, folder)
        work = Work(KerasTrainer(models_for(spec, data, Origin(folder)), search_schedule(spec)), data, (str(folder),))
        storage = tmp_path_factory.mktemp("checkpoints")
        notes = Notes()
        place = SearchPlace(session, session.allocation(spec.search.trials), storage, "search")
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

    def run(searcher: object, scheduler: object, trials: int, epochs: int = 6) -> tuple[Searched, Notes]:
        settings = {"searcher": searcher, "scheduler": scheduler, "trials": trials, "max_epochs": epochs}
        return search("moody:build", space, settings, folder)

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
        if trial.status is not Status.FAILED:
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
    """The same trials with the same numbers, bit by bit, down to the weights."""

    def facts(searched: Searched) -> list[tuple[object, ...]]:
        return [
            (t.number, dict(t.params), t.seed, t.status, t.reason, t.history, t.value, t.epoch) for t in searched.trials
        ]

    assert facts(one) == facts(two)
    trained = [t.number for t in one.trials if t.history]
    assert set(trained) <= one.snapshots.keys()
    assert set(trained) <= two.snapshots.keys()
    for number in trained:
        a, b = (snapshots.best_weights(snapshots.load(each.snapshots[number])) for each in (one, two))
        assert all((x == y).all() for x, y in zip(a, b, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize(("searcher", "trials"), [("random", 8), ({"name": "tpe", "startup": 4}, 12)])
def test_without_a_scheduler_trials_end_as_they_will_and_a_seed_repeats_them(
    moody: Search, searcher: object, trials: int
) -> None:
    first, notes = moody(searcher, "none", trials)
    check_moods(first, notes, trials, 6)
    assert not any(trial.status is Status.STOPPED for trial in first.trials)
    second, _ = moody(searcher, "none", trials)
    same(first, second)


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", [{"name": "asha", "eta": 2}, {"name": "median", "grace": 1, "min_trials": 2}])
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
