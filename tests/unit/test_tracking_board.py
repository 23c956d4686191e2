"""What TensorBoard reads of a study: its own readers give back what the trials reported."""

from __future__ import annotations

import json
import math
import os
import re
import resource
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2

from kerasweep.errors import StudyNotFound, TrackingError
from kerasweep.records import Direction, Metrics, Objective, Status, Trial
from kerasweep.spec.pipeline import TensorBoardSpec, TrackingSpec
from kerasweep.tracking import StudyHeader, board_of, open_store, open_tracker, serve_board
from kerasweep.tracking.board import board_folder
from kerasweep.tracking.board_writer import BoardWriter

AT = 1_750_000_000_000
SPACE = {
    "n_units": {"type": "int", "min": 4, "max": 64, "log": True},
    "rate": {"type": "float", "min": 0.001, "max": 0.5},
    "batch_norm": {"type": "choice", "values": [True, False]},
    "batch_size": {"type": "choice", "values": [16, 32]},
    "layer": {"type": "choice", "values": ["dense", 3]},
    "held": {"type": "fixed", "value": 2},
}
PARAMS = {"n_units": 8, "rate": 0.25, "batch_norm": True, "batch_size": 32, "layer": 3, "held": 2}


def header(study: str = "a@1") -> StudyHeader:
    spec = json.dumps({"name": "a", "space": {"parameters": SPACE}})
    objective = Objective("val_loss", Direction.MINIMIZE)
    return StudyHeader(study, study[0], AT / 1000, objective, spec, "", "/", 1, {"name": "x"}, {}, None)


def history(epochs: int, shift: float = 0.0) -> tuple[Metrics, ...]:
    return tuple(
        {"loss": 1 / (epoch + shift), "val_loss": 2 / (epoch + shift), "val_auc": 0.5, "seconds_own": float(epoch)}
        for epoch in range(1, epochs + 1)
    )


def begun(number: int) -> Trial:
    return Trial(number, PARAMS, 7, started=AT / 1000 + number)


def ended(number: int, of: tuple[Metrics, ...], status: Status = Status.FINISHED) -> Trial:
    last = len(of) if of else None
    value = of[-1]["val_loss"] if of else None
    return replace(begun(number), status=status, history=of, value=value, epoch=last)


@pytest.fixture
def writer(tmp_path: Path) -> BoardWriter:
    made = BoardWriter(tmp_path / "a@1")
    made.start(header())
    return made


def scalars(run: Path) -> dict[str, list[tuple[int, float]]]:
    """Tag -> (step, value), as TensorBoard reads it."""
    accumulator = EventAccumulator(str(run), size_guidance={"scalars": 0})
    accumulator.Reload()
    return {
        tag: [(event.step, event.value) for event in accumulator.Scalars(tag)] for tag in accumulator.Tags()["scalars"]
    }


def expected(of: tuple[Metrics, ...], metric: str) -> list[tuple[int, float]]:
    return [(step, float(np.float32(metrics[metric]))) for step, metrics in enumerate(of)]


def hparams(run: Path, tag: str) -> Any:
    """What the plugin keeps under a tag, read with its own code."""
    from tensorboard.plugins.hparams import metadata

    accumulator = EventAccumulator(str(run))
    accumulator.Reload()
    content = accumulator.SummaryMetadata(tag).plugin_data.content
    parse = {
        metadata.EXPERIMENT_TAG: metadata.parse_experiment_plugin_data,
        metadata.SESSION_START_INFO_TAG: metadata.parse_session_start_info_plugin_data,
        metadata.SESSION_END_INFO_TAG: metadata.parse_session_end_info_plugin_data,
    }
    return parse[tag](content)


