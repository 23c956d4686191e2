"""kerasweep: hyperparameter search and experiment tracking for Keras, many trials at a time.

Importing this package loads neither TensorFlow nor Ray nor MLflow; each comes with the first thing that needs it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kerasweep.pipeline import load_model, narrow, plan, run
    from kerasweep.space import Space
    from kerasweep.spec import Choice, Find, Fixed, Float, Int, load_pipeline
    from kerasweep.study.estimator import KerasSearchCV
    from kerasweep.study.study import Study

__version__ = "0.4.0"

_HOMES = {
    "Choice": "kerasweep.spec",
    "Find": "kerasweep.spec",
    "Fixed": "kerasweep.spec",
    "Float": "kerasweep.spec",
    "Int": "kerasweep.spec",
    "KerasSearchCV": "kerasweep.study.estimator",
    "Space": "kerasweep.space",
    "Study": "kerasweep.study.study",
    "load_model": "kerasweep.pipeline",
    "load_pipeline": "kerasweep.spec",
    "narrow": "kerasweep.pipeline",
    "plan": "kerasweep.pipeline",
    "run": "kerasweep.pipeline",
}

__all__ = [
    "Choice",
    "Find",
    "Fixed",
    "Float",
    "Int",
    "KerasSearchCV",
    "Space",
    "Study",
    "__version__",
    "load_model",
    "load_pipeline",
    "narrow",
    "plan",
    "run",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
