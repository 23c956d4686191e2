"""Models: parameters -> compiled keras.Model, from a built-in family or from the user's own builder."""

from kerasweep.models.base import Head, Inputs, ModelBuilder, Stackable
from kerasweep.models.families import FamilyBuilder
from kerasweep.models.quiet import import_tensorflow
from kerasweep.models.transfer import InitialWeights
from kerasweep.models.user import UserBuilder

__all__ = [
    "FamilyBuilder",
    "Head",
    "InitialWeights",
    "Inputs",
    "ModelBuilder",
    "Stackable",
    "UserBuilder",
    "import_tensorflow",
]
