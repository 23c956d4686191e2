"""kerasweep: hyperparameter search and experiment tracking for Keras, many trials at a time.

Importing this package loads neither TensorFlow nor Ray nor MLflow; each comes with the first thing that needs it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kerasweep.pipeline import plan, run
    from kerasweep.space import Space
    from kerasweep.spec import Choice, Fixed, Float, Int, load_pipeline
    from kerasweep.study.study import Study

__version__ = "0.3.0"

_HOMES = {
    "Choice": "kerasweep.spec",
    "Fixed": "kerasweep.spec",
    "Float": "kerasweep.spec",
    "Int": "kerasweep.spec",
    "Space": "kerasweep.space",
    "Study": "kerasweep.study.study",
    "load_pipeline": "kerasweep.spec",
    "plan": "kerasweep.pipeline",
    "run": "kerasweep.pipeline",
}

__all__ = ["Choice", "Fixed", "Float", "Int", "Space", "Study", "__version__", "load_pipeline", "plan", "run"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
