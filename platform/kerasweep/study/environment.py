"""What a study records of itself and its surroundings, to be run again."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from kerasweep.data import SearchData
from kerasweep.spec.pipeline import PipelineSpec
from kerasweep.tracking.base import StudyHeader
from kerasweep.tracking.secrecy import without_address
from kerasweep.tracking.uris import redact

_PACKAGES = ("kerasweep", "tensorflow", "keras", "ray", "mlflow", "numpy", "optuna", "scikit-learn")


def versions() -> Mapping[str, str]:
    """Package -> version, of Python and of everything that can change a number."""
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def git_commit(directory: Path) -> str | None:
    """The commit of the repository that a directory is in, with ``-dirty`` after it if files differ; else None."""
    command = ["git", "-C", str(directory), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def recordable(spec: PipelineSpec) -> PipelineSpec:
    """A specification as it may be written down: without the password of its tracking address."""
    if (shown := redact(spec.tracking.uri)) == spec.tracking.uri:
        return spec
    return spec.model_copy(update={"tracking": spec.tracking.model_copy(update={"uri": shown})})


def study_header(study: str, spec: PipelineSpec, data: SearchData, directory: Path, source: str = "") -> StudyHeader:
    """What is known of a study that begins now.

    Args:
        study: its id.
        spec: of the study.
        data: likewise.
        directory: from which relative paths in the spec count.
        source: the pipeline file as written; empty for a study made in Python.
    """
    rows = {"train": len(data.train), "validation": len(data.validation)}
    if data.folds:
        rows["folds"] = len(data.folds)
    header = StudyHeader(
        id=study,
        name=spec.name,
        started=time.time(),
        objective=spec.objective,
        spec=spec.model_dump_json(by_alias=True),
        source=source,
        directory=str(directory),
        seed=spec.search.seed,
        dataset={"name": data.source, "fingerprint": data.fingerprint, **rows},
        versions=versions(),
        git_commit=git_commit(directory),
    )
    return without_address(header)
