"""What the literature advises on building and training networks, held against a pipeline's space.

Each rule is one function. A space that goes against it is not wrong: the advice says what usually works, and who says
so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from kerasweep.space import Space
from kerasweep.spec.families import layer_of
from kerasweep.spec.parameters import Choice, Find, Fixed, Parameter, Value
from kerasweep.spec.pipeline import PipelineSpec

_SMALL_BATCH = 32
_DECADES_APART = 30.0
_MANY_EPOCHS = 20
_DEEP = 3
_MOST_DROPOUT = 0.5

# Activations whose gradient does not vanish for large inputs.
_UNBOUNDED = frozenset({"relu", "elu", "selu", "gelu", "leaky_relu", "silu", "swish", "mish", "softplus"})
_SQUASHING = frozenset({"sigmoid", "tanh", "softsign"})


@dataclass(frozen=True)
class _Settings:
    """All hyperparameters of a pipeline, searched or fixed."""

    spec: PipelineSpec

    def parameter(self, name: str) -> Parameter | None:
        if name in self.spec.space.parameters:
            return self.spec.space.parameters[name]
        fixed = self.spec.training.fixed
        return Fixed(value=fixed[name]) if name in fixed else None

    def values(self, name: str) -> Sequence[Value]:
        """What a choice or a fixed value can be; empty for a range, and for what is not there."""
        parameter = self.parameter(name)
        if isinstance(parameter, Choice):
            return parameter.values
        return [parameter.value] if isinstance(parameter, Fixed) else []

    def low(self, name: str) -> float | None:
        """The smallest number it can be, None if it is not there."""
        return min(self._ends(name), default=None)

    def high(self, name: str) -> float | None:
        """The largest number it can be, None if it is not there."""
        return max(self._ends(name), default=None)

    def _ends(self, name: str) -> list[float]:
        parameter = self.parameter(name)
        if parameter is None or isinstance(parameter, Choice | Fixed):
            return [float(value) for value in self.values(name) if not isinstance(value, str)]
        return [float(parameter.min), float(parameter.max)]


Rule = Callable[[_Settings], str | None]


def advice(spec: PipelineSpec) -> Iterator[str]:
    """What common advice says against a pipeline's space, one sentence each, with its source.

    Nothing is said where nothing is searched.
    """
    if spec.space_ is None or Space(spec.space).size() == 1:
        return
    settings = _Settings(spec)
    for rule in _RULES:
        if (said := rule(settings)) is not None:
            yield said


def _rate_is_searched(settings: _Settings) -> str | None:
    if settings.parameter("learning_rate") is not None or settings.spec.training.method.name != "gradient":
        return None
    if settings.spec.model.family is None:  # a builder's own names are its own affair
        return None
    return "learning_rate is left at the optimiser's default; it matters more than all else (Géron 2019, ch. 10)"


def _rate_is_logarithmic(settings: _Settings) -> str | None:
    parameter = settings.parameter("learning_rate")
    if parameter is None or isinstance(parameter, Choice | Find | Fixed) or parameter.log or parameter.step is not None:
        return None
    if parameter.min > 0 and parameter.max / parameter.min < _DECADES_APART:
        return None
    return (
        f"learning_rate from {parameter.min:g} to {parameter.max:g} is drawn evenly, so that small rates are hardly "
        "ever tried; with log: true every order of magnitude has its share (Bergstra and Bengio 2012)"
    )


def _batches_are_small(settings: _Settings) -> str | None:
    low = settings.low("batch_size")
    if low is None or low <= _SMALL_BATCH or _warms_up(settings):
        return None
    return (
        f"batch_size is {low:g} or more: batches of up to {_SMALL_BATCH} tend to generalise best (Masters and Luschi "
        "2018), and large ones want a warm-up of the learning rate (Goyal et al. 2017)"
    )


def _warms_up(settings: _Settings) -> bool:
    """Whether the learning rate may begin low: with a warm-up, or in a cycle."""
    declared = settings.spec.training.schedule
    given = [getattr(declared, name, 0) or 0 for name in ("warmup_epochs", "warmup_share")]
    searched = [settings.high(name) or 0 for name in ("warmup_epochs", "warmup_share")]
    kinds = {declared.name, *settings.values("schedule")}
    return "one_cycle" in kinds or any(each > 0 for each in (*given, *searched))


def _layers_share_a_width(settings: _Settings) -> str | None:
    space = settings.spec.space.parameters
    own = [name for name, each in space.items() if layer_of(name) is not None and not isinstance(each, Fixed)]
    if len(own) < 2:
        return None
    return (
        f"{len(own)} hidden layers have a width of their own: one width for all, n_neurons, does as well or better and "
        "is a single hyperparameter (Géron 2019, ch. 10)"
    )


def _deep_networks_do_not_squash(settings: _Settings) -> str | None:
    depth, activations = settings.high("n_hidden"), settings.values("activation")
    if depth is None or depth < _DEEP or not activations or not _SQUASHING.issuperset(map(str, activations)):
        return None
    return (
        f"up to {depth:g} hidden layers of {', '.join(map(str, activations))}: gradients vanish on their way back "
        "(Glorot and Bengio 2010); relu is the default for hidden layers (Géron 2019, ch. 10)"
    )


def _selu_is_initialised(settings: _Settings) -> str | None:
    if "selu" not in settings.values("activation") or "lecun_normal" in settings.values("initializer"):
        return None
    return "selu normalises itself with lecun_normal as the initializer only (Klambauer et al. 2017)"


def _dropout_is_moderate(settings: _Settings) -> str | None:
    high = settings.high("dropout")
    if high is None or high <= _MOST_DROPOUT:
        return None
    return f"dropout goes up to {high:g}: rates of 0.1 to {_MOST_DROPOUT:g} are usual (Srivastava et al. 2014)"


def _sgd_has_momentum(settings: _Settings) -> str | None:
    optimizers = settings.values("optimizer")
    if "sgd" not in optimizers or settings.parameter("momentum") is not None:
        return None
    return "sgd has no momentum: 0.9 is nearly always faster (Polyak 1964; Géron 2019, ch. 11)"


def _frozen_layers_thaw(settings: _Settings) -> str | None:
    initial, epochs = settings.spec.model.initial_weights, settings.spec.search.max_epochs
    if initial is None or initial.freeze == "all" or initial.freeze < epochs:
        return None
    return (
        f"layers are frozen for {initial.freeze} of at most {epochs} epochs, so that they never train: freeze them for "
        "fewer and let all learn at a low rate afterwards (Géron 2019, ch. 11), or say freeze: all"
    )


def _epochs_stop_by_themselves(settings: _Settings) -> str | None:
    spec = settings.spec
    if spec.training.early_stopping is not None or spec.search.max_epochs < _MANY_EPOCHS:
        return None
    if spec.search.scheduler.name != "none":
        return None
    return (
        f"every trial trains all {spec.search.max_epochs} epochs: early stopping spares those that have stopped "
        "improving (Prechelt 1998)"
    )


_RULES: tuple[Rule, ...] = (
    _rate_is_searched,
    _rate_is_logarithmic,
    _batches_are_small,
    _layers_share_a_width,
    _deep_networks_do_not_squash,
    _selu_is_initialised,
    _dropout_is_moderate,
    _sgd_has_momentum,
    _frozen_layers_thaw,
    _epochs_stop_by_themselves,
)
