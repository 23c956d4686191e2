"""TensorFlow's first import in a process."""

from __future__ import annotations

import os
import re
import sys
import tempfile
import threading

# What TensorFlow's C++ parts write to standard error before any setting reaches them.
_CHATTER = re.compile(
    rb"WARNING: All log messages before absl"
    rb"|To enable the following instructions"
    rb"|[IWEF]\d{4} [\d:.]+ +\d+ \S+:\d+\]"
    rb"|\d{4}-\d\d-\d\d [\d:.]+: [IWEF] \S+:\d+\]"
)

_importing = threading.Lock()


def import_tensorflow() -> None:
    """Imports TensorFlow and Keras, quietly and without taking a card's whole memory from the trials on it.

    May be called in several threads, of which one imports and the others wait. What TensorFlow writes to standard error
    is left out, and shown after all if the import fails; what others write there meanwhile is shown after it.
    """
    with _importing:
        if "tensorflow" not in sys.modules:
            _import()


def _import() -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    with tempfile.TemporaryFile() as aside:
        kept = os.dup(2)
        os.dup2(aside.fileno(), 2)
        try:
            import keras  # noqa: F401  # the import is the purpose
            import tensorflow as tf
        except BaseException:
            os.dup2(kept, 2)
            aside.seek(0)
            os.write(2, aside.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
        aside.seek(0)
        os.write(2, b"".join(line for line in aside if not _CHATTER.match(line)))
    for card in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(card, True)
