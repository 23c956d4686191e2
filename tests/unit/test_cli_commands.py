"""Each command: from arguments to one call, from its result to output and exit code."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer.core
import typer.main
from typer.testing import CliRunner, Result

from kerasweep import errors
from kerasweep.cli.commands import app
from kerasweep.pipeline import FoundRate, Plan
from kerasweep.pipeline.mattering import Mattering, Together
from kerasweep.pipeline.result import PipelineResult, Registered
from kerasweep.records import Direction, Objective, Status, StudyRecord, Trial
from kerasweep.report.narrowing import Narrowed, NextSpace
from kerasweep.spec import LoadedPipeline, pipeline_from_mapping
from kerasweep.study.events import Observer, Progress
from kerasweep.training.rate_finder import RangeTest

FILE = """\
name: wine-study
data: {name: wine}
model: {family: mlp}
space:
  parameters:
    learning_rate: {type: float, min: 0.001, max: 0.1, log: true}
search: {trials: 4, max_epochs: 3}
"""
WINNER = Trial(2, {"learning_rate": 0.01}, seed=1, status=Status.FINISHED, value=0.25, epoch=3, seconds=1.5)
LOSER = replace(WINNER, number=1, value=0.5)
RESULT = PipelineResult(
    study="wine-study@ab12cd34",
    status="finished",
    best=WINNER,
    trials={"finished": 3, "stopped": 1, "failed": 0},
    test={"loss": 0.3, "accuracy": float("nan")},
    baselines={"dummy": {"loss": 1.1}},
    exports={"keras": "exports/model.keras"},
    model=Registered("wine-study", 1, "champion", moved=True),
    seconds={"search": 3.0, "total": 4.0},
)
RECORD = StudyRecord(
    id="wine-study@ab12cd34",
    name="wine-study",
    status="finished",
    started=1.7e9,
    objective=Objective("val_loss", Direction.MINIMIZE),
    spec="{}",
    trials=(LOSER, WINNER),
    summary={"best": {"value": 0.25}, "trials": {"finished": 3, "stopped": 1, "failed": 0}},
)


class FakeRun:
    """Stands for ``kerasweep.pipeline.run``: keeps what it was asked and tells its observer a short story."""

    def __init__(self, outcome: PipelineResult | BaseException) -> None:
        self.outcome = outcome
        self.loaded: LoadedPipeline | None = None
        self.options: dict[str, Any] = {}

    def __call__(self, loaded: LoadedPipeline, *, observer: Observer, **options: Any) -> PipelineResult:
        self.loaded, self.options = loaded, options
        observer.stage("search", "4 trials")
        print("what a library prints")
        observer.progress(Progress(4, 3, 1, 0, 0, WINNER, 2.0, None))
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome


class FakeStore:
    """A ``StudyStore`` with one study."""

    def list(self) -> tuple[StudyRecord, ...]:
        return (replace(RECORD, trials=()),)

    def load(self, study: str) -> StudyRecord:
        if study not in (RECORD.id, RECORD.name):
            raise errors.StudyNotFound(errors.one_of("a study", study, [RECORD.name]))
        return RECORD

    def fetch_files(self, study_id: str, folder: str, into: Path, trial: int | None = None) -> tuple[Path, ...]:
        return ()


def load_pipeline_text() -> str:
    """The normalised form of ``FILE``, as a store has it."""
    from ruamel.yaml import YAML

    mapping = YAML(typ="safe").load(FILE)
    return pipeline_from_mapping(mapping, Path.cwd()).spec.model_dump_json(by_alias=True)


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def file(project: Path) -> Path:
    path = project / "wine.yaml"
    path.write_text(FILE)
    return path


@pytest.fixture
def fake_run(monkeypatch: pytest.MonkeyPatch) -> FakeRun:
    fake = FakeRun(RESULT)
    monkeypatch.setattr("kerasweep.pipeline.run", fake)
    return fake


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses of the stores that were opened."""
    uris: list[str] = []

    def open_store(uri: str) -> FakeStore:
        uris.append(uri)
        return FakeStore()

    monkeypatch.setattr("kerasweep.tracking.open_store", open_store)
    return uris


