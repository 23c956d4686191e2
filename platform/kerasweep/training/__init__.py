"""Training: a cohort in, one outcome a member out. Knows neither Ray nor MLflow."""

from kerasweep.records import Decision
from kerasweep.training.base import (
    KEPT_MEMBERS,
    Cohort,
    EpochReport,
    Member,
    Outcome,
    Report,
    Schedule,
    Snapshot,
    Trainer,
    TrainingArrays,
)
from kerasweep.training.cohort import CohortTrainer
from kerasweep.training.keras_trainer import KerasTrainer

__all__ = [
    "KEPT_MEMBERS",
    "Cohort",
    "CohortTrainer",
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
