"""Searches that are cut off anywhere and go on, in a machine without TensorFlow: thousands of kills in a minute."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from machine import DriverDied, Machine

from kerasweep.dispatch import Allocation, epochs_of, state_of_one
from kerasweep.dispatch.tuner import MAX_RESTARTS
from kerasweep.errors import SpecError, StorageError
from kerasweep.records import Status, Trial
from kerasweep.spec import pipeline_from_mapping
from kerasweep.spec.pipeline import PipelineSpec
from kerasweep.study import bookkeeping, journal
from kerasweep.study.environment import recordable, versions
from kerasweep.study.folder import StudyFolder, studies
from kerasweep.study.memory import remembered
from kerasweep.study.recording import Recording
from kerasweep.study.replay import NOBODY, retell
from kerasweep.tracking import StudyHeader
from kerasweep.training import Snapshot, snapshots

Facts = list[tuple[Any, ...]]

# What is told apart: searchers that learn, schedulers that stop, copy, and compare within cohorts.
SEARCHES: Mapping[str, Mapping[str, Any]] = {
    "random": {"searcher": "random", "scheduler": "none"},
    "tpe and hyperband": {"searcher": {"name": "tpe", "startup": 6}, "scheduler": {"name": "hyperband", "eta": 3}},
    "population": {"searcher": "random", "scheduler": {"name": "pbt", "interval": 2}},
    "auto": {"searcher": "auto", "scheduler": "auto"},
    "evolution": {"searcher": "evolution", "scheduler": {"name": "asha", "eta": 2}},
}


def made(search: Mapping[str, Any], trials: int = 26, epochs: int = 9, **changes: Any) -> PipelineSpec:
    mapping = {
        "name": "fault",
        "data": {"name": "wine"},
        "model": {"family": "mlp"},
        "space": {
            "parameters": {
                "n_neurons": {"type": "int", "min": 1, "max": 40},
                "learning_rate": {"type": "float", "min": 1e-4, "max": 1e-1, "log": True},
            }
        },
        "search": {"seed": 5, "trials": trials, "max_epochs": epochs, **search, **changes},
    }
    return pipeline_from_mapping(mapping, Path()).spec


def header(spec: PipelineSpec) -> StudyHeader:
    text = recordable(spec).model_dump_json(by_alias=True)
    dataset = {"name": "wine", "fingerprint": "f", "train": 1}
    return StudyHeader("fault@1", "fault", 1.0, spec.objective, text, "", ".", 5, dataset, {"python": "3"}, None)


def facts(trials: tuple[Trial, ...]) -> Facts:
    """All of a trial but when it was. How long an epoch takes is the same each time in a machine."""
    names = ("number", "params", "seed", "status", "reason", "history", "value", "epoch", "changes", "seconds")
    return [tuple(getattr(trial, name) for name in names) for trial in trials]


class Killed(journal.Journal):
    """A journal that dies in the middle of its ``at``-th event."""

    def __init__(self, path: Path, contents: journal.Contents | None = None, *, at: int) -> None:
        super().__init__(path, contents)
        self._left = at

    def append(self, event: journal.Event, *, lasting: bool = False) -> None:
        if self._left == 0:
            raise DriverDied
        self._left -= 1
        super().append(event, lasting=lasting)


class Driver:
    """One driver of a study, which may die at its ``dies``-th event."""

    def __init__(
        self,
        folder: Path,
        spec: PipelineSpec,
        *,
        cohort: int = 6,
        workers: int = 2,
        seed: int = 0,
        dies: int | None = None,
        deaths: float = 0.0,
        restarts: int = MAX_RESTARTS,
        keeps: bool = False,
    ) -> None:
        self.study = StudyFolder(folder)
        self._keeps = keeps  # its searcher after every generation
        self.opened: Callable[..., journal.Journal] = journal.Journal if dies is None else partial(Killed, at=dies)
        with self._journals():
            self.recording = Recording(self.study, begins=self.study not in studies(folder.parent))
        self.allocation = Allocation(workers, 1.0, 1, cohort=cohort)
        self.spec, self._seed, self._deaths, self._restarts = spec, seed, deaths, restarts

    def run(self) -> tuple[Trial, ...]:
        """The trials at the end.

        Raises:
            DriverDied: before the end.
        """
        try:
            with self._journals():
                feed = self.recording.begin(header(self.spec), self.spec, self.allocation)
                feed.listen(NOBODY)
                place = self.study.checkpoints / self.recording.session
                kept = Machine(self.spec, self.allocation, place, self._seed, self._deaths, self._restarts).run(feed)
            trials = feed.ledger.trials
            kept = {**self.recording.kept(feed.wanted()), **kept}
            if not self._deaths:  # else a cohort may have come apart after some of its trials had ended
                for number in feed.wanted():  # the best trials can be delivered
                    (trial,) = (trial for trial in trials if trial.number == number)
                    assert epochs_of(snapshots.load(kept[number]), number) >= (trial.epoch or 0)
            return trials
        finally:
            self.recording.close()

    @contextmanager
    def _journals(self) -> Iterator[None]:
        """Where a journal is opened, it is one of this driver's; and it keeps its searcher if it is one that does."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("kerasweep.study.recording.Journal", self.opened)
            if self._keeps:
                patch.setattr("kerasweep.study.memory.Keeper.asked", lambda keeper, seconds: True)
            yield

    def tear(self, length: int) -> None:
        """Leaves a part of a line at the end of the journal, as a killed driver does."""
        with self.study.journal.open("ab") as stream:
            stream.write(b'{"event":"epoch","at":1.5,"rows":[[0'[:length])


