"""Both displays, driven by events as a study sends them."""

from __future__ import annotations

import io
import os
import re
import sys
import tempfile

import pytest
from rich.console import Console

from kerasweep.cli.progress import LiveDisplay, LogDisplay, display, suited
from kerasweep.records import Status, Trial
from kerasweep.study.events import Progress

TIMED = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d (.*)$")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def best(number: int, value: float) -> Trial:
    return Trial(number, {"n_hidden": 2, "optimizer": "sgd"}, seed=1, value=value, epoch=7)


def progress(ended: int, trial: Trial | None, *, total: int = 100, failed: int = 0) -> Progress:
    return Progress(
        total, finished=ended - failed, stopped=0, failed=failed, running=4, best=trial, seconds=12.0, seconds_left=30.0
    )


def failed(number: int, reason: str) -> Trial:
    return Trial(number, {}, seed=1, status=Status.FAILED, reason=reason)


def log_lines(stream: io.StringIO) -> list[str]:
    matches = [TIMED.match(line) for line in stream.getvalue().splitlines()]
    assert all(matches), stream.getvalue()
    return [match.group(1) for match in matches if match]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def log(stream: io.StringIO, clock: Clock) -> LogDisplay:
    return LogDisplay(stream, "val_loss", clock)


class TestLog:
    def test_says_each_stage_and_how_the_search_ended(self, log: LogDisplay, stream: io.StringIO) -> None:
        with log:
            log.stage("search", "4 trials")
            log.progress(progress(4, best(2, 0.25), total=4, failed=1))
            log.stage("retrain", "")
            log.note("the alias did not move")
        lines = log_lines(stream)
        assert lines[0] == "search: 4 trials"
        assert lines[-3:] == [
            "search ended after 12 s: 4/4 trials (3 finished, 1 failed), best val_loss 0.2500 (trial 2, epoch 7)",
            "retrain",
            "note: the alias did not move",
        ]

    def test_a_new_best_is_told_with_its_parameters(self, log: LogDisplay, stream: io.StringIO, clock: Clock) -> None:
        clock.now += 3
        log.progress(progress(0, best(2, 0.5)))
        clock.now += 3
        log.progress(progress(0, best(2, 0.5)))
        clock.now += 3
        log.progress(progress(0, best(3, 0.25)))
        assert log_lines(stream) == [
            f"0/100 trials (none ended); 4 running; new best val_loss {value} (trial {trial}, epoch 7): "
            "n_hidden=2 optimizer=sgd; about 30 s left"
            for trial, value in ((2, "0.5000"), (3, "0.2500"))
        ]

    def test_many_new_bests_at_once_become_one_line(self, log: LogDisplay, stream: io.StringIO, clock: Clock) -> None:
        for step in range(50):
            clock.now += 0.1
            log.progress(progress(0, best(step, 1 / (step + 1))))
        assert len(log_lines(stream)) == 2

    def test_every_tenth_of_the_trials_is_told(self, log: LogDisplay, stream: io.StringIO) -> None:
        for ended in range(101):
            log.progress(progress(ended, None))
        assert [line.split("/")[0] for line in log_lines(stream)] == [str(10 * tenth) for tenth in range(1, 11)]

    def test_no_silence_of_more_than_15_seconds(self, log: LogDisplay, stream: io.StringIO, clock: Clock) -> None:
        for _ in range(60):
            clock.now += 1
            log.progress(progress(3, None))
        assert len(log_lines(stream)) == 4

    def test_the_last_line_comes_also_after_an_error(self, log: LogDisplay, stream: io.StringIO) -> None:
        with pytest.raises(KeyboardInterrupt), log:
            log.stage("search", "")
            log.progress(progress(3, None))
            raise KeyboardInterrupt
        assert log_lines(stream)[-1].endswith("3/100 trials (3 finished), no result")

    def test_failures_of_one_kind_are_told_once(self, log: LogDisplay, stream: io.StringIO) -> None:
        for number in range(3):
            log.trial_ended(failed(number, "loss is NaN\nTraceback …"))
        log.trial_ended(Trial(9, {}, seed=1, status=Status.FINISHED))
        assert log_lines(stream) == ["trial 0 failed: loss is NaN"]

    def test_failures_of_endless_kinds_end(self, log: LogDisplay, stream: io.StringIO) -> None:
        for number in range(50):
            log.trial_ended(failed(number, f"reason {number}"))
        lines = log_lines(stream)
        assert len(lines) == 6
        assert lines[-1] == "more trials failed for other reasons: kerasweep show lists them"

    def test_holds_no_control_codes(self, log: LogDisplay, stream: io.StringIO) -> None:
        with log:
            log.stage("search", "")
            log.progress(progress(50, best(1, 0.5)))
        assert "\x1b" not in stream.getvalue()


