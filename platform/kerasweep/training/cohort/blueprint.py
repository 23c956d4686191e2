"""What a built model is to a cohort: its signature, and what of it may differ between members of one stack."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kerasweep.training.base import Array
from kerasweep.training.cohort import layers, optimizers
from kerasweep.training.cohort.backend import backend
from kerasweep.training.cohort.errors import Unstackable

if TYPE_CHECKING:
    import keras

# What of a layer's configuration has no part in training once the weights exist.
_INITIAL = ("seed", "initializer")
_OVERRIDABLE = ("train_step", "test_step", "compute_loss", "compute_metrics", "make_train_function")


@dataclass(frozen=True)
class Model:
    """A template, and how its weights are laid out. Members of one stack share it.

    Attributes:
        template: a built and compiled model.
        trainable: its trainable variables.
        others: its other variables, the states of random generators left out.
        order: of ``template.weights``: (whether trainable, index in its list).
        dropouts: its layers that drop units.
        penalised: its layers with weight penalties.
        loss: Keras's loss, whose ``call`` gives a value a row.
        metrics: Keras's metrics by name.
        weighted: names of those that heed sample weights.
        exact: whether rows that fill up the last batch could do harm, so that it must be as short as it is.
        mapped: its layers without a stacked form of their own, for which ``vectorized_map`` stands in.
    """

    template: keras.Model
    trainable: tuple[keras.Variable, ...]
    others: tuple[keras.Variable, ...]
    order: tuple[tuple[bool, int], ...]
    dropouts: tuple[keras.layers.Dropout, ...]
    penalised: tuple[keras.Layer, ...]
    loss: keras.losses.Loss
    metrics: Mapping[str, keras.metrics.Metric]
    weighted: frozenset[str]
    exact: bool
    mapped: tuple[str, ...]


@dataclass(frozen=True)
class Part:
    """What one member brings into a stack.

    Attributes:
        optimizer: its optimiser's settings.
        knobs: ``layer/setting`` -> value.
        seeds: dropout layer -> (seed, draws so far) of its generator.
        trainable: initial values of ``Model.trainable``.
        others: of ``Model.others``.
    """

    optimizer: optimizers.Settings
    knobs: Mapping[str, float]
    seeds: Mapping[str, tuple[int, int]]
    trainable: tuple[Array, ...]
    others: tuple[Array, ...]


def examine(model: keras.Model, x: Array, y: Array) -> Model:
    """Makes a template of a model.

    Args:
        model: built and compiled.
        x: a few rows of features.
        y: their targets.

    Raises:
        Unstackable: a part of it cannot train together with others; the message names it.
    """
    import keras

    for name in _OVERRIDABLE:
        if getattr(type(model), name) is not getattr(keras.Model, name):
            raise Unstackable(f"{type(model).__name__}.{name}, which is the model's own")
    if model.run_eagerly:
        raise Unstackable("run_eagerly=True")
    for variable in model.variables:
        if not layers.seed_variable(variable) and variable.dtype != "float32":
            raise Unstackable(f"variable {variable.path} of type {variable.dtype}")
    own = list(_layers(model))
    for layer in own:
        if layer.activity_regularizer is not None:
            raise Unstackable(f"layer {layer.name} ({type(layer).__name__} with an activity regularizer)")
    dropouts = tuple(
        layer for layer in own if type(layer) is keras.layers.Dropout and layer.rate > 0 and layers.is_graph(model)
    )
    counted = {id(layer.seed_generator.state) for layer in dropouts}
    for layer in own:
        drawing = [v for v in layer._non_trainable_variables if layers.seed_variable(v)] + [
            generator.state for generator in layer._seed_generators
        ]
        silent = not getattr(layer, "dropout", 1) and not getattr(layer, "recurrent_dropout", 1)  # a recurrent cell
        if not silent and any(id(state) not in counted for state in drawing):
            raise Unstackable(f"layer {layer.name} ({type(layer).__name__}), which draws random numbers")
        if layer in dropouts and len(layer._inbound_nodes) > 1:
            raise Unstackable(f"layer {layer.name} (Dropout used {len(layer._inbound_nodes)} times)")
    loss, metrics, weighted = _compiled(model, x, y)
    trainable = tuple(model.trainable_variables)
    others = tuple(v for v in model.non_trainable_variables if not layers.seed_variable(v))
    places = {id(v): (True, i) for i, v in enumerate(trainable)} | {id(v): (False, i) for i, v in enumerate(others)}
    return Model(
        template=model,
        trainable=trainable,
        others=others,
        order=tuple(places[id(weight)] for weight in model.weights),
        dropouts=dropouts,
        penalised=tuple(layer for layer in own if layers.regularizers(layer)),
        loss=loss,
        metrics=metrics,
        weighted=weighted,
        exact=not _fills_harmlessly(model),
        mapped=tuple(f"{each.name} ({type(each).__name__})" for each in own if not layers.has_form(each)),
    )


def part(model: Model) -> Part:
    """What the model that a template was made of brings into a stack."""
    import keras

    def values(variables: tuple[keras.Variable, ...]) -> tuple[Array, ...]:
        return tuple(np.array(keras.ops.convert_to_numpy(variable.value)) for variable in variables)

    seeds = {}
    for layer in model.dropouts:
        seed, count = (int(word) for word in keras.ops.convert_to_numpy(layer.seed_generator.state.value))
        seeds[layer.name] = (seed, count)
    return Part(
        optimizer=optimizers.settings_of(model.template.optimizer),
        knobs=knobs(model),
        seeds=seeds,
        trainable=values(model.trainable),
        others=values(model.others),
    )


def knobs(model: Model) -> dict[str, float]:
    """The settings of a model's layers that may differ within a stack."""
    found = {f"{layer.name}/rate": float(layer.rate) for layer in model.dropouts}
    for layer in model.penalised:
        for attribute, regularizer in layers.regularizers(layer):
            for kind in ("l1", "l2"):
                if hasattr(regularizer, kind):
                    found[f"{layer.name}/{attribute}.{kind}"] = float(getattr(regularizer, kind))
    return found


