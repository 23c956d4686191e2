"""What a study must know of its surroundings to be run again."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

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