class TestLive:
    @pytest.fixture
    def console(self) -> Console:
        return Console(file=io.StringIO(), force_terminal=True, width=90, color_system=None, highlight=False)

    @pytest.fixture
    def live(self, console: Console, clock: Clock) -> LiveDisplay:
        return LiveDisplay(console, "val_loss", clock)

    @staticmethod
    def frame(live: LiveDisplay, width: int = 90) -> list[str]:
        console = Console(file=io.StringIO(), width=width, color_system=None, highlight=False)
        with console.capture() as captured:
            console.print(live)
        return captured.get().splitlines()

    def test_a_frame_says_how_the_search_stands(self, live: LiveDisplay, clock: Clock) -> None:
        live.stage("search", "100 trials, tpe")
        live.progress(progress(31, best(17, 0.2731), failed=2))
        clock.now += 10
        head, bar, winner = self.frame(live)
        assert "search  100 trials, tpe" in head
        assert head.rstrip().endswith("10 s")
        assert bar.rstrip().endswith("31/100 trials, 4 running, 2 failed, about 20 s left")
        assert winner.startswith("best val_loss 0.2731 (trial 17, epoch 7): n_hidden=2 optimizer=sgd")

    def test_before_the_first_result(self, live: LiveDisplay) -> None:
        assert "starting" in self.frame(live)[0]
        live.stage("search", "")
        live.progress(progress(0, None))
        assert self.frame(live)[2] == "no result yet"

    @pytest.mark.parametrize("width", [20, 40, 60, 90, 200])
    def test_a_frame_keeps_its_height_at_any_width(self, live: LiveDisplay, width: int) -> None:
        live.stage("search", "100 trials, tpe with hyperband, and a long story to tell about it " * 3)
        wordy = Trial(1, {f"parameter_{n}": 0.123456 for n in range(20)}, seed=1, value=0.5, epoch=3)
        live.progress(progress(31, wordy, failed=2))
        lines = self.frame(live, width)
        assert len(lines) == 3
        assert all(len(line) <= width for line in lines)

    def test_the_bar_of_an_earlier_stage_is_gone(self, live: LiveDisplay) -> None:
        live.stage("search", "")
        live.progress(progress(100, best(1, 0.5)))
        live.stage("retrain", "3 seeds")
        assert len(self.frame(live)) == 1

    def test_leaves_a_summary_of_each_stage(self, live: LiveDisplay, console: Console, clock: Clock) -> None:
        with live:
            live.stage("search", "100 trials")
            live.progress(progress(100, best(17, 0.2731), failed=2))
            live.trial_ended(failed(4, "loss is NaN [epoch 3]"))
            clock.now += 61
            live.stage("retrain", "3 seeds")
            live.note("version 1 [champion] stays")
            clock.now += 5
        assert isinstance(console.file, io.StringIO)
        text = console.file.getvalue()
        for line in (
            "trial 4 failed: loss is NaN [epoch 3]",
            "done search in 1 min 01 s: 100/100 trials (98 finished, 2 failed), best val_loss 0.2731",
            "note: version 1 [champion] stays",
            "done retrain in 5.0 s: 3 seeds",
        ):
            assert line in text
        assert text.endswith("done retrain in 5.0 s: 3 seeds\n")

    def test_shows_the_cursor_again_after_an_error(self, live: LiveDisplay, console: Console) -> None:
        with pytest.raises(KeyboardInterrupt), live:
            live.stage("search", "")
            raise KeyboardInterrupt
        assert isinstance(console.file, io.StringIO)
        text = console.file.getvalue()
        assert text.rfind("\x1b[?25h") > text.rfind("\x1b[?25l")
        assert "left search in 0.0 s" in text


class TestChoice:
    def test_a_pipe_gets_a_log(self) -> None:
        assert isinstance(suited(io.StringIO(), "val_loss"), LogDisplay)

    def test_a_dumb_terminal_gets_a_log(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TERM", "dumb")
        assert isinstance(suited(Terminal(), "val_loss"), LogDisplay)

    def test_a_pipe_gets_a_log_even_where_colour_is_forced(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FORCE_COLOR", "1")
        assert isinstance(suited(io.StringIO(), "val_loss"), LogDisplay)

    def test_a_terminal_gets_the_live_display_and_colour_only_if_wanted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TERM", "xterm-256color")
        monkeypatch.setenv("NO_COLOR", "1")
        terminal = Terminal()
        chosen = suited(terminal, "val_loss")
        assert isinstance(chosen, LiveDisplay)
        with chosen:
            chosen.stage("search", "")
            chosen.progress(progress(5, best(1, 0.5), failed=1))
            chosen.note("careful")
        assert not re.search(r"\x1b\[(?:\d+;)*[349][0-7]m", terminal.getvalue())


def test_a_display_goes_on_while_standard_error_is_put_aside(capfd: pytest.CaptureFixture[str]) -> None:
    with display(sys.stderr, "val_loss") as shown, tempfile.TemporaryFile() as aside:
        kept = os.dup(2)
        os.dup2(aside.fileno(), 2)
        try:
            shown.note("still here")
        finally:
            os.dup2(kept, 2)
            os.close(kept)
    assert "note: still here" in capfd.readouterr().err


def test_a_display_needs_no_file() -> None:
    stream = io.StringIO()
    with display(stream, "val_loss") as shown:
        shown.note("here")
    assert stream.getvalue().endswith("note: here\n")
