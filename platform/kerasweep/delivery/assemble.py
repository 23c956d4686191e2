"""One model from raw rows to predictions."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from kerasweep.data.preprocessing import Preprocessing
from kerasweep.errors import DeliveryError

if TYPE_CHECKING:
    import keras


def assemble(preprocessing: Preprocessing, body: keras.Model, heads: Collection[str] = ()) -> keras.Model:
    """Puts the preprocessing in front of a trained network.

    The result shares its weights with ``body``. Its inputs are those of the preprocessing: a dictionary of the raw
    column names or of arrays, or one array called ``rows``. Several outputs become a dictionary by their names. When
    the body is made of Keras's own layers, the result loads from a ``.keras`` file in safe mode where kerasweep is not
    installed; a body of the user's own class is called as one layer of a Functional model, and such a file needs that
    class where it is loaded.

    Args:
        preprocessing: fitted on the training rows.
        body: trained; takes features ``(rows, *shape)``, returns predictions ``(rows, outputs)``; or several of either.
        heads: the names of its outputs, where the data have several.

    Raises:
        DeliveryError: the body does not accept the features, or returns other outputs.
    """
    import keras

    from kerasweep.models.several import by_name

    front = preprocessing.model()
    try:
        predictions = _beside(front, body)(front.output)
        outputs = by_name(body, predictions)
    except Exception as error:  # whatever a body of the user's own raises
        shape = keras.tree.map_structure(lambda tensor: tuple(tensor.shape), front.output)
        raise DeliveryError(
            f"a model must accept the preprocessed features of shape {shape}. Received: {type(error).__name__}: {error}"
        ) from error
    if heads:
        return keras.Model(front.input, {name: outputs[name] for name in heads}, name="kerasweep")
    if not isinstance(predictions, keras.KerasTensor):
        rule = "a model must return one array of predictions, or the data name its outputs (data.outputs)"
        raise DeliveryError(f"{rule}. Received: {', '.join(outputs) or type(predictions).__name__}")
    return keras.Model(front.input, predictions, name="kerasweep")


def _beside(front: keras.Model, body: keras.Model) -> keras.Model:
    """The body, inside another model if its name (``sequential``, say) is that of a column or layer in front of it."""
    import keras

    taken = {layer.name for layer in front.layers}
    if body.name not in taken:
        return body
    name = "network"
    while name in taken:
        name += "_"
    features = keras.tree.map_structure(lambda tensor: keras.Input(tensor.shape[1:]), front.output)
    return keras.Model(features, body(features), name=name)
