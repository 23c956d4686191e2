"""Transfer learning: the first layers of a network start from those of one that was trained before."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kerasweep.errors import ModelError
from kerasweep.models.base import Array, Frame, Size, Stackable
from kerasweep.records import Params

if TYPE_CHECKING:
    from collections.abc import Mapping

    import keras


@dataclass(frozen=True)
class SourceLayer:
    """A trained layer.

    Attributes:
        name: of the layer.
        trainable: its trainable weights.
        others: its other weights, such as the statistics of batch normalisation.
    """

    name: str
    trainable: tuple[Array, ...]
    others: tuple[Array, ...]


@dataclass(frozen=True)
class InitialWeights:
    """What the first layers with weights of every model of a study start from.

    Attributes:
        layers: the source's, from the input on.
    """

    layers: tuple[SourceLayer, ...]

    @classmethod
    def of(cls, model: keras.Model, layers: int) -> InitialWeights:
        """The first layers of a trained network.

        Raises:
            ModelError: it has fewer.
        """
        found = [
            SourceLayer(each.layer.name, tuple(map(_values, each.trainable)), tuple(map(_values, each.others)))
            for each in weighted_layers(model)
        ]
        if layers > len(found):
            raise ModelError(
                f"initial_weights.layers must be at most the source's layers with weights. "
                f"Received: {layers}, where it has {len(found)}: {', '.join(layer.name for layer in found)}"
            )
        return cls(tuple(found[:layers]))

    @property
    def fingerprint(self) -> str:
        """Of all values, in hexadecimal digits."""
        digest = hashlib.blake2b(digest_size=16)
        for layer in self.layers:
            for array in (*layer.trainable, *layer.others):
                digest.update(repr((array.shape, array.dtype.str)).encode())
                digest.update(array.tobytes())
        return digest.hexdigest()

    def give(self, model: keras.Model) -> None:
        """Sets the weights of a built model.

        Raises:
            ModelError: it has fewer layers with weights, or other shapes; the message names the layer and the shapes.
        """
        targets = list(weighted_layers(model))
        if len(targets) < len(self.layers):
            raise ModelError(
                f"a model must have the {len(self.layers)} layers with weights that start from trained ones. "
                f"Received: {len(targets)}: {', '.join(target.layer.name for target in targets)}"
            )
        for source, target in zip(self.layers, targets, strict=False):
            for values, variables in ((source.trainable, target.trainable), (source.others, target.others)):
                _check(source, target.layer.name, values, variables)
                for variable, value in zip(variables, values, strict=True):
                    variable.assign(value)

    def replaced(
        self, trainable: Sequence[Array | None], others: Sequence[Array | None]
    ) -> tuple[list[Array | None], list[Array | None]]:
        """A network's initial values with those of its first layers replaced; None where it has no such layer.

        Args:
            trainable: of its trainable weights, layer after layer.
            others: of its other weights, likewise.

        Raises:
            ModelError: see ``give``.
        """
        return (
            _replaced(trainable, [(layer, layer.trainable) for layer in self.layers]),
            _replaced(others, [(layer, layer.others) for layer in self.layers]),
        )


@dataclass(frozen=True)
class Transferring:
    """See ``models.base.Stackable``: what ``inner`` knows, but for the weights that members begin with.

    Attributes:
        inner: of the family.
        initial: what the first layers start from.
    """

    inner: Stackable
    initial: InitialWeights

    def size(self, params: Params) -> Size:
        return self.inner.size(params)

    def frame(self, members: Sequence[Params], *, roomy: bool) -> Frame:
        return self.inner.frame(members, roomy=roomy)

    def weights(self, params: Params, seed: int, frame: Frame) -> tuple[list[Array | None], list[Array | None]]:
        return self.initial.replaced(*self.inner.weights(params, seed, frame))

    def knobs(self, params: Params, frame: Frame) -> Mapping[str, float]:
        return self.inner.knobs(params, frame)

    def seeds(self, seed: int, frame: Frame) -> Mapping[str, int]:
        return self.inner.seeds(seed, frame)


@dataclass(frozen=True)
class WeightedLayer:
    """A layer that holds weights, and which.

    Attributes:
        layer: itself.
        trainable: its trainable weights.
        others: its other weights.
    """

    layer: keras.Layer
    trainable: tuple[keras.Variable, ...]
    others: tuple[keras.Variable, ...]


def weighted_layers(model: keras.Model) -> Iterator[WeightedLayer]:
    """The layers that hold weights, nested ones too, in the order of ``model.weights``."""
    owners: dict[int, keras.Layer] = {}
    for layer in model._flatten_layers():
        owners |= {id(variable): layer for variable in (*layer._trainable_variables, *layer._non_trainable_variables)}
    held: dict[int, list[Any]] = {}
    for weight in model.weights:
        held.setdefault(id(owners[id(weight)]), []).append(weight)
    for weights in held.values():
        layer = owners[id(weights[0])]
        others = {id(variable) for variable in layer._non_trainable_variables}
        yield WeightedLayer(
            layer,
            tuple(weight for weight in weights if id(weight) not in others),
            tuple(weight for weight in weights if id(weight) in others),
        )


def _values(variable: Any) -> Array:
    import keras
    import numpy as np

    return np.array(keras.ops.convert_to_numpy(variable.value))


def _check(source: SourceLayer, name: str, values: Iterable[Any], targets: Iterable[Any]) -> None:
    given, needed = ([tuple(each.shape) for each in group] for group in (values, targets))
    if given != needed:
        raise ModelError(
            f"weights that start from trained ones must have their shapes: layer {name!r} has {_listed(needed)}. "
            f"Received: {_listed(given)}, of the source's layer {source.name!r}"
        )


def _listed(shapes: Sequence[tuple[int, ...]]) -> str:
    return " and ".join(map(str, shapes)) or "none"


def _replaced(
    values: Sequence[Array | None], sources: Sequence[tuple[SourceLayer, tuple[Array, ...]]]
) -> list[Array | None]:
    """The first values that are there, replaced."""
    result = list(values)
    places = [place for place, value in enumerate(values) if value is not None]
    for layer, arrays in sources:
        here, places = places[: len(arrays)], places[len(arrays) :]
        _check(layer, f"in the place of {layer.name}", arrays, [values[place] for place in here])
        for place, array in zip(here, arrays, strict=True):
            result[place] = array
    return result
