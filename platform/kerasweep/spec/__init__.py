"""What a user writes: pipelines and spaces, checked as a whole before anything heavy is imported."""

from kerasweep.spec.loading import LoadedPipeline, load_pipeline, load_space, pipeline_from_mapping
from kerasweep.spec.parameters import Choice, Find, Fixed, Float, Int, SpaceSpec
from kerasweep.spec.pipeline import PipelineSpec

__all__ = [
    "Choice",
    "Find",
    "Fixed",
    "Float",
    "Int",
    "LoadedPipeline",
    "PipelineSpec",
    "SpaceSpec",
    "load_pipeline",
    "load_space",
    "pipeline_from_mapping",
]
