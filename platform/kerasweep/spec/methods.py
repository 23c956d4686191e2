"""How a trial's network is trained: the methods that a pipeline file can name, with their options.

Those options of neuroevolution that are hyperparameters of a trial have the same names in a space.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    StrictFloat,
    StrictInt,
    Tag,
    ValidationError,
    model_validator,
)

from kerasweep.records import Params
from kerasweep.spec.base import Frozen, broken, name_of, named
from kerasweep.spec.families import EVOLUTION_PARAMETERS


class Gradient(Frozen):
    """An optimiser follows the gradients of the loss."""

    name: Literal["gradient"] = "gradient"


class Neuroevolution(Frozen):
    """A population of networks evolves by selection and mutation, without gradients (Such et al. 2017).

    Of the paper's Algorithm 1: ``population`` is N, ``parents`` T, ``sigma`` its standard deviation of
    mutations; ``elites`` is 1 there.
    """

    name: Literal["neuroevolution"] = "neuroevolution"
    population: StrictInt = Field(64, ge=2, description="Networks of a generation; an epoch is one generation.")
    parents: StrictInt = Field(16, ge=1, description="The best so many of a generation have the offspring.")
    sigma: StrictFloat = Field(0.1, gt=0, description="Standard deviation of what mutation adds to every weight.")
    elites: StrictInt = Field(1, ge=0, description="The best so many go on unchanged.")
    batch: Annotated[StrictInt, Field(ge=1)] | None = Field(
        None, description="Training rows that a generation is judged on, others each time; null: all."
    )

    @model_validator(mode="after")
    def _agree(self) -> Neuroevolution:
        for name, most in (("parents", self.population), ("elites", self.parents)):
            if getattr(self, name) > most:
                raise broken(f"elites <= parents <= population must hold. Received: {self._counts}", name)
        if self.elites == self.population:
            raise broken(f"elites < population must hold, or nothing changes. Received: {self._counts}", "elites")
        return self

    @property
    def _counts(self) -> str:
        return f"elites={self.elites}, parents={self.parents}, population={self.population}"

    def resolved(self, params: Params) -> Neuroevolution:
        """The method as a trial has it.

        Args:
            params: the trial's hyperparameters; those that speak of the method go before.

        Raises:
            ValueError: they do not go together.
        """
        own = {name: params[name] for name in EVOLUTION_PARAMETERS if name in params}
        own |= {name: int(own[name]) for name in ("population", "parents") if name in own}
        if not own:
            return self
        try:
            return type(self).model_validate({**self.model_dump(), **own})
        except ValidationError as error:
            raise ValueError("; ".join(each["msg"].removeprefix("Value error, ") for each in error.errors())) from error


TrainingMethod = Annotated[
    Annotated[Gradient, Tag("gradient")] | Annotated[Neuroevolution, Tag("neuroevolution")],
    Discriminator(name_of),
    BeforeValidator(named),
]
