"""What a built model is to a cohort: its signature, and what of it may differ between members of one stack."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from kerasweep.data.rows import Features, head
from kerasweep.models.several import output_names
from kerasweep.training.base import Array
from kerasweep.training.cohort import layers, optimizers
from kerasweep.training.cohort.backend import backend
from kerasweep.training.cohort.errors import Unstackable
from kerasweep.training.freezing import Freeze

if TYPE_CHECKING:
    import keras

# What of a layer's configuration has no part in training once the weights exist.
_INITIAL = ("seed", "initializer")
AUXILIARY = "aux"
"""What the output is called that serves a network's training only; see ``models.supervised``."""
AUXILIARY_WEIGHT = f"{AUXILIARY}/loss_weight"
"""The knob that is the weight of its loss."""

_OVERRIDABLE = ("train_step", "test_step", "compute_loss", "compute_metrics", "make_train_function")


@dataclass(frozen=True)
class OutputLoss:
    """The loss of one output.

    Attributes:
        output: its name; empty for the only one.
        loss: Keras's, whose ``call`` gives a value a row.
        tracked: the name under which it is reported by itself; None for an only one, which is ``loss``.
    """

    output: str
    loss: keras.losses.Loss
    tracked: str | None = None

    @property
    def knob(self) -> str | None:
        """That of its weight among the others; None where it is the only output's."""
        return f"{self.output}/loss_weight" if self.output else None


@dataclass(frozen=True)
class Measure:
    """A metric of one output.

    Attributes:
        output: its name; empty for the only one.
        metric: Keras's.
        weighted: whether it heeds sample weights.
    """

    output: str
    metric: keras.metrics.Metric
    weighted: bool


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
        losses: of its outputs.
        auxiliary: whether it has an ``AUXILIARY`` output.
        metrics: by the names under which they are reported.
        exact: whether rows that fill up the last batch could do harm, so that it must be as short as it is.
        mapped: its layers without a stacked form of their own, for which ``vectorized_map`` stands in.
        held: ids of the variables that stay as they are.
    """

    template: keras.Model
    trainable: tuple[keras.Variable, ...]
    others: tuple[keras.Variable, ...]
    order: tuple[tuple[bool, int], ...]
    dropouts: tuple[keras.layers.Dropout, ...]
    penalised: tuple[keras.Layer, ...]
    losses: tuple[OutputLoss, ...]
    auxiliary: bool
    metrics: Mapping[str, Measure]
    exact: bool
    mapped: tuple[str, ...]
    held: frozenset[int] = frozenset()


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


def examine(model: keras.Model, x: Features, y: Features) -> Model:
    """Makes a template of a model.

    Args:
        model: built and compiled.
        x: a few rows of features, or of those of each input.
        y: their targets.

    Raises:
        Unstackable: a part of it cannot train together with others; the message names it.
    """
    import keras

    from kerasweep.models.supervised import Supervised

    auxiliary = type(model) is Supervised
    for name in _OVERRIDABLE:
        if not auxiliary and getattr(type(model), name) is not getattr(keras.Model, name):
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
    losses, metrics = _compiled(model, head(x, 2), head(y, 2), auxiliary)
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
        losses=losses,
        auxiliary=auxiliary,
        metrics=metrics,
        exact=not _fills_harmlessly(model),
        mapped=tuple(f"{each.name} ({type(each).__name__})" for each in own if not layers.has_form(each)),
    )


def frozen(model: Model, freeze: Freeze) -> Model:
    """The same template as it is while its first layers are frozen.

    Raises:
        ModelError: nothing else is left to train.
        Unstackable: what such a layer does in training depends on whether it is frozen.
    """
    import keras

    held: set[int] = set()
    ruled = {id(operation) for operation in _operations(model.template)}
    for each in freeze.of_model(model.template):
        normalises = type(each.layer) is keras.layers.BatchNormalization
        if each.others and not (id(each.layer) in ruled if normalises else layers.heeds_fill(each.layer)):
            raise Unstackable(f"layer {each.layer.name} ({type(each.layer).__name__}), frozen")
        held |= {id(variable) for variable in (*each.trainable, *each.others)}
    return replace(model, held=frozenset(held))


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
    if model.auxiliary:
        found[AUXILIARY_WEIGHT] = float(model.template.aux_weight)
    weights = [weight for _, _, weight, _ in model.template._compile_loss._flat_losses]
    found |= {
        each.knob: 1.0 if weight is None else float(weight)
        for each, weight in zip(model.losses, weights, strict=True)
        if each.knob is not None
    }
    for layer in model.penalised:
        for attribute, regularizer in layers.regularizers(layer):
            for kind in ("l1", "l2"):
                if hasattr(regularizer, kind):
                    found[f"{layer.name}/{attribute}.{kind}"] = float(getattr(regularizer, kind))
    return found


def signature(model: Model, x: Features) -> Hashable:
    """Equal for two models exactly if they can be members of one stack."""
    template = model.template
    shapes = tuple((tuple(v.shape), v.trainable) for v in template.variables)
    compiled = json.dumps(
        [
            template.get_compile_config()["loss"],
            [(name, each.metric.get_config(), each.weighted) for name, each in model.metrics.items()],
        ],
        sort_keys=True,
        default=repr,
    )
    if layers.is_graph(template) and all(_built_in(layer) for layer in _layers(template)):
        return json.dumps(_without_knobs(template.get_config()), sort_keys=True, default=repr), shapes, compiled

    mode = {"training": True} if template._call_has_training_arg else {}  # a `call` of one's own need not take it

    def forward(own: list[Any], rest: list[Any], rows: Any) -> Any:
        return template.stateless_call(own, rest, rows, **mode)

    values = [[v.value for v in variables] for variables in (model.trainable, model.others)]
    return backend().fingerprint(forward, *values, head(x, 2)), shapes, compiled


def _compiled(
    model: keras.Model, x: Features, y: Features, auxiliary: bool
) -> tuple[tuple[OutputLoss, ...], dict[str, Measure]]:
    """The losses and metrics of a model's outputs, resolved from whatever the user named them by."""
    import keras

    outputs = model(x)
    if auxiliary:
        outputs = outputs[0]
    several = isinstance(y, Mapping)
    names = output_names(model, outputs) if several else None
    if names is None and not hasattr(outputs, "shape"):
        raise Unstackable("several outputs where the data have one")
    own_losses = [layer for layer in _layers(model) if layer._losses]
    if own_losses:
        raise Unstackable(f"layer {own_losses[0].name} ({type(own_losses[0]).__name__}), which adds a loss of its own")
    targets = keras.tree.map_structure(keras.ops.convert_to_tensor, y)
    if names is not None and not isinstance(outputs, Mapping):
        targets = [targets[name] for name in names]
    compiled = model._compile_loss
    if not compiled.built:
        compiled.build(targets, outputs)
    losses = []
    for path, loss, weight, label in compiled._flat_losses:
        output = "" if names is None else str(path[0] if isinstance(outputs, Mapping) else names[path[0]])
        if type(loss).__call__ is not keras.losses.Loss.__call__ or (not output and weight not in (None, 1, 1.0)):
            raise Unstackable(f"loss {type(loss).__name__}")
        if loss.reduction != "sum_over_batch_size":
            raise Unstackable(f"loss {loss.name} with reduction {loss.reduction}")
        losses.append(OutputLoss(output, loss, f"{label}_loss" if len(compiled._flat_losses) > 1 else None))
    return tuple(losses), _measures(model, targets, outputs)


