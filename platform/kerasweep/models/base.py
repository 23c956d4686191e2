"""The contract of a model builder, and what the task at hand decides for every model."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from numpy.typing import NDArray

from kerasweep.errors import ModelError
from kerasweep.records import Params
from kerasweep.spec.families import OPTIMIZER_PARAMETERS
from kerasweep.spec.vocabulary import Task

if TYPE_CHECKING:
    import keras


Array = NDArray[Any]


@dataclass(frozen=True)
class Head:
    """One of a network's several outputs.

    Attributes:
        task: what its target is.
        outputs: its units.
    """

    task: Task
    outputs: int


@dataclass(frozen=True)
class Inputs:
    """What a network's body meets.

    Attributes:
        shape: of one row of features.
        task: what the target is; of several outputs the first one's.
        outputs: output units, likewise.
        wide: positions among the flattened features of those that the family ``wide_deep`` hands straight to its output
            layer; None for all.
        deep: of those that go through its hidden layers, likewise.
        shapes: of one row of each of several inputs, by name; empty for one.
        heads: several outputs, by name; empty for one.
    """

    shape: tuple[int, ...]
    task: Task
    outputs: int
    wide: tuple[int, ...] | None = None
    deep: tuple[int, ...] | None = None
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    heads: Mapping[str, Head] = field(default_factory=dict)

    @property
    def features(self) -> int:
        """How many there are."""
        return math.prod(self.shape)

    @property
    def images(self) -> bool:
        """Whether a row is an image, with or without an axis for its channels."""
        return len(self.shape) in (2, 3)

    @property
    def output_activation(self) -> str:
        """Of the output layer."""
        return activation_of(self.task)

    def example(self) -> Array | dict[str, Array]:
        """A row of zeros, as a network takes it."""
        import numpy as np

        if self.shapes:
            return {name: np.zeros((1, *shape), "float32") for name, shape in self.shapes.items()}
        return np.zeros((1, *self.shape), "float32")


def activation_of(task: Task) -> str:
    """Of an output layer, after tables 10-1 and 10-2 of Géron's book."""
    return {Task.REGRESSION: "linear", Task.MULTICLASS: "softmax"}.get(task, "sigmoid")


class ModelBuilder(Protocol):
    """Builds one model.

    ``build`` returns a compiled model of features -> predictions, built (its weights exist), with the same initial
    weights for the same parameters and seed.

    Raises:
        ModelError: the parameters do not make a model; the message says which and why.
    """

    def build(self, params: Params, seed: int) -> keras.Model: ...


@dataclass(frozen=True)
class Size:
    """What a configuration comes to, worked out without building it.

    Attributes:
        kind: equal for configurations that can be filled up to each other.
        hidden: units of each hidden layer.
        products: multiplications of one row's way through the network, forward.
        parameters: trained and moving ones.
        units: values that a row makes on its way, outputs included.
    """

    kind: Hashable
    hidden: tuple[int, ...]
    products: int
    parameters: int
    units: int


@dataclass(frozen=True)
class Frame:
    """A model that is as large as the largest of several members, and what of it each of them fills.

    Attributes:
        params: of the model.
        units: layer -> units of its output that each member has; empty if all members fill all layers.
        widths: dropout layer -> units of its input that each member has, likewise.
        active: last layer of a block of layers -> whether each member has the block.
        blocks: last layer of a block -> its first layer.
    """

    params: Params
    units: Mapping[str, Sequence[int]]
    widths: Mapping[str, Sequence[int]]
    active: Mapping[str, Sequence[bool]]
    blocks: Mapping[str, str]


class Stackable(Protocol):
    """What a family knows of its models without building each of them.

    ``size`` tells what goes together, ``frame`` makes room for several members, a roomy one such that other members are
    likely to need the same (and so the same compiled program), and ``weights``, ``knobs`` and ``seeds`` are what a
    member brings into it: its initial values in the order of the frame's trainable and other variables (None where it
    has none), the settings of layers that may differ (``layer/setting``), and the seeds of its dropout layers. All are
    what ``ModelBuilder.build`` gives for the same parameters and seed.
    """

    def size(self, params: Params) -> Size: ...

    def frame(self, members: Sequence[Params], *, roomy: bool) -> Frame: ...

    def weights(self, params: Params, seed: int, frame: Frame) -> tuple[list[Array | None], list[Array | None]]: ...

    def knobs(self, params: Params, frame: Frame) -> Mapping[str, float]: ...

    def seeds(self, seed: int, frame: Frame) -> Mapping[str, int]: ...


def seed_everything(seed: int) -> None:
    """Starts a trial with a clean Keras session and its own seed for Python, NumPy and TensorFlow."""
    import keras

    keras.backend.clear_session(free_memory=False)
    keras.utils.set_random_seed(seed)


_LOSSES: Mapping[Task, str] = {
    Task.REGRESSION: "mse",
    Task.BINARY: "binary_crossentropy",
    Task.MULTILABEL: "binary_crossentropy",
    Task.MULTICLASS: "sparse_categorical_crossentropy",
}


def compile_for(model: keras.Model, params: Params, inputs: Inputs) -> None:
    """Compiles a model with the task's loss and metrics, or those of each output, and the parameters' optimiser."""
    loss: Any = _LOSSES[inputs.task]
    metrics: Any = _metrics(inputs.task)
    if inputs.heads:
        loss = {name: _LOSSES[head.task] for name, head in inputs.heads.items()}
        metrics = {name: _metrics(head.task) for name, head in inputs.heads.items()}
    model.compile(optimizer=make_optimizer(params), loss=loss, metrics=metrics)


def _metrics(task: Task) -> list[str | keras.metrics.Metric]:
    import keras

    if task is Task.REGRESSION:
        return ["mae", keras.metrics.RootMeanSquaredError(name="rmse")]
    if task is Task.MULTICLASS:
        return ["accuracy"]
    return ["accuracy", keras.metrics.AUC(name="auc", multi_label=task is Task.MULTILABEL)]


def finished(model: object, own: Params, inputs: Inputs) -> keras.Model:
    """What a user's builder gave, as ``ModelBuilder`` promises it: compiled and built.

    Args:
        model: that may be neither yet.
        own: parameters that the builder did not use; its optimiser's, if it is compiled here.
        inputs: shape of a row and the task.

    Raises:
        ModelError: it is no model, or its inputs and outputs are not called as the data's.
    """
    import keras

    from kerasweep.models.several import check_names

    if not isinstance(model, keras.Model):
        raise ModelError(f"a builder must return a keras.Model. Received: {type(model).__name__}")
    if not model.compiled:
        compile_for(model, own, inputs)
    if not model.built:
        model(inputs.example())
    check_names(model, inputs)
    return model


def make_optimizer(params: Params) -> keras.optimizers.Optimizer:
    """The optimiser the parameters speak of; what they leave out keeps Keras's default."""
    kind, config = optimizer_of(params)
    return kind(**config)


def optimizer_of(params: Params) -> tuple[type, dict[str, Any]]:
    """The optimiser's class and arguments."""
    import keras

    config = {name: params[name] for name in OPTIMIZER_PARAMETERS if name in params and name != "optimizer"}
    name = str(params.get("optimizer", OPTIMIZER_PARAMETERS["optimizer"].default))
    kinds = {kind.lower(): kind for kind in dir(keras.optimizers)}
    return getattr(keras.optimizers, kinds[name]), config
