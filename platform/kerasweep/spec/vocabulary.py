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
    """What is known of a named dataset before it is read.

    Attributes:
        task: what its target is.
        features: numbers in a row.
        columns: their names; empty for images.
    """

    task: Task
    features: int
    columns: tuple[str, ...] = ()

    @property
    def images(self) -> bool:
        """Whether a row is an image."""
        return not self.columns


def _table(task: Task, *columns: str) -> DatasetFacts:
    return DatasetFacts(task, len(columns), columns)


_CELL = (
    "radius", "texture", "perimeter", "area", "smoothness", "compactness", "concavity", "concave points", "symmetry",
    "fractal dimension",
)  # fmt: skip

DATASETS: dict[str, DatasetFacts] = {
    "california_housing": _table(
        Task.REGRESSION,
        "MedInc", "HouseAge", "AveRooms", "AveBedrms", "Population", "AveOccup", "Latitude", "Longitude",
    ),
    "fashion_mnist": DatasetFacts(Task.MULTICLASS, 28 * 28),
    "mnist": DatasetFacts(Task.MULTICLASS, 28 * 28),
    "iris": _table(
        Task.MULTICLASS, "sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)"
    ),
    "wine": _table(
        Task.MULTICLASS,
        "alcohol", "malic_acid", "ash", "alcalinity_of_ash", "magnesium", "total_phenols", "flavanoids",
        "nonflavanoid_phenols", "proanthocyanins", "color_intensity", "hue", "od280/od315_of_diluted_wines", "proline",
    ),
    "breast_cancer": _table(
        Task.BINARY,
        *(f"mean {name}" for name in _CELL), *(f"{name} error" for name in _CELL), *(f"worst {name}" for name in _CELL),
    ),
    "digits": _table(Task.MULTICLASS, *(f"pixel_{row}_{column}" for row in range(8) for column in range(8))),
    "diabetes": _table(Task.REGRESSION, "age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6"),
    "playground_circle": _table(Task.BINARY, "x1", "x2"),
    "playground_xor": _table(Task.BINARY, "x1", "x2"),
    "playground_gauss": _table(Task.BINARY, "x1", "x2"),
    "playground_spiral": _table(Task.BINARY, "x1", "x2"),
}  # fmt: skip

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
