"""Runs a pipeline's stages, one after another."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kerasweep.delivery import clear_drafts
from kerasweep.errors import SpecError, StudyError
from kerasweep.pipeline.result import PipelineResult, Registered
from kerasweep.spec import LoadedPipeline
from kerasweep.spec.pipeline import PipelineSpec
from kerasweep.study.deliverable import check_deliverable
from kerasweep.study.events import Observer, Silent
from kerasweep.study.origin import Destination, Origin
from kerasweep.study.recording import Recording
from kerasweep.study.run import StudyRun


def run(
    loaded: LoadedPipeline,
    *,
    observer: Observer | None = None,
    ray_address: str | None = None,
    tracking_uri: str | None = None,
) -> PipelineResult:
    """Searches, then retrains, evaluates, exports and registers the winner.

    An interrupt or a time limit ends the search; the best trial so far is delivered all the same.

    Args:
        loaded: the pipeline file.
        observer: told how it goes.
        ray_address: of a cluster to run on; a Ray of its own on this machine by default.
        tracking_uri: of the MLflow server or database; the file's ``tracking.uri`` by default.

    Raises:
        SpecError: the file says something of the data or the model that is not so, with its place in the file.
        StudyError: no trial succeeded.
        KerasweepError: what else went wrong, by its class.
        KeyboardInterrupt: a second interrupt.
    """
    destination = Destination(ray_address, tracking_uri, observer or Silent())
    return deliver(loaded, Origin(loaded.directory, loaded.text), destination)


def deliver(
    loaded: LoadedPipeline, origin: Origin, destination: Destination, recording: Recording | None = None
) -> PipelineResult:
    """Runs all stages; see ``run``.

    Args:
        loaded: what is to be done.
        origin: where the study comes from.
        destination: where it runs.
        recording: of a study that goes on.
    """
    try:
        return _run(loaded.spec, origin, destination, recording)
    except SpecError as error:
        raise loaded.placed(error) from error


def _run(spec: PipelineSpec, origin: Origin, destination: Destination, recording: Recording | None) -> PipelineResult:
    watch = destination.observer
    clock = _Clock(watch)
    study = StudyRun(spec, origin, destination, recording)
    try:
        try:
            with clock.timed("search"):
                check_deliverable(study.spec, study.models, study.data)
                study.search()
        except StudyError:
            if not study.interrupted:
                raise
            study.close()
            return PipelineResult(study.id, study.status, None, study.counts, seconds=clock.seconds())
        from kerasweep.study.winner import Winner  # brings TensorFlow, which the search leaves to its workers

        winner = Winner(study)
        if spec.retrain is not None:
            seeds = f"{spec.retrain.seeds} seed(s)"
            with clock.stage("retrain", f"trial {winner.trial.number}, {winner.trial.epoch} epochs, {seeds}"):
                winner.retrain(spec.retrain)
        else:
            winner.recover()
        study.release()
        with clock.stage("evaluate", "the test split, once, beside the baselines"):
            evaluation = winner.evaluate()
        exports: Mapping[str, Path] = {}
        if spec.export.formats:
            folder = Path.cwd() / "mlruns" / "exports" / study.id
            clear_drafts(folder)  # of a driver that was killed: a study has one at a time
            with clock.stage("export", ", ".join(spec.export.formats)):
                exports = winner.export(spec.export.formats, folder)
        model = None
        if spec.register_ is not None:
            with clock.stage("register", spec.register_.name or spec.name):
                made = winner.register(spec.register_)
            model = Registered(made.name, made.version, made.alias, made.moved, made.reason)
            if not made.moved:
                watch.note(f"{made.name}@{made.alias} did not move: {made.reason}")
        result = PipelineResult(
            study=study.id,
            status=study.status,
            best=winner.trial,
            trials=study.counts,
            test=evaluation.test,
            spread=evaluation.spread,
            baselines=evaluation.baselines,
            exports={name: str(path) for name, path in exports.items()},
            model=model,
            seconds=clock.seconds(),
        )
        study.summarise(_summary(result))
    except BaseException:
        study.abort()
        raise
    study.close()
    return result


def _summary(result: PipelineResult) -> dict[str, Any]:
    """What the tracking store keeps of the result; it has the study's id and status already."""
    return {key: value for key, value in result.to_json().items() if key not in ("study", "status")}


class _Clock:
    """Announces stages and measures them."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._seconds: dict[str, float] = {}
        self._begun = time.monotonic()

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        begun = time.monotonic()
        try:
            yield
        finally:
            self._seconds[name] = time.monotonic() - begun

    @contextmanager
    def stage(self, name: str, detail: str) -> Iterator[None]:
        self._observer.stage(name, detail)
        with self.timed(name):
            yield

    def seconds(self) -> Mapping[str, float]:
        return {**self._seconds, "total": time.monotonic() - self._begun}
