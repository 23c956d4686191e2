"""The pipeline: search, retrain, evaluate, export, register."""

from kerasweep.pipeline.exporting import export_trial, load_model
from kerasweep.pipeline.mattering import importance
from kerasweep.pipeline.narrowing import narrow
from kerasweep.pipeline.planning import Plan, plan
from kerasweep.pipeline.rate_finding import FoundRate, find_rate
from kerasweep.pipeline.rerunning import Comparison, Rerun, rerun
from kerasweep.pipeline.result import PipelineResult, Registered
from kerasweep.pipeline.resuming import Resumable, resume, unfinished
from kerasweep.pipeline.running import run
from kerasweep.pipeline.syncing import sync

__all__ = [
    "Comparison",
    "FoundRate",
    "PipelineResult",
    "Plan",
    "Registered",
    "Rerun",
    "Resumable",
    "export_trial",
    "find_rate",
    "importance",
    "load_model",
    "narrow",
    "plan",
    "rerun",
    "resume",
    "run",
    "sync",
    "unfinished",
]
