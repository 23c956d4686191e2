"""The wide and deep network: as a Keras model, and as what it brings into a stack of such models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kerasweep.models import hidden
from kerasweep.models.base import Frame, Inputs, Size
from kerasweep.records import Params
from kerasweep.spec.families import WIDE_DEEP_PARAMETERS

if TYPE_CHECKING:
    import keras


def wide_deep(params: Params, inputs: Inputs, seed: int) -> keras.Model:
    """A wide and deep network: some features go straight to the output layer, others through hidden layers first.

    After Cheng et al., "Wide & Deep Learning for Recommender Systems" (2016), as chapter 10 of Géron's book has it: the
    output layer is fed with the wide features and the last hidden layer, in this order. An auxiliary output on the last
    hidden layer alone makes sure that the deep part learns something by itself; see ``Supervised``.

    Args:
        params: any of ``spec.families.WIDE_DEEP_PARAMETERS``.
        inputs: shape of a row (flattened first if it has several axes), the task, and which features go which way.
        seed: of the initial weights and of dropout.
    """
    import keras
    from keras import layers

    rows = keras.Input(inputs.shape)
    flat = rows if len(inputs.shape) == 1 else layers.Flatten(name="flatten")(rows)
    deep = _taken(flat, inputs.deep)
    for layer in hidden.hidden_layers(params, seed):
        deep = layer(deep)
    joined = layers.Concatenate(name="joined")([_taken(flat, inputs.wide), deep])
    output = hidden.output_layer(params, inputs, seed)(joined)
    if not (weight := _aux_weight(params)):
        return keras.Model(rows, output)
    from kerasweep.models.supervised import Supervised

    model = Supervised(rows, [output, hidden.output_layer(params, inputs, seed, "aux")(deep)])
    model.aux_weight = weight
    return model


def _taken(features: keras.KerasTensor, chosen: tuple[int, ...] | None) -> keras.KerasTensor:
    from keras import ops

    return features if chosen is None else ops.take(features, list(chosen), axis=1)


def _aux_weight(params: Params) -> float:
    return float(params.get("aux_weight", WIDE_DEEP_PARAMETERS["aux_weight"].default or 0))


@dataclass(frozen=True)
class StackedWideDeep:
    """See ``models.base.Stackable``; ``inputs`` as in ``wide_deep``.

    The hidden layers are filled up as those of ``mlp`` are. Units that fill up come last in the output layer's input,
    behind the wide features. Where only some members have an auxiliary output, the others have one of weight 0.
    """

    inputs: Inputs

    def size(self, params: Params) -> Size:
        """Depth and widths may be filled up; activation and batch normalisation are the same for a whole stack."""
        outputs, heads = self.inputs.outputs, 2 if _aux_weight(params) else 1
        products, parameters, values = hidden.cost(params, self._deep)
        units = hidden.widths(params)
        last = (self._wide + heads * units[-1]) * outputs
        return Size(
            kind=hidden.kind(params),
            hidden=units,
            products=products + last,
            parameters=parameters + last + heads * outputs,
            units=values + self._wide + units[-1] + heads * outputs,
        )

    def frame(self, members: Sequence[Params], *, roomy: bool) -> Frame:
        """As deep and wide as the largest member, with an auxiliary output if any has one."""
        frame = hidden.hidden_frame(members, roomy=roomy)
        return replace(frame, params={**frame.params, "aux_weight": max(map(_aux_weight, members))})

    def weights(self, params: Params, seed: int, frame: Frame) -> hidden.Variables:
        """Initial values, as ``wide_deep`` would have them."""
        trainable, others = hidden.hidden_weights(params, seed, frame, self._deep)
        last, outputs = hidden.widths(params)[-1], self.inputs.outputs
        trainable += hidden.output_weights(seed, self._wide + last, outputs)
        if _aux_weight(frame.params):
            trainable += hidden.output_weights(seed, last, outputs, "aux") if _aux_weight(params) else [None, None]
        return trainable, others

    def knobs(self, params: Params, frame: Frame) -> dict[str, float]:
        """Dropout rates, penalties and the auxiliary output's weight."""
        if not _aux_weight(frame.params):
            return hidden.hidden_knobs(params, frame)
        return hidden.hidden_knobs(params, frame, ("output", "aux")) | {"aux/loss_weight": _aux_weight(params)}

    def seeds(self, seed: int, frame: Frame) -> dict[str, int]:
        """Of the dropout layers."""
        return hidden.hidden_seeds(seed, frame)

    @property
    def _wide(self) -> int:
        return self.inputs.features if self.inputs.wide is None else len(self.inputs.wide)

    @property
    def _deep(self) -> int:
        return self.inputs.features if self.inputs.deep is None else len(self.inputs.deep)
