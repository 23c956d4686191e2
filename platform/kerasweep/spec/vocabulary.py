"""The words a pipeline file may use, and what is known of each without loading any library."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from kerasweep.records import Direction


class Task(StrEnum):
    """What the target asks of the network (tables 10-1 and 10-2 of the book)."""

    REGRESSION = "regression"
    BINARY = "binary"
    MULTICLASS = "multiclass"
    MULTILABEL = "multilabel"


@dataclass(frozen=True)
class DatasetFacts:
    """What is known of a named dataset before it is read."""

    task: Task
    images: bool = False


DATASETS: dict[str, DatasetFacts] = {
    "california_housing": DatasetFacts(Task.REGRESSION),
    "fashion_mnist": DatasetFacts(Task.MULTICLASS, images=True),
    "mnist": DatasetFacts(Task.MULTICLASS, images=True),
    "iris": DatasetFacts(Task.MULTICLASS),
    "wine": DatasetFacts(Task.MULTICLASS),
    "breast_cancer": DatasetFacts(Task.BINARY),
    "digits": DatasetFacts(Task.MULTICLASS),
    "diabetes": DatasetFacts(Task.REGRESSION),
}

# The metrics that the built-in families report, per task, besides the loss. Every name also exists with ``val_``.
METRICS: dict[Task, tuple[str, ...]] = {
    Task.REGRESSION: ("mae", "rmse"),
    Task.BINARY: ("accuracy", "auc"),
    Task.MULTICLASS: ("accuracy",),
    Task.MULTILABEL: ("accuracy", "auc"),
}


def objective_metrics(task: Task | None) -> tuple[str, ...]:
    """The objectives that the built-in families report for a task, or for any task when it is not known yet."""
    names = METRICS[task] if task else dict.fromkeys(name for metrics in METRICS.values() for name in metrics)
    return tuple(f"val_{name}" for name in ("loss", *names))


_MINIMISED = re.compile(r"(^|_)(loss|mae|mse|rmse|mape|msle|error|crossentropy|perplexity)$")
_MAXIMISED = re.compile(r"(^|_)(acc|accuracy|auc|precision|recall|f1|f1_score|r2|r2_score|iou)$")


def known_direction(metric: str) -> Direction | None:
    """The direction a metric's name implies, None for a name nobody knows."""
    if _MINIMISED.search(metric):
        return Direction.MINIMIZE
    if _MAXIMISED.search(metric):
        return Direction.MAXIMIZE
    return None


EXPORT_FORMATS: tuple[str, ...] = ("keras", "saved_model", "onnx", "litert")
