"""Records as the JSON documents that ``list --json`` and ``show --json`` print."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kerasweep.records import OVERFITTING, StudyRecord, Trial

if TYPE_CHECKING:
    from kerasweep.pipeline.mattering import Mattering


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


def overfitting(trials: Sequence[Trial]) -> dict[str, Any]:
    """How many of a study's trials overfit, of those of which it is known, and what is called so."""
    known = [trial.overfits for trial in trials if trial.overfits is not None]
    return {"bound": OVERFITTING, "trials": sum(known), "of": len(known)}


def mattering(found: Mattering, top: int) -> dict[str, Any]:
    """Which parameters mattered, with their values in the best trials, and which act together."""
    return {
        "study": found.study,
        "trials": found.trials,
        "explained": found.explained,
        "parameters": [
            {"name": name, "share": share, "best": list(found.best.get(name, ()))}
            for name, share in list(found.shares.items())[:top]
        ],
        "interactions": [
            {"parameters": list(each.pair), "share": each.share, "best": dict(each.best)}
            for each in found.interactions[:top]
        ],
        "figures": [str(path) for path in found.figures],
    }


def facts(trial: Trial) -> dict[str, Any]:
    """A trial without its learning curves."""
    return {
        "trial": trial.number,
        "status": trial.status.value,
        "reason": trial.reason,
        "value": trial.value,
        "epoch": trial.epoch,
        "loss_ratio": trial.loss_ratio,
        "overfits": trial.overfits,
        "seconds": round(trial.seconds, 3),
        "params": dict(trial.params),
    }