class TestCurves:
    def test_lie_as_the_keras_callback_lays_them_out(self, writer: BoardWriter, tmp_path: Path) -> None:
        of = history(5)
        writer.begin_trial(begun(3), AT)
        writer.log_epochs(3, 1, of[:2], AT)
        writer.log_epochs(3, 3, of[2:3], AT)
        writer.end_trial(ended(3, of), AT + 1)
        writer.flush()
        run = tmp_path / "a@1" / "trial_0003"
        assert scalars(run / "train") == {
            "epoch_loss": expected(of, "loss"),
            "epoch_seconds_own": expected(of, "seconds_own"),
        }
        assert scalars(run / "validation") == {
            "epoch_loss": expected(of, "val_loss"),
            "epoch_auc": expected(of, "val_auc"),
        }
        assert scalars(run) == {"best_val_loss": [(4, float(np.float32(of[-1]["val_loss"])))]}

    def test_of_a_trial_that_started_again_are_those_of_its_last_start(
        self, writer: BoardWriter, tmp_path: Path
    ) -> None:
        writer.begin_trial(begun(0), AT)
        writer.log_epochs(0, 1, history(5), AT)
        again = history(4, shift=0.5)
        writer.begin_trial(begun(0), AT + 1)
        writer.log_epochs(0, 1, again[:2], AT + 1)
        writer.end_trial(ended(0, again), AT + 2)
        writer.flush()
        assert scalars(tmp_path / "a@1" / "trial_0000" / "train")["epoch_loss"] == expected(again, "loss")
        assert scalars(tmp_path / "a@1" / "trial_0000" / "validation")["epoch_loss"] == expected(again, "val_loss")

    def test_that_are_longer_than_the_trial_says_are_cut(self, writer: BoardWriter, tmp_path: Path) -> None:
        writer.begin_trial(begun(0), AT)
        writer.log_epochs(0, 1, history(5), AT)
        writer.end_trial(ended(0, history(3)), AT + 1)
        writer.flush()
        assert scalars(tmp_path / "a@1" / "trial_0000" / "train")["epoch_loss"] == expected(history(3), "loss")

    def test_hold_nan_and_infinity(self, writer: BoardWriter, tmp_path: Path) -> None:
        writer.end_trial(ended(0, ({"loss": math.nan, "val_loss": math.inf},), Status.FAILED), AT)
        writer.flush()
        assert math.isnan(scalars(tmp_path / "a@1" / "trial_0000" / "train")["epoch_loss"][0][1])
        assert scalars(tmp_path / "a@1" / "trial_0000" / "validation")["epoch_loss"] == [(0, math.inf)]

    def test_of_a_trial_that_goes_on_show_soon(self, writer: BoardWriter) -> None:
        assert writer.due == math.inf
        writer.begin_trial(begun(0), AT)
        assert writer.due - time.monotonic() == pytest.approx(5, abs=1)
        writer.write_next()
        assert writer.due == math.inf

    def test_of_an_unknown_trial_are_refused(self, writer: BoardWriter) -> None:
        with pytest.raises(TrackingError, match="trial 9"):
            writer.log_epochs(9, 1, history(1), AT)


class TestHparams:
    def test_are_declared_once_with_their_domains(self, writer: BoardWriter, tmp_path: Path) -> None:
        for number in range(3):
            writer.end_trial(ended(number, history(2)), AT)
        writer.end("finished", AT)
        experiment = hparams(tmp_path / "a@1", "_hparams_/experiment")
        found = {}
        for info in experiment.hparam_infos:
            bounds = (info.domain_interval.min_value, info.domain_interval.max_value)
            values = [getattr(value, value.WhichOneof("kind")) for value in info.domain_discrete.values]
            kind = api_pb2.DataType.Name(info.type).removeprefix("DATA_TYPE_")
            found[info.name] = (kind, values if info.HasField("domain_discrete") else bounds)
        assert found == {
            "n_units": ("FLOAT64", (4, 64)),
            "rate": ("FLOAT64", (0.001, 0.5)),
            "batch_norm": ("BOOL", [True, False]),
            "batch_size": ("FLOAT64", [16, 32]),
            "layer": ("STRING", ["dense", "3"]),
            "held": ("FLOAT64", [2]),
        }
        assert [(info.name.group, info.name.tag, info.display_name) for info in experiment.metric_infos] == [
            ("", "best_val_loss", "best val_loss"),
            ("train", "epoch_loss", "loss"),
            ("validation", "epoch_loss", "val_loss"),
            ("validation", "epoch_auc", "val_auc"),
            ("train", "epoch_seconds_own", "seconds_own"),
        ]
        assert experiment.time_created_secs == AT / 1000

    def test_of_a_trial_are_its_parameters_and_its_end(self, writer: BoardWriter, tmp_path: Path) -> None:
        for number, status in enumerate((Status.FINISHED, Status.STOPPED, Status.FAILED)):
            writer.begin_trial(begun(number), AT)
            writer.end_trial(ended(number, history(1), status), AT + 5000)
        writer.begin_trial(begun(3), AT)
        writer.end("interrupted", AT + 9000)
        runs = [tmp_path / "a@1" / f"trial_{number:04d}" for number in range(4)]
        start = hparams(runs[1], "_hparams_/session_start_info")
        assert isinstance(start, plugin_data_pb2.SessionStartInfo)
        values = {name: getattr(value, value.WhichOneof("kind")) for name, value in start.hparams.items()}
        assert values == {**PARAMS, "layer": "3"}
        assert (start.group_name, start.start_time_secs) == ("trial_0001", AT / 1000 + 1)
        ends = [hparams(run, "_hparams_/session_end_info") for run in runs]
        names = [api_pb2.Status.Name(end.status).removeprefix("STATUS_") for end in ends]
        assert names == ["SUCCESS", "SUCCESS", "FAILURE", "UNKNOWN"]
        assert [end.end_time_secs for end in ends] == [AT / 1000 + 5] * 3 + [AT / 1000 + 9]


