"""What each Keras layer does to a stack of members.

Values have the members in front: ``(members, batch, …)``, or ``(1, batch, …)`` as long as all members see the same,
which is so until the first layer with weights. A layer without weights that treats every row by itself needs no rule:
members and rows become one axis and back again. For any other layer of Keras ``vectorized_map`` stands in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from kerasweep.models.several import input_names
from kerasweep.training.cohort import philox
from kerasweep.training.cohort.errors import Unstackable

if TYPE_CHECKING:
    import keras

Tensor = Any


@dataclass(frozen=True)
class Padding:
    """What of a stack's layers belongs to which member, where members differ in size.

    Attributes:
        units: layer -> ``(members, units)``, 1 for the units that a member has and 0 for the others; applied to the
            layer's output.
        widths: layer -> ``(members,)``, how many of its input's units a member has.
        active: last layer of a block -> ``(members,)``, whether a member has the block at all.
        blocks: last layer of a block -> its first layer, whose input replaces the block for those that lack it.
    """

    units: Mapping[str, Tensor] = field(default_factory=dict)
    widths: Mapping[str, Tensor] = field(default_factory=dict)
    active: Mapping[str, Tensor] = field(default_factory=dict)
    blocks: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Pass:
    """One way of a batch through a stack of models.

    Attributes:
        members: how many.
        variables: id of a variable of the template -> its values ``(members, …)``.
        knobs: ``layer/setting`` -> its values ``(members,)``, for what may differ between members of one stack.
        padding: of members that are smaller than the stack.
        training: whether dropout drops and batch normalisation looks at the batch.
        real: ``(batch,)``, 0 for rows that only fill up the last batch; None if there are none.
        keys: dropout layer -> ``(members, 4)`` uint32, the state of its generator.
        held: ids of variables that stay as they are.
        updates: id of a variable -> its new values, gathered on the way.
    """

    members: int
    variables: Mapping[int, Tensor]
    knobs: Mapping[str, Tensor]
    padding: Padding
    training: bool
    real: Tensor | None = None
    keys: Mapping[str, Tensor] = field(default_factory=dict)
    held: frozenset[int] = frozenset()
    updates: dict[int, Tensor] = field(default_factory=dict)
    _inputs: dict[str, Tensor] = field(default_factory=dict)

    def run(self, model: keras.Model, x: Tensor) -> Tensor:
        """A Sequential or Functional model's output.

        Args:
            model: the template.
            x: ``(1 or members, batch, …)``, or those of each input.
        """
        import keras

        graph = model._functional if isinstance(model, keras.Sequential) else model
        if not is_graph(model):
            return self._each_member(model, x)
        if isinstance(x, Mapping):
            x = [x[name] for name in input_names(graph) or x]
        return graph._run_through_graph(x, operation_fn=lambda operation: _Stacked(self, operation))

    def layer(self, layer: keras.Operation, *inputs: Any, **arguments: Any) -> Tensor:
        """A layer's output, padding held."""
        from keras import ops

        name = layer.name
        self._inputs[name] = inputs[0] if inputs else None
        output = self._plain(layer, *inputs, **arguments)
        if name in self.padding.units:
            output = output * self.padding.units[name][:, None, :]
        if name in self.padding.active:
            skipped = self._inputs[self.padding.blocks[name]]
            output = ops.where(self.padding.active[name][:, None, None] > 0, output, skipped)
        return output

    def value(self, variable: keras.Variable) -> Tensor:
        """A variable's values ``(members, …)``, as they are by now."""
        if seed_variable(variable):  # of a generator that never draws
            return self._wide(variable.value[None])
        return self.updates.get(id(variable), self.variables[id(variable)])

    def knob(self, layer: keras.Layer, setting: str) -> Tensor:
        """A setting's values ``(members,)``."""
        return self.knobs[f"{layer.name}/{setting}"]

    def _plain(self, layer: keras.Operation, *inputs: Any, **arguments: Any) -> Tensor:
        import keras

        if isinstance(layer, keras.Model) and is_graph(layer):
            return self.run(layer, inputs[0])
        rule = _rules().get(type(layer))
        if rule is not None:
            return rule(self, layer, *inputs)
        if row_wise(layer):
            return self._each_row(layer, *inputs)
        if selects_columns(layer):
            return keras.ops.take(inputs[0], inputs[1], axis=2)
        return self._each_member(layer, *inputs, **arguments)

    def _each_row(self, layer: keras.Layer, inputs: Any) -> Tensor:
        """A layer that treats every row by itself: members and rows become one axis."""
        from keras import ops, tree

        stacked = max(x.shape[0] for x in tree.flatten(inputs))

        def merged(x: Tensor) -> Tensor:
            x = ops.broadcast_to(x, (stacked, *x.shape[1:]))
            return ops.reshape(x, (x.shape[0] * x.shape[1], *x.shape[2:]))

        output = layer(tree.map_structure(merged, inputs))
        return ops.reshape(output, (stacked, output.shape[0] // stacked, *output.shape[1:]))

    def _each_member(self, layer: keras.Operation, *inputs: Any, **arguments: Any) -> Tensor:
        """Any other operation, one member after another as far as the code goes, all at once as far as it runs."""
        import keras
        from keras import ops, tree

        if not isinstance(layer, keras.Layer):
            leaves = tree.flatten((inputs, arguments))
            places = [i for i, leaf in enumerate(leaves) if hasattr(leaf, "shape") and hasattr(leaf, "dtype")]

            def operated(tensors: list[Tensor]) -> Tensor:
                filled = list(leaves)
                for place, tensor in zip(places, tensors, strict=True):
                    filled[place] = tensor
                given, named = tree.pack_sequence_as((inputs, arguments), filled)
                return layer(*given, **named)

            return ops.vectorized_map(operated, [self._wide(leaves[place]) for place in places])
        wide = tree.map_structure(self._wide, inputs)
        own, rest = layer.trainable_variables, layer.non_trainable_variables

        def one(given: tuple[list[Tensor], list[Tensor], Any]) -> tuple[Tensor, list[Tensor]]:
            takes_training = layer._call_has_training_arg
            more = {"training": self.training} if takes_training else {}
            output, updated = layer.stateless_call(given[0], given[1], *given[2], **more)
            return output, updated

        output, updated = ops.vectorized_map(one, ([self.value(v) for v in own], [self.value(v) for v in rest], wide))
        if self.training:
            for variable, new in zip(rest, updated, strict=True):
                self.updates[id(variable)] = ops.reshape(new, (self.members, *variable.shape))
        return output

    def _wide(self, x: Tensor) -> Tensor:
        """A value that all members share, once for each."""
        from keras import ops

        return ops.broadcast_to(x, (self.members, *x.shape[1:]))


@dataclass(frozen=True)
class _Stacked:
    """Stands in for an operation while a template's graph is walked."""

    way: Pass
    operation: keras.Operation

    def __call__(self, *inputs: Any, **arguments: Any) -> Tensor:
        return self.way.layer(self.operation, *inputs, **arguments)


def is_graph(model: Any) -> bool:
    """Whether a model is a graph of layers and nothing else, not a class with a ``call`` of the user's own."""
    import keras
    from keras.src.models.functional import Functional

    from kerasweep.models.supervised import Supervised

    return type(model) in (Functional, Supervised) or (
        type(model) is keras.Sequential and model._functional is not None
    )


def seed_variable(variable: keras.Variable) -> bool:
    """Whether a variable is the state of a random generator."""
    return bool(variable.name == "seed_generator_state")


_ROW_WISE = (
    "Activation", "Add", "Average", "AveragePooling1D", "AveragePooling2D", "AveragePooling3D", "CategoryEncoding",
    "Concatenate", "Cropping1D", "Cropping2D", "Cropping3D", "Dot", "ELU", "Flatten", "GlobalAveragePooling1D",
    "GlobalAveragePooling2D", "GlobalAveragePooling3D", "GlobalMaxPooling1D", "GlobalMaxPooling2D",
    "GlobalMaxPooling3D", "Identity", "LeakyReLU", "MaxPooling1D", "MaxPooling3D", "Maximum",
    "Minimum", "Multiply", "Permute", "ReLU", "RepeatVector", "Rescaling", "Reshape", "Softmax", "Subtract",
    "UpSampling1D", "UpSampling2D", "UpSampling3D", "ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D",
)  # fmt: skip

# Have weights, and still treat every row by itself, so that rows which fill up a batch do no harm.
_ROW_WISE_WITH_WEIGHTS = (
    "Bidirectional", "Conv1D", "Conv1DTranspose", "Conv2DTranspose", "Conv3D", "EinsumDense", "Embedding", "GRU",
    "GroupNormalization", "LSTM", "LayerNormalization", "MultiHeadAttention", "Normalization", "PReLU",
    "RMSNormalization", "SeparableConv1D", "SeparableConv2D", "SimpleRNN", "UnitNormalization",
)  # fmt: skip


def row_wise(layer: Any) -> bool:
    """Whether a layer has no weights, no randomness, and treats every row by itself."""
    return _is_one_of(layer, _ROW_WISE)


def has_form(layer: Any) -> bool:
    """Whether a layer has a stacked form of its own."""
    return type(layer) in _rules() or row_wise(layer) or _is_one_of(layer, ("InputLayer",)) or is_graph(layer)


def heeds_fill(operation: Any) -> bool:
    """Whether rows that only fill up a batch do no harm to the others."""
    if selects_columns(operation):
        return True
    ruled = type(operation) in _rules()
    return ruled or _is_one_of(operation, ("InputLayer", *_ROW_WISE, *_ROW_WISE_WITH_WEIGHTS))


def selects_columns(operation: Any) -> bool:
    """Whether an operation is ``keras.ops.take`` of features ``(batch, features)``, the same ones of every row."""
    from keras.src.ops.numpy import Take

    if type(operation) is not Take or operation.axis not in (1, -1):
        return False
    return all(
        len(node.input_tensors) == 1 and len(node.input_tensors[0].shape) == 2 for node in operation._inbound_nodes
    )


def _is_one_of(layer: Any, names: Sequence[str]) -> bool:
    from keras import layers

    return any(type(layer) is getattr(layers, name, None) for name in names)


def dense(way: Pass, layer: keras.layers.Dense, x: Tensor) -> Tensor:
    """``(members or 1, batch, …, inputs)`` -> ``(members, batch, …, units)``."""
    from keras import ops

    kernel = way.value(layer._kernel)
    inputs, units = kernel.shape[1:]
    shape = x.shape[1:-1]
    rows = math.prod(shape)
    flat = ops.reshape(x, (x.shape[0], rows, inputs))
    if x.shape[0] == 1:  # all members see the same rows: one large product instead of many small ones
        wide = ops.reshape(ops.transpose(kernel, (1, 0, 2)), (inputs, way.members * units))
        y = ops.transpose(ops.reshape(ops.matmul(flat[0], wide), (rows, way.members, units)), (1, 0, 2))
    else:
        y = ops.matmul(flat, kernel)
    if layer.bias is not None:
        y = y + way.value(layer.bias)[:, None, :]
    y = ops.reshape(y, (way.members, *shape, units))
    return y if layer.activation is None else layer.activation(y)


def batch_normalization(way: Pass, layer: keras.layers.BatchNormalization, x: Tensor) -> Tensor:
    """Ioffe and Szegedy 2015, as Keras has it: the batch's moments in training, moving ones otherwise or if frozen."""
    from keras import ops

    if layer.renorm:
        raise Unstackable(f"layer {layer.name} (BatchNormalization with renorm)")
    axis = layer.axis % (len(x.shape) - 1) + 1
    over = tuple(i for i in range(1, len(x.shape)) if i != axis)
    x = ops.broadcast_to(x, (way.members, *x.shape[1:]))
    shape = tuple(size if i in (0, axis) else 1 for i, size in enumerate(x.shape))
    mean, variance = way.value(layer.moving_mean), way.value(layer.moving_variance)
    if way.training and layer.trainable and id(layer.moving_mean) not in way.held:
        if way.real is None:
            now = ops.mean(x, axis=over)
            spread = ops.mean(ops.square(x), axis=over) - ops.square(now)
            spread = ops.maximum(spread, 0.0)
        else:
            real = ops.reshape(way.real, (1, -1) + (1,) * (len(x.shape) - 2))
            share = real / (ops.sum(way.real) * np.float32(math.prod(x.shape[i] for i in over) / x.shape[1]))
            now = ops.sum(x * share, axis=over)
            spread = ops.sum(ops.square(x - ops.reshape(now, shape)) * share, axis=over)
        keep = np.float32(layer.momentum)
        way.updates[id(layer.moving_mean)] = mean * keep + now * (1 - keep)
        way.updates[id(layer.moving_variance)] = variance * keep + spread * (1 - keep)
        mean, variance = now, spread
    factor = 1.0 / ops.sqrt(variance + np.float32(layer.epsilon))
    if layer.scale:
        factor = factor * way.value(layer.gamma)
    shift = -mean * factor
    if layer.center:
        shift = shift + way.value(layer.beta)
    return x * ops.reshape(factor, shape) + ops.reshape(shift, shape)


def dropout(way: Pass, layer: keras.layers.Dropout, x: Tensor) -> Tensor:
    """Srivastava et al. 2014; each member drops what its own Dropout layer would drop."""
    from keras import ops

    if not way.training or layer.name not in way.keys:
        return x
    if layer.noise_shape is not None:
        raise Unstackable(f"layer {layer.name} (Dropout with noise_shape)")
    x = ops.broadcast_to(x, (way.members, *x.shape[1:]))
    shape = x.shape
    noise = philox.uniform(way.keys[layer.name], math.prod(shape[1:]))
    if layer.name in way.padding.widths:  # a member's rows are as long as it is wide: row b, unit u is number b·w + u
        widths = ops.cast(way.padding.widths[layer.name], "int32")[:, None, None]
        rows, units = (ops.cast(ops.arange(size), "int32") for size in shape[1:])
        place = rows[None, :, None] * widths + units[None, None, :]
        noise = ops.take_along_axis(noise, ops.reshape(place, (shape[0], -1)), axis=1)
    rate = ops.reshape(way.knob(layer, "rate"), (-1,) + (1,) * (len(shape) - 1))
    return ops.where(ops.reshape(noise, shape) >= rate, x * (1.0 / (1.0 - rate)), 0.0)


def _rules() -> Mapping[type, Callable[..., Tensor]]:
    from keras import layers

    from kerasweep.training.cohort import convolutions

    return {
        layers.Dense: dense,
        layers.BatchNormalization: batch_normalization,
        layers.Dropout: dropout,
        layers.Conv2D: convolutions.conv2d,
        layers.DepthwiseConv2D: convolutions.depthwise_conv2d,
        layers.MaxPooling2D: convolutions.max_pooling2d,
    }


def penalties(way: Pass, layers: Sequence[keras.Layer]) -> Tensor:
    """The weight penalties of each member, ``(members,)``."""
    from keras import ops

    total = ops.zeros((way.members,))
    for layer in layers:
        for attribute, regularizer in regularizers(layer):
            variable = getattr(layer, attribute.removesuffix("_regularizer"))
            value = way.value(variable)
            over = tuple(range(1, len(value.shape)))
            if hasattr(regularizer, "l1"):
                total = total + way.knob(layer, f"{attribute}.l1") * ops.sum(ops.abs(value), axis=over)
            if hasattr(regularizer, "l2"):
                total = total + way.knob(layer, f"{attribute}.l2") * ops.sum(ops.square(value), axis=over)
    return total


def regularizers(layer: keras.Layer) -> list[tuple[str, Any]]:
    """A layer's weight penalties: (attribute, regulariser)."""
    names = ("kernel_regularizer", "bias_regularizer", "beta_regularizer", "gamma_regularizer", "depthwise_regularizer")
    return [(name, found) for name in names if (found := getattr(layer, name, None)) is not None]
