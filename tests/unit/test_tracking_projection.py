"""A study that is sent again: what is missing is added, what is wrong is put right, and nothing is doubled."""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from kerasweep.records import Change, Direction, Metrics, Objective, Status, Trial
from kerasweep.tracking import layout, open_store, runs
from kerasweep.tracking.base import StudyHeader
from kerasweep.tracking.opening import connect, ensure_experiment
from kerasweep.tracking.patience import Patience
from kerasweep.tracking.study_writer import StudyWriter

AT = 1_750_000_000_000
HEADER = StudyHeader(
    "a@1",
    "a",
    AT / 1000,
    Objective("val_loss", Direction.MINIMIZE),
    '{"a": 1}',
    "a: 1\n",
    "/",
    1,
    {"name": "x", "fingerprint": "f", "train": 3},
    {"keras": "3"},
    None,
)


class Counted(MlflowClient):  # type: ignore[misc]
    """MLflow's client, which counts what is called from outside it."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri, uri)
        self.calls: Counter[str] = Counter()

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("_") and name != "calls" and callable(getattr(type(self), name, None)):
            self.calls[name] += 1
        return super().__getattribute__(name)


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    uri = f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"
    connect(uri, create=True)
    return uri


@pytest.fixture(scope="module")
def client(uri: str) -> Counted:
    return Counted(uri)


@pytest.fixture
def lost() -> Iterator[list[Exception]]:
    """What writers could not write: nothing."""
    errors: list[Exception] = []
    yield errors
    assert errors == []


class Writers:
    """Makes writers of one experiment, each as if in a new process."""

    def __init__(self, client: Counted, uri: str, experiment: str, lost: list[Exception]) -> None:
        self._client, self._lost, self.uri, self.experiment = client, lost, uri, experiment
        self._id = ensure_experiment(client, uri, experiment)

    def __call__(self) -> StudyWriter:
        writer = StudyWriter(self._client, self._id, Patience(threading.Event()), self._lost.append)
        writer.start(HEADER)
        self._client.calls.clear()
        return writer

    def load(self) -> tuple[Trial, ...]:
        return open_store(self.uri, self.experiment).load("a@1").trials

    def seen(self) -> dict[str, dict[str, Any]]:
        """All that MLflow's client shows of the study, but for ids and the times at which points were logged."""
        runs = self._client.search_runs([self._id])
        names = {run.info.run_id: run.info.run_name for run in runs}
        seen = {}
        for run in runs:
            tags = {key: names.get(text, text) for key, text in run.data.tags.items() if key != "mlflow.user"}
            history = {key: self._client.get_metric_history(run.info.run_id, key) for key in run.data.metrics}
            seen[names[run.info.run_id]] = {
                "status": (run.info.status, run.info.start_time, run.info.end_time),
                "tags": tags,
                "params": run.data.params,
                "history": {key: sorted((m.step, repr(m.value)) for m in points) for key, points in history.items()},
                "files": sorted(file.path for file in self._client.list_artifacts(run.info.run_id, "spec")),
                "inputs": [entry.dataset.to_dictionary() for entry in run.inputs.dataset_inputs],
            }
        assert len(seen) == len(runs)
        return seen


@pytest.fixture
def writers(client: Counted, uri: str, tmp_path: Path, lost: list[Exception]) -> Writers:
    return Writers(client, uri, tmp_path.name, lost)


def epochs(count: int, shift: float = 0.0) -> tuple[Metrics, ...]:
    return tuple({"loss": math.nan, "val_loss": 2 / epoch + shift, "p@1": 1e-300} for epoch in range(1, count + 1))


def begun(number: int) -> Trial:
    return Trial(number, {"rate": 0.1, "units": number}, 7, started=AT / 1000 + number)


def ended(
    number: int, of: tuple[Metrics, ...] = epochs(4), status: Status = Status.FINISHED, reason: str = ""
) -> Trial:
    values = {epoch: metrics["val_loss"] for epoch, metrics in enumerate(of, 1)}
    best = min(values, key=lambda epoch: values[epoch], default=None)
    return replace(
        begun(number),
        status=status,
        reason=reason,
        history=of,
        value=None if best is None else values[best],
        epoch=best,
        seconds=1.5,
        ended=AT / 1000 + number + 5,
        changes=(Change(1, {"rate": 0.2}),) if number % 2 else (),
    )


