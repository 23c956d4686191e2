"""The user's own Keras callbacks, made anew for every trial."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kerasweep.errors import ModelError
from kerasweep.spec.importing import import_function

if TYPE_CHECKING:
    import keras

# What Keras calls around each batch; old names among them, which its base class passes on to.
_OF_BATCHES = ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end")


@dataclass(frozen=True)
class UserCallbacks:
    """How to make them.

    Attributes:
        classes: a class itself, or ``module:Class``, imported where it is made; and what it is called with.
        directory: where modules are looked for first.
    """

    classes: tuple[tuple[Any, Mapping[str, Any]], ...] = ()
    directory: Path = field(default_factory=Path)

    def made(self) -> list[keras.callbacks.Callback]:
        """New instances.

        Raises:
            ModelError: a class cannot be imported, or is none of a Keras callback.
        """
        return [self._made(given, arguments) for given, arguments in self.classes]

    def _made(self, given: Any, arguments: Mapping[str, Any]) -> keras.callbacks.Callback:
        import keras

        try:
            kind = import_function(given, self.directory) if isinstance(given, str) else given
        except ImportError as error:
            raise ModelError(str(error)) from error
        if not (isinstance(kind, type) and issubclass(kind, keras.callbacks.Callback)):
            raise ModelError(f"a callback must be a subclass of keras.callbacks.Callback. Received: {kind!r}")
        return kind(**arguments)


def follows_batches(callback: keras.callbacks.Callback) -> bool:
    """Whether a callback wants to be called around each batch of training."""
    import keras

    base = keras.callbacks.Callback
    return any(getattr(type(callback), name) is not getattr(base, name) for name in _OF_BATCHES)