@pytest.fixture(autouse=True)
def _activated(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in an activated environment: the shell finds the command."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


class TestRun:
    def test_passes_its_options_on(self, file: Path, fake_run: FakeRun) -> None:
        address = ("--ray-address", "ray://head:10001", "--tracking-uri", "http://server:5000")
        done = invoke("run", file, "--set", "search.trials=9", "--set", "search.seed=7", *address)
        assert done.exit_code == 0, done.output
        assert fake_run.options == {"ray_address": "ray://head:10001", "tracking_uri": "http://server:5000"}
        assert fake_run.loaded is not None
        assert (fake_run.loaded.spec.search.trials, fake_run.loaded.spec.search.seed) == (9, 7)

    def test_leaves_defaults_to_the_library(self, file: Path, fake_run: FakeRun) -> None:
        assert invoke("run", file).exit_code == 0
        assert fake_run.options == {"ray_address": None, "tracking_uri": None}

    def test_result_and_progress_have_a_stream_each(self, file: Path, fake_run: FakeRun, project: Path) -> None:
        done = invoke("run", file)
        assert done.stdout.startswith("wine-study@ab12cd34 finished in 4.0 s\n")
        assert f"sqlite:///{project}/mlruns/mlflow.db" in done.stdout
        assert done.stdout.endswith("  kerasweep ui\n  kerasweep show wine-study@ab12cd34\n")
        assert "search: 4 trials" in done.stderr
        assert "what a library prints" in done.stderr
        assert "what a library prints" not in done.stdout

    def test_next_commands_name_a_store_that_is_not_the_default(self, file: Path, fake_run: FakeRun) -> None:
        secret = invoke("run", file, "--tracking-uri", "http://me:secret@server:5000")
        assert "kerasweep ui --tracking-uri http://" in secret.stdout
        assert "secret" not in secret.output
        inside = invoke("run", file, "--set", "tracking.uri=http://server:5000")
        assert "kerasweep ui --tracking-uri http://server:5000\n" in inside.stdout

    def test_json_is_all_of_standard_output(self, file: Path, fake_run: FakeRun) -> None:
        done = invoke("run", file, "--json")
        assert done.exit_code == 0
        assert done.stdout.count("\n") == 1
        document = json.loads(done.stdout, parse_constant=pytest.fail)
        expected = RESULT.to_json()
        assert document == {**expected, "test": {"loss": 0.3, "accuracy": None}}

    @pytest.mark.parametrize(("status", "code"), [("finished", 0), ("failed", 1), ("interrupted", 130)])
    @pytest.mark.parametrize("options", [(), ("--json",)])
    def test_exit_code(self, file: Path, fake_run: FakeRun, status: str, code: int, options: Sequence[str]) -> None:
        fake_run.outcome = replace(RESULT, status=status)
        done = invoke("run", file, *options)
        assert done.exit_code == code
        assert status in done.stdout


class TestErrors:
    @pytest.mark.parametrize(
        ("error", "code"),
        [
            (errors.StudyError("no trial succeeded"), 1),
            (errors.DataError("no such file"), 2),
            (errors.MissingExtra("ONNX", "onnx"), 1),
            (errors.StudyNotFound("no such study"), 2),
        ],
    )
    def test_of_kerasweep_have_no_traceback(
        self, file: Path, fake_run: FakeRun, error: errors.KerasweepError, code: int
    ) -> None:
        fake_run.outcome = error
        done = invoke("run", file, "--json")
        assert done.exit_code == code
        assert done.stdout == ""
        assert done.stderr.splitlines()[-1] == f"error: {error}"
        assert "Traceback" not in done.stderr

    def test_of_the_input_are_listed_and_counted(self, file: Path, fake_run: FakeRun) -> None:
        fake_run.outcome = errors.SpecError(
            [
                errors.Problem("min <= max must hold. Received: 3, 1", ("space", "n"), "a.yaml", 3, 5),
                errors.Problem("b"),
            ]
        )
        done = invoke("run", file)
        assert done.exit_code == 2
        assert done.stderr.splitlines()[-3:] == [
            "a.yaml:3:5: space.n: min <= max must hold. Received: 3, 1",
            "b",
            "2 problems",
        ]

    def test_nobody_expected_keep_their_traceback(self, file: Path, fake_run: FakeRun) -> None:
        fake_run.outcome = ZeroDivisionError("in the user's builder")
        done = invoke("run", file)
        assert done.exit_code == 1
        *_, error, hint = done.stderr.splitlines()
        assert "Traceback (most recent call last)" in done.stderr
        assert error == "ZeroDivisionError: in the user's builder"
        assert "kerasweep list" in hint

    def test_interrupted(self, file: Path, fake_run: FakeRun) -> None:
        fake_run.outcome = KeyboardInterrupt()
        done = invoke("run", file)
        assert done.exit_code == 130
        assert done.stderr.splitlines()[-1] == "interrupted"

    @pytest.mark.parametrize(
        "arguments",
        [
            (),
            ("fly",),
            ("run",),
            ("run", "a.yaml", "--fast"),
            ("show", "x", "--top", "0"),
            ("export", "x", "--out", "y"),
            ("ui", "--port", "66000"),
            ("tensorboard", "x", "--port", "0"),
        ],
    )
    def test_of_the_command_line_are_wrong_input(self, arguments: Sequence[str]) -> None:
        assert invoke(*arguments).exit_code == 2


class TestPlan:
    PLAN = Plan((("Search", (("searcher", "tpe"), ("trials", "64"))),), ("the space is small",))

    @pytest.fixture
    def planned(self, monkeypatch: pytest.MonkeyPatch) -> list[LoadedPipeline]:
        calls: list[LoadedPipeline] = []

        def plan(loaded: LoadedPipeline) -> Plan:
            calls.append(loaded)
            return self.PLAN

        monkeypatch.setattr("kerasweep.pipeline.plan", plan)
        return calls

    def test_for_people(self, file: Path, planned: list[LoadedPipeline]) -> None:
        done = invoke("plan", file, "--set", "search.trials=9")
        assert done.exit_code == 0, done.output
        assert [loaded.spec.search.trials for loaded in planned] == [9]
        assert done.stdout == "Search\n  searcher  tpe\n  trials    64\n\nwarnings\n  the space is small\n"

    def test_for_programs(self, file: Path, planned: list[LoadedPipeline]) -> None:
        assert json.loads(invoke("plan", file, "--json").stdout) == {
            "sections": [{"title": "Search", "rows": {"searcher": "tpe", "trials": "64"}}],
            "warnings": ["the space is small"],
            "advice": [],
        }


class TestValidate:
    def test_good_files(self, file: Path) -> None:
        done = invoke("validate", file, file)
        assert done.exit_code == 0, done.output
        assert done.stdout == f"{file}: ok\n" * 2
        assert done.stderr == ""

    def test_all_problems_of_all_files(self, file: Path, project: Path) -> None:
        first, second = project / "first.yaml", project / "second.yaml"
        first.write_text(FILE.replace("trials: 4", "trails: 4"))
        second.write_text(FILE.replace("name: wine}", "name: whine}").replace("max_epochs: 3", "max_epochs: 0"))
        done = invoke("validate", first, file, second)
        assert done.exit_code == 2
        assert done.stdout == f"{file}: ok\n"
        *problems, count = done.stderr.splitlines()
        assert count == "3 problems in 2 files"
        places = [re.match(r"\S*?(\w+\.yaml):\d+:\d+: ", line) for line in problems]
        assert [place and place.group(1) for place in places] == ["first.yaml", "second.yaml", "second.yaml"]

    def test_an_override_may_be_what_is_wrong(self, file: Path) -> None:
        done = invoke("validate", file, "--set", "search.trails=4")
        assert done.exit_code == 2
        assert "trails" in done.stderr

    def test_a_missing_file(self) -> None:
        done = invoke("validate", "missing.yaml")
        assert done.exit_code == 2
        assert "missing.yaml" in done.stderr
        assert "Traceback" not in done.stderr

    def test_the_bad_files_of_the_test_suite(self, repository: Path) -> None:
        for path in sorted((repository / "tests" / "spec_cases" / "bad").glob("*.yaml"))[:5]:
            done = invoke("validate", path)
            assert done.exit_code == 2, path
            assert re.search(r"\n\d+ problems?\n$", done.stderr), path


class TestList:
    def test_for_people(self, opened: list[str], project: Path) -> None:
        done = invoke("list")
        assert done.exit_code == 0, done.output
        assert opened == [f"sqlite:///{project}/mlruns/mlflow.db"]
        head, row = done.stdout.splitlines()
        assert head.split() == ["study", "status", "started", "trials", "best", "objective"]
        assert row.startswith("wine-study@ab12cd34  finished")

    def test_for_programs(self, opened: list[str]) -> None:
        done = invoke("list", "--json", "--tracking-uri", "http://server:5000")
        assert opened == ["http://server:5000"]
        (study,) = json.loads(done.stdout)
        assert study["study"] == "wine-study@ab12cd34"
        assert study["objective"] == {"metric": "val_loss", "direction": "minimize"}
        assert study["summary"]["best"] == {"value": 0.25}


class TestShow:
    def test_the_best_trials_come_first(self, opened: list[str]) -> None:
        done = invoke("show", "wine-study")
        assert done.exit_code == 0, done.output
        rows = [line.split()[:4] for line in done.stdout.splitlines() if re.match(r" +\d", line)]
        assert rows == [["1", "2", "finished", "0.2500"], ["2", "1", "finished", "0.5000"]]

    def test_for_programs(self, opened: list[str]) -> None:
        document = json.loads(invoke("show", "wine-study", "--json", "--top", 1).stdout)
        assert document["study"] == "wine-study@ab12cd34"
        assert document["top"] == [
            {
                "trial": 2,
                "status": "finished",
                "reason": "",
                "value": 0.25,
                "epoch": 3,
                "loss_ratio": None,
                "overfits": None,
                "seconds": 1.5,
                "params": {"learning_rate": 0.01},
            }
        ]

    def test_an_unknown_study(self, opened: list[str]) -> None:
        done = invoke("show", "wine-studie")
        assert done.exit_code == 2
        assert done.stderr == (
            "error: a study must be one of wine-study. Did you mean 'wine-study'? Received: 'wine-studie'\n"
        )


class TestImportance:
    FOUND = Mattering(
        study="wine-study@ab12cd34",
        trials=40,
        explained=0.713,
        shares={"learning_rate": 0.8, "optimizer": 0.2, "idle": 0.0},
        best={"learning_rate": [0.01, 0.003], "optimizer": ["adam", "adam", "sgd"]},
        interactions=(
            Together(("learning_rate", "optimizer"), 0.123, {"learning_rate": 0.01, "optimizer": "sgd"}),
            Together(("learning_rate", "idle"), 0.004, {}),
        ),
        figures=(Path("out/importance.png"),),
    )

    @pytest.fixture
    def calls(self, monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
        calls: list[tuple[object, ...]] = []

        def importance(study: str, *, out: Path | None, tracking_uri: str | None) -> Mattering:
            calls.append((study, out, tracking_uri))
            return self.FOUND

        monkeypatch.setattr("kerasweep.pipeline.importance", importance)
        return calls

    def test_for_people(self, calls: list[tuple[object, ...]]) -> None:
        done = invoke("importance", "wine-study", "--out", "out", "--tracking-uri", "http://server:5000")
        assert done.exit_code == 0, done.output
        assert calls == [("wine-study", Path("out"), "http://server:5000")]
        assert done.stdout.splitlines() == [
            "wine-study@ab12cd34: 71% of the ranking of unseen trials is predicted, from 40 trials",
            "",
            "parameter      share  in the best fifth",
            "learning_rate    80%  0.003 to 0.01",
            "optimizer        20%  adam (2), sgd (1)",
            "idle              0%  -",
            "",
            "together                     share  best at",
            "learning_rate and optimizer  12.3%  learning_rate=0.01 optimizer=sgd",
            "learning_rate and idle        0.4%",
            "",
            "figures",
            "  importance  out/importance.png",
        ]

    def test_for_programs(self, calls: list[tuple[object, ...]]) -> None:
        document = json.loads(invoke("importance", "wine-study", "--json", "--top", 1).stdout)
        assert calls == [("wine-study", None, None)]
        assert document == {
            "study": "wine-study@ab12cd34",
            "trials": 40,
            "explained": 0.713,
            "parameters": [{"name": "learning_rate", "share": 0.8, "best": [0.01, 0.003]}],
            "interactions": [
                {
                    "parameters": ["learning_rate", "optimizer"],
                    "share": 0.123,
                    "best": {"learning_rate": 0.01, "optimizer": "sgd"},
                }
            ],
            "figures": ["out/importance.png"],
        }

    def test_of_a_study_with_too_few_trials(self, opened: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
        spec = load_pipeline_text()
        monkeypatch.setattr(FakeStore, "load", lambda self, study: replace(RECORD, spec=spec))
        monkeypatch.setattr("kerasweep.pipeline.mattering.open_store", lambda uri: FakeStore())
        done = invoke("importance", "wine-study")
        assert done.exit_code == 0, done.output
        assert "2 trials with a value, which are too few or too much alike to tell what mattered" in done.stdout


class TestNarrow:
    def test_passes_its_options_on(self, monkeypatch: pytest.MonkeyPatch, project: Path) -> None:
        calls: list[tuple[object, ...]] = []
        found = NextSpace((Narrowed("a", None, "why", "hint"), Narrowed("b", None, "because")), 4, 20)

        def narrow(study: str, out: Path, *, keep: float, tracking_uri: str | None) -> NextSpace:
            calls.append((study, out, keep, tracking_uri))
            return found

        monkeypatch.setattr("kerasweep.pipeline.narrow", narrow)
        done = invoke("narrow", "wine-study", "--out", "next.yaml")
        assert done.exit_code == 0, done.output
        assert done.stdout.splitlines() == [
            "narrowed around the best 4 of 20 trials: 1 of the space is left",
            "",
            "parameters",
            "  a  why",
            "  b  because",
            "",
            "where the optimum may lie outside",
            "  a  hint",
            "",
            "next",
            "  written      next.yaml",
            "  use it with  space: next.yaml",
        ]
        address = ("--tracking-uri", "http://server:5000")
        assert invoke("narrow", "wine-study", "--out", "next.yaml", "--keep", 0.1, *address).exit_code == 0
        assert calls == [
            ("wine-study", Path("next.yaml"), 0.2, None),
            ("wine-study", Path("next.yaml"), 0.1, "http://server:5000"),
        ]

    @pytest.mark.parametrize("keep", [0, 1, "nan"])
    def test_a_share_that_is_none(self, keep: object) -> None:
        done = invoke("narrow", "wine-study", "--out", "next.yaml", "--keep", keep)
        assert done.exit_code == 2
        assert done.stderr.startswith("--keep must lie between 0 and 1. Received: ")


class TestUi:
    def test_serves_the_store_on_this_machine_only(self, monkeypatch: pytest.MonkeyPatch, project: Path) -> None:
        calls: list[tuple[Any, ...]] = []

        def serve_ui(*arguments: Any) -> int:
            calls.append(arguments)
            return 3

        monkeypatch.setattr("kerasweep.tracking.serve_ui", serve_ui)
        done = invoke("ui", "--port", 5999)
        assert done.exit_code == 3
        store = f"sqlite:///{project}/mlruns/mlflow.db"
        assert calls == [(store, "127.0.0.1", 5999, (), None)]  # no terminal: no password is shown
        assert "http://127.0.0.1:5999" in done.stderr
        done = invoke("ui", "--host", "::", "--allowed-host", "lab", "--allowed-host", "lab.example")
        assert done.exit_code == 3
        assert calls[1:] == [(store, "::", 5000, ["lab", "lab.example"], None)]
        assert "http://[::]:5000" in done.stderr


class TestTensorboard:
    @pytest.fixture
    def served(self, monkeypatch: pytest.MonkeyPatch, opened: list[str]) -> list[tuple[Any, ...]]:
        calls: list[tuple[Any, ...]] = []

        def board_of(store: FakeStore, study: str | None) -> Path:
            calls.append((study, opened[-1]))
            return Path("/boards/x")

        def serve_board(folder: Path, host: str, port: int, open_to_all: bool) -> int:
            calls.append((folder, host, port, open_to_all))
            return 3

        monkeypatch.setattr("kerasweep.tracking.board_of", board_of)
        monkeypatch.setattr("kerasweep.tracking.serve_board", serve_board)
        return calls

    def test_serves_a_study_on_this_machine_only(self, served: list[tuple[Any, ...]]) -> None:
        done = invoke("tensorboard", "wine-study", "--port", 6999, "--tracking-uri", "http://server:5000")
        assert done.exit_code == 3
        assert served == [("wine-study", "http://server:5000"), (Path("/boards/x"), "127.0.0.1", 6999, False)]
        assert "/boards/x: http://127.0.0.1:6999" in done.stderr

    def test_needs_no_study(self, served: list[tuple[Any, ...]], project: Path) -> None:
        assert invoke("tensorboard").exit_code == 3
        assert served == [
            (None, f"sqlite:///{project}/mlruns/mlflow.db"),
            (Path("/boards/x"), "127.0.0.1", 6006, False),
        ]
        assert invoke("tensorboard", "--host", "0.0.0.0", "--no-login").exit_code == 3
        assert served[-1] == (Path("/boards/x"), "0.0.0.0", 6006, True)


class TestExport:
    @pytest.fixture
    def exported(self, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
        calls: list[tuple[Any, ...]] = []

        def export_trial(
            study: str, formats: Sequence[str], out: Path, *, trial: int | None = None, tracking_uri: str | None = None
        ) -> Mapping[str, Path]:
            print("Saved artifact at …", file=sys.stdout)
            calls.append((study, list(formats), out, trial, tracking_uri))
            return {name: out / f"model.{name}" for name in formats}

        monkeypatch.setattr("kerasweep.pipeline.export_trial", export_trial)
        return calls

    def test_prints_where_the_files_are(self, exported: list[tuple[Any, ...]]) -> None:
        done = invoke("export", "wine-study", "--format", "keras", "--format", "onnx", "--out", "models")
        assert done.exit_code == 0, done.output
        assert exported == [("wine-study", ["keras", "onnx"], Path("models"), None, None)]
        assert done.stdout == "keras: models/model.keras\nonnx: models/model.onnx\n"

    def test_of_any_trial_in_any_store(self, exported: list[tuple[Any, ...]]) -> None:
        place = ("--out", "models", "--tracking-uri", "http://server:5000")
        invoke("export", "wine-study", "--format", "litert", "--trial", 7, *place)
        assert exported == [("wine-study", ["litert"], Path("models"), 7, "http://server:5000")]

    def test_every_unknown_format_is_told(self, exported: list[tuple[Any, ...]]) -> None:
        done = invoke("export", "wine-study", "--format", "keras", "--format", "onix", "--format", "h5", "--out", "m")
        assert done.exit_code == 2
        assert exported == []
        assert "Did you mean 'onnx'? Received: 'onix'" in done.stderr
        assert done.stderr.endswith("Received: 'h5'\n2 problems\n")


class TestLrFind:
    @pytest.fixture
    def asked(self, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
        asked: list[dict[str, Any]] = []

        def find(loaded: LoadedPipeline, **options: Any) -> FoundRate:
            asked.append({"fixed": loaded.spec.training.fixed, **options})
            print("what a library prints")
            turning = None if options["high"] == 1 else 0.05
            numbers = np.array([1.0, 2.0])
            test = RangeTest(numbers, numbers, numbers, turning, "" if turning else "the loss still falls")
            return FoundRate(test, {"n_hidden": 2}, 32, options["out"], 1.5)

        monkeypatch.setattr("kerasweep.pipeline.find_rate", find)
        return asked

    def test_for_people(self, file: Path, asked: list[dict[str, Any]]) -> None:
        result = invoke("lr-find", file, "--out", "curve.png", "--set", "training.fixed.n_hidden=2")
        assert result.exit_code == 0, result.stderr
        fixed = {"n_hidden": 2}
        assert asked == [{"fixed": fixed, "low": 1e-5, "high": 10.0, "steps": 500, "out": Path("curve.png")}]
        assert result.stdout.startswith("learning rate 0.005\n")
        assert re.search(r"figure +curve.png", result.stdout)

    def test_for_programs_and_without_a_turn(self, file: Path, asked: list[dict[str, Any]]) -> None:
        result = invoke("lr-find", file, "--json", "--min-rate", 1e-3, "--max-rate", 1, "--steps", 50)
        assert result.exit_code == 1
        told = json.loads(result.stdout)
        assert (told["learning_rate"], told["reason"], told["losses"]) == (None, "the loss still falls", [1.0, 2.0])
        assert asked == [{"fixed": {}, "low": 1e-3, "high": 1.0, "steps": 50, "out": None}]
        assert invoke("lr-find", file, "--max-rate", 1).stdout.startswith("the loss still falls\n")


def test_version() -> None:
    done = invoke("--version")
    assert done.exit_code == 0
    assert re.fullmatch(r"kerasweep \d+\.\d+\S*\n", done.stdout)


def test_every_command_and_option_is_in_the_readme(repository: Path) -> None:
    readme = (repository / "README.md").read_text()
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    wanted = {option for parameter in group.params for option in parameter.opts}
    for name, command in group.commands.items():
        wanted.add(f"kerasweep {name}")
        wanted |= {option for parameter in command.params for option in parameter.opts if option.startswith("-")}
    missing = sorted(text for text in wanted if not re.search(re.escape(text) + r"(?![\w-])", readme))
    assert not missing
