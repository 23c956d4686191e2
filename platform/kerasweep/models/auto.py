"""The family that chooses among architectures: each trial's network is one of several kinds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kerasweep.models.base import Array, Frame, Inputs, Size, Stackable
from kerasweep.models.cnn import StackedCnn, cnn
from kerasweep.models.linear import StackedLinear, linear
from kerasweep.models.mlp import StackedMlp, mlp
from kerasweep.models.residual import StackedResidual, residual
from kerasweep.models.wide_deep import StackedWideDeep, wide_deep
from kerasweep.records import Params

if TYPE_CHECKING:
    import keras

_ARCHITECTURES: Mapping[str, tuple[Callable[[Params, Inputs, int], keras.Model], Callable[[Inputs], Stackable]]] = {
    "linear": (linear, StackedLinear),
    "mlp": (mlp, StackedMlp),
    "residual": (residual, StackedResidual),
    "wide_deep": (wide_deep, StackedWideDeep),
    "cnn": (cnn, StackedCnn),
}


def auto(params: Params, inputs: Inputs, seed: int) -> keras.Model:
    """A network of the kind that ``architecture`` names.

    Args:
        params: ``architecture``, and any that ``spec.families.ARCHITECTURES`` has for it.
        inputs: shape of a row and the task.
        seed: of the initial weights and of dropout.
    """
    build, _ = _ARCHITECTURES[_architecture(params)]
    return build(params, inputs, seed)


def _architecture(params: Params) -> str:
    return str(params["architecture"])


@dataclass(frozen=True)
class StackedAuto:
    """See ``models.base.Stackable``; ``inputs`` as in ``auto``. Members of one architecture go together."""

    inputs: Inputs

    def size(self, params: Params) -> Size:
        """That of the architecture, which is the same for a whole stack."""
        size = self._own(params).size(params)
        return replace(size, kind=(_architecture(params), size.kind))

    def frame(self, members: Sequence[Params], *, roomy: bool) -> Frame:
        """See the architecture's; all members have the same."""
        return self._own(members[0]).frame(members, roomy=roomy)

    def weights(self, params: Params, seed: int, frame: Frame) -> tuple[list[Array | None], list[Array | None]]:
        """Likewise."""
        return self._own(params).weights(params, seed, frame)

    def knobs(self, params: Params, frame: Frame) -> Mapping[str, float]:
        """Likewise."""
        return self._own(params).knobs(params, frame)

    def seeds(self, seed: int, frame: Frame) -> Mapping[str, int]:
        """Likewise."""
        return self._own(frame.params).seeds(seed, frame)

    def _own(self, params: Params) -> Stackable:
        _, stacked = _ARCHITECTURES[_architecture(params)]
        return stacked(self.inputs)
