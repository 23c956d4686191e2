"""The built-in model families."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kerasweep.models.auto import StackedAuto, auto
from kerasweep.models.base import Inputs, Stackable, compile_for, seed_everything
from kerasweep.models.linear import StackedLinear, linear
from kerasweep.models.mlp import StackedMlp, mlp
from kerasweep.models.transfer import InitialWeights, Transferring
from kerasweep.models.wide_deep import StackedWideDeep, wide_deep
from kerasweep.records import Params

if TYPE_CHECKING:
    import keras

_FAMILIES: Mapping[str, Callable[[Params, Inputs, int], keras.Model]] = {
    "linear": linear,
    "mlp": mlp,
    "wide_deep": wide_deep,
    "auto": auto,
}
_STACKABLE: Mapping[str, Callable[[Inputs], Stackable]] = {
    "linear": StackedLinear,
    "mlp": StackedMlp,
    "wide_deep": StackedWideDeep,
    "auto": StackedAuto,
}


@dataclass(frozen=True)
class FamilyBuilder:
    """Builds models of one family (see ``ModelBuilder``).

    Attributes:
        family: its name.
        inputs: shape of a row and the task.
        initial: what the first layers start from; None for random weights in all.
    """

    family: str
    inputs: Inputs
    initial: InitialWeights | None = None

    def build(self, params: Params, seed: int) -> keras.Model:
        model = self.template(params, seed)
        if self.initial is not None:
            self.initial.give(model)
        return model

    def template(self, params: Params, seed: int) -> keras.Model:
        """The same model with random weights in all layers."""
        seed_everything(seed)
        model = _FAMILIES[self.family](params, self.inputs, seed)
        compile_for(model, params, self.inputs)
        return model

    @property
    def stackable(self) -> Stackable:
        """How its models go together."""
        own = _STACKABLE[self.family](self.inputs)
        return own if self.initial is None else Transferring(own, self.initial)
