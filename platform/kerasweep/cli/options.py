"""Arguments and options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

PipelineFile = Annotated[Path, typer.Argument(metavar="FILE", help="A pipeline file (YAML).", show_default=False)]
Budget = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="A larger budget, e.g. search.trials=200. Repeatable."),
]
RayAddress = Annotated[
    str | None, typer.Option("--ray-address", metavar="ADDRESS", help="Of a Ray cluster; this machine if left out.")
]
Storage = Annotated[
    str, typer.Option("--storage", metavar="DIR", help="Where studies have their folders, if not in mlruns/studies.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Overrides one value, e.g. search.trials=8. Repeatable."),
]
TrackingUri = Annotated[
    str | None,
    typer.Option("--tracking-uri", metavar="URI", help="Of the MLflow store; $MLFLOW_TRACKING_URI, else ./mlruns."),
]
AsJson = Annotated[bool, typer.Option("--json", help="One line of JSON on standard output, and nothing else there.")]
Host = Annotated[str, typer.Option("--host", metavar="HOST", help="The address to listen on.")]
Study = Annotated[str, typer.Argument(metavar="STUDY", help="A study's id, or its name for the newest of that name.")]
