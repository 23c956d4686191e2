"""KerasTuner's models, unchanged: a function of ``hp``, or a ``HyperModel``."""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kerasweep.errors import MissingExtra, ModelError
from kerasweep.models.base import Inputs, finished, seed_everything
from kerasweep.models.quiet import import_tensorflow
from kerasweep.records import Params
from kerasweep.spec.builders import is_hypermodel

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class HypermodelBuilder:
    """Builds models by calling KerasTuner's ``build(hp)`` with the parameters as its values (see ``ModelBuilder``).

    A hyperparameter has the value of the parameter that is called like it; see ``parameter_name``. Parameters that this
    build does not ask for are left alone, as KerasTuner does: a loop over layers asks for as many as it needs. Every
    one that it does ask for must be there, so that nothing is quietly held at its default; a ``Fixed`` one says its
    value itself. A model that comes back without ``compile`` is compiled with the task's loss and the parameters'
    optimiser.

    Attributes:
        function: a function of ``hp``, a ``HyperModel``, or a subclass of it that needs no arguments.
        inputs: shape of a row and the task.
    """

    function: Any
    inputs: Inputs

    def build(self, params: Params, seed: int) -> keras.Model:
        hypermodel = opened(self.function)
        seed_everything(seed)
        hp = _filled(params)
        model = hypermodel.build(hp)
        if hp.missing:
            raise ModelError(
                f"every hyperparameter that a KerasTuner model asks for must be in the space or in training.fixed. "
                f"Received: none for {', '.join(hp.missing)}"
            )
        return finished(model, {name: value for name, value in params.items() if name not in hp.asked}, self.inputs)


def opened(function: Any) -> Any:
    """KerasTuner's ``HyperModel`` of a function of ``hp``, of a ``HyperModel``, or of a subclass of it.

    Raises:
        MissingExtra: KerasTuner is not installed.
        ModelError: the class needs arguments, or trains in its own way.
    """
    kt = import_keras_tuner()
    if isinstance(function, type) and is_hypermodel(function):
        try:
            function = function()
        except TypeError as error:
            rule = "a HyperModel's class must need no arguments (name an instance of it instead)"
            raise ModelError(f"{rule}. Received: {error}") from error
    if not is_hypermodel(function):
        return _OfFunction(function)
    if type(function).fit is not kt.HyperModel.fit:
        rule = "a HyperModel must leave training to kerasweep, which never runs a fit of its own"
        raise ModelError(f"{rule}. Received: {type(function).__name__}.fit")
    return function


@dataclass(frozen=True)
class _OfFunction:
    """What is asked of a ``HyperModel`` here, of a function."""

    build: Callable[[Any], Any]

    def declare_hyperparameters(self, hp: Any) -> None:
        """A function declares none beforehand."""


def import_keras_tuner() -> Any:
    """The package; see also ``import_tensorflow``.

    Raises:
        MissingExtra: it is not installed.
    """
    import_tensorflow()
    try:
        import keras_tuner
    except ModuleNotFoundError as error:
        raise MissingExtra("a KerasTuner model", "keras-tuner") from error
    return keras_tuner


def parameter_name(name: str) -> str:
    """What the space calls a hyperparameter: its name, made an identifier.

    ``units_0`` stays as it is. What no identifier can hold becomes an underscore, so that ``dense/units`` (a name
    scope) is ``dense_units``; one that begins with a digit, or is a keyword of Python, gets an underscore in front.
    """
    made = re.sub(r"\W", "_", name)
    return made if made.isidentifier() and not keyword.iskeyword(made) else f"_{made}"


def _filled(params: Params) -> Any:
    """KerasTuner's ``HyperParameters`` with these values."""
    import_keras_tuner()
    import keras_tuner

    fixed = keras_tuner.engine.hyperparameters.Fixed

    class Filled(keras_tuner.HyperParameters):  # type: ignore[misc]  # KerasTuner has no types
        def __init__(self) -> None:
            super().__init__()
            self.asked: set[str] = set()
            self.missing: list[str] = []

        def _register(self, hyperparameter: Any, overwrite: bool = False) -> Any:
            """What every hyperparameter goes through when the model first asks for it."""
            name = parameter_name(hyperparameter.name)
            if self.is_active(hyperparameter) and name not in self.asked:
                self.asked.add(name)
                if name in params:
                    self.values[hyperparameter.name] = params[name]
                elif not isinstance(hyperparameter, fixed):
                    self.missing.append(name)
            return super()._register(hyperparameter, overwrite)

    return Filled()
