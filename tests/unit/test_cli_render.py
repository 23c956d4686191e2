"""Results for people, at several widths."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console, RenderableType

from kerasweep.cli import render
from kerasweep.pipeline import Plan
from kerasweep.pipeline.result import PipelineResult, Registered
from kerasweep.records import Direction, Objective, Params, Status, StudyRecord, Trial

PARAMS: Params = {"n_hidden": 2, "optimizer": "sgd", "momentum": 0.91234567, "learning_rate": 0.00312345}
OBJECTIVE = Objective("val_loss", Direction.MINIMIZE)
WINNER = Trial(17, PARAMS, seed=1, status=Status.FINISHED, value=0.27134, epoch=26, seconds=42.4)
SECOND = Trial(3, {"n_hidden": 1, "optimizer": "adam"}, seed=1, status=Status.STOPPED, value=0.3, epoch=5, seconds=125)
FAILED = Trial(4, PARAMS, seed=1, status=Status.FAILED, reason="loss is NaN at epoch 2\nTraceback …")
RESULT = PipelineResult(
    study="housing@ab12cd34",
    status="finished",
    best=WINNER,
    trials={"finished": 40, "stopped": 22, "failed": 2},
    test={"loss": 0.2677, "mae": 0.3456},
    spread={"loss": (0.2651, 0.2677, 0.27)},
    baselines={"linear": {"loss": 0.53, "mae": 0.55}, "dummy": {"loss": 1.31}},
    exports={"keras": "/exports/model.keras"},
    model=Registered("housing", 3, "champion", moved=True),
    seconds={"search": 80.2, "retrain": 20.0, "total": 123.0},
)
RECORD = StudyRecord(
    id="housing@ab12cd34",
    name="housing",
    status="finished",
    started=1.7e9,
    objective=OBJECTIVE,
    spec="{}",
    trials=(WINNER, SECOND, FAILED, replace(FAILED, number=5)),
    summary=RESULT.to_json(),
)


def text(renderable: RenderableType, width: int = 120) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None, highlight=False)
    with console.capture() as captured:
        console.print(renderable)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def result(outcome: PipelineResult, *, default_store: bool = True, width: int = 120) -> str:
    return text(render.result(outcome, "val_loss", "sqlite:////store.db", default_store=default_store), width)


class TestResult:
    def test_says_what_was_found_and_where_it_is(self) -> None:
        assert result(RESULT).splitlines() == [
            "housing@ab12cd34 finished in 2 min 03 s",
            "64 trials (40 finished, 22 stopped, 2 failed)",
            "",
            "winner: trial 17, val_loss 0.2713 at epoch 26",
            "  n_hidden       2",
            "  optimizer      sgd",
            "  momentum       0.9123",
            "  learning_rate  0.003123",
            "",
            "test split",
            "                loss     mae",
            "  this model  0.2677  0.3456",
            "  linear      0.5300  0.5500",
            "  dummy        1.310       -",
            "",
            "over the seeds",
            "  loss  0.2651 to 0.2700, median 0.2677",
            "",
            "exports",
            "  keras  /exports/model.keras",
            "",
            "model",
            "  models:/housing@champion  version 3",
            "",
            "time",
            "  search   1 min 20 s",
            "  retrain  20 s",
            "",
            "tracking",
            "  store  sqlite:////store.db",
            "",
            "next",
            "  kerasweep ui",
            "  kerasweep show housing@ab12cd34",
        ]

    def test_says_that_the_winner_overfits(self) -> None:
        over = replace(WINNER, epoch=1, history=({"loss": 0.2, "val_loss": 0.27134},))
        shown = result(replace(RESULT, best=over))
        assert "  learning_rate  0.003123\n  overfits: its validation loss is 1.357 times its training loss\n" in shown

    def test_says_why_an_alias_did_not_move(self) -> None:
        stays = Registered("housing", 3, "champion", moved=False, reason="version 1 has loss 0.2601")
        shown = result(replace(RESULT, model=stays))
        assert "models:/housing/3  version 3" in shown
        assert "@champion          did not move: version 1 has loss 0.2601" in shown

    def test_says_that_there_is_no_winner(self) -> None:
        nothing = PipelineResult("housing@ab12cd34", "interrupted", None, {"finished": 0, "stopped": 0, "failed": 0})
        shown = result(nothing)
        assert shown.startswith("housing@ab12cd34 interrupted\nno trials ended\n")
        assert "none: no trial succeeded" in shown
        for heading in ("test split", "exports", "model", "time"):
            assert f"\n{heading}\n" not in shown

    def test_the_next_commands_find_another_store(self) -> None:
        shown = result(RESULT, default_store=False)
        assert "  kerasweep ui --tracking-uri sqlite:////store.db\n" in shown
        assert shown.endswith("  kerasweep show housing@ab12cd34 --tracking-uri sqlite:////store.db")


class TestStudy:
    def test_head_and_failures(self) -> None:
        shown = text(render.study(RECORD, [WINNER, SECOND]))
        assert shown.startswith("housing@ab12cd34 finished, started 20")
        assert "\nminimize val_loss; 4 trials (1 finished, 1 stopped, 2 failed)\n" in shown
        assert "\ntest split: loss 0.2677, mae 0.3456\n" in shown
        assert "\nmodel: models:/housing@champion\n" in shown
        assert shown.endswith("why trials failed\n  loss is NaN at epoch 2  2 trials")

    def test_running_trials_are_counted_apart(self) -> None:
        running = replace(RECORD, status="running", trials=(WINNER, replace(SECOND, status=Status.RUNNING)), summary={})
        assert "1 trial (1 finished), 1 running" in text(render.study(running, [WINNER]))

    def test_a_wide_terminal_has_a_column_for_each_parameter(self) -> None:
        head, first, second = text(render.trials([WINNER, SECOND], "val_loss")).splitlines()
        assert head.split() == ["rank", "trial", "status", "val_loss", "epoch", "time", *PARAMS]
        assert first.split() == ["1", "17", "finished", "0.2713", "26", "42", "s", "2", "sgd", "0.9123", "0.003123"]
        assert second.split() == ["2", "3", "stopped", "0.3000", "5", "2", "min", "05", "s", "1", "adam", "-", "-"]

    def test_trials_that_overfit_are_marked(self) -> None:
        fits = replace(WINNER, epoch=1, history=({"loss": 0.25, "val_loss": 0.27134},))
        over = replace(SECOND, epoch=2, history=({"loss": 1.0, "val_loss": 1.0}, {"loss": 0.2, "val_loss": 0.3}))
        head, first, second, third = text(render.trials([fits, over, FAILED], "val_loss")).splitlines()
        assert head.split()[:7] == ["rank", "trial", "status", "val_loss", "epoch", "time", "val/train"]
        assert first.split()[7] == "1.09"
        assert second.split()[9:11] == ["1.50", "overfits"]
        assert third.split()[7] == "-"
        shown = text(render.study(replace(RECORD, trials=(fits, over)), [fits, over]))
        assert "overfitting: 1 trial with over 1.3 times the training loss on validation data" in shown

    @pytest.mark.parametrize(
        ("width", "head"),
        [
            (85, "rank  trial  status    val_loss  epoch        time  parameters"),
            (50, "trial  val_loss  parameters"),
            (30, "17: 0.2713 n_hidden=2"),
        ],
    )
    def test_a_narrow_terminal_loses_columns_but_no_parameter(self, width: int, head: str) -> None:
        lines = text(render.trials([WINNER, SECOND], "val_loss"), width).splitlines()
        assert lines[0] == head
        assert max(map(len, lines)) <= width
        packed = "".join(lines).replace(" ", "")
        for name, value in (("n_hidden", "2"), ("optimizer", "sgd"), ("momentum", "0.9123")):
            assert f"{name}={value}" in packed

    def test_without_trials(self) -> None:
        assert text(render.trials([], "val_loss")) == "no trials to show"

    def test_users_brackets_are_not_markup(self) -> None:
        odd = replace(WINNER, params={"layers": "[red]x[/red]"})
        assert "[red]x[/red]" in text(render.trials([odd], "val_loss"))


class TestStudies:
    def test_one_line_each(self) -> None:
        begun = replace(RECORD, id="housing@00000000", status="running", summary={})
        head, finished, running = text(render.studies([RECORD, begun])).splitlines()
        assert head.split() == ["study", "status", "started", "trials", "best", "objective"]
        assert finished.split()[:2] == ["housing@ab12cd34", "finished"]
        assert finished.endswith("64  0.2713  minimize val_loss")
        assert running.split()[4:6] == ["-", "-"]

    @pytest.mark.parametrize("width", [40, 60, 80])
    def test_a_narrow_terminal_still_has_one_line_each(self, width: int) -> None:
        lines = text(render.studies([RECORD, RECORD]), width).splitlines()
        assert len(lines) == 3
        assert all("housing@ab12cd34" in line for line in lines[1:])

    def test_none(self) -> None:
        assert "no studies in this store yet" in text(render.studies([]))


def test_a_plan() -> None:
    planned = Plan(
        sections=(("search", (("searcher", "tpe"), ("trials", "64"))), ("space", (("n_hidden", "int, 0 to 3"),))),
        warnings=("no GPU here",),
    )
    assert text(render.plan(planned)).splitlines() == [
        "search",
        "  searcher  tpe",
        "  trials    64",
        "",
        "space",
        "  n_hidden  int, 0 to 3",
        "",
        "warnings",
        "  no GPU here",
    ]
