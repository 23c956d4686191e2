"""How the learning rate goes up and down: the schedules that a pipeline file can name, with their options.

A schedule is a factor of the epoch that multiplies a trial's own ``learning_rate``. Options that are numbers have the
same names as hyperparameters, so that a space can have them too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, StrictBool, StrictFloat, Tag, model_validator

from kerasweep.records import Params
from kerasweep.spec.base import Frozen, broken, name_of, named

Share = Annotated[StrictFloat, Field(ge=0, le=1)]
Factor = Annotated[StrictFloat, Field(ge=0)]
Epoch = Annotated[StrictFloat, Field(gt=0)]


class _Warmed(Frozen):
    """A schedule that may begin with a warm-up, linear from almost nothing to the base rate (Goyal et al. 2017)."""

    warmup_epochs: StrictFloat = Field(0.0, ge=0, description="Of a linear warm-up; may be a part of an epoch.")
    warmup_share: Share = Field(0.0, description="The same as a share of max_epochs.")

    @model_validator(mode="after")
    def _one_warmup(self) -> _Warmed:
        if self.warmup_epochs and self.warmup_share:
            received = f"warmup_epochs={self.warmup_epochs:g}, warmup_share={self.warmup_share:g}"
            raise broken(f"only one of warmup_epochs and warmup_share may be set. Received: {received}", "warmup_share")
        return self


class ConstantRate(_Warmed):
    """The learning rate stays as it is."""

    name: Literal["constant"] = "constant"


class ExponentialRate(_Warmed):
    """Falls by a factor over a number of epochs, again and again (Keras's ExponentialDecay)."""

    name: Literal["exponential"] = "exponential"
    decay_rate: Share = Field(0.1, description="What the rate is multiplied by over decay_epochs.")
    decay_epochs: Annotated[StrictFloat, Field(ge=1)] | None = Field(
        None, description="null: all epochs after the warm-up."
    )
    staircase: StrictBool = Field(False, description="In steps every decay_epochs, not smoothly.")


class PiecewiseRate(_Warmed):
    """Constant between given epochs (He et al. 2016 use a tenth after half, a hundredth after three quarters)."""

    name: Literal["piecewise"] = "piecewise"
    epochs: list[Epoch] | None = Field(
        None, description="After each the rate changes; null: after a half and three quarters of max_epochs."
    )
    factors: list[Factor] = Field([0.1, 0.01], description="Of the base rate, after each of these epochs.")

    @model_validator(mode="after")
    def _agree(self) -> PiecewiseRate:
        count = 2 if self.epochs is None else len(self.epochs)
        if not count:
            raise broken("epochs must hold at least one number. Received: []", "epochs")
        if self.epochs is not None and sorted(set(self.epochs)) != self.epochs:
            raise broken(f"epochs must ascend. Received: {_listed(self.epochs)}", "epochs")
        if len(self.factors) != count:
            received = f"{len(self.factors)} factor(s) for {count} epoch(s)"
            raise broken(f"piecewise needs one factor for each of its epochs. Received: {received}", "factors")
        return self


class OneCycleRate(Frozen):
    """Up to the base rate and down again, both linearly, then further down (Smith 2018); momentum is not cycled."""

    name: Literal["one_cycle"] = "one_cycle"
    start_factor: Share = Field(0.1, description="Of the base rate, where the cycle begins and ends.")
    final_factor: Share = Field(0.01, description="Of the base rate, where training ends.")
    final_share: Share = Field(0.1, description="Of max_epochs, after the cycle.")


class CosineRate(_Warmed):
    """Half a cosine from the base rate down to a part of it (Loshchilov and Hutter 2017), without restarts."""

    name: Literal["cosine"] = "cosine"
    final_factor: Share = Field(0.0, description="Of the base rate, where training ends.")


RateSchedule = Annotated[
    Annotated[ConstantRate, Tag("constant")]
    | Annotated[ExponentialRate, Tag("exponential")]
    | Annotated[PiecewiseRate, Tag("piecewise")]
    | Annotated[OneCycleRate, Tag("one_cycle")]
    | Annotated[CosineRate, Tag("cosine")],
    Discriminator(name_of),
    BeforeValidator(named),
]

_KINDS: Mapping[str, type[ConstantRate | ExponentialRate | PiecewiseRate | OneCycleRate | CosineRate]] = {
    "constant": ConstantRate,
    "exponential": ExponentialRate,
    "piecewise": PiecewiseRate,
    "one_cycle": OneCycleRate,
    "cosine": CosineRate,
}


def resolved(schedule: RateSchedule, params: Params) -> RateSchedule:
    """A study's schedule as a trial has it.

    Args:
        schedule: of ``training``.
        params: those of the trial's hyperparameters that speak of its schedule; they go before.

    Raises:
        ValueError: an option is not one of the trial's schedule.
    """
    own: dict[str, Any] = dict(params)
    kind = _KINDS[str(own.pop("schedule", schedule.name))]
    said = schedule.model_dump() if isinstance(schedule, kind) else {}
    if strangers := [name for name in own if name not in kind.model_fields]:
        raise ValueError(f"a schedule must have the options set for it. Received: {strangers[0]} with {said['name']}")
    return kind.model_validate({**said, **own})


def _listed(values: list[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)
