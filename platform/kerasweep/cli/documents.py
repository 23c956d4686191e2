"""Records as the JSON documents that ``list --json`` and ``show --json`` print."""

from __future__ import annotations

from typing import Any

from kerasweep.records import StudyRecord, Trial


def overview(record: StudyRecord) -> dict[str, Any]:
    """A study without its trials: what is known at once, then what its pipeline has added so far."""
    return {
        "study": record.id,
        "name": record.name,
        "status": record.status,
        "started": record.started,
        "objective": {"metric": record.objective.metric, "direction": record.objective.direction.value},
        "summary": dict(record.summary),
    }


def facts(trial: Trial) -> dict[str, Any]:
    """A trial without its learning curves."""
    return {
        "trial": trial.number,
        "status": trial.status.value,
        "reason": trial.reason,
        "value": trial.value,
        "epoch": trial.epoch,
        "seconds": round(trial.seconds, 3),
        "params": dict(trial.params),
    }
