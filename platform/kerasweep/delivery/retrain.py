"""The winner, trained again: on which rows, how often, and which of the results is delivered."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import replace

from kerasweep.data.base import SearchData, Split
from kerasweep.data.rows import concatenate
from kerasweep.data.weights import merged_weights
from kerasweep.errors import DeliveryError
from kerasweep.records import Direction, Metrics, Params, Status, Trial
from kerasweep.seeds import derive
from kerasweep.training.base import Cohort, Member, Outcome, Schedule


def merged(search: SearchData) -> Split:
    """The training rows followed by the validation rows."""
    train, validation = search.train, search.validation
    y = concatenate(train.y, validation.y)
    return Split(concatenate(train.x, validation.x), y, merged_weights(train, validation))


def retrain_cohort(
    winner: Trial, fixed: Params, seeds: int, study_seed: int, search: Schedule
) -> tuple[Cohort, Schedule]:
    """What to train: the winner's parameters, once per seed, to the winner's best epoch and no further.

    Without validation rows nothing can stop early, so the epoch that was best in the search is the last one here. What
    changed on the way there (population-based training) changes again, at the same epochs, the learning rate takes the
    same course, even if that was made for more epochs, and layers are frozen for as long.

    Args:
        winner: the best trial.
        fixed: ``training.fixed`` of the spec.
        seeds: how many independent trainings, at least 1.
        study_seed: ``search.seed`` of the spec.
        search: how the winner was trained.

    Raises:
        DeliveryError: the trial never reported a finite objective.
    """
    drawn = [derive(study_seed, "retrain", i) for i in range(seeds)]
    return _again(winner, fixed, drawn, replace(search, order_seed=derive(study_seed, "retrain", "order")))


def lost_cohort(trial: Trial, fixed: Params, search: Schedule) -> tuple[Cohort, Schedule]:
    """What to train to have the weights of a trial again, as it was trained before: with its own seed.

    Args:
        trial: of which the weights were lost.
        fixed: as in ``retrain_cohort``, and so are the errors.
        search: likewise.
    """
    return _again(trial, fixed, [trial.seed], search)


def _again(trial: Trial, fixed: Params, seeds: Sequence[int], search: Schedule) -> tuple[Cohort, Schedule]:
    if trial.epoch is None:
        raise DeliveryError(
            f"only a trial with a finite {search.objective.metric} can be retrained. "
            f"Received: trial {trial.number}, {trial.status}{': ' + trial.reason if trial.reason else ''}"
        )
    params = {**fixed, **trial.params}
    changes = tuple(change for change in trial.changes if change.epoch < trial.epoch)
    members = tuple(Member(i, params, seed, changes) for i, seed in enumerate(seeds))
    return Cohort(members), replace(search, epochs=trial.epoch, early_stopping=None, expected_epochs=None)


def choose(outcomes: Sequence[Outcome], scores: Sequence[Metrics], metric: str, direction: Direction) -> int:
    """The index of the median model, the one a user can expect to get.

    The best of several seeds by the test split would look better than it is. Of an even number, the worse of the two
    in the middle is taken, for the same reason.

    Args:
        outcomes: of the retrained members.
        scores: test metrics of each, in the same order; empty for a failed one.
        metric: the one that orders them.
        direction: of that metric.

    Raises:
        DeliveryError: every member failed; the message gives their reasons.
    """
    values = {
        i: scored[metric]
        for i, (outcome, scored) in enumerate(zip(outcomes, scores, strict=True))
        if outcome.status is not Status.FAILED and math.isfinite(scored.get(metric, math.nan))
    }
    if not values:
        reasons = "; ".join(dict.fromkeys(outcome.reason or f"no finite test {metric}" for outcome in outcomes))
        raise DeliveryError(f"at least one retraining must succeed. Received: {len(outcomes)} failed ({reasons})")
    best_first = sorted(values, key=lambda i: values[i] if direction is Direction.MINIMIZE else -values[i])
    return best_first[len(best_first) // 2]


def spread(scores: Sequence[Metrics]) -> dict[str, tuple[float, float, float]]:
    """Metric -> (lowest, median, highest) over the seeds; NaN and failed seeds (no metrics) are left out."""
    names = dict.fromkeys(name for scored in scores for name in scored)
    result = {}
    for name in names:
        values = [value for scored in scores if math.isfinite(value := scored.get(name, math.nan))]
        if values:
            result[name] = (min(values), statistics.median(values), max(values))
    return result
