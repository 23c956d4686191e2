"""The tree-structured Parzen estimator, by Optuna."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import optuna
from optuna.trial import TrialState

from kerasweep.records import Candidate, Params, ParamValue, Status, Trial
from kerasweep.search.base import Brief
from kerasweep.search.proposals import Proposals
from kerasweep.seeds import derive
from kerasweep.space.axes import Axis, Continuous, Options, Steps
from kerasweep.spec.searchers import TpeSearch

# Proposals of the model that may turn out to be old ones before a random configuration takes their place.
_ATTEMPTS = 10


class TpeSearcher:
    """Proposes where good trials are dense and others are not (Bergstra et al. 2011).

    The model is Optuna's ``TPESampler``, multivariate (Falkner et al. 2018) and grouped: parameters that are active
    together are modelled together. While candidates are out, Optuna's constant liar counts them as not good, so that
    a batch spreads. Until ``startup`` trials with a finite value were told, candidates are random, as those of
    ``RandomSearcher``; the first one takes the declared priors, if there are any.

    What it learns:

    - a finished trial: its best value;
    - a stopped trial: its best value up to there, as if it had finished. More epochs could only have improved it, so
      it never seems better than it is; and those that rungs keep longest are not outnumbered by bad trials that ran
      to the end, as they are when stopped trials rank behind all finished ones (Optuna's own rule);
    - a failed trial, or one without a finite value: nothing, but that it need not be tried again.

    Optuna sees no value, only places on each parameter's axis, so that bounds, steps and types are ours:

    - real numbers, linear or logarithmic: the coordinate in ``[0, 1]`` in the parameter's scale;
    - integers and steps, linear: the index of the value;
    - integers and steps, logarithmic: the coordinate in ``[0, 1]``, which falls into a value's cell;
    - choices: the index, as a category.

    Sources: Bergstra, Bardenet, Bengio, Kégl: Algorithms for Hyper-Parameter Optimization, NeurIPS 2011 (``candidates``
    are the draws from its l(x)); Falkner, Klein, Hutter: BOHB, ICML 2018.

    Args:
        brief: what to search.
        spec: its options.
    """

    def __init__(self, brief: Brief, spec: TpeSearch) -> None:
        space, seed = brief.space, brief.seed
        self._space = space
        self._startup = spec.startup
        self._proposals = Proposals(space, np.random.default_rng(derive(seed, "random")), brief.points)
        self._places = {name: _place(name, space.axes[name]) for name in space.dimensions}
        with _quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # group=True
            sampler = optuna.samplers.TPESampler(
                n_startup_trials=0,
                n_ei_candidates=spec.candidates,
                seed=derive(seed, "tpe"),
                multivariate=True,
                group=True,
                constant_liar=True,
            )
            self._study = optuna.create_study(sampler=sampler, direction=brief.objective.direction.value)
        self._open: dict[int, int] = {}  # our number -> Optuna's, of the candidates that are out
        self._told = 0  # trials with a finite value

    def ask(self, n: int) -> list[Candidate]:
        candidates: list[Candidate] = []
        with _quiet():
            while len(candidates) < n and not self._proposals.used_up:
                candidate = self._first() or (self._modelled() if self._told >= self._startup else None)
                candidate = candidate or self._random()
                if candidate is None:
                    break
                candidates.append(candidate)
        return candidates

    def vary(self, candidate: Candidate, free: frozenset[str]) -> Candidate | None:
        """See ``structured.Varying``."""
        held = {name: value for name, value in candidate.params.items() if name not in free}
        with _quiet():
            for _ in range(_ATTEMPTS if self._told >= self._startup else 0):
                self._enqueue(held)
                if (varied := self._asked()) is not None:
                    return varied
            params = self._proposals.varied(candidate.params, free)
            return None if params is None else self._held(params)

    def tell(self, trials: Sequence[Trial]) -> None:
        with _quiet():
            for trial in trials:
                self._proposals.close(trial)
                number = self._open.pop(trial.number)
                self._learn(number, trial)

    def recall(self, trials: Sequence[Trial]) -> None:
        with _quiet():
            for trial in trials:
                self._enqueue(trial.params)
                asked, _ = self._next()
                self._learn(asked.number, trial)

    def _learn(self, number: int, trial: Trial) -> None:
        if trial.status is Status.FAILED or trial.value is None or not math.isfinite(trial.value):
            self._study.tell(number, state=TrialState.FAIL)
        else:
            self._study.tell(number, trial.value)
            self._told += 1

    def _modelled(self) -> Candidate | None:
        """A candidate by the model, None if it insists on old ones."""
        for _ in range(_ATTEMPTS):
            candidate = self._asked()
            if candidate is not None:
                return candidate
        return None

    def _random(self) -> Candidate | None:
        """A random candidate that Optuna knows of, None if the space has no other."""
        params = self._proposals.draw()
        return None if params is None else self._held(params)

    def _first(self) -> Candidate | None:
        """What to begin with, None later on."""
        params = self._proposals.first()
        return None if params is None else self._held(params)

    def _held(self, params: Params) -> Candidate | None:
        """These values as a candidate."""
        self._enqueue(params)
        return self._asked(params)

    def _enqueue(self, params: Params) -> None:
        """Holds the next trial of Optuna's at these values; it suggests the others."""
        self._study.enqueue_trial(
            {name: self._places[name].of(params[name]) for name in self._places if name in params}
        )

    def _next(self) -> tuple[optuna.Trial, Params]:
        """Optuna's next trial, and the configuration that it suggests."""
        asked = self._study.ask()
        return asked, self._space.compose(lambda name: self._places[name].suggested(asked))

    def _asked(self, params: Params | None = None) -> Candidate | None:
        """Optuna's next trial as a candidate, None if it is an old one.

        Args:
            params: what that trial was made for, exactly: a place gives real numbers back only up to rounding.
        """
        asked, proposed = self._next()
        params = params or proposed
        if not self._proposals.is_new(params):
            self._study.tell(asked, state=TrialState.FAIL)
            return None
        candidate = self._proposals.issue(params)
        self._open[candidate.number] = asked.number
        return candidate


class _Place(Protocol):
    """How Optuna sees one parameter."""

    def suggested(self, trial: optuna.Trial) -> ParamValue:
        """The value at the place that Optuna suggests."""
        ...

    def of(self, value: ParamValue) -> int | float:
        """The place of a value."""
        ...


@dataclass(frozen=True)
class _Coordinate:
    name: str
    axis: Continuous | Steps

    def suggested(self, trial: optuna.Trial) -> ParamValue:
        return self.axis.at(trial.suggest_float(self.name, 0.0, 1.0))

    def of(self, value: ParamValue) -> float:
        return self.axis.coordinate(value)


@dataclass(frozen=True)
class _Index:
    name: str
    axis: Steps

    def suggested(self, trial: optuna.Trial) -> ParamValue:
        return self.axis.value(trial.suggest_int(self.name, 0, self.axis.size - 1))

    def of(self, value: ParamValue) -> int:
        return self.axis.index(value)


@dataclass(frozen=True)
class _Category:
    name: str
    axis: Options

    def suggested(self, trial: optuna.Trial) -> ParamValue:
        return self.axis.value(trial.suggest_categorical(self.name, range(self.axis.size)))

    def of(self, value: ParamValue) -> int:
        return self.axis.index(value)


def _place(name: str, axis: Axis) -> _Place:
    if isinstance(axis, Options):
        return _Category(name, axis)
    if isinstance(axis, Steps) and not axis.log:
        return _Index(name, axis)
    return _Coordinate(name, axis)


@contextmanager
def _quiet() -> Iterator[None]:
    """Holds back what Optuna logs, and puts the user's own setting back."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(verbosity)
