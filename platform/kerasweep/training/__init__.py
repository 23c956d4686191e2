"""Training: a cohort in, one outcome a member out. Knows neither Ray nor MLflow."""

from kerasweep.training.base import (
    Cohort,
    Decision,
    EpochReport,
    Member,
    Outcome,
    Report,
    Schedule,
    Snapshot,
    Trainer,
    TrainingArrays,
)
from kerasweep.training.keras_trainer import KerasTrainer

__all__ = [
    "Cohort",
    "Decision",
    "EpochReport",
    "KerasTrainer",
    "Member",
    "Outcome",
    "Report",
    "Schedule",
    "Snapshot",
    "Trainer",
    "TrainingArrays",
]