def signature(model: Model, x: Array) -> Hashable:
    """Equal for two models exactly if they can be members of one stack."""
    template = model.template
    shapes = tuple((tuple(v.shape), v.trainable) for v in template.variables)
    compiled = json.dumps(
        [template.get_compile_config()["loss"], [metric.get_config() for metric in model.metrics.values()]],
        sort_keys=True,
        default=repr,
    )
    if layers.is_graph(template) and all(_built_in(layer) for layer in _layers(template)):
        return json.dumps(_without_knobs(template.get_config()), sort_keys=True, default=repr), shapes, compiled

    def forward(own: list[Any], rest: list[Any], rows: Any) -> Any:
        return template.stateless_call(own, rest, rows, training=True)

    values = [[v.value for v in variables] for variables in (model.trainable, model.others)]
    return backend().fingerprint(forward, *values, np.asarray(x[:2])), shapes, compiled


def _compiled(
    model: keras.Model, x: Array, y: Array
) -> tuple[keras.losses.Loss, dict[str, keras.metrics.Metric], frozenset[str]]:
    """The loss and metrics, resolved from whatever the user named them by."""
    import keras

    outputs = model(x[:2])
    if not hasattr(outputs, "shape"):
        raise Unstackable("several outputs")
    own_losses = [layer for layer in _layers(model) if layer._losses]
    if own_losses:
        raise Unstackable(f"layer {own_losses[0].name} ({type(own_losses[0]).__name__}), which adds a loss of its own")
    targets = keras.ops.convert_to_tensor(y[:2])
    model._compile_loss.build(targets, outputs)
    ((_, loss, weight, _),) = model._compile_loss._flat_losses
    if type(loss).__call__ is not keras.losses.Loss.__call__ or weight not in (None, 1, 1.0):
        raise Unstackable(f"loss {type(loss).__name__}")
    if loss.reduction != "sum_over_batch_size":
        raise Unstackable(f"loss {loss.name} with reduction {loss.reduction}")
    metrics: dict[str, keras.metrics.Metric] = {}
    weighted: list[str] = []
    if model._compile_metrics is not None:
        compiled = model._compile_metrics
        compiled.build(targets, outputs)
        for group, heeds in ((compiled._flat_metrics, False), (compiled._flat_weighted_metrics, True)):
            for metric in (metric for each in group if each for metric in each.metrics):
                metrics[metric.name] = metric
                weighted += [metric.name] if heeds else []
    return loss, metrics, frozenset(weighted)


def _layers(model: keras.Model) -> Iterator[keras.Layer]:
    """All layers, nested ones too, in their order."""
    return (layer for layer in model._flatten_layers() if layer is not model)


def _built_in(layer: keras.Layer) -> bool:
    import keras

    own_code = isinstance(layer, keras.layers.Lambda) or (isinstance(layer, keras.Model) and not layers.is_graph(layer))
    return type(layer).__module__.startswith("keras.") and not own_code


def _fills_harmlessly(model: keras.Model) -> bool:
    """Whether every layer has a rule that heeds rows which only fill up a batch, or treats each row by itself."""
    if not layers.is_graph(model):
        return False
    graph = getattr(model, "_functional", None) or model
    for operation in graph.operations:
        if hasattr(operation, "layers") and layers.is_graph(operation):
            if not _fills_harmlessly(operation):
                return False
        elif not layers.heeds_fill(operation):
            return False
    return True


def _without_knobs(config: Any) -> Any:
    """A configuration without what members of one stack may differ in, and without how weights began."""
    if isinstance(config, list | tuple):
        return [_without_knobs(each) for each in config]
    if not isinstance(config, dict):
        return config
    kind = config.get("class_name")
    kept = {}
    for key, value in config.items():
        if any(key.endswith(ending) for ending in _INITIAL):
            continue
        if kind in ("L1", "L2", "L1L2") and key == "config":
            continue
        kept[key] = _without_knobs(value)
    if kind == "Dropout" and isinstance(config.get("config"), dict):
        kept["config"] = {**kept["config"], "rate": config["config"]["rate"] > 0}
    return kept
