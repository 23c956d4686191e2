"""What a study notes of its surroundings."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from kerasweep.study.environment import git_commit, versions


def test_versions_are_those_installed() -> None:
    found = versions()
    assert found["python"] == sys.version.split()[0]
    for package in ("tensorflow", "keras", "ray", "mlflow", "numpy", "optuna", "scikit-learn"):
        assert found[package] == metadata.version(package)


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", "-C", str(folder), *identity, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_commit_and_whether_files_differ_from_it(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    (tmp_path / "p.yaml").write_text("name: a\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "first")
    git(tmp_path, "tag", "-a", "v1", "-m", "a tag does not stand in for the commit")
    commit = git(tmp_path, "rev-parse", "HEAD")
    inner = tmp_path / "inner"
    inner.mkdir()
    assert git_commit(tmp_path) == git_commit(inner) == commit
    (tmp_path / "p.yaml").write_text("name: b\n")
    assert git_commit(tmp_path) == f"{commit}-dirty"


def test_outside_a_repository_or_before_its_first_commit_there_is_none(tmp_path: Path) -> None:
    assert git_commit(tmp_path) is None
    assert git_commit(tmp_path / "nowhere") is None
    git(tmp_path, "init", "--quiet")
    assert git_commit(tmp_path) is None


def test_without_git_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_commit(tmp_path) is None