def test_a_trial_that_finds_its_rate_is_in_the_table_with_it_when_it_has_ended(tmp_path: Path) -> None:
    parameters = {"n_units": SPACE["n_units"], "learning_rate": {"type": "find", "min": 0.001, "max": 1.0}}
    told = replace(header(), spec=json.dumps({"name": "a", "space": {"parameters": parameters}}))
    writer = BoardWriter(tmp_path / "a@1")
    writer.start(told)
    writer.begin_trial(replace(begun(0), params={"n_units": 8}), AT)
    writer.log_epochs(0, 1, history(1), AT)
    writer.end_trial(replace(ended(0, history(1)), params={"n_units": 8, "learning_rate": 0.25}), AT)
    writer.end("finished", AT)
    from tensorboard.plugins.hparams import metadata

    run = tmp_path / "a@1" / "trial_0000"
    assert {
        name: value.number_value for name, value in hparams(run, metadata.SESSION_START_INFO_TAG).hparams.items()
    } == {"n_units": 8, "learning_rate": 0.25}
    columns = {each.name: each for each in hparams(tmp_path / "a@1", metadata.EXPERIMENT_TAG).hparam_infos}
    domain = columns["learning_rate"].domain_interval
    assert (domain.min_value, domain.max_value) == (1e-4, 0.1)


def test_a_study_that_is_written_again_shows_each_point_once(writer: BoardWriter, tmp_path: Path) -> None:
    of = history(4)
    writer.end_trial(ended(0, of), AT)
    writer.begin_trial(begun(1), AT)
    writer.log_epochs(1, 1, of, AT)
    writer.end("interrupted", AT)
    again = BoardWriter(tmp_path / "a@1")
    again.start(header())
    again.end_trial(ended(1, of[:3]), AT)
    again.end("finished", AT)
    for number, kept in ((0, of), (1, of[:3])):
        run = tmp_path / "a@1" / f"trial_{number:04d}"
        assert scalars(run / "validation")["epoch_loss"] == expected(kept, "val_loss")
        assert hparams(run, "_hparams_/session_end_info").status == api_pb2.Status.STATUS_SUCCESS


def test_4096_trials_at_a_time_keep_no_file_open(writer: BoardWriter, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 16, hard))
    try:
        for number in range(4096):
            writer.begin_trial(begun(number), AT)
            writer.log_epochs(number, 1, history(1), AT)
        writer.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert sum(1 for _ in (tmp_path / "a@1").glob("trial_*/validation/*.tfevents.*")) == 4096