def undisturbed(folder: Path, spec: PipelineSpec, **options: Any) -> Facts:
    return facts(Driver(folder / "undisturbed", spec, **options).run())


@pytest.mark.parametrize("search", SEARCHES)
@settings(deadline=None, max_examples=6)
@given(seed=st.integers(0, 10**6))
def test_drivers_that_die_anywhere_come_to_the_same_end(
    tmp_path_factory: pytest.TempPathFactory, search: str, seed: int
) -> None:
    draw = random.Random(seed)
    folder = tmp_path_factory.mktemp("killed")
    spec = made(SEARCHES[search])
    workers, deaths = draw.choice((1, 2, 3)), draw.choice((0.0, 0.05))
    expected = undisturbed(folder, spec, workers=workers)
    drivers = 0
    while True:
        dies = draw.randrange(1, 40)
        # A cohort that came apart would not be the same: its trials are then compared with nobody.
        options: dict[str, Any] = {"deaths": deaths, "restarts": sys.maxsize, "keeps": draw.choice((False, True))}
        driver = Driver(folder / "killed", spec, workers=workers, seed=drivers, dies=dies, **options)
        drivers += 1
        try:
            trials = driver.run()
            break
        except DriverDied:
            driver.tear(draw.randrange(0, 30))
    assert facts(trials) == expected
    assert facts(retell(journal.whole(driver.study.journal).events).trials) == expected


