"""The Keras model of a ``Preprocessing``. Only what is about to build a model imports this module: it loads Keras."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from kerasweep.data.preprocessing import Category, Number, Part, Preprocessing
from kerasweep.data.scaling import ArrayScaling

# Keras's Normalization divides by 1e-7 at least, which would flatten a feature measured in nanometres.
_SMALL_DEVIATION = 1e-6


def preprocessing_model(preprocessing: Preprocessing) -> keras.Model:
    """Raw rows -> features, as ``Preprocessing.model`` says."""
    if preprocessing.arrays:
        rows = {name: keras.Input(each.shape, dtype="float32", name=name) for name, each in preprocessing.arrays}
        return keras.Model(
            rows, {name: _scaled(rows[name], each) for name, each in preprocessing.arrays}, name="preprocessing"
        )
    if preprocessing.array is not None:
        row = keras.Input(preprocessing.array.shape, dtype="float32", name="rows")
        features = _shared(_scaled(row, preprocessing.array), preprocessing.parts)
        return keras.Model(row, features, name="preprocessing")
    inputs = {raw.name: keras.Input(raw.shape, dtype=raw.dtype, name=raw.name) for raw in preprocessing.inputs}
    parts = []
    if preprocessing.numbers:
        columns = [inputs[number.name] for number in preprocessing.numbers]
        scaled = _number_model(preprocessing.numbers, _free("scaled_numbers", inputs))
        parts.append(scaled(_joined(columns, _free("numbers", inputs))))
    for category in preprocessing.categories:
        parts.append(_one_hot(category, _free(f"{category.name}_one_hot", inputs))(inputs[category.name]))
    features = _shared(_joined(parts, _free("features", inputs)), preprocessing.parts)
    return keras.Model(inputs, features, name="preprocessing")


def _shared(features: keras.KerasTensor, parts: Sequence[Part]) -> Any:
    """The features as they are, or a dict of those that each part takes ``(rows, taken)``."""
    if not parts:
        return features
    flat = features if len(features.shape) == 2 else layers.Flatten()(features)
    return {part.name: ops.take(flat, np.array(part.features, dtype=np.int32), axis=1) for part in parts}


def _scaled(rows: keras.KerasTensor, scaling: ArrayScaling) -> keras.KerasTensor:
    features = rows
    if scaling.scale != 1:
        features = layers.Rescaling(scaling.scale, dtype="float32")(features)
    if scaling.mean:
        features = _normalization(scaling.mean, scaling.variance)(features)
    if features is rows:
        features = layers.Identity(dtype="float32")(rows)
    return features


def _normalization(mean: Sequence[float], variance: Sequence[float]) -> layers.Layer:
    deviation = np.sqrt(variance)
    if deviation.min() < _SMALL_DEVIATION:
        scale, offset = 1 / deviation, -np.asarray(mean) / deviation
        return layers.Rescaling(scale.tolist(), offset.tolist(), dtype="float32")
    return layers.Normalization(axis=-1, mean=np.asarray(mean), variance=np.asarray(variance), dtype="float32")


def _number_model(numbers: Sequence[Number], name: str) -> keras.Model:
    """All numbers at once, ``(rows, numbers)`` -> ``(rows, numbers + indicators)``.

    A model of its own, so that the names which Keras gives to operations cannot clash with a column's name.
    """
    raw = keras.Input((len(numbers),), dtype="float32", name="raw")
    missing = ops.isnan(raw)
    filled = raw
    fills = [number.fill for number in numbers if number.fill is not None]
    if len(fills) == len(numbers):
        filled = ops.where(missing, np.array([fills], dtype=np.float32), raw)
    features = _normalization([n.mean for n in numbers], [n.variance for n in numbers])(filled)
    told = [index for index, number in enumerate(numbers) if number.indicator]
    if told:
        indicators = ops.cast(ops.take(missing, np.array(told, dtype=np.int32), axis=1), "float32")
        features = layers.Concatenate(dtype="float32")([features, indicators])
    return keras.Model(raw, features, name=name)


def _one_hot(category: Category, name: str) -> layers.Layer:
    unknown = "[UNK]"
    while unknown in category.levels:
        unknown = f"[{unknown}]"
    vocabulary = ["", *category.levels] if category.missing else list(category.levels)
    return layers.StringLookup(
        vocabulary=vocabulary, num_oov_indices=1, oov_token=unknown, output_mode="one_hot", name=name
    )


def _joined(tensors: Sequence[keras.KerasTensor], name: str) -> keras.KerasTensor:
    if len(tensors) == 1:
        return layers.Identity(dtype="float32", name=name)(tensors[0])
    return layers.Concatenate(dtype="float32", name=name)(tensors)


def _free(name: str, taken: dict[str, keras.KerasTensor]) -> str:
    """A layer's name that is not yet an input's."""
    while name in taken:
        name += "_"
    return name
