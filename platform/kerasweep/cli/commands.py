"""The commands. Everything heavy is imported when a command needs it, so that help and validation answer at once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kerasweep.cli import going_on
from kerasweep.cli.documents import facts, mattering, overfitting, overview
from kerasweep.cli.options import AsJson, Host, Overrides, PipelineFile, RayAddress, Study, TrackingUri
from kerasweep.cli.outcome import Command, ExitCode, complain
from kerasweep.cli.output import reserved, show, write, write_json
from kerasweep.errors import Problem, SpecError, one_of

if TYPE_CHECKING:
    from kerasweep.tracking.base import StudyStore

_HOST = "127.0.0.1"

app = typer.Typer(
    name="kerasweep",
    help="Finds good hyperparameters for Keras models, keeps every experiment, and delivers the winner.",
    epilog="Exit codes: 0 done, 1 the study failed, 2 the input is wrong, 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from kerasweep import __version__

        write(f"kerasweep {__version__}\n")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and leave.")
    ] = False,
) -> None:
    """Declared for its option alone."""


@app.command("run", cls=Command)
def run(
    file: PipelineFile,
    overrides: Overrides = None,
    ray_address: RayAddress = None,
    tracking_uri: TrackingUri = None,
    as_json: AsJson = False,
) -> None:
    """Run a pipeline: search, retrain, evaluate, export, register.

    The result goes to standard output; progress, and whatever libraries print, to standard error.
    """
    from kerasweep.spec import load_pipeline

    loaded = load_pipeline(file, overrides or ())
    if (study := going_on.offered(loaded)) is not None:
        going_on.resume(study, overrides, ray_address, tracking_uri, loaded.spec.resources.storage, as_json)

    # Only now, so that a mistake in the file is told before these are loaded.
    from kerasweep import pipeline
    from kerasweep.cli.progress import display

    with reserved(), display(sys.stderr, loaded.spec.objective.metric) as observer:
        outcome = pipeline.run(loaded, observer=observer, ray_address=ray_address, tracking_uri=tracking_uri)
    going_on.told(outcome, loaded.spec, tracking_uri, as_json)


for command in (going_on.resume, going_on.rerun, going_on.repair, going_on.sync):
    app.command(command.__name__, cls=Command)(command)


@app.command("plan", cls=Command)
def plan(file: PipelineFile, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Show what would run, without running it.

    Stages, space, brackets and their epochs, the estimated number of trials, and resources.
    """
    from kerasweep.spec import load_pipeline

    loaded = load_pipeline(file, overrides or ())

    from kerasweep import pipeline

    planned = pipeline.plan(loaded)
    if as_json:
        sections = [{"title": title, "rows": dict(rows)} for title, rows in planned.sections]
        write_json({"sections": sections, "warnings": planned.warnings, "advice": planned.advice})
    else:
        from kerasweep.cli import render

        show(render.plan(planned))


