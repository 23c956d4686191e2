"""The built-in model families."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kerasweep.models.base import Inputs, Stackable, compile_for, seed_everything
from kerasweep.models.mlp import StackedMlp, mlp
from kerasweep.records import Params

if TYPE_CHECKING:
    import keras

_FAMILIES: Mapping[str, Callable[[Params, Inputs, int], keras.Model]] = {"mlp": mlp}
_STACKABLE: Mapping[str, Callable[[Inputs], Stackable]] = {"mlp": StackedMlp}


@dataclass(frozen=True)
class FamilyBuilder:
    """Builds models of one family (see ``ModelBuilder``)."""

    family: str
    inputs: Inputs

    def build(self, params: Params, seed: int) -> keras.Model:
        seed_everything(seed)
        model = _FAMILIES[self.family](params, self.inputs, seed)
        compile_for(model, params, self.inputs.task)
        return model

    @property
    def stackable(self) -> Stackable:
        """How its models go together."""
        return _STACKABLE[self.family](self.inputs)