TRIALS = (
    ended(0),
    ended(1, epochs(2, 0.5), Status.STOPPED, "scheduler"),
    ended(2, (), Status.FAILED, "NaN"),
    ended(3, epochs(6)),
)


def write(writer: StudyWriter, trials: tuple[Trial, ...] = TRIALS, status: str = "finished") -> None:
    for trial in trials:
        writer.end_trial(trial, AT)
    writer.log_summary(layout.summary_tags("best", {"trial": 3}), {"best/trial": 3.0}, AT)
    writer.end(status, AT + 60_000)


@pytest.fixture(scope="module")
def undisturbed(client: Counted, uri: str) -> dict[str, dict[str, Any]]:
    """What a study looks like that was written once."""
    writers = Writers(client, uri, "undisturbed", [])
    write(writers())
    return writers.seen()


def test_a_study_that_is_there_costs_no_request(
    writers: Writers, client: Counted, undisturbed: dict[str, dict[str, Any]]
) -> None:
    write(writers())
    writer = writers()
    for trial in TRIALS:
        writer.end_trial(trial, AT)
    writer.flush()
    assert not client.calls
    writer.log_summary(layout.summary_tags("best", {"trial": 3}), {"best/trial": 3.0}, AT)
    assert not client.calls
    writer.end("finished", AT + 60_000)
    assert client.calls.keys() <= {"log_batch", "set_terminated"}
    assert writers.seen() == undisturbed


def test_opening_it_again_takes_a_page_of_trials(client: Counted, uri: str, writers: Writers) -> None:
    write(writers())
    writer = StudyWriter(client, writers._id, Patience(threading.Event()), lambda error: None)
    client.calls.clear()
    writer.start(HEADER)
    assert client.calls["search_runs"] == 2
    assert client.calls["get_metric_history"] == 1  # of the best value so far
    assert client.calls["create_run"] == 0
    study = writers.seen()["a@1"]
    assert (study["status"][0], study["tags"][layout.STATUS]) == ("RUNNING", "running")
    assert len(open_store(uri, writers.experiment).list()) == 1


@pytest.mark.parametrize("told", [0, 1, 6])
@pytest.mark.parametrize("flushed", [True, False])
@pytest.mark.parametrize("ends", [True, False])
def test_what_a_killed_driver_left_becomes_what_the_trials_say(
    writers: Writers, undisturbed: dict[str, dict[str, Any]], told: int, flushed: bool, ends: bool
) -> None:
    first = writers()
    first.end_trial(TRIALS[0], AT)
    first.begin_trial(begun(3), AT)
    if flushed:
        first.flush()
    first.log_epochs(3, 1, epochs(6)[:told], AT)
    first.begin_trial(begun(1), AT)
    if ends:
        first.end("interrupted", AT)
        left = next(trial for trial in writers.load() if trial.number == 3)
        assert (left.status, left.reason) == (Status.STOPPED, "the study ended before the trial did")
    else:  # the process that writes was killed, too
        first.flush()
    write(writers())
    assert writers.seen() == undisturbed
    assert repr(writers.load()) == repr(TRIALS)


def test_a_trial_that_goes_on_runs_again_and_is_told_the_rest(
    writers: Writers, client: Counted, undisturbed: dict[str, dict[str, Any]]
) -> None:
    first = writers()
    for trial in TRIALS[:3]:
        first.end_trial(trial, AT)
    first.begin_trial(begun(3), AT)
    first.log_epochs(3, 1, epochs(6)[:4], AT)
    first.end("interrupted", AT)
    second = writers()
    for trial in TRIALS[:3]:
        second.end_trial(trial, AT)
    second.begin_trial(begun(3), AT)
    second.log_epochs(3, 1, epochs(6)[:2], AT + 1)  # its checkpoint was of an earlier epoch
    second.flush()
    running = writers.load()[3]
    assert (running.status, running.reason, running.ended) == (Status.RUNNING, "", 0.0)
    assert writers.seen()["trial 0003"]["status"][0] == "RUNNING"
    second.log_epochs(3, 3, epochs(6)[2:5], AT + 2)
    client.calls.clear()
    second.flush()
    assert client.calls == {"log_batch": 1}
    write(second, TRIALS[3:])
    assert writers.seen() == undisturbed


