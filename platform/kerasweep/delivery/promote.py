"""Whether the alias moves to a new model."""

from __future__ import annotations

import math

from kerasweep.data.base import Facts
from kerasweep.delivery.scores import TEST_METRICS
from kerasweep.records import Direction, Metrics, Objective
from kerasweep.spec.vocabulary import Task


def headline_metric(objective: Objective, facts: Facts) -> tuple[str, Direction]:
    """The test metric that stands for a study's objective, and its direction.

    A metric that the test metrics include is judged by itself: ``val_mae`` by ``mae``. Any other one, ``val_loss`` of
    a regression and those that only the user's builder knows, is judged by the task's first: ``mse`` for regression,
    ``loss`` for classes. Of several outputs the one that the objective names speaks for the study, as in
    ``val_main_mae``, and else the first.
    """
    name = objective.metric.removeprefix("val_")
    if not facts.heads:
        return _headline(name, facts.task)
    named = [head for head in facts.heads if name.startswith(f"{head}_")]
    head = max(named, key=len, default=next(iter(facts.heads)))
    chosen, direction = _headline(name.removeprefix(f"{head}_"), facts.heads[head].task)
    return f"{head}_{chosen}", direction


def _headline(name: str, task: Task) -> tuple[str, Direction]:
    metrics = TEST_METRICS[task]
    chosen = name if name in metrics else next(iter(metrics))
    return chosen, metrics[chosen]


def decide(new: Metrics, old: Metrics | None, metric: str, direction: Direction) -> tuple[bool, str]:
    """Whether the alias moves: only to a model at least as good on the test split as the one that holds it.

    Args:
        new: test metrics of the new model.
        old: test metrics of the holder, None when nobody holds the alias.
        metric: the one that decides.
        direction: of that metric.

    Returns:
        Whether it moves, and why not; the reason is empty when it moves.
    """
    value = new.get(metric, math.nan)
    if not math.isfinite(value):
        return False, f"the new model's test {metric} must be a finite number. Received: {value}"
    if old is None:
        return True, ""
    if metric not in old:
        return False, (
            f"the model that holds the alias has no test {metric} to compare with ({value:.6g} is the new one's), "
            "as if it was registered by other means; move the alias by hand if the new model is to have it"
        )
    held = old[metric]
    if not math.isfinite(held) or not direction.better(held, value):
        return True, ""
    return False, f"the model that holds the alias is better: test {metric} {held:.6g}, the new one's {value:.6g}"
