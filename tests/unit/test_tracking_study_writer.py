"""Few calls of MLflow, and none too early: what makes the recording cheap."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from kerasweep.records import Direction, Objective, Status, Trial
from kerasweep.tracking import layout
from kerasweep.tracking.base import StudyHeader
from kerasweep.tracking.opening import connect, ensure_experiment
from kerasweep.tracking.patience import Patience
from kerasweep.tracking.study_writer import StudyWriter

HISTORY = tuple({"loss": 1 / epoch, "val_loss": 2 / epoch} for epoch in range(1, 11))
AT = 1_750_000_000_000


class Counted(MlflowClient):  # type: ignore[misc]
    """MLflow's client, which counts what is called."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri, uri)
        self.calls: Counter[str] = Counter()

    def create_run(self, *args: Any) -> Any:
        self.calls["create_run"] += 1
        return super().create_run(*args)

    def log_batch(self, *args: Any) -> Any:
        self.calls["log_batch"] += 1
        return super().log_batch(*args)

    def set_terminated(self, *args: Any) -> Any:
        self.calls["set_terminated"] += 1
        return super().set_terminated(*args)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Counted:
    uri = f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"
    connect(uri, create=True)
    return Counted(uri)


@pytest.fixture
def writer(client: Counted, tmp_path: Path) -> Iterator[StudyWriter]:
    experiment = ensure_experiment(client, f"sqlite:///{tmp_path}/mlflow.db", tmp_path.name)
    lost: list[Exception] = []
    writer = StudyWriter(client, experiment, Patience(threading.Event()), lost.append)
    objective = Objective("val_loss", Direction.MINIMIZE)
    writer.start(StudyHeader("a@1", "a", 1.75e9, objective, "{}", "", "/", 1, {"name": "x"}, {}, None))
    client.calls.clear()
    yield writer
    assert lost == []


def begun(number: int) -> Trial:
    return Trial(number, {"rate": 0.1}, 7, started=1.75e9)


def ended(number: int) -> Trial:
    return replace(begun(number), status=Status.FINISHED, history=HISTORY, value=0.2, epoch=10)


def write_what_is_due(writer: StudyWriter) -> None:
    while writer.due <= time.monotonic():
        writer.write_next()


def test_a_trial_that_ends_soon_takes_three_calls(writer: StudyWriter, client: Counted) -> None:
    for number in range(5):
        writer.begin_trial(begun(number), AT)
    for epoch, metrics in enumerate(HISTORY, 1):
        for number in range(5):
            writer.log_epochs(number, epoch, [metrics], AT)
        write_what_is_due(writer)
    assert not client.calls
    for number in range(5):
        writer.end_trial(ended(number), AT)
    write_what_is_due(writer)
    assert client.calls == {"create_run": 5, "log_batch": 5 + 1, "set_terminated": 5}  # one for the study's best value
    assert writer.due == math.inf


def test_a_trial_that_goes_on_is_shown_and_then_left_alone(writer: StudyWriter, client: Counted) -> None:
    before = time.monotonic()
    writer.begin_trial(begun(0), AT)
    writer.log_epochs(0, 1, HISTORY[:1], AT)
    assert before + 2 < writer.due < before + 10
    writer.write_next()
    assert client.calls == {"create_run": 1, "log_batch": 1}
    assert writer.due == math.inf
    writer.log_epochs(0, 2, HISTORY[1:2], AT)
    assert writer.due > time.monotonic() + 2
    writer.end_trial(ended(0), AT)
    write_what_is_due(writer)
    assert client.calls == {"create_run": 1, "log_batch": 2 + 1, "set_terminated": 1}


def test_the_more_trials_go_on_the_less_often_each_is_sent(writer: StudyWriter, client: Counted) -> None:
    for number in range(200):
        writer.begin_trial(begun(number), AT)
    began = time.monotonic()
    writer.write_next()
    took = time.monotonic() - began
    assert client.calls == {"create_run": 1}
    writer.flush()
    assert client.calls == {"create_run": 200, "log_batch": 200}
    writer.log_epochs(0, 1, HISTORY[:1], AT)
    assert writer.due > began + 100 * took
    writer.end("interrupted", AT)


def test_more_than_one_request_can_hold_is_sent_in_several(writer: StudyWriter, client: Counted) -> None:
    history = tuple({f"m{k}": float(epoch + k) for k in range(50)} for epoch in range(1, 51))
    trial = replace(ended(0), params={f"p{k}": k for k in range(150)}, history=history)
    writer.end_trial(trial, AT)
    write_what_is_due(writer)
    assert client.calls["log_batch"] == 3 + 1


def test_a_parameter_that_a_trial_finds_is_written_when_it_ends(writer: StudyWriter, client: Counted) -> None:
    writer.begin_trial(begun(0), AT)
    writer.log_epochs(0, 1, HISTORY[:1], AT)
    writer.write_next()
    trial = replace(ended(0), params={"rate": 0.1, "learning_rate": 0.02})
    writer.end_trial(trial, AT)
    write_what_is_due(writer)
    run = client.get_run(writer._kept[0].id)
    assert layout.decode_params(run.data.params, run.data.tags[layout.TYPES]) == trial.params