def test_writing_imports_no_tensorflow(tmp_path: Path) -> None:
    code = """
import sys
from test_tracking_board import AT, ended, header, history
for name in [name for name in sys.modules if name.partition(".")[0] in ("tensorflow", "keras")]:
    sys.exit(f"{name} is there before")
from kerasweep.tracking.board_writer import BoardWriter
writer = BoardWriter(__import__("pathlib").Path(sys.argv[1]))
writer.start(header())
writer.end_trial(ended(0, history(2)), AT)
writer.end("finished", AT)
sys.exit("tensorflow" in sys.modules)
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=Path(__file__).parent, check=True, timeout=120)


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(TrackingError, match="the folder for TensorBoard's event files must be writable"):
        open_tracker(f"sqlite:///{tmp_path}/mlflow.db", "a", tmp_path / "file" / "a@1")
    writer = BoardWriter(tmp_path / "file" / "a@1")
    writer.start(header())
    with pytest.raises(TrackingError, match="event files must be writable"):
        writer.end("finished", AT)


def test_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert board_folder(None, Path("/specs"), "a@1") is None
    assert board_folder(TensorBoardSpec(), Path("/specs"), "a@1") == tmp_path / "mlruns" / "tensorboard" / "a@1"
    assert board_folder(TensorBoardSpec(directory=Path("../boards")), Path("/specs/x"), "a@1") == Path(
        "/specs/boards/a@1"
    )


def free_port() -> int:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        return int(holder.getsockname()[1])


def test_a_taken_port_is_told(tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        with pytest.raises(TrackingError, match="the port must be free"):
            serve_board(tmp_path, port=holder.getsockname()[1])


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "board.example"])
def test_other_machines_are_let_in_on_purpose_only(tmp_path: Path, host: str) -> None:
    with pytest.raises(TrackingError, match=rf"TensorBoard has no login.* Received: {re.escape(host)}"):
        serve_board(tmp_path, host, free_port())


def answer(url: str, process: subprocess.Popen[bytes]) -> Any:
    deadline = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(url, timeout=10) as response:
                return json.load(response)
        except OSError:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.5)


@pytest.mark.slow
def test_a_study_is_recorded_twice_and_served(tmp_path: Path) -> None:
    uri, folder = f"sqlite:///{tmp_path}/mlflow.db", tmp_path / "boards" / "a@1"
    for study, board in (("b@1", None), ("a@1", folder)):
        tracker = open_tracker(uri, "experiment", board)
        tracker.start(header(study))
        if board:
            tracker.log_summary({"tensorboard": str(board)})
        for number in range(3):
            tracker.begin_trial(begun(number))
            tracker.log_epochs(number, 1, history(2, number))
            tracker.end_trial(ended(number, history(4, number)))
        tracker.end("finished")
        tracker.close()

    store = open_store(uri)
    assert board_of(store, None) == board_of(store, "a@1") == folder
    with pytest.raises(StudyNotFound, match="Received: b@1, which did not"):
        board_of(store, "b@1")
    with pytest.raises(StudyNotFound, match="a@2"):
        board_of(store, "a@2")
    trials = store.load("a@1").trials
    assert len(trials) == 3
    for trial in trials:
        run = folder / f"trial_{trial.number:04d}"
        assert scalars(run / "train")["epoch_loss"] == expected(trial.history, "loss")
        assert scalars(run / "validation")["epoch_loss"] == expected(trial.history, "val_loss")

    port = free_port()
    command = [sys.executable, "-m", "kerasweep", "tensorboard", "a", "--port", str(port), "--tracking-uri", uri]
    process = subprocess.Popen(command, process_group=0)
    try:
        site = f"http://127.0.0.1:{port}"
        runs = answer(f"{site}/data/runs", process)
        deadline = time.monotonic() + 60
        while len(runs) < 10 and time.monotonic() < deadline:  # it loads them while it answers
            time.sleep(1)
            runs = answer(f"{site}/data/runs", process)
        names = [f"trial_{number:04d}{below}" for number in range(3) for below in ("", "/train", "/validation")]
        assert sorted(runs) == [".", *names]
        request = {"experimentName": "", "allowedStatuses": ["STATUS_SUCCESS"], "startIndex": 0, "sliceSize": 10}
        request["colParams"] = [{"metric": {"group": "", "tag": "best_val_loss"}, "order": "ORDER_ASC"}]
        post = urllib.request.Request(
            f"{site}/data/plugin/hparams/session_groups",
            json.dumps(request).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(post, timeout=60) as response:
            groups = json.load(response)["sessionGroups"]
        assert [group["name"] for group in groups] == ["trial_0002", "trial_0001", "trial_0000"]
        last = {
            (each["name"].get("group", ""), each["name"]["tag"]): each["value"] for each in groups[-1]["metricValues"]
        }
        assert last[("", "best_val_loss")] == pytest.approx(0.5)
        assert last[("validation", "epoch_loss")] == pytest.approx(0.5)
        assert groups[-1]["hparams"] == {**PARAMS, "layer": "3"}
    finally:
        process.send_signal(2)
        assert process.wait(timeout=30) == 0


def test_what_a_pipeline_says_of_event_files() -> None:
    def board(said: object) -> TensorBoardSpec | None:
        return TrackingSpec.model_validate({"tensorboard": said}).tensorboard

    assert board(False) is None
    assert board(True) == board({}) == TensorBoardSpec()
    assert board("boards") == TensorBoardSpec(directory=Path("boards"))
    assert board({"histograms": True}) == TensorBoardSpec(histograms=True)
