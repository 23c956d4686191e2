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
from kerasweep.training.callbacks import UserCallbacks
from kerasweep.training.cohort import CohortTrainer
from kerasweep.training.finding import FindingTrainer
from kerasweep.training.folds import FoldsTrainer
from kerasweep.training.freezing import Freeze
from kerasweep.training.keras_trainer import KerasTrainer
from kerasweep.training.neuroevolution import Evolution, NeuroevolutionTrainer

__all__ = [
    "KEPT_MEMBERS",
    "Cohort",
    "CohortTrainer",
    "Decision",
    "EpochReport",
    "Evolution",
    "FindingTrainer",
    "FoldsTrainer",
    "Freeze",
    "KerasTrainer",
    "Member",
    "NeuroevolutionTrainer",
    "Outcome",
    "Report",
    "Schedule",
    "Snapshot",
    "Trainer",
    "TrainingArrays",
    "UserCallbacks",
]
