"""The user's own builder: a function that returns a Keras model, compiled or not."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kerasweep.errors import ModelError
from kerasweep.models.base import Inputs, activation_of, finished, seed_everything
from kerasweep.models.hypermodel import HypermodelBuilder
from kerasweep.models.transfer import InitialWeights
from kerasweep.records import Params
from kerasweep.spec.builders import Signature
from kerasweep.spec.families import OPTIMIZER_PARAMETERS, TRAINING_PARAMETERS
from kerasweep.spec.importing import import_function

if TYPE_CHECKING:
    import keras


# A user's function draws its weights from Keras's one random state, so that two must not build at a time.
_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True)
class UserBuilder:
    """Builds models by calling the user's function (see ``ModelBuilder``).

    Parameters are passed by name. A builder may also ask, by these names, for ``input_shape``, ``n_outputs`` and
    ``output_activation``, which are dicts by name where the data have several inputs or outputs. A model that comes
    back without ``compile`` is compiled with the task's loss and the parameters' optimiser. KerasTuner's functions of
    ``hp``, and its ``HyperModel``, are built by ``HypermodelBuilder``.

    Attributes:
        function: the function or ``HyperModel`` itself, or ``module:function``, imported where the model is built.
        directory: where the module is looked for first.
        inputs: shape of a row and the task.
        initial: what the first layers start from; None for the builder's own weights in all.
    """

    function: Any
    directory: Path
    inputs: Inputs
    initial: InitialWeights | None = None

    def build(self, params: Params, seed: int) -> keras.Model:
        with _ONE_AT_A_TIME:
            model = self._built(params, seed)
        if self.initial is not None:
            self.initial.give(model)
        return model

    def _built(self, params: Params, seed: int) -> keras.Model:
        function = self._function()
        signature = Signature.of(function)
        if signature is not None and signature.takes_hp:
            return HypermodelBuilder(function, self.inputs).build(params, seed)
        seed_everything(seed)
        passed = self.arguments(function, params)
        model = function(**passed)
        own = {name: value for name, value in params.items() if name not in passed and name not in TRAINING_PARAMETERS}
        if own and getattr(model, "compiled", False):
            raise ModelError(
                f"a builder that compiles its model must take {', '.join(own)} itself. "
                f"Received: a compiled model from a function without {'it' if len(own) == 1 else 'them'}"
            )
        return finished(model, own, self.inputs)

    def _function(self) -> Any:
        if not isinstance(self.function, str):
            return self.function
        try:
            return import_function(self.function, self.directory)
        except ImportError as error:
            raise ModelError(str(error)) from error

    def _facts(self) -> dict[str, Any]:
        """What a builder may ask for: of each input and output by name, where there are several."""
        inputs, heads = self.inputs, self.inputs.heads
        if not heads:
            outputs: Any = (inputs.outputs, inputs.output_activation)
        else:
            outputs = (
                {name: head.outputs for name, head in heads.items()},
                {name: activation_of(head.task) for name, head in heads.items()},
            )
        shape = dict(inputs.shapes) or inputs.shape
        return {"input_shape": shape, "n_outputs": outputs[0], "output_activation": outputs[1]}

    def arguments(self, function: Callable[..., Any], params: Params) -> dict[str, Any]:
        """The keyword arguments the function is called with.

        Raises:
            ModelError: it does not take a parameter of the space, or needs one that is not there.
        """
        signature = inspect.signature(function).parameters
        open_ended = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in signature.values())
        ours = TRAINING_PARAMETERS.keys() | OPTIMIZER_PARAMETERS.keys()
        passed: dict[str, Any] = {
            name: value for name, value in params.items() if name in signature or (open_ended and name not in ours)
        }
        if strangers := [name for name in params if name not in passed and name not in ours]:
            raise ModelError(
                f"every parameter of the space must be an argument of the builder. "
                f"Received: {', '.join(strangers)}, not among {', '.join(signature)}"
            )
        passed |= {name: fact for name, fact in self._facts().items() if name in signature and name not in passed}
        variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        required = [n for n, p in signature.items() if p.default is p.empty and p.kind not in variadic]
        if missing := [name for name in required if name not in passed]:
            raise ModelError(
                f"every argument of the builder without a default must be in the space or fixed. "
                f"Received: none for {', '.join(missing)}"
            )
        return passed
