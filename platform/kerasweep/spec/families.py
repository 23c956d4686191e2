"""The parameters of the built-in model families and of training, by name, with what each may be.

This is the vocabulary that a space is checked against before TensorFlow is loaded; ``models`` and ``training`` give
it its meaning.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from kerasweep.errors import one_of
from kerasweep.records import ParamValue
from kerasweep.spec.parameters import Float, Int, Parameter

ACTIVATIONS = (
    "relu", "elu", "selu", "gelu", "leaky_relu", "silu", "swish", "mish",
    "tanh", "sigmoid", "softplus", "softsign", "linear",
)  # fmt: skip
INITIALIZERS = (
    "glorot_uniform", "glorot_normal", "he_uniform", "he_normal", "lecun_uniform", "lecun_normal",
)  # fmt: skip
OPTIMIZERS = ("sgd", "rmsprop", "adam", "adamw", "nadam", "adagrad", "adamax", "adadelta")


@dataclass(frozen=True)
class Known:
    """A parameter that kerasweep itself understands.

    Attributes:
        kind: ``float``, ``int``, ``bool`` or ``name``.
        default: used when neither the space nor ``training.fixed`` sets it; None leaves Keras's own default.
        low: smallest legal value, closed.
        high: largest legal value, closed.
        names: the legal names, for ``kind="name"``.
    """

    kind: str
    default: ParamValue | None = None
    low: float | None = None
    high: float | None = None
    names: tuple[str, ...] = ()

    def problem(self, name: str, value: ParamValue) -> str | None:
        """The rule this value breaks, or None."""
        if self.kind == "name":
            legal = isinstance(value, str) and value in self.names
            return None if legal else one_of(name, value, self.names)
        if self.kind == "bool":
            return None if isinstance(value, bool) else f"{name} must be true or false. Received: {value!r}"
        if isinstance(value, bool | str) or (self.kind == "int" and value != int(value)):
            number = "a whole number" if self.kind == "int" else "a number"
            return f"{name} must be {number}. Received: {value!r}"
        if self.low is not None and value < self.low:
            return f"{name} must be >= {self.low:g}. Received: {value!r}"
        if self.high is not None and value > self.high:
            return f"{name} must be <= {self.high:g}. Received: {value!r}"
        return None


SCHEDULES = ("constant", "exponential", "piecewise", "one_cycle", "cosine")

# How the learning rate goes up and down; ``spec.learning_rates`` says what each means, and its default.
SCHEDULE_PARAMETERS: Mapping[str, Known] = {
    "schedule": Known("name", default="constant", names=SCHEDULES),
    "warmup_epochs": Known("float", low=0.0),
    "warmup_share": Known("float", low=0.0, high=1.0),
    "decay_rate": Known("float", low=0.0, high=1.0),
    "decay_epochs": Known("float", low=1.0),
    "staircase": Known("bool"),
    "start_factor": Known("float", low=0.0, high=1.0),
    "final_factor": Known("float", low=0.0, high=1.0),
    "final_share": Known("float", low=0.0, high=1.0),
}

# Which of these each schedule has.
SCHEDULE_TAKES: Mapping[str, frozenset[str]] = {
    name: frozenset(own)
    for name, own in {
        "constant": ("warmup_epochs", "warmup_share"),
        "exponential": ("warmup_epochs", "warmup_share", "decay_rate", "decay_epochs", "staircase"),
        "piecewise": ("warmup_epochs", "warmup_share"),
        "one_cycle": ("start_factor", "final_factor", "final_share"),
        "cosine": ("warmup_epochs", "warmup_share", "final_factor"),
    }.items()
}

# Of neuroevolution; ``spec.methods`` says what each means, and its default.
EVOLUTION_PARAMETERS: Mapping[str, Known] = {
    "population": Known("int", low=2),
    "parents": Known("int", low=1),
    "sigma": Known("float", low=0.0),
}

TRAINING_PARAMETERS: Mapping[str, Known] = {
    "batch_size": Known("int", default=32, low=1),
    **SCHEDULE_PARAMETERS,
    **EVOLUTION_PARAMETERS,
}

OPTIMIZER_PARAMETERS: Mapping[str, Known] = {
    "optimizer": Known("name", default="adam", names=OPTIMIZERS),
    "learning_rate": Known("float", low=0.0),
    "momentum": Known("float", low=0.0, high=1.0),
    "nesterov": Known("bool"),
    "rho": Known("float", low=0.0, high=1.0),
    "beta_1": Known("float", low=0.0, high=1.0),
    "beta_2": Known("float", low=0.0, high=1.0),
    "epsilon": Known("float", low=0.0),
    "weight_decay": Known("float", low=0.0),
    "clipnorm": Known("float", low=0.0),
}

# Which of the optimiser's parameters each optimiser has; any other one set for it is an error, not ignored.
OPTIMIZER_TAKES: Mapping[str, frozenset[str]] = {
    name: frozenset({"learning_rate", "weight_decay", "clipnorm", *own})
    for name, own in {
        "sgd": ("momentum", "nesterov"),
        "rmsprop": ("rho", "momentum", "epsilon"),
        "adam": ("beta_1", "beta_2", "epsilon"),
        "adamw": ("beta_1", "beta_2", "epsilon"),
        "nadam": ("beta_1", "beta_2", "epsilon"),
        "adagrad": ("epsilon",),
        "adamax": ("beta_1", "beta_2", "epsilon"),
        "adadelta": ("rho", "epsilon"),
    }.items()
}

# Of hidden layers, and of the output layer beside them.
HIDDEN_PARAMETERS: Mapping[str, Known] = {
    "n_hidden": Known("int", default=1, low=0),
    "n_neurons": Known("int", default=30, low=1),
    "activation": Known("name", default="relu", names=ACTIVATIONS),
    "initializer": Known("name", default="glorot_uniform", names=INITIALIZERS),
    "dropout": Known("float", default=0.0, low=0.0, high=0.99),
    "l2": Known("float", default=0.0, low=0.0),
    "batch_norm": Known("bool", default=False),
}

LINEAR_PARAMETERS: Mapping[str, Known] = {
    "initializer": HIDDEN_PARAMETERS["initializer"],
    "l1": Known("float", default=0.0, low=0.0),
    "l2": HIDDEN_PARAMETERS["l2"],
}

WIDE_DEEP_PARAMETERS: Mapping[str, Known] = {
    **HIDDEN_PARAMETERS,
    "n_hidden": Known("int", default=1, low=1),
    "aux_weight": Known("float", default=0.0, low=0.0, high=0.99),
}

RESIDUAL_PARAMETERS: Mapping[str, Known] = {
    "n_blocks": Known("int", default=2, low=1),
    **{name: known for name, known in HIDDEN_PARAMETERS.items() if name != "n_hidden"},
}

CNN_PARAMETERS: Mapping[str, Known] = {
    "n_conv": Known("int", default=2, low=1),
    "filters": Known("int", default=32, low=1),
    **HIDDEN_PARAMETERS,
    "n_hidden": WIDE_DEEP_PARAMETERS["n_hidden"],
}

# The networks that the family ``auto`` chooses from, and what each of them takes.
AUTO = "auto"
ARCHITECTURES: Mapping[str, Mapping[str, Known]] = {
    "linear": LINEAR_PARAMETERS,
    "mlp": HIDDEN_PARAMETERS,
    "residual": RESIDUAL_PARAMETERS,
    "wide_deep": WIDE_DEEP_PARAMETERS,
    "cnn": CNN_PARAMETERS,
}
IMAGES_ONLY = "cnn"

FAMILIES: Mapping[str, Mapping[str, Known]] = {
    "linear": LINEAR_PARAMETERS,
    "mlp": HIDDEN_PARAMETERS,
    "wide_deep": WIDE_DEEP_PARAMETERS,
    AUTO: {
        "architecture": Known("name", names=tuple(ARCHITECTURES)),
        **{name: known for own in ARCHITECTURES.values() for name, known in own.items()},
    },
}
# Keys of the model section that choose columns, and the family whose they are.
COLUMN_KEYS = ("wide", "deep")
COLUMN_FAMILY = "wide_deep"

# What may change while a trial trains, without another program: coefficients of the optimiser and of the family.
MUTABLE_PARAMETERS = (
    "learning_rate", "momentum", "rho", "beta_1", "beta_2", "epsilon", "weight_decay", "clipnorm", "dropout",
    "l1", "l2",
)  # fmt: skip
# Those for which a family's model has a part of its own when they are over 0, and none at 0.
GATING_PARAMETERS = ("dropout", "l1", "l2")

_PER_LAYER = re.compile(r"n_neurons_([1-9][0-9]*)")


def layer_of(name: str) -> int | None:
    """The 1-based hidden layer that a per-layer parameter such as ``n_neurons_2`` speaks of, else None."""
    match = _PER_LAYER.fullmatch(name)
    return int(match.group(1)) if match else None


def has_layer_widths(family: str) -> bool:
    """Whether each hidden layer may have a width of its own; of several architectures one width must do for all."""
    return "n_neurons" in FAMILIES[family] and family != AUTO


def family_parameter(family: str, name: str) -> Known | None:
    """What a family makes of a parameter, None when it does not know the name."""
    if layer_of(name) is not None and has_layer_widths(family):
        return FAMILIES[family]["n_neurons"]
    return FAMILIES[family].get(name) or OPTIMIZER_PARAMETERS.get(name) or TRAINING_PARAMETERS.get(name)


def family_names(family: str) -> tuple[str, ...]:
    """All parameter names a family understands (per-layer names aside)."""
    return (*FAMILIES[family], *OPTIMIZER_PARAMETERS, *TRAINING_PARAMETERS)


def mutable_parameters(family: str | None, taken: Collection[str] = ()) -> tuple[str, ...]:
    """The parameters that may change while a trial trains.

    Args:
        family: the built-in family; None for a user's builder, of whose model only the optimiser is known.
        taken: names that the user's builder takes itself, so that only it knows what they do.
    """
    if family is not None:
        return tuple(name for name in MUTABLE_PARAMETERS if family_parameter(family, name) is not None)
    return tuple(name for name in MUTABLE_PARAMETERS if name in OPTIMIZER_PARAMETERS and name not in taken)


def steerable(parameters: Mapping[str, Parameter], mutable: Collection[str]) -> tuple[str, ...]:
    """The parameters of a space that may change while a trial trains, and no other one with them.

    A parameter that a condition names is left out: others would come and go with its values.
    """
    switches = {other for parameter in parameters.values() for other in parameter.when}
    return tuple(name for name in parameters if name in mutable and name not in switches)


def explorable(parameters: Mapping[str, Parameter], mutable: Collection[str]) -> tuple[str, ...]:
    """Those of the ``steerable`` parameters that are ranges of more than one value."""
    return tuple(
        name
        for name in steerable(parameters, mutable)
        if isinstance(parameter := parameters[name], Float | Int) and parameter.min < parameter.max
    )