def _measures(model: keras.Model, targets: Any, outputs: Any) -> dict[str, Measure]:
    """A model's metrics by the names that Keras reports them under."""
    compiled = model._compile_metrics
    if compiled is None:
        return {}
    compiled.build(targets, outputs)
    measures: dict[str, Measure] = {}
    for groups, heeds in ((compiled._flat_metrics, False), (compiled._flat_weighted_metrics, True)):
        outputs_of = compiled._resolved_output_names or [""] * len(groups)
        for output, group in zip(outputs_of, groups, strict=True):
            prefix = f"{group.output_name}_" if group and group.output_name else ""
            measures |= {
                f"{prefix}{metric.name}": Measure(output, metric, heeds) for metric in (group.metrics if group else ())
            }
    return measures


def _layers(model: keras.Model) -> Iterator[keras.Layer]:
    """All layers, nested ones too, in their order."""
    return (layer for layer in model._flatten_layers() if layer is not model)


def _built_in(layer: keras.Layer) -> bool:
    import keras

    own_code = isinstance(layer, keras.layers.Lambda) or (isinstance(layer, keras.Model) and not layers.is_graph(layer))
    return type(layer).__module__.startswith("keras.") and not own_code


def _fills_harmlessly(model: keras.Model) -> bool:
    """Whether every layer has a rule that heeds rows which only fill up a batch, or treats each row by itself."""
    return all(layers.heeds_fill(operation) for operation in _operations(model))


def _operations(model: keras.Model) -> Iterator[keras.Operation]:
    """The operations of a graph, nested ones too; what is no graph is one operation by itself."""
    if not layers.is_graph(model):
        yield model
        return
    graph = getattr(model, "_functional", None) or model
    for operation in graph.operations:
        yield from _operations(operation)


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