def test_what_came_out_differently_replaces_what_was_there(
    writers: Writers, undisturbed: dict[str, dict[str, Any]]
) -> None:
    first = writers()
    first.end_trial(replace(TRIALS[0], params={"rate": 0.3, "units": 0}), AT)
    first.end_trial(ended(1, epochs(3, 0.5), Status.STOPPED, "scheduler"), AT)
    first.begin_trial(begun(3), AT)
    first.log_epochs(3, 1, epochs(6, 0.1), AT)
    first.end("interrupted", AT)
    second = writers()
    second.end_trial(replace(TRIALS[0], value=0.75, epoch=3), AT)
    second.end("interrupted", AT)
    write(writers())
    seen = writers.seen()
    curve = [seen["a@1"].pop("history"), undisturbed["a@1"]["history"]]
    assert curve[0].keys() == curve[1].keys()
    assert len(curve[0][layout.BEST_VALUE]) == 4
    assert seen == undisturbed | {"a@1": {k: v for k, v in undisturbed["a@1"].items() if k != "history"}}


def test_a_trial_that_starts_again_has_one_point_an_epoch(writers: Writers) -> None:
    writer = writers()
    writer.begin_trial(begun(0), AT)
    writer.log_epochs(0, 1, epochs(5, 0.1), AT)
    writer.flush()
    writer.begin_trial(begun(0), AT)
    writer.log_epochs(0, 1, epochs(1), AT)
    writer.flush()
    writer.log_epochs(0, 2, epochs(3)[1:], AT)
    writer.end_trial(ended(0, epochs(3)), AT)
    writer.end("finished", AT)
    assert [step for step, _ in writers.seen()["trial 0000"]["history"]["val_loss"]] == [1, 2, 3]
    assert repr(writers.load()) == repr((ended(0, epochs(3)),))


def test_a_summary_that_shrank_leaves_nothing_behind(writers: Writers) -> None:
    first = writers()
    first.log_summary(layout.summary_tags("said", "x" * 20_000), {}, AT)
    first.end("interrupted", AT)
    second = writers()
    second.log_summary(layout.summary_tags("said", "y"), {}, AT)
    second.end("finished", AT)
    assert open_store(writers.uri, writers.experiment).load("a@1").summary == {"said": "y"}
    tags = writers.seen()["a@1"]["tags"]
    assert [tag for tag in tags if tag.startswith(layout.SUMMARY)] == [f"{layout.SUMMARY}said"]


def test_a_note_that_a_user_changed_stays(writers: Writers, client: Counted) -> None:
    writers().end("interrupted", AT)
    (run,) = client.search_runs([writers._id])
    client.set_tag(run.info.run_id, "mlflow.note.content", "mine")
    writers().end("finished", AT)
    assert client.get_run(run.info.run_id).data.tags["mlflow.note.content"] == "mine"


def test_files_of_a_trial_stay_with_the_run_that_is_put_right(
    writers: Writers, client: Counted, tmp_path: Path
) -> None:
    first = writers()
    first.begin_trial(begun(0), AT)
    first.log_epochs(0, 1, epochs(2, 0.1), AT)
    first.end("interrupted", AT)
    second = writers()
    second.end_trial(ended(0), AT)
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "weights").write_text("w")
    second.log_file(str(tmp_path / "copy" / "weights"), "kept", 0)
    second.end("finished", AT)
    store = open_store(writers.uri, writers.experiment)
    assert store.fetch_files("a@1", "kept", tmp_path / "out", trial=0) == (tmp_path / "out" / "weights",)


def test_trials_are_found_on_all_pages(writers: Writers, client: Counted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "PAGE", 2)
    trials = [ended(number, epochs(1)) for number in range(5)]
    for _ in range(2):
        writer = writers()
        for trial in trials:
            writer.end_trial(trial, AT)
        writer.flush()
    assert not client.calls
    assert repr(writers.load()) == repr(tuple(trials))
