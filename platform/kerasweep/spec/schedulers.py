"""Who goes on: the schedulers that a pipeline file can name, with their options."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Discriminator, Field, StrictFloat, StrictInt, Tag, field_validator

from kerasweep.spec.base import Frozen, name_of, named

Factor = Annotated[StrictFloat, Field(gt=0)]


class NoScheduler(Frozen):
    """Every trial trains to its end."""

    name: Literal["none"] = "none"


class AshaScheduler(Frozen):
    """Asynchronous successive halving (Li et al. 2020): at each rung the best 1/eta go on."""

    name: Literal["asha"] = "asha"
    grace: StrictInt = Field(1, ge=1, description="The paper's r: the first rung, in epochs.")
    eta: StrictFloat = Field(3, gt=1, description="The paper's reduction factor.")
    brackets: StrictInt = Field(1, ge=1, description="Each further bracket starts at a rung eta times later.")


class HyperbandScheduler(Frozen):
    """Hyperband (Li et al. 2018): brackets of successive halving, from many short trials to few long ones."""

    name: Literal["hyperband"] = "hyperband"
    eta: StrictFloat = Field(3, ge=2, description="The paper's reduction factor.")


class MedianScheduler(Frozen):
    """Stops a trial whose best is worse than the median of the others' running averages (Golovin et al. 2017)."""

    name: Literal["median"] = "median"
    grace: StrictInt = Field(5, ge=1, description="No trial is stopped before this epoch.")
    min_trials: StrictInt = Field(5, ge=1, description="Trials a median needs.")


class PopulationScheduler(Frozen):
    """Weak members of a cohort go on from copies of strong ones, with other hyperparameters."""

    name: Literal["pbt", "pb2"]
    interval: StrictInt = Field(4, ge=1, description="Epochs between two rounds of copying.")
    quantile: StrictFloat = Field(
        0.25, gt=0, le=0.5, description="Share of the members that copy, and of those that are copied."
    )


class PbtScheduler(PopulationScheduler):
    """Population-based training (Jaderberg et al. 2017): weak members of a cohort go on from copies of strong ones."""

    name: Literal["pbt"] = "pbt"
    resample: StrictFloat = Field(
        0.25, ge=0, le=1, description="How likely a copied hyperparameter is drawn anew instead of multiplied."
    )
    factors: list[Factor] = Field(
        [0.8, 1.2], description="What copied hyperparameters are multiplied by; one is drawn for each."
    )

    @field_validator("factors")
    @classmethod
    def _some(cls, factors: list[float]) -> list[float]:
        if not factors:
            raise ValueError("factors must hold at least one number. Received: []")
        return factors


class Pb2Scheduler(PopulationScheduler):
    """Population based bandits (Parker-Holder et al. 2020): as pbt, hyperparameters from a Gaussian process."""

    name: Literal["pb2"] = "pb2"


class AutoScheduler(Frozen):
    """Successive halving that also ends trials behind the best one's pace, for the searcher auto."""

    name: Literal["auto"] = "auto"
    eta: StrictFloat = Field(3, ge=2, description="At each rung the best 1/eta go on.")


SchedulerSpec = Annotated[
    Annotated[NoScheduler, Tag("none")]
    | Annotated[AshaScheduler, Tag("asha")]
    | Annotated[HyperbandScheduler, Tag("hyperband")]
    | Annotated[MedianScheduler, Tag("median")]
    | Annotated[PbtScheduler, Tag("pbt")]
    | Annotated[Pb2Scheduler, Tag("pb2")]
    | Annotated[AutoScheduler, Tag("auto")],
    Discriminator(name_of),
    BeforeValidator(named),
]