@app.command("lr-find", cls=Command)
def lr_find(
    file: PipelineFile,
    overrides: Overrides = None,
    low: Annotated[float, typer.Option("--min-rate", metavar="RATE", help="The first learning rate.")] = 1e-5,
    high: Annotated[float, typer.Option("--max-rate", metavar="RATE", help="The last one.")] = 10.0,
    steps: Annotated[int, typer.Option("--steps", metavar="N", help="Mini-batches from the first to the last.")] = 500,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.png", dir_okay=False, help="Where the curve is drawn.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find a learning rate: a tenth of the one at which the loss turns up.

    The file's model trains once, at ever larger rates; what its space leaves open is at its prior, else in the middle.
    """
    from kerasweep.spec import load_pipeline

    loaded = load_pipeline(file, overrides or ())

    from kerasweep import pipeline
    from kerasweep.cli import render

    with reserved():
        found = pipeline.find_rate(loaded, low=low, high=high, steps=steps, out=out)
    if as_json:
        write_json(found.to_json())
    else:
        show(render.found_rate(found))
    raise typer.Exit(ExitCode.DONE if found.test.suggestion is not None else ExitCode.FAILED)


@app.command("validate", cls=Command)
def validate(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Pipeline files (YAML).", show_default=False)],
    overrides: Overrides = None,
) -> None:
    """Check pipeline files; every error with its place."""
    from kerasweep.spec import load_pipeline

    problems: list[Problem] = []
    bad = 0
    for file in files:
        try:
            load_pipeline(file, overrides or ())
        except SpecError as error:
            problems += error.problems
            bad += 1
        else:
            write(f"{file}: ok\n")
    if problems:
        complain(problems, files=bad)
        raise typer.Exit(ExitCode.WRONG_INPUT)


@app.command("list", cls=Command)
def list_studies(tracking_uri: TrackingUri = None, as_json: AsJson = False) -> None:
    """List all studies of a store, newest first."""
    records = _store(tracking_uri).list()
    if as_json:
        write_json([overview(record) for record in records])
    else:
        from kerasweep.cli import render

        show(render.studies(records))


@app.command("show", cls=Command)
def show_study(
    study: Study,
    top: Annotated[int, typer.Option("--top", min=1, metavar="N", help="How many of the best trials to show.")] = 10,
    tracking_uri: TrackingUri = None,
    as_json: AsJson = False,
) -> None:
    """Show a study and its best trials."""
    from kerasweep.report import tables

    record = _store(tracking_uri).load(study)
    best = tables.top(record.trials, record.objective, top)
    if as_json:
        write_json(
            {**overview(record), "overfitting": overfitting(record.trials), "top": [facts(trial) for trial in best]}
        )
    else:
        from kerasweep.cli import render

        show(render.study(record, best))


@app.command("importance", cls=Command)
def importance(
    study: Study,
    top: Annotated[int, typer.Option("--top", min=1, metavar="N", help="How many parameters and pairs to show.")] = 10,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", file_okay=False, help="Where the two figures go, if anywhere."),
    ] = None,
    tracking_uri: TrackingUri = None,
    as_json: AsJson = False,
) -> None:
    """Show which parameters of a study mattered, where they were best, and which act together."""
    from kerasweep import pipeline

    found = pipeline.importance(study, out=out, tracking_uri=tracking_uri)
    if as_json:
        write_json(mattering(found, top))
    else:
        from kerasweep.cli import render

        show(render.importance(found, top))


@app.command("narrow", cls=Command)
def narrow(
    study: Study,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", dir_okay=False, help="The space file to write.")],
    keep: Annotated[
        float, typer.Option("--keep", metavar="SHARE", help="The share of the trials that are the best.")
    ] = 0.2,
    tracking_uri: TrackingUri = None,
) -> None:
    """Write the next space file: a study's space, narrowed around its best trials."""
    if not 0 < keep < 1:
        raise SpecError([Problem(f"--keep must lie between 0 and 1. Received: {keep}")])
    from kerasweep import pipeline
    from kerasweep.cli import render

    found = pipeline.narrow(study, out, keep=keep, tracking_uri=tracking_uri)
    show(render.narrowed(found, str(out)))


@app.command("ui", cls=Command)
def ui(
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Where the MLflow UI listens.")] = 5000,
    host: Host = _HOST,
    names: Annotated[
        list[str] | None,
        typer.Option("--allowed-host", metavar="NAME", help="That browsers reach it by, beside HOST. Repeatable."),
    ] = None,
    tracking_uri: TrackingUri = None,
) -> None:
    """Open the MLflow UI on a store, until Ctrl-C.

    Where other machines reach HOST, it asks for a user and a password.
    """
    from kerasweep.tracking import redact, resolve_uri, serve_ui

    uri = resolve_uri(tracking_uri or "auto")
    write(f"starting the MLflow UI on {redact(uri)}: {_address(host, port)} (Ctrl-C ends it)\n", sys.stderr)
    show = _show_password if sys.stderr.isatty() else None  # elsewhere it would stay, in a log
    raise typer.Exit(serve_ui(uri, host, port, names or (), show))


def _show_password(user: str, password: str) -> None:
    write(f"user {user}, password {password}: note it down, it is shown this once and kept nowhere\n", sys.stderr)


@app.command("tensorboard", cls=Command)
def tensorboard(
    study: Annotated[
        str | None,
        typer.Argument(metavar="STUDY", help="A study's id or name; the newest that wrote event files if left out."),
    ] = None,
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Where TensorBoard listens.")] = 6006,
    host: Host = _HOST,
    open_to_all: Annotated[
        bool, typer.Option("--no-login", help="TensorBoard has none: whoever reaches HOST may see the study.")
    ] = False,
    tracking_uri: TrackingUri = None,
) -> None:
    """Open TensorBoard on a study's event files, until Ctrl-C."""
    from kerasweep.tracking import board_of, serve_board

    folder = board_of(_store(tracking_uri), study)
    write(f"starting TensorBoard on {folder}: {_address(host, port)} (Ctrl-C ends it)\n", sys.stderr)
    raise typer.Exit(serve_board(folder, host, port, open_to_all=open_to_all))


def _address(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@app.command("export", cls=Command)
def export(
    study: Study,
    formats: Annotated[
        list[str], typer.Option("--format", metavar="FORMAT", help="keras, saved_model, onnx, litert. Repeatable.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", file_okay=False, help="Where the files go.")],
    trial: Annotated[
        int | None, typer.Option("--trial", min=0, metavar="N", help="Its number; the winner if left out.")
    ] = None,
    tracking_uri: TrackingUri = None,
) -> None:
    """Export the winner of a study, or another of its five best trials."""
    from kerasweep import pipeline
    from kerasweep.spec.vocabulary import EXPORT_FORMATS

    wrong = [Problem(one_of("--format", name, EXPORT_FORMATS)) for name in formats if name not in EXPORT_FORMATS]
    if wrong:
        raise SpecError(wrong)
    with reserved():
        paths = pipeline.export_trial(study, formats, out, trial=trial, tracking_uri=tracking_uri)
    for name, path in paths.items():
        write(f"{name}: {path}\n")


def _store(tracking_uri: str | None) -> StudyStore:
    from kerasweep.tracking import open_store, resolve_uri

    return open_store(resolve_uri(tracking_uri or "auto"))
