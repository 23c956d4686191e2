"""What differs between Keras's backends in a cohort: derivatives and compilation. All else is ``keras.ops``."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Protocol

Tensor = Any


class Backend(Protocol):
    """One backend of Keras."""

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function as one program of XLA; arguments and results are nested structures of arrays."""
        ...

    def traced(self, function: Callable[..., Any]) -> Callable[..., Any] | None:
        """The same without XLA, several times slower, for what XLA has no form for; None if there is no such way."""
        ...

    def gradients(
        self, function: Callable[[list[Tensor]], tuple[Tensor, Any]], weights: Sequence[Tensor]
    ) -> tuple[Any, list[Tensor]]:
        """What ``function(weights) -> (scalar, more)`` returns as more, and the scalar's derivatives by the weights."""
        ...

    def fingerprint(self, function: Callable[..., Any], *arguments: Any) -> str:
        """A digest of what a function computes: equal for two functions only if they are the same computation."""
        ...


class TensorFlowBackend:
    """See ``Backend``."""

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        import tensorflow as tf

        program: Callable[..., Any] = tf.function(function, jit_compile=True, autograph=False)
        return program

    def traced(self, function: Callable[..., Any]) -> Callable[..., Any] | None:
        import tensorflow as tf

        program: Callable[..., Any] = tf.function(function, autograph=False)
        return program

    def gradients(
        self, function: Callable[[list[Tensor]], tuple[Tensor, Any]], weights: Sequence[Tensor]
    ) -> tuple[Any, list[Tensor]]:
        import tensorflow as tf

        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(weights)
            scalar, more = function(list(weights))
        return more, tape.gradient(scalar, list(weights), unconnected_gradients=tf.UnconnectedGradients.ZERO)

    def fingerprint(self, function: Callable[..., Any], *arguments: Any) -> str:
        import tensorflow as tf

        graph = tf.function(function, autograph=False).get_concrete_function(*arguments).graph.as_graph_def()
        return hashlib.sha256(graph.SerializeToString(deterministic=True)).hexdigest()


class JaxBackend:
    """See ``Backend``."""

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        import jax

        program: Callable[..., Any] = jax.jit(function)
        return program

    def traced(self, function: Callable[..., Any]) -> Callable[..., Any] | None:
        return None

    def gradients(
        self, function: Callable[[list[Tensor]], tuple[Tensor, Any]], weights: Sequence[Tensor]
    ) -> tuple[Any, list[Tensor]]:
        import jax

        gradients, more = jax.grad(function, has_aux=True)(list(weights))
        return more, gradients

    def fingerprint(self, function: Callable[..., Any], *arguments: Any) -> str:
        import jax

        return hashlib.sha256(str(jax.make_jaxpr(function)(*arguments)).encode()).hexdigest()


_BACKENDS: dict[str, Callable[[], Backend]] = {"tensorflow": TensorFlowBackend, "jax": JaxBackend}


def backend() -> Backend:
    """The backend that Keras runs on in this process.

    Raises:
        ValueError: it is neither TensorFlow nor JAX.
    """
    import keras

    name = keras.backend.backend()
    if name not in _BACKENDS:
        raise ValueError(f"Keras's backend must be one of {', '.join(_BACKENDS)}. Received: {name}")
    return _BACKENDS[name]()


class Compiled:
    """A function as one program of XLA.

    What XLA has no form for, such as a recurrent layer under ``vectorized_map``, is run without it.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._program = backend().compiled(function)
        self._tried = False

    def __call__(self, *arguments: Any) -> Any:
        try:
            results = self._program(*arguments)
        except Exception:
            traced = backend().traced(self._function)
            if self._tried or traced is None:
                raise
            results = traced(*arguments)
            self._program = traced
        self._tried = True
        return results
