"""Runs a study again from its record, and compares."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kerasweep.pipeline.result import PipelineResult
from kerasweep.pipeline.running import deliver
from kerasweep.records import Trial
from kerasweep.spec import LoadedPipeline, pipeline_from_mapping
from kerasweep.study.environment import git_commit, versions
from kerasweep.study.events import Observer, Silent
from kerasweep.study.folder import StudyFolder, find, storage_root
from kerasweep.study.origin import Destination, Origin
from kerasweep.study.replay import Retold, reread
from kerasweep.tracking.uris import HIDDEN


@dataclass(frozen=True)
class Comparison:
    """A study and the one that ran from its record.

    Attributes:
        first: id of the study.
        second: id of the one that ran now.
        trials: how many both have.
        differences: what is not the same, one line each; empty if all trials are, to the last digit.
        surroundings: what was not the same around them: versions, commit.
    """

    first: str
    second: str
    trials: int
    differences: tuple[str, ...]
    surroundings: tuple[str, ...]

    @property
    def same(self) -> bool:
        return not self.differences


@dataclass(frozen=True)
class Rerun:
    """A study that is about to run again.

    Attributes:
        before: the study, as its journal tells it.
        loaded: its specification.
        storage: where studies have their folders.
    """

    before: Retold
    loaded: LoadedPipeline
    storage: str

    @property
    def metric(self) -> str:
        """Of the objective."""
        return self.loaded.spec.objective.metric

    def run(
        self, *, observer: Observer | None = None, ray_address: str | None = None, tracking_uri: str | None = None
    ) -> tuple[PipelineResult, Comparison]:
        """Runs it, as ``pipeline.run`` does, and compares."""
        origin = Origin(self.loaded.directory, self.before.header.source)
        destination = Destination(ray_address, tracking_uri, observer or Silent())
        result = deliver(self.loaded, origin, destination)
        root = storage_root(self.loaded.spec.resources.storage)
        now, _ = reread(StudyFolder(root / result.study))
        return result, _compared(self.before, now)


def rerun(study: str, *, storage: str = "auto") -> Rerun:
    """Reads a study's record, to run it again as a study of its own.

    Args:
        study: its id, or its name for the newest of that name.
        storage: where studies have their folders, as ``resources.storage``.

    Raises:
        StudyNotFound: there is no such study there.
        StorageError: its journal is damaged.
        SpecError: what it names is not there any more.
    """
    before, _ = reread(find(storage_root(storage), study))
    mapping: dict[str, Any] = json.loads(before.spec.model_dump_json(by_alias=True))
    if HIDDEN in before.spec.tracking.uri:
        mapping["tracking"]["uri"] = "auto"
    return Rerun(before, pipeline_from_mapping(mapping, Path(before.header.directory)), storage)


def _compared(before: Retold, now: Retold) -> Comparison:
    then, new = ({trial.number: trial for trial in each.trials} for each in (before, now))
    differences = []
    if then.keys() != new.keys():
        differences.append(f"trials: {len(then)}, now {len(new)}")
    for number in sorted(then.keys() & new.keys()):
        differences += [f"trial {number}: {line}" for line in _trial_differences(then[number], new[number])]
    if before.header.dataset != now.header.dataset:
        differences.append(f"data: {dict(before.header.dataset)}, now {dict(now.header.dataset)}")
    return Comparison(
        before.header.id, now.header.id, len(then.keys() & new.keys()), tuple(differences), tuple(_around(before))
    )


def _trial_differences(then: Trial, now: Trial) -> Iterator[str]:
    for name in ("params", "seed", "status", "reason", "value", "epoch", "changes"):
        old, new = getattr(then, name), getattr(now, name)
        if old != new:
            yield f"{name} was {_shown(old)}, now {_shown(new)}"
    for epoch, (old, new) in enumerate(zip(then.history, now.history, strict=False), 1):
        if old != new:
            metric = next(name for name in {**old, **new} if old.get(name) != new.get(name))
            yield f"{metric} of epoch {epoch} was {old.get(metric)}, now {new.get(metric)}"
            return
    if len(then.history) != len(now.history):
        yield f"{len(then.history)} epochs, now {len(now.history)}"


def _around(before: Retold) -> Iterator[str]:
    current: Mapping[str, str] = versions()
    for package, version in before.header.versions.items():
        if current.get(package) != version:
            yield f"{package} {version}, now {current.get(package, 'none')}"
    commit = git_commit(Path(before.header.directory))
    if commit != before.header.git_commit:
        yield f"commit {before.header.git_commit}, now {commit}"


def _shown(value: object) -> str:
    return str(dict(value)) if isinstance(value, Mapping) else str(value)
