"""The pipeline: search, retrain, evaluate, export, register."""

from kerasweep.pipeline.exporting import export_trial
from kerasweep.pipeline.planning import Plan, plan
from kerasweep.pipeline.result import PipelineResult, Registered
from kerasweep.pipeline.running import run

__all__ = ["PipelineResult", "Plan", "Registered", "export_trial", "plan", "run"]
