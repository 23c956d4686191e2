"""Models of several named inputs or outputs: whether their names are the data's, and their predictions by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from kerasweep.errors import ModelError

if TYPE_CHECKING:
    import keras

    from kerasweep.models.base import Inputs


class NamesDiffer(ModelError):
    """A model's inputs or outputs are not called as the data's, which no hyperparameter changes."""


def check_names(model: keras.Model, inputs: Inputs) -> None:
    """Whether a built model's inputs and outputs are called as the data's.

    Raises:
        NamesDiffer: they are not; the message lists both. Or it has several, and the data name none.
    """
    if type(model).__module__.startswith("keras."):
        for key, told in (("inputs", inputs.shapes), ("outputs", inputs.heads)):
            if len(getattr(model, key, None) or ()) > 1 and not told:
                names = input_names(model) if key == "inputs" else model.output_names
                rule = f"a model of several {key} needs data that name them (data.{key}, or arrays by name)"
                raise NamesDiffer(f"{rule}. Received: {_listed(names or ())}")
    if inputs.shapes and (names := input_names(model)) is not None and set(names) != set(inputs.shapes):
        rule = f"a model's inputs must be called as the data's, {_listed(inputs.shapes)}, as in keras.Input(name=…)"
        raise NamesDiffer(f"{rule}. Received: {_listed(names)}")
    if inputs.heads:
        predicted = model(inputs.example(), training=False)
        rule = f"a model's outputs must be called as the data's, {_listed(inputs.heads)}, by its last layers' names"
        names = output_names(model, predicted)
        if names is None:
            received = "outputs without names, of a class with a call of its own, which must return a dict"
            raise NamesDiffer(f"{rule}. Received: {received}")
        if set(names) != set(inputs.heads):
            raise NamesDiffer(f"{rule}, or as the keys of a dict of outputs. Received: {_listed(names)}")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


def input_names(model: keras.Model) -> list[str] | None:
    """Of a graph's inputs, in its order; None for a class with a ``call`` of its own, which takes a dict as it pleases.

    In a dict they go by their keys, which Keras sorts; else by the names of ``keras.Input``.
    """
    import keras

    structure = getattr(model, "_inputs_struct", None)
    if isinstance(structure, Mapping):
        return list(keras.tree.flatten({name: name for name in structure}))
    tensors = getattr(model, "inputs", None)
    return None if tensors is None else [tensor._keras_history.operation.name for tensor in tensors]


def output_names(model: keras.Model, predicted: Any) -> list[str] | None:
    """The names of a model's several outputs, in the order of ``keras.tree.flatten``; None if they have none.

    Args:
        model: that may be of any class.
        predicted: what it returns.
    """
    import keras

    if isinstance(predicted, Mapping):
        return list(keras.tree.flatten({name: name for name in predicted}))
    count = len(keras.tree.flatten(predicted))
    names = getattr(model, "output_names", None)
    return list(names) if names and len(names) == count else None


def by_name(model: keras.Model, predicted: Any) -> dict[str, Any]:
    """A model's predictions by the names of its outputs; those of one output go by an empty name.

    Raises:
        ModelError: there are several, without names.
    """
    import keras

    flat = keras.tree.flatten(predicted)
    if len(flat) == 1:
        return {"": flat[0]}
    names = output_names(model, predicted)
    if names is None:
        raise ModelError("several outputs must have names. Received: a list, of a class with a call of its own")
    return dict(zip(names, flat, strict=True))
