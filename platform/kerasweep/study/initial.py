"""Where trained weights come from that a study's models start from, and whether these models can take them."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kerasweep.errors import DeliveryError
from kerasweep.models import FamilyBuilder, InitialWeights, UserBuilder, import_tensorflow
from kerasweep.seeds import derive
from kerasweep.space import Space
from kerasweep.spec.pipeline import PipelineSpec
from kerasweep.study.rebuilding import rebuilt
from kerasweep.tracking import open_registry, open_store
from kerasweep.training import Freeze

if TYPE_CHECKING:
    import keras

_REGISTERED = "models:/"


@dataclass(frozen=True)
class Initial:
    """Trained weights, read.

    Attributes:
        weights: of the first layers.
        facts: what the study's summary keeps of where they are from.
    """

    weights: InitialWeights
    facts: Mapping[str, Any]


def read_initial(spec: PipelineSpec, tracking_uri: str) -> Initial | None:
    """Reads the source of ``model.initial_weights``; None if models start from random weights.

    Raises:
        StudyNotFound: there is no such study, or its weights were not kept.
        DeliveryError: there is no such registered model, or it cannot be loaded.
        ModelError: it has fewer layers.
    """
    wanted = spec.model.initial_weights
    if wanted is None:
        return None
    import_tensorflow()
    facts: dict[str, Any] = {"from": wanted.from_, "layers": wanted.layers, "freeze": wanted.freeze}
    if wanted.from_.startswith(_REGISTERED):
        with tempfile.TemporaryDirectory(prefix="kerasweep-") as scratch:
            facts["version"], file = open_registry(tracking_uri).fetch(wanted.from_, Path(scratch))
            model = _loaded(file, wanted.from_)
    else:
        study, _, number = wanted.from_.partition("/trials/")
        found = rebuilt(open_store(tracking_uri), study, int(number) if number else None)
        facts |= {"study": found.study, "trial": found.trial}
        model = found.model
    # The preprocessing is in front of it; its statistics are the data's and not to be passed on.
    weights = InitialWeights.of(model.layers[-1], wanted.layers)
    return Initial(weights, facts | {"fingerprint": weights.fingerprint})


def check_initial(spec: PipelineSpec, models: FamilyBuilder | UserBuilder) -> None:
    """Builds models of the space's lowest values, and for a family of its highest, to see whether the weights fit.

    Raises:
        ModelError: they do not, and the message names the layer and the shapes; or all layers would be frozen.
    """
    freeze = Freeze.of(spec.model.initial_weights)
    space = Space(spec.space)
    for corner in (0.0, 1.0) if isinstance(models, FamilyBuilder) else (0.0,):
        params = {**spec.training.fixed, **space.corner(corner)}
        model = models.build(params, derive(spec.search.seed, "initial weights"))
        if freeze is not None:
            freeze.of_model(model)


def _loaded(file: Path, reference: str) -> keras.Model:
    import keras

    try:
        return keras.saving.load_model(file, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises whatever its layers raise
        raise DeliveryError(f"{reference} must load from its .keras file. Received: {error}") from error