@pytest.mark.parametrize("search", SEARCHES)
def test_a_searcher_that_was_kept_is_not_asked_again(
    tmp_path: Path, search: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = made(SEARCHES[search])
    driver = Driver(tmp_path / "study", spec, dies=40, keeps=True)
    with pytest.raises(DriverDied):
        driver.run()
    expected = undisturbed(tmp_path, spec)
    proposed = sum(event["event"] == "generation" for event in journal.whole(driver.study.journal).events)
    assert proposed > 1

    class Deaf:
        def recall(self, trials: object) -> None:
            assert trials == ()

    monkeypatch.setattr("kerasweep.study.bookkeeping.make_searcher", lambda *arguments, **options: Deaf())
    driver = Driver(tmp_path / "study", spec)
    assert facts(driver.run()) == expected


def _torn(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def _anyones(file: Path) -> None:
    file.chmod(0o666)


def _anyones_folder(file: Path) -> None:
    file.parent.chmod(0o777)


def _of_other_versions(file: Path) -> None:
    file.write_bytes(file.read_bytes().replace(b'"keras": "', b'"keras": "9', 1))


def _of_another_journal(file: Path) -> None:
    head, _, content = file.read_bytes().partition(b"\n")
    file.write_bytes(json.dumps({**json.loads(head), "check": 1}).encode() + b"\n" + content)


@pytest.mark.parametrize("harm", [_torn, _anyones, _anyones_folder, _of_other_versions, _of_another_journal])
def test_a_searcher_that_cannot_be_trusted_is_asked_again(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    spec = made(SEARCHES["tpe and hyperband"])
    driver = Driver(tmp_path / "study", spec, dies=40, keeps=True)
    with pytest.raises(DriverDied):
        driver.run()
    checks = journal.whole(driver.study.journal).checks
    assert remembered(driver.study.searcher, versions(), checks) is not None
    harm(driver.study.searcher)
    assert remembered(driver.study.searcher, versions(), checks) is None
    assert facts(Driver(tmp_path / "study", spec).run()) == undisturbed(tmp_path, spec)


def test_a_searcher_that_cannot_be_kept_costs_only_the_short_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unkept(*arguments: Any, **options: Any) -> Any:
        searcher = make_searcher(*arguments, **options)
        searcher.by_heart = lambda: None
        return searcher

    spec = made(SEARCHES["random"])
    expected = undisturbed(tmp_path, spec)
    make_searcher = bookkeeping.make_searcher
    monkeypatch.setattr(bookkeeping, "make_searcher", unkept)
    driver = Driver(tmp_path / "study", spec, keeps=True)
    assert facts(driver.run()) == expected
    assert not driver.study.searcher.exists()


@pytest.mark.parametrize("search", SEARCHES)
def test_any_prefix_of_a_journal_is_a_state_that_was_true(tmp_path: Path, search: str) -> None:
    spec = made(SEARCHES[search])
    driver = Driver(tmp_path / "study", spec, deaths=0.1, seed=3)
    states: list[Facts] = []
    ledgers: list[Any] = []

    class Noting(journal.Journal):
        """Before an event is written, what the events before it made is noted."""

        def append(self, event: journal.Event, *, lasting: bool = False) -> None:
            states.append(facts(ledgers[0].trials) if ledgers else [])
            super().append(event, lasting=lasting)

    driver.opened = Noting
    begin = driver.recording.begin

    def began(*arguments: Any) -> Any:
        feed = begin(*arguments)
        ledgers.append(feed.ledger)
        return feed

    driver.recording.begin = began  # type: ignore[method-assign]  # to get hold of its ledger
    states.append(facts(driver.run()))
    events = journal.whole(driver.study.journal).events
    assert len(states) == len(events) + 1
    for count in range(1, len(events) + 1):
        assert facts(retell(events[:count]).trials) == states[count], count


def test_a_finished_study_is_left_as_it_is_and_takes_a_larger_budget(tmp_path: Path) -> None:
    small, large = made(SEARCHES["random"], trials=12), made(SEARCHES["random"], trials=30)
    first = facts(Driver(tmp_path / "study", small).run())
    before = (tmp_path / "study" / "journal.jsonl").read_bytes()
    again = Driver(tmp_path / "study", small)
    assert facts(again.run()) == first
    added = (tmp_path / "study" / "journal.jsonl").read_bytes()[len(before) :]
    assert added.count(b"\n") == 1  # that there was another driver
    grown = facts(Driver(tmp_path / "study", large).run())
    assert grown[:12] == first
    assert grown == undisturbed(tmp_path, large)


def test_more_epochs_are_for_those_that_have_not_ended(tmp_path: Path) -> None:
    short, long = (
        made({"searcher": "random", "scheduler": "none"}),
        made({"searcher": "random", "scheduler": "none"}, epochs=15),
    )
    driver = Driver(tmp_path / "study", short, dies=30)
    with pytest.raises(DriverDied):
        driver.run()
    ended = {trial.number: trial for trial in driver.recording.trials if trial.status is not Status.RUNNING}
    assert ended
    trials = {trial.number: trial for trial in Driver(tmp_path / "study", long).run()}
    assert {number: facts((trials[number],)) for number in ended} == {n: facts((ended[n],)) for n in ended}
    assert {len(t.history) for n, t in trials.items() if n not in ended and t.status is Status.FINISHED} >= {15}
    # And told again it is the same, although the budget changed on the way.
    recording = Recording(StudyFolder(tmp_path / "study"), begins=False)
    assert facts(recording.trials) == facts(tuple(trials.values()))
    assert {number: recording.planned(number) for number in trials} == {n: 9 if n in ended else 15 for n in trials}
    recording.close()


@pytest.mark.parametrize("seed", range(6))
def test_the_best_weights_are_found_although_later_cohorts_have_the_names_of_earlier_ones(
    tmp_path: Path, seed: int
) -> None:
    """Of a cohort of which one has ended, the others begin anew, and first and last may be the same."""
    longer = made({"searcher": "random", "scheduler": "none"}, epochs=15)
    for spec in (made({"searcher": "random", "scheduler": "none"}), longer):
        with pytest.raises(DriverDied):
            Driver(tmp_path / "study", spec, dies=25, seed=seed).run()
    Driver(tmp_path / "study", longer, seed=seed).run()  # looks for them


@pytest.mark.parametrize(("then", "now"), [(6, 1), (1, 6)])
@pytest.mark.parametrize("scheduler", ["none", {"name": "hyperband", "eta": 3}])
def test_trials_that_train_alone_or_together_now_begin_anew(
    tmp_path: Path, then: int, now: int, scheduler: object
) -> None:
    spec = made({"searcher": "random", "scheduler": scheduler})
    driver = Driver(tmp_path / "study", spec, cohort=then, dies=40)
    with pytest.raises(DriverDied):
        driver.run()
    ended = {trial.number: trial for trial in driver.recording.trials if trial.status is not Status.RUNNING}
    assert ended
    for dies in (30, None):  # also if the next driver dies
        driver = Driver(tmp_path / "study", spec, cohort=now, dies=dies, seed=1)
        with suppress(DriverDied):
            driver.run()
    trials = {trial.number: trial for trial in driver.recording.trials}
    assert {number: facts((trials[number],)) for number in ended} == {n: facts((ended[n],)) for n in ended}
    assert not any(trial.status is Status.RUNNING for trial in trials.values())
    if scheduler == "none":
        alone = [each[:-1] for each in facts(tuple(trials.values()))]  # an epoch's time is shared by fewer
        assert alone == [each[:-1] for each in undisturbed(tmp_path, spec)]


def test_anything_but_a_budget_is_refused_with_both_values(tmp_path: Path) -> None:
    driver = Driver(tmp_path / "study", made(SEARCHES["random"]), dies=9)
    with pytest.raises(DriverDied):
        driver.run()
    with pytest.raises(SpecError) as caught:
        Driver(tmp_path / "study", made({"searcher": {"name": "tpe", "startup": 6}, "seed": 6})).run()
    said = [str(problem) for problem in caught.value.problems]
    rule = "a study that goes on may change search.trials, search.max_epochs, search.time_limit, resources, tracking"
    assert any(line.startswith(f"search.seed: {rule}") and line.endswith("it had 5. Received: 6") for line in said)
    assert any(line.startswith("search.searcher.name: ") and "it had random. Received: tpe" in line for line in said)
    Driver(tmp_path / "study", made(SEARCHES["random"])).run()  # nothing was harmed


def test_other_data_are_refused(tmp_path: Path) -> None:
    spec = made(SEARCHES["random"])
    Driver(tmp_path / "study", spec).run()
    recording = Recording(StudyFolder(tmp_path / "study"), begins=False)
    other = header(spec)
    other.dataset["fingerprint"] = "g"  # type: ignore[index]  # a dict here
    with pytest.raises(SpecError, match="data: a study that goes on must have the same data; its fingerprint was f"):
        recording.begin(other, spec, Allocation(2, 1.0, 1, cohort=6))
    recording.close()


def test_a_study_that_has_not_begun_leaves_nothing(tmp_path: Path) -> None:
    driver = Driver(tmp_path / "study", made(SEARCHES["random"]))
    assert not list(tmp_path.iterdir())
    driver.recording.close()
    driver.run()
    assert driver.study.journal.exists()


def test_one_study_has_one_driver(tmp_path: Path) -> None:
    spec = made(SEARCHES["random"])
    Driver(tmp_path / "study", spec).run()
    first = Recording(StudyFolder(tmp_path / "study"), begins=False)
    with pytest.raises(
        StorageError, match=r"must have one driver at a time. Received: study, in use by process \d+ on"
    ):
        Recording(StudyFolder(tmp_path / "study"), begins=False)
    first.close()
    Recording(StudyFolder(tmp_path / "study"), begins=False).close()


def test_an_interrupted_study_trains_what_it_broke_off_to_its_end(tmp_path: Path) -> None:
    spec = made(SEARCHES["tpe and hyperband"])
    driver = Driver(tmp_path / "study", spec)
    feed = driver.recording.begin(header(spec), spec, driver.allocation)
    feed.listen(NOBODY)
    machine = Machine(spec, driver.allocation, driver.study.checkpoints / driver.recording.session, 0)
    for count, _ in enumerate(machine.steps(feed)):
        if count == 1:
            feed.ledger.stop("interrupted")
    assert any(trial.reason == "interrupted" for trial in feed.ledger.trials)
    driver.recording.close()
    known = retell(journal.whole(driver.study.journal).events).trials
    assert [trial.history for trial in known] == [
        trial.history for trial in feed.ledger.trials
    ]  # they go on from there
    assert facts(Driver(tmp_path / "study", spec).run()) == undisturbed(tmp_path, spec)


def test_weights_that_an_interrupted_driver_kept_are_not_taken_for_later_ones(tmp_path: Path) -> None:
    spec = made(SEARCHES["random"])
    driver = Driver(tmp_path / "study", spec, dies=40)
    with pytest.raises(DriverDied):
        driver.run()
    ended, running = (
        [trial for trial in driver.recording.trials if (trial.status is Status.RUNNING) is wanted]
        for wanted in (False, True)
    )
    for trial in (*ended, *running):
        (folder := driver.study.weights / str(trial.number)).mkdir(parents=True)
        state = state_of_one(trial.number, [1.0] * len(trial.history))
        snapshots.save(Snapshot({}, state), folder)
    (torn,) = driver.study.weights.joinpath(str(ended[0].number)).iterdir()
    torn.write_bytes(torn.read_bytes()[:-40])
    driver = Driver(tmp_path / "study", spec)
    driver.recording.begin(header(spec), spec, driver.allocation)
    there = {int(folder.name) for folder in driver.study.weights.iterdir()}
    assert there == {trial.number for trial in ended}
    kept = driver.recording.kept([trial.number for trial in ended])
    assert kept.get(ended[0].number) != torn.parent
    assert all(kept[trial.number] == driver.study.weights / str(trial.number) for trial in ended[1:])
    driver.recording.close()


def test_a_journal_whose_searcher_proposes_something_else_now_is_told(tmp_path: Path) -> None:
    spec = made(SEARCHES["random"])
    Driver(tmp_path / "study", spec).run()
    events = [dict(event) for event in journal.whole(tmp_path / "study" / "journal.jsonl").events]
    for event in events:
        if event["event"] == "generation":
            event["trials"][0][1]["n_neurons"] += 1
            break
    with pytest.raises(StorageError, match=r"must propose what it proposed before.*other values for trial 0.*python 3"):
        retell(events)
