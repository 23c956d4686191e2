"""The commands. Everything heavy is imported when a command needs it, so that help and validation answer at once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kerasweep.cli.documents import facts, overview
from kerasweep.cli.outcome import OF_STATUS, Command, ExitCode, complain
from kerasweep.cli.output import program, reserved, show, write, write_json
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

PipelineFile = Annotated[Path, typer.Argument(metavar="FILE", help="A pipeline file (YAML).", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Overrides one value, e.g. search.trials=8. Repeatable."),
]
TrackingUri = Annotated[
    str | None,
    typer.Option("--tracking-uri", metavar="URI", help="Of the MLflow store; $MLFLOW_TRACKING_URI, else ./mlruns."),
]
AsJson = Annotated[bool, typer.Option("--json", help="One line of JSON on standard output, and nothing else there.")]
Study = Annotated[str, typer.Argument(metavar="STUDY", help="A study's id, or its name for the newest of that name.")]


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
    ray_address: Annotated[
        str | None, typer.Option("--ray-address", metavar="ADDRESS", help="Of a Ray cluster; this machine if left out.")
    ] = None,
    tracking_uri: TrackingUri = None,
    as_json: AsJson = False,
) -> None:
    """Run a pipeline: search, retrain, evaluate, export, register.

    The result goes to standard output; progress, and whatever libraries print, to standard error.
    """
    from kerasweep.spec import load_pipeline

    loaded = load_pipeline(file, overrides or ())

    # Only now, so that a mistake in the file is told before these are loaded.
    from kerasweep import pipeline
    from kerasweep.cli import render
    from kerasweep.cli.progress import display
    from kerasweep.tracking import redact, resolve_uri

    metric = loaded.spec.objective.metric
    with reserved(), display(sys.stderr, metric) as observer:
        outcome = pipeline.run(loaded, observer=observer, ray_address=ray_address, tracking_uri=tracking_uri)
    if as_json:
        write_json(outcome.to_json())
    else:
        store = resolve_uri(tracking_uri or loaded.spec.tracking.uri)
        default = store == resolve_uri("auto")
        show(render.result(outcome, metric, redact(store), default_store=default, command=program()))
    raise typer.Exit(OF_STATUS[outcome.status])


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
        write_json({"sections": sections, "warnings": planned.warnings})
    else:
        from kerasweep.cli import render

        show(render.plan(planned))


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
        write_json({**overview(record), "top": [facts(trial) for trial in best]})
    else:
        from kerasweep.cli import render

        show(render.study(record, best))


@app.command("ui", cls=Command)
def ui(
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Where the MLflow UI listens.")] = 5000,
    tracking_uri: TrackingUri = None,
) -> None:
    """Open the MLflow UI on a store, until Ctrl-C."""
    from kerasweep.tracking import redact, resolve_uri, serve_ui

    uri = resolve_uri(tracking_uri or "auto")
    write(f"starting the MLflow UI on {redact(uri)}: http://{_HOST}:{port} (Ctrl-C ends it)\n", sys.stderr)
    raise typer.Exit(serve_ui(uri, _HOST, port))


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
    """Export the winner of a study, or any of its trials."""
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
