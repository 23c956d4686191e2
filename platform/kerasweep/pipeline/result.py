"""What a pipeline gave, as an object and as the JSON that ``kerasweep run --json`` prints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kerasweep.records import Metrics, Trial


@dataclass(frozen=True)
class Registered:
    """A registered model.

    Attributes:
        name: in the MLflow registry.
        version: of the new model.
        alias: the alias asked for.
        moved: whether the alias points to this version now.
        reason: why it did not move; empty if it did.
    """

    name: str
    version: int
    alias: str
    moved: bool
    reason: str = ""

    @property
    def uri(self) -> str:
        """``models:/name@alias`` if the alias moved here, else ``models:/name/version``."""
        return f"models:/{self.name}@{self.alias}" if self.moved else f"models:/{self.name}/{self.version}"


@dataclass(frozen=True)
class PipelineResult:
    """The outcome of all stages that ran.

    Attributes:
        study: the study's id.
        status: ``finished``, ``interrupted`` or ``failed``.
        best: the winner; None if no trial succeeded.
        trials: counts by ``finished``, ``stopped``, ``failed``.
        test: metric -> value on the test split, of the delivered model.
        spread: metric -> (lowest, median, highest) over the retrained seeds.
        baselines: baseline -> metric -> value on the same test split.
        exports: format -> path.
        model: None when nothing was registered.
        seconds: stage -> wall seconds, and ``total``.
    """

    study: str
    status: str
    best: Trial | None
    trials: Mapping[str, int]
    test: Metrics = field(default_factory=dict)
    spread: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)
    baselines: Mapping[str, Metrics] = field(default_factory=dict)
    exports: Mapping[str, str] = field(default_factory=dict)
    model: Registered | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain values, in the shape the README documents."""
        best = self.best and {
            "trial": self.best.number,
            "value": self.best.value,
            "epoch": self.best.epoch,
            "params": dict(self.best.params),
        }
        model = self.model and {
            "uri": self.model.uri,
            "name": self.model.name,
            "version": self.model.version,
            "alias": self.model.alias,
            "moved": self.model.moved,
            "reason": self.model.reason,
        }
        return {
            "study": self.study,
            "status": self.status,
            "best": best,
            "trials": dict(self.trials),
            "test": dict(self.test),
            "spread": {metric: list(values) for metric, values in self.spread.items()},
            "baselines": {name: dict(metrics) for name, metrics in self.baselines.items()},
            "exports": dict(self.exports),
            "model": model,
            "seconds": {stage: round(seconds, 3) for stage, seconds in self.seconds.items()},
        }
