"""Searches on a real Ray that are cut off and go on: the same trials, to the last digit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kerasweep.data import load_search
from kerasweep.dispatch import RaySession, Work, epochs_of
from kerasweep.records import Status, Trial
from kerasweep.spec import pipeline_from_mapping
from kerasweep.spec.pipeline import ResourcesSpec
from kerasweep.study import journal
from kerasweep.study.budget import search_size
from kerasweep.study.environment import study_header
from kerasweep.study.events import Observer, Silent
from kerasweep.study.folder import StudyFolder
from kerasweep.study.ledger import Watchers
from kerasweep.study.origin import Origin, models_for
from kerasweep.study.recording import Recording
from kerasweep.study.replay import retell
from kerasweep.study.search import SearchPlace, rates_of, run_search, search_schedule
from kerasweep.tracking import Untracked
from kerasweep.training import CohortTrainer, KerasTrainer, Trainer, snapshots

# One kind of trial raises when it is built; one hangs in its second epoch, once; the others train, some of them until
# their patience ends.
BUILDER = """
import time
from pathlib import Path

import keras


class Stuck(keras.Sequential):
    def train_step(self, data):
        marker = Path(__file__).with_name("stuck")
        if int(self.optimizer.iterations) == 6 and not marker.exists():
            marker.touch()
            time.sleep(1e6)
        return super().train_step(data)


def build(units, mood, input_shape, n_outputs, output_activation):
    if mood == "bad":
        raise ValueError("in a bad mood")
    hidden, out = keras.layers.Dense(units), keras.layers.Dense(n_outputs, output_activation)
    model = (Stuck if mood.startswith("stuck") else keras.Sequential)([keras.Input(input_shape), hidden, out])
    rate = 0.0 if mood == "still" else 0.05
    model.compile(keras.optimizers.SGD(rate), "sparse_categorical_crossentropy", run_eagerly=True)
    return model
"""

Facts = list[tuple[Any, ...]]


@dataclass(frozen=True)
class Driven:
    """What one driver left."""

    facts: Facts
    stopped: str
    snapshots: Mapping[int, Path]


class Interrupting(Untracked):
    """A tracker that has the study stopped once so many epochs were logged."""

    def __init__(self, epochs: int | None) -> None:
        self.left = epochs
        self.stop: Callable[[], object] = lambda: None

    def log_epochs(self, number: int, first_epoch: int, metrics: Any) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left == 0:
                self.stop()


@pytest.fixture(scope="module")
def session() -> Iterator[RaySession]:
    opened = RaySession(ResourcesSpec(cpus=2))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def drive(session: RaySession, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Driven]:
    """Runs one driver of a study; it may end after so many epochs of all trials together."""
    modules = tmp_path_factory.mktemp("modules")
    (modules / "moods.py").write_text(BUILDER)

    def run(
        folder: Path,
        scheduler: object,
        ends: int | None,
        cohort: int | str,
        observer: Observer = Silent(),  # noqa: B008  # it holds nothing
        moods: tuple[str, ...] = ("good", "good too", "bad", "still"),
        **search: Any,
    ) -> Driven:
        mapping = {
            "name": "search",
            "data": {"name": "wine"},
            "model": {"builder": "moods:build"},
            "space": {
                "parameters": {
                    "units": {"type": "int", "min": 1, "max": 40},
                    "mood": {"type": "choice", "values": list(moods)},
                }
            },
            "search": {"seed": 9, "scheduler": scheduler, **search},
            "training": {"early_stopping": {"patience": 2}},
            "resources": {"cohort": cohort, "concurrency": 2, "epoch_timeout": 15},
        }
        spec = pipeline_from_mapping(mapping, modules).spec
        data = load_search(spec.data, modules)
        allocation = session.allocation(spec, search_size(spec), data)
        models, schedule = (
            models_for(spec, data, Origin(modules)),
            search_schedule(spec, allocation.cohort, rates_of(spec, ())),
        )
        trainer: Trainer = KerasTrainer(models, schedule)
        if allocation.cohort > 1:
            trainer = CohortTrainer(models, schedule, allocation.threads)
        study = StudyFolder(folder)
        recording = Recording(study, begins=not study.journal.exists())
        feed = recording.begin(study_header("search@1", spec, data, modules), spec, allocation)
        tracker = Interrupting(ends)
        tracker.stop = lambda: feed.ledger.stop("interrupted")
        place = SearchPlace(session, allocation, study.checkpoints, recording.session)
        searched = run_search(
            spec, Work(trainer, data, (str(modules),)), place, Watchers(tracker, observer), recorded=feed
        )
        kept = {**recording.kept(feed.wanted()), **searched.snapshots}
        recording.close()
        return Driven(facts(searched.trials), searched.stop_reason, {n: kept[n] for n in feed.wanted()})

    return run


def facts(trials: tuple[Trial, ...]) -> Facts:
    """All of a trial but times."""
    return [(t.number, t.params, t.seed, t.status, t.reason, t.history, t.value, t.epoch) for t in trials]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scheduler", "cohort", "search"),
    [
        ({"name": "hyperband", "eta": 2}, "off", {"trials": 11, "max_epochs": 4, "searcher": "random"}),
        ("none", 4, {"trials": 12, "max_epochs": 5, "searcher": {"name": "tpe", "startup": 3}}),
    ],
    ids=["hyperband alone", "cohorts"],
)
def test_a_search_that_is_cut_off_comes_to_the_same_end(
    drive: Callable[..., Driven], tmp_path: Path, scheduler: object, cohort: int | str, search: Mapping[str, Any]
) -> None:
    expected = drive(tmp_path / "undisturbed", scheduler, None, cohort, **search)
    assert expected.stopped == ""
    assert any(fact[3] is Status.STOPPED for fact in expected.facts) == isinstance(scheduler, dict)
    part = drive(tmp_path / "cut", scheduler, 7, cohort, **search)
    assert part.stopped == "interrupted"
    assert part.facts != expected.facts
    whole = drive(tmp_path / "cut", scheduler, None, cohort, **search)
    assert whole.facts == expected.facts
    assert facts(retell(journal.whole(tmp_path / "cut" / "journal.jsonl").events).trials) == expected.facts
    for number, folder in whole.snapshots.items():
        one, two = (snapshots.load(place) for place in (folder, expected.snapshots[number]))
        assert epochs_of(one, number) == epochs_of(two, number)
        weights = zip(snapshots.best_weights(one, number), snapshots.best_weights(two, number), strict=True)
        assert all((a == b).all() for a, b in weights)


class Listening(Silent):
    """An observer that keeps the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


@pytest.mark.slow
def test_a_worker_that_hangs_is_ended_and_its_trial_goes_on(drive: Callable[..., Driven], tmp_path: Path) -> None:
    heard = Listening()
    search = {"trials": 1, "max_epochs": 4, "searcher": "random"}
    driven = drive(tmp_path / "stuck", "none", None, "off", heard, ("stuck", "stuck too"), **search)
    ((_, _, _, status, _, history, *_),) = driven.facts
    assert (status, len(history)) == (Status.FINISHED, 4)
    (note,) = [note for note in heard.notes if "worker died" in note]
    assert note.endswith("starts again from its checkpoint (no epoch for 15 seconds)")
