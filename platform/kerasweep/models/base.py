"""The contract of a model builder, and what the task at hand decides for every model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from kerasweep.records import Params
from kerasweep.spec.families import OPTIMIZER_PARAMETERS
from kerasweep.spec.vocabulary import Task

if TYPE_CHECKING:
    import keras


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


def make_optimizer(params: Params) -> keras.optimizers.Optimizer:
    """The optimiser the parameters speak of; what they leave out keeps Keras's default."""
    import keras

    config = {name: params[name] for name in OPTIMIZER_PARAMETERS if name in params and name != "optimizer"}
    name = str(params.get("optimizer", OPTIMIZER_PARAMETERS["optimizer"].default))
    return keras.optimizers.get({"class_name": name, "config": config})
