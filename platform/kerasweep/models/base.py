"""The contract of a model builder, and what the task at hand decides for every model."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
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
class Inputs:
    """What a network's body meets.

    Attributes:
        shape: of one row of features.
        task: what the target is.
        outputs: output units.
    """

    shape: tuple[int, ...]
    task: Task
    outputs: int

    @property
    def output_activation(self) -> str:
        """Of the output layer, after tables 10-1 and 10-2 of Géron's book."""
        return {Task.REGRESSION: "linear", Task.MULTICLASS: "softmax"}.get(self.task, "sigmoid")


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
    """

    kind: Hashable
    hidden: tuple[int, ...]
    products: int


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


def compile_for(model: keras.Model, params: Params, task: Task) -> None:
    """Compiles a model with the task's loss and metrics and the parameters' optimiser."""
    import keras

    loss = {
        Task.REGRESSION: "mse",
        Task.BINARY: "binary_crossentropy",
        Task.MULTILABEL: "binary_crossentropy",
        Task.MULTICLASS: "sparse_categorical_crossentropy",
    }[task]
    metrics: list[str | keras.metrics.Metric]
    if task is Task.REGRESSION:
        metrics = ["mae", keras.metrics.RootMeanSquaredError(name="rmse")]
    elif task is Task.MULTICLASS:
        metrics = ["accuracy"]
    else:
        metrics = ["accuracy", keras.metrics.AUC(name="auc", multi_label=task is Task.MULTILABEL)]
    model.compile(optimizer=make_optimizer(params), loss=loss, metrics=metrics)


def finished(model: object, own: Params, inputs: Inputs) -> keras.Model:
    """What a user's builder gave, as ``ModelBuilder`` promises it: compiled and built.

    Args:
        model: that may be neither yet.
        own: parameters that the builder did not use; its optimiser's, if it is compiled here.
        inputs: shape of a row and the task.

    Raises:
        ModelError: it is no model.
    """
    import keras
    import numpy as np

    if not isinstance(model, keras.Model):
        raise ModelError(f"a builder must return a keras.Model. Received: {type(model).__name__}")
    if not model.compiled:
        compile_for(model, own, inputs.task)
    if not model.built:
        model(np.zeros((1, *inputs.shape), "float32"))
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
