"""The commands for a study that was cut off: go on, run again, repair, bring the tracking store up to date."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NoReturn

import typer

from kerasweep.cli.options import AsJson, Budget, RayAddress, Storage, Study, TrackingUri
from kerasweep.cli.outcome import OF_STATUS, ExitCode
from kerasweep.cli.output import program, reserved, show, write, write_json

if TYPE_CHECKING:
    from kerasweep.pipeline import PipelineResult
    from kerasweep.spec import LoadedPipeline
    from kerasweep.spec.pipeline import PipelineSpec


def resume(
    study: Study,
    overrides: Budget = None,
    ray_address: RayAddress = None,
    tracking_uri: TrackingUri = None,
    storage: Storage = "auto",
    as_json: AsJson = False,
) -> None:
    """Go on with a study that was cut off, or has a larger budget now.

    What it has finished is not trained again; what was in training goes on from its last state.
    """
    from kerasweep import pipeline
    from kerasweep.cli.progress import display

    resumable = pipeline.resume(study, overrides=overrides or (), storage=storage)
    with reserved(), display(sys.stderr, resumable.metric) as observer:
        outcome = resumable.run(observer=observer, ray_address=ray_address, tracking_uri=tracking_uri)
    told(outcome, resumable.loaded.spec, tracking_uri, as_json)


def rerun(
    study: Study,
    ray_address: RayAddress = None,
    tracking_uri: TrackingUri = None,
    storage: Storage = "auto",
    as_json: AsJson = False,
) -> None:
    """Run a study again from its record, as a new one, and compare the two.

    Exit code 1 if any trial differs in anything but its time.
    """
    from kerasweep import pipeline
    from kerasweep.cli.progress import display

    again = pipeline.rerun(study, storage=storage)
    with reserved(), display(sys.stderr, again.metric) as observer:
        outcome, comparison = again.run(observer=observer, ray_address=ray_address, tracking_uri=tracking_uri)
    if as_json:
        write_json(
            {
                "first": comparison.first,
                "second": comparison.second,
                "trials": comparison.trials,
                "differences": list(comparison.differences),
                "surroundings": list(comparison.surroundings),
            }
        )
    else:
        from kerasweep.cli import render

        show(render.comparison(comparison))
    code = OF_STATUS[outcome.status]
    raise typer.Exit(ExitCode.FAILED if code == ExitCode.DONE and not comparison.same else code)


def repair(study: Study, storage: Storage = "auto") -> None:
    """Cut a damaged journal off where the damage begins; the file as it was stays beside it.

    What is cut off is trained again by resume, to the same numbers.
    """
    from kerasweep.study.folder import find, storage_root
    from kerasweep.study.journal import repair as repaired

    folder = find(storage_root(storage), study)
    lock = folder.lock()
    try:
        kept, cut = repaired(folder.journal)
    finally:
        lock.release()
    if cut:
        write(f"{folder.journal}: {kept} lines kept, {cut} cut off; {program()} resume {folder.path.name} goes on\n")
    else:
        write(f"{folder.journal}: nothing to repair in {kept} lines\n")


def sync(study: Study, tracking_uri: TrackingUri = None, storage: Storage = "auto") -> None:
    """Bring the tracking store to what a study's journal says, if it was away meanwhile."""
    from kerasweep import pipeline

    found, trials = pipeline.sync(study, tracking_uri=tracking_uri, storage=storage)
    write(f"{found}: {trials} trials are in the tracking store\n")


def offered(loaded: LoadedPipeline) -> str | None:
    """A study of this file that was cut off, if the user would rather go on with it; without a terminal a line says so.

    Returns:
        Its id; None to begin a new one.
    """
    from kerasweep import pipeline

    if (study := pipeline.unfinished(loaded)) is None:
        return None
    if sys.stdin.isatty() and sys.stderr.isatty():
        wanted = typer.confirm(f"{study} was cut off. Go on with it?", default=True, err=True)
        return study if wanted else None
    write(f"{study} was cut off; {program()} resume {study} goes on with it. A new study begins.\n", sys.stderr)
    return None


def told(outcome: PipelineResult, spec: PipelineSpec, tracking_uri: str | None, as_json: bool) -> NoReturn:
    """Shows what a pipeline gave, and ends."""
    if as_json:
        write_json(outcome.to_json())
    else:
        from kerasweep.cli import render
        from kerasweep.tracking import redact, resolve_uri

        store = resolve_uri(tracking_uri or spec.tracking.uri)
        default = store == resolve_uri("auto")
        show(render.result(outcome, spec.objective.metric, redact(store), default_store=default, command=program()))
    raise typer.Exit(OF_STATUS[outcome.status])
