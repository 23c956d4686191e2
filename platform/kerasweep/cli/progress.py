"""What a user sees while a pipeline runs: a live display on a terminal, log lines in a pipe or a file."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from kerasweep.cli.output import harmless, write
from kerasweep.cli.quantities import counted, duration, ended, number, settings
from kerasweep.records import Status, Trial
from kerasweep.study.events import Progress

_UPDATES_PER_SECOND = 8
_SILENCE_SECONDS = 15.0  # the longest that a log says nothing while trials report
_PAUSE_SECONDS = 2.0  # the shortest between two new bests in a log: at first every report is one
_FAILURES_TOLD = 5

Clock = Callable[[], float]


class LogDisplay:
    """One line per event worth keeping, each with its time; no colour, no cursor, nothing rewritten.

    A line is written when a stage begins, when a new best comes (one every two seconds at most), after every
    tenth of the trials, and when trials have reported for 15 seconds without any of these.

    Args:
        stream: where the lines go; a reader that went away does not end the study.
        metric: the objective's name.
        clock: seconds since some point in the past, never running backwards.
    """

    def __init__(self, stream: TextIO, metric: str, clock: Clock = time.monotonic) -> None:
        self._stream, self._metric, self._clock = stream, metric, clock
        self._failures = _Failures()
        self._told: Progress | None = None
        self._told_at = clock()
        self._latest: Progress | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close_search()

    def stage(self, name: str, detail: str) -> None:
        """Writes how the search ended, if this stage follows it, and the stage."""
        self._close_search()
        self._write(f"{name}: {detail}" if detail else name)

    def progress(self, progress: Progress) -> None:
        """Writes a line if there is something new to say."""
        self._latest = progress
        silent = self._clock() - self._told_at
        improved = _best_of(progress) != _best_of(self._told)
        if (
            (improved and silent >= _PAUSE_SECONDS)
            or _tenths(progress) > _tenths(self._told)
            or silent >= _SILENCE_SECONDS
        ):
            self._tell(progress, improved)

    def trial_ended(self, trial: Trial) -> None:
        """Writes a line for a failure of a new kind."""
        if line := self._failures.line(trial):
            self._write(line)

    def note(self, message: str) -> None:
        """Writes the message."""
        self._write(f"note: {message}")

    def _tell(self, progress: Progress, improved: bool) -> None:
        parts = [_how_trials_ended(progress), f"{progress.running} running"]
        if progress.best is not None:
            best = _best(progress.best, self._metric)
            parts.append(f"new {best}: {settings(progress.best.params)}" if improved else best)
        if progress.seconds_left is not None:
            parts.append(f"about {duration(progress.seconds_left)} left")
        self._write("; ".join(parts))
        self._told, self._told_at = progress, self._clock()

    def _close_search(self) -> None:
        if self._latest is not None:
            self._write(f"search ended after {duration(self._latest.seconds)}: {_outcome(self._latest, self._metric)}")
            self._latest = None

    def _write(self, line: str) -> None:
        now = datetime.now().astimezone().isoformat(timespec="seconds")
        write(f"{now} {line}\n", self._stream)


@dataclass(frozen=True)
class _Stage:
    name: str
    detail: str
    since: float


@dataclass(frozen=True)
class _Snapshot:
    progress: Progress
    taken: float


class LiveDisplay:
    """A few lines at the bottom of a terminal that follow the study; what is over moves above them for good.

    Events only store what they bring; a thread of rich's redraws a few times a second, so that an observer's
    call costs next to nothing and the clock ticks while nothing is reported.

    Args:
        console: on a terminal that can move its cursor.
        metric: the objective's name.
        clock: seconds since some point in the past, never running backwards.
    """

    def __init__(self, console: Console, metric: str, clock: Clock = time.monotonic) -> None:
        self._console, self._metric, self._clock = console, metric, clock
        self._failures = _Failures()
        self._stage = _Stage("", "starting", clock())
        self._snapshot: _Snapshot | None = None
        self._spinner = Spinner("line" if console.options.ascii_only else "dots")
        self._live = Live(self, console=console, refresh_per_second=_UPDATES_PER_SECOND, transient=True)

    def __enter__(self) -> Self:
        self._live.start(refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()
        self._close_stage("done" if kind is None else "left", "green" if kind is None else "red")

    def stage(self, name: str, detail: str) -> None:
        """Moves the stage before above the display, and shows this one."""
        self._close_stage("done", "green")
        self._stage, self._snapshot = _Stage(name, detail, self._clock()), None

    def progress(self, progress: Progress) -> None:
        """Shows it at the next redraw."""
        self._snapshot = _Snapshot(progress, self._clock())

    def trial_ended(self, trial: Trial) -> None:
        """Prints a line for a failure of a new kind."""
        if line := self._failures.line(trial):
            self._console.print(Text(harmless(line), style="red"))

    def note(self, message: str) -> None:
        """Prints the message above the display."""
        self._console.print(Text(f"note: {harmless(message)}", style="yellow"))

    def __rich__(self) -> RenderableType:
        stage, snapshot = self._stage, self._snapshot
        head = Table.grid(padding=(0, 1), expand=True)
        head.add_column()
        head.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        head.add_column(justify="right", no_wrap=True)
        title = Text.assemble((stage.name, "bold"), "  " if stage.name else "", stage.detail)
        head.add_row(self._spinner, title, duration(self._clock() - stage.since))
        return head if snapshot is None else Group(head, self._bar(snapshot), self._best_line(snapshot.progress))

    def _bar(self, snapshot: _Snapshot) -> RenderableType:
        progress = snapshot.progress
        facts = Text(f"{_ended(progress)}/{counted(progress.total, 'trial')}, {progress.running} running")
        if progress.failed:
            facts.append(f", {progress.failed} failed", style="red")
        if progress.seconds_left is not None:
            left = progress.seconds_left - (self._clock() - snapshot.taken)
            facts.append(f", about {duration(max(0.0, left))} left")
        line = Table.grid(padding=(0, 1), expand=True)
        line.add_column(ratio=1)
        line.add_column(justify="right", no_wrap=True, overflow="ellipsis")
        line.add_row(
            ProgressBar(total=max(1, progress.total), completed=_ended(progress), complete_style="green"), facts
        )
        return line

    def _best_line(self, progress: Progress) -> RenderableType:
        if progress.best is None:
            return Text("no result yet", style="dim")
        line = Text(_best(progress.best, self._metric), style="green", no_wrap=True, overflow="ellipsis")
        return line.append(f": {settings(progress.best.params)}", style="dim")

    def _close_stage(self, verb: str, style: str) -> None:
        stage, snapshot = self._stage, self._snapshot
        if not stage.name:
            return
        outcome = _outcome(snapshot.progress, self._metric) if snapshot else stage.detail
        spent = duration(self._clock() - stage.since)
        text = Text.assemble((f"{verb} ", style), (stage.name, "bold"), f" in {spent}")
        self._console.print(text.append(f": {outcome}") if outcome else text)


@contextmanager
def display(stream: TextIO, metric: str) -> Iterator[LiveDisplay | LogDisplay]:
    """Shows a study on a stream while the ``with`` block lasts.

    It has a descriptor of its own, so that it goes on while what libraries write to standard error is put aside.

    Args:
        stream: standard error, as a rule.
        metric: the objective's name.
    """
    try:
        descriptor = os.dup(stream.fileno())
    except OSError:  # not a file, as in a notebook
        with suited(stream, metric) as shown:
            yield shown
        return
    with (
        os.fdopen(descriptor, "w", encoding=stream.encoding, errors=stream.errors) as own,
        suited(own, metric) as shown,
    ):
        yield shown


def suited(stream: TextIO, metric: str) -> LiveDisplay | LogDisplay:
    """The display that suits a stream, to be used in a ``with`` statement.

    Args:
        stream: standard error, as a rule.
        metric: the objective's name.

    Returns:
        A ``LiveDisplay`` on a terminal that can move its cursor (without colour where ``NO_COLOR`` is set), else
        a ``LogDisplay``.
    """
    if stream.isatty():
        console = Console(file=stream, highlight=False)
        if not console.is_dumb_terminal:
            return LiveDisplay(console, metric)
    return LogDisplay(stream, metric)


class _Failures:
    """Chooses which failed trials deserve a line: the first of each reason, and not too many of those."""

    def __init__(self) -> None:
        self._reasons: set[str] = set()

    def line(self, trial: Trial) -> str | None:
        """What to say about a trial that ended; None for nothing."""
        if trial.status is not Status.FAILED or len(self._reasons) > _FAILURES_TOLD:
            return None
        reason = (trial.reason.strip().splitlines() or ["no reason given"])[0]
        if reason in self._reasons:
            return None
        self._reasons.add(reason)
        if len(self._reasons) > _FAILURES_TOLD:
            return "more trials failed for other reasons: kerasweep show lists them"
        return f"trial {trial.number} failed: {reason}"


def _best_of(progress: Progress | None) -> tuple[int, float | None] | None:
    return None if progress is None or progress.best is None else (progress.best.number, progress.best.value)


def _ended(progress: Progress) -> int:
    return progress.finished + progress.stopped + progress.failed


def _tenths(progress: Progress | None) -> int:
    return 0 if progress is None else 10 * _ended(progress) // max(1, progress.total)


def _best(trial: Trial, metric: str) -> str:
    epoch = "" if trial.epoch is None else f", epoch {trial.epoch}"
    return f"best {metric} {number(trial.value)} (trial {trial.number}{epoch})"


def _how_trials_ended(progress: Progress) -> str:
    counts = {"finished": progress.finished, "stopped": progress.stopped, "failed": progress.failed}
    return f"{_ended(progress)}/{counted(progress.total, 'trial')} ({ended(counts)})"


def _outcome(progress: Progress, metric: str) -> str:
    best = "no result" if progress.best is None else _best(progress.best, metric)
    return f"{_how_trials_ended(progress)}, {best}"
