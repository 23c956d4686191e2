"""One model from raw rows to predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kerasweep.data.preprocessing import Preprocessing
from kerasweep.errors import DeliveryError

if TYPE_CHECKING:
    import keras


def assemble(preprocessing: Preprocessing, body: keras.Model) -> keras.Model:
    """Puts the preprocessing in front of a trained network.

    The result shares its weights with ``body``. Its inputs are those of the preprocessing: a dictionary of the raw
    column names, or one array called ``rows``. When the body is made of Keras's own layers, the result loads from
    a ``.keras`` file in safe mode where kerasweep is not installed; a body of the user's own class is called as one
    layer of a Functional model, and such a file needs that class where it is loaded.

    Args:
        preprocessing: fitted on the training rows.
        body: trained; takes features ``(rows, *shape)``, returns predictions ``(rows, outputs)``.

    Raises:
        DeliveryError: the body does not accept the features, or returns more than one array.
    """
    import keras

    front = preprocessing.model()
    try:
        predictions = _beside(front, body)(front.output)
    except Exception as error:  # whatever a body of the user's own raises
        raise DeliveryError(
            f"a model must accept the preprocessed features of shape {tuple(front.output.shape)}. "
            f"Received: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(predictions, keras.KerasTensor):
        raise DeliveryError(f"a model must return one array of predictions. Received: {type(predictions).__name__}")
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
    features = keras.Input(front.output.shape[1:])
    return keras.Model(features, body(features), name=name)
