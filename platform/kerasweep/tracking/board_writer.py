"""Writes one study as TensorBoard shows it: learning curves, and the table of hyperparameters.

The folder of a study holds a run for each trial, ``trial_0007``, which is a session of the HParams plugin, and below
it ``train`` and ``validation`` as TensorBoard's Keras callback would write them: tags ``epoch_loss`` and the like, and
step 0 for the first epoch. A file is open only while something is added to it, so that their number does not matter.
What an earlier process wrote of a run, before it was killed, goes as soon as this one writes the run.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kerasweep.errors import TrackingError
from kerasweep.records import Metrics, ParamValue, Status, Trial
from kerasweep.spec.parameters import Choice, Find, Fixed, Parameter, SpaceSpec
from kerasweep.tracking import event_files, layout
from kerasweep.tracking.base import StudyHeader

_SHOW_SECONDS = 5.0  # after which what waits is written; TensorBoard itself looks every 5 seconds
_REST = 10  # times as long as writing took, nothing is written
_ENDED = {Status.FINISHED: "success", Status.STOPPED: "success", Status.FAILED: "failure"}


@dataclass
class _Run:
    """A trial that goes on.

    Attributes:
        folder: of its runs.
        history: what was written of it, epoch by epoch.
    """

    folder: Path
    history: list[Metrics] = field(default_factory=list)


class BoardWriter:
    """One study's event files. Times ``at`` are milliseconds since the Unix epoch.

    Every method takes note only, but for ``write_next`` and ``flush``.

    Args:
        folder: of the study.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._header: StudyHeader | None = None
        self._ended = False
        self._domains: dict[str, event_files.Domain] = {}
        self._declared = False
        self._finds = False  # a trial's hyperparameters are not all known before it has ended
        self._running: dict[int, _Run] = {}
        self._waiting: dict[Path, list[Any]] = {}  # events by file
        self._begun: set[Path] = set()  # files that hold something, or will
        self._written: set[Path] = set()  # those that do
        self._due = math.inf
        self._rest = _SHOW_SECONDS

    def start(self, header: StudyHeader) -> None:
        """A study begins; its hyperparameters are those of its space."""
        self._header = header
        space = json.loads(header.spec).get("space")
        if space is not None:
            parameters = SpaceSpec.model_validate(space).parameters
            self._finds = any(isinstance(parameter, Find) for parameter in parameters.values())
            self._domains = {name: _domain(parameter) for name, parameter in parameters.items()}

    def begin_trial(self, trial: Trial, at: int) -> None:
        """A trial begins; one that has begun already (it was restarted) keeps its run."""
        if trial.number in self._running:
            return
        self._running[trial.number] = _Run(self._folder / event_files.trial_folder(trial.number))
        if not self._finds:
            self._open(trial, at)

    def _open(self, trial: Trial, at: int) -> None:
        """Write a trial's hyperparameters, which can be written once."""
        run = self._running[trial.number]
        params = {key: self._typed(key, value) for key, value in trial.params.items()}
        self._add(
            run.folder, [event_files.session_start_event(run.folder.name, params, trial.started or at / 1000)], at
        )

    def log_epochs(self, number: int, first_epoch: int, metrics: Sequence[Metrics], at: int) -> None:
        """A running trial's metrics. An epoch that is reported again replaces what was there, and what came after."""
        run = self._running.get(number)
        if run is None:
            raise TrackingError(f"epochs are logged to a trial between its begin and its end. Received: trial {number}")
        for epoch, values in enumerate(metrics, first_epoch):
            self._declare(values, at)
            self._forget(run, epoch - 1, at)
            run.history += [{}] * (epoch - 1 - len(run.history)) + [values]
            self._add_epoch(run, epoch, values, at)

    def end_trial(self, trial: Trial, at: int) -> None:
        """A trial ends; its run is to hold exactly what ``trial`` says, and the objective at its best."""
        at = round(trial.ended * 1000) if trial.ended else at
        self.begin_trial(trial, at)
        if self._finds:
            self._open(trial, at)
        run = self._running[trial.number]
        same = [_same(*pair) for pair in zip(run.history, trial.history, strict=False)]
        kept = [*same, False].index(False)
        self._forget(run, kept, at)
        self.log_epochs(trial.number, kept + 1, trial.history[kept:], at)
        events = [event_files.session_end_event(_ENDED[trial.status], at / 1000)]
        if trial.value is not None and trial.epoch is not None:
            best = {self._best: trial.value}
            events.insert(0, event_files.scalar_event(best, trial.epoch - 1, at / 1000))
        self._add(run.folder, events, at)
        del self._running[trial.number]

    def log_file(self, copy: str, folder: str, trial: int | None) -> None:
        """TensorBoard shows none of the study's files."""

    def log_summary(self, tags: Mapping[str, str], numbers: Mapping[str, float], at: int) -> None:
        """TensorBoard shows nothing of a study as a whole."""

    def end(self, status: str, at: int) -> None:
        """The study ends, with whatever status; trials that nobody ended end with it."""
        for run in self._running.values():
            self._add(run.folder, [event_files.session_end_event("unknown", at / 1000)], at)
        self._running.clear()
        self._declare((), at)
        self._ended = True
        self.flush()

    @property
    def goes_on(self) -> bool:
        """Whether a study was started and not ended."""
        return self._header is not None and not self._ended

    @property
    def due(self) -> float:
        """When ``write_next`` has something to do, on the monotonic clock; infinity if nothing waits."""
        return self._due

    def write_next(self) -> None:
        """Write all that waits."""
        self.flush()

    def flush(self) -> None:
        """Write all that waits.

        Raises:
            TrackingError: something could not be written; it is dropped.
        """
        begun = time.monotonic()
        waiting, self._waiting, self._due = self._waiting, {}, math.inf
        try:
            for path, events in waiting.items():
                if path not in self._written:
                    self._written.add(path)
                    event_files.clear(path.parent)
                event_files.append(path, events)
        except OSError as error:
            raise TrackingError(f"event files must be writable. Received: {error}") from error
        finally:
            self._rest = max(_SHOW_SECONDS, _REST * (time.monotonic() - begun))

    @property
    def _best(self) -> str:
        """The tag of a trial's best value of the objective."""
        return f"best_{self._started().objective.metric}"

    def _started(self) -> StudyHeader:
        if self._header is None:
            raise TrackingError("a study must be started before anything is logged to it. Received: no start")
        return self._header

    def _declare(self, names: Iterable[str], at: int) -> None:
        """Say once what varies and what is measured, as soon as a trial has told its metrics."""
        if self._declared:
            return
        self._declared = True
        header = self._started()
        measured = [("", self._best, f"best {header.objective.metric}")]
        measured += [(*event_files.tag(name), name) for name in names]
        description = f"{header.id}: {header.objective.metric}, to be {header.objective.direction}d"
        event = event_files.experiment_event(self._domains, measured, description, header.started)
        self._add(self._folder, [event], at)

    def _typed(self, name: str, value: ParamValue) -> ParamValue:
        plain: ParamValue = layout.plain_value(value)
        return str(plain) if name in self._domains and self._domains[name].kind == "string" else plain

    def _add_epoch(self, run: _Run, epoch: int, values: Metrics, at: int) -> None:
        split: dict[str, dict[str, float]] = {}
        for name, value in values.items():
            group, tag = event_files.tag(name)
            split.setdefault(group, {})[tag] = value
        for group, tagged in split.items():
            self._add(run.folder / group, [event_files.scalar_event(tagged, epoch - 1, at / 1000)], at)

    def _forget(self, run: _Run, epochs: int, at: int) -> None:
        """Keep the first epochs only, of those that were told."""
        if len(run.history) > epochs:
            groups = {event_files.tag(name)[0] for values in run.history[epochs:] for name in values}
            del run.history[epochs:]
            for group in sorted(groups):
                self._add(run.folder / group, [event_files.restart_event(epochs, at / 1000)], at)

    def _add(self, folder: Path, events: Sequence[Any], at: int) -> None:
        path = folder / event_files.file_name(self._started().started)
        if path not in self._begun:
            self._begun.add(path)
            self._waiting[path] = [event_files.first_event(at / 1000)]
        self._waiting.setdefault(path, []).extend(events)
        self._due = min(self._due, time.monotonic() + self._rest)


def _domain(parameter: Parameter) -> event_files.Domain:
    if isinstance(parameter, Choice | Fixed):
        values = parameter.values if isinstance(parameter, Choice) else [parameter.value]
        kinds = {type(value) for value in values}
        if kinds == {bool}:
            return event_files.Domain("bool", values=tuple(values))
        if kinds <= {int, float}:
            return event_files.Domain("float64", values=tuple(values))
        return event_files.Domain("string", values=tuple(map(str, values)))
    if isinstance(parameter, Find):  # a tenth of the rate at which the loss turns up
        return event_files.Domain("float64", bounds=(0.1 * parameter.min, 0.1 * parameter.max))
    return event_files.Domain("float64", bounds=(parameter.min, parameter.max))


def _same(a: Metrics, b: Metrics) -> bool:
    return a.keys() == b.keys() and all(a[key] == b[key] or (a[key] != a[key] and b[key] != b[key]) for key in a)
