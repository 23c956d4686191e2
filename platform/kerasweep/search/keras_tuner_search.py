"""The oracles of KerasTuner. Importing this module imports Keras and its backend; the registry does so on demand."""

from __future__ import annotations

import copy
import math
import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import keras_tuner
import numpy as np
from keras_tuner.engine.trial import Trial as OracleTrial
from keras_tuner.engine.trial import TrialStatus
from keras_tuner.oracles import BayesianOptimizationOracle, HyperbandOracle, RandomSearchOracle
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from kerasweep.records import Candidate, Params, ParamValue, Trial
from kerasweep.search.base import Brief
from kerasweep.search.gaussian_process import matern52
from kerasweep.search.modelled import ModelledSearcher
from kerasweep.seeds import derive
from kerasweep.space.axes import Axis, Options, Steps
from kerasweep.space.space import INACTIVE
from kerasweep.spec.searchers import KerasTunerSearch

Array = NDArray[np.float64]
Values = dict[str, Any]

_COST = "cost"

# The square of a cost must be a finite number, as the Gaussian process takes their variance.
_LARGEST = 1e100


class KerasTunerSearcher(ModelledSearcher):
    """Proposes what an oracle of KerasTuner proposes; all its mathematics is KerasTuner's.

    - ``random``: ``RandomSearchOracle``, each parameter uniform in its scale.
    - ``bayesian``: ``BayesianOptimizationOracle``, a Gaussian process (Matérn 5/2) and the lowest mean minus ``beta``
      standard deviations (Srinivas et al. 2010), found by L-BFGS-B from fifty places. Candidates that are out count as
      bad ones: their predicted mean plus a standard deviation. It is random until ``startup`` trials with a finite
      value are known.
    - ``hyperband``: ``HyperbandOracle`` (Li et al. 2018), which draws at random and then asks for its best
      configurations again, to be trained for longer. Who goes on is decided by the scheduler ``hyperband`` while trials
      train, so nothing is trained twice: such a promotion is answered at once, with the value that the trial's
      learning curve had reached in those epochs (or last, if the scheduler ended it before), until the oracle comes
      to a new configuration. It belongs to the scheduler ``hyperband`` with the same reduction factor.

    What it learns:

    - a finished trial: its best value; a stopped one: its best value up to there. ``hyperband`` learns both from their
      curves;
    - a failed trial, or one without a finite value: ``bayesian`` takes it for as bad as the worst trial so far, since
      it would propose its neighbours again and again otherwise; the others learn nothing. Failed trials of earlier
      studies are passed over.

    The oracle sees no value, only places on each parameter's axis, so that bounds, steps, types and conditions are
    ours: real numbers and logarithmic steps by their coordinate in ``[0, 1]``, other steps and choices by their index.
    An inactive parameter lies at one and the same place. The brief's points, priors and recalled trials are trials of
    the oracle like any other. It writes no files.

    KerasTuner imports Keras, and Keras its backend, so this searcher alone costs that import (the driver of a study
    needs it later anyway). Who wants TensorFlow's first words kept off standard error, and its memory of a card
    growing, calls ``models.import_tensorflow`` before.

    Sources: O'Malley et al.: KerasTuner, 2019; Srinivas, Krause, Kakade, Seeger: Gaussian Process Optimization in the
    Bandit Setting, ICML 2010; Li, Jamieson, DeSalvo, Rostamizadeh, Talwalkar: Hyperband, JMLR 18 (2018).

    Args:
        brief: what to search.
        spec: its options.
    """

    def __init__(self, brief: Brief, spec: KerasTunerSearch) -> None:
        super().__init__(brief, startup=0)  # the oracle's own beginnings are random already
        self._metric = brief.objective.metric
        self._axes = {name: brief.space.axes[name] for name in brief.space.dimensions}
        shared: Values = {
            "objective": keras_tuner.Objective(_COST, "min"),
            "hyperparameters": _hyperparameters(self._axes),
            "seed": 1 + derive(brief.seed, "keras_tuner"),  # 0 would be drawn anew
        }
        self._oracle: _Oracle
        if spec.oracle == "random":
            self._oracle = _Random(max_trials=None, **shared)
        elif spec.oracle == "bayesian":
            startup = spec.startup or max(3, 3 * len(self._axes))
            self._oracle = _Bayesian(max_trials=None, num_initial_points=startup, beta=spec.beta, **shared)
        else:
            epochs = brief.max_epochs
            self._oracle = _Hyperband(max_epochs=epochs, factor=spec.factor, hyperband_iterations=None, **shared)
        # Where an inactive parameter lies.
        self._defaults = {each.name: each.default for each in self._oracle.hyperparameters.space}
        self._running: dict[int, OracleTrial] = {}  # by the candidate's number
        self._offered: OracleTrial | None = None  # whose configuration the caller looks at

    def propose(self, n: int) -> Iterator[Params]:
        taken = True
        # A model's second proposal without anything new to learn from would be much like the first.
        while (taken or not isinstance(self._oracle, _Bayesian)) and (trial := self._oracle.begin()) is not None:
            self._offered = trial
            try:
                yield self._params(trial.hyperparameters.values)
            finally:
                taken = self._offered is None
                if not taken:
                    self._oracle.drop(trial)
                    self._offered = None

    def issued(self, candidate: Candidate) -> None:
        trial = self._offered or self._begin(candidate.params)
        self._oracle.move(trial, self._places(candidate.params))
        self._running[candidate.number] = trial
        self._offered = None

    def learn(self, trial: Trial, cost: float) -> None:
        own = self._running.pop(trial.number, None) or self._begin(trial.params)  # else of an earlier study
        self._oracle.complete(own, cost, [self.cost(value) for value in trial.curve(self._metric)])

    def failed(self, trial: Trial) -> None:
        if (own := self._running.pop(trial.number, None)) is not None:
            self._oracle.fail(own)

    def _begin(self, params: Params) -> OracleTrial:
        """A trial of the oracle's with a configuration that it did not propose."""
        trial = self._oracle.begin(self._places(params))
        if trial is None:
            raise RuntimeError("an oracle must take the configuration that it is given. Received: no trial")
        return trial

    def _params(self, values: Values) -> Params:
        """The configuration at these places."""
        return self.space.compose(lambda name: _value(self._axes[name], values[name]))

    def _places(self, params: Params) -> Values:
        """Where a configuration lies."""
        own = {name: _place(self._axes[name], params[name]) for name in self._axes if name in params}
        return {**self._defaults, **own}


class _Adapted(keras_tuner.Oracle):  # type: ignore[misc]  # KerasTuner has no types
    """What the oracles have in common here: no files, no words, no end, and room for given configurations."""

    trials: dict[str, OracleTrial]
    given: Values | None = None  # what the next random values are, instead of random ones

    def __init__(self, **options: Any) -> None:
        super().__init__(max_consecutive_failed_trials=-1, **options)  # no limit: a study has its own
        self.verbose = 0
        self._run_times: dict[str, int] = defaultdict(int)  # these two replace dictionaries that cannot be pickled
        self._id_to_hash: dict[str, str | None] = defaultdict(type(None))

    def save(self) -> None:
        """Keeps the state out of files; it is pickled with the searcher."""

    def _save_trial(self, trial: OracleTrial) -> None:
        """Likewise."""

    def _random_values(self) -> Values | None:
        drawn: Values | None = super()._random_values() if self.given is None else dict(self.given)
        return drawn

    def begin(self, given: Values | None = None) -> OracleTrial | None:
        """A new trial, at the given places if there are any; None if the oracle has no other."""
        self.given = given
        with _calm():
            trial = self.create_trial(str(len(self.trials)))
        self.given = None
        return trial if trial.status == TrialStatus.RUNNING else None

    def move(self, trial: OracleTrial, places: Values) -> None:
        """Puts a trial where its configuration lies exactly; trials share their space, so that pickles stay small."""
        values = {**trial.hyperparameters.values, **places}
        trial.hyperparameters = copy.copy(self.hyperparameters)
        trial.hyperparameters.values = values

    def complete(self, trial: OracleTrial, cost: float, curve: Sequence[float]) -> None:
        """Ends a trial with a finite value.

        Args:
            trial: that began.
            cost: the lower the better.
            curve: the cost of each epoch.
        """
        trial.status = TrialStatus.COMPLETED
        with _calm():
            self.update_trial(trial.trial_id, {_COST: min(max(cost, -_LARGEST), _LARGEST)})
            self.end_trial(trial)

    def drop(self, trial: OracleTrial) -> None:
        """Ends a trial that never begins."""
        trial.status = TrialStatus.FAILED
        with _calm():
            self.end_trial(trial)

    def fail(self, trial: OracleTrial) -> None:
        """Ends a trial without a finite value."""
        self.drop(trial)


class _Random(_Adapted, RandomSearchOracle):  # type: ignore[misc]  # likewise
    """See ``KerasTunerSearcher``."""


class _Bayesian(_Adapted, BayesianOptimizationOracle):  # type: ignore[misc]  # likewise
    """See ``KerasTunerSearcher``."""

    def populate_space(self, trial_id: str) -> Mapping[str, Any]:
        if self.given is not None:
            random: Mapping[str, Any] = self._random_populate_space()
            return random
        told = {name: trial for name, trial in self.trials.items() if trial.status == TrialStatus.COMPLETED}
        # Its many small steps are several times faster without threads to wait for.
        with threadpool_limits(1, "blas"):
            if len(told) >= self.num_initial_points and self.ongoing_trials:
                # What those that are out are taken for follows the last fit. That was to other imagined values, if any.
                everything, self.trials = self.trials, told
                self.gpr.fit(*self._vectorize_trials())
                self.trials = everything
            proposed: Mapping[str, Any] = super().populate_space(trial_id)
        return proposed

    def fail(self, trial: OracleTrial) -> None:
        scores = [other.score for other in self.trials.values() if other.status == TrialStatus.COMPLETED]
        if scores:
            self.complete(trial, max(scores), ())
        else:
            super().fail(trial)

    def _make_gpr(self) -> _Regressor:
        return _Regressor(super()._make_gpr())


class _Hyperband(_Adapted, HyperbandOracle):  # type: ignore[misc]  # likewise
    """See ``KerasTunerSearcher``."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._told: dict[str, tuple[float, Sequence[float]]] = {}  # a trial's cost and curve, by its name

    def begin(self, given: Values | None = None) -> OracleTrial | None:
        while (trial := super().begin(given)) is not None and "tuner/trial_id" in trial.hyperparameters.values:
            self.complete(trial, *self._told[trial.hyperparameters.values["tuner/trial_id"]])
        return trial

    def complete(self, trial: OracleTrial, cost: float, curve: Sequence[float]) -> None:
        """Ends a trial with the best cost of the epochs that it was asked to train; see ``_Adapted.complete``."""
        self._told[trial.trial_id] = cost, curve
        asked = trial.hyperparameters.values
        first, last = asked["tuner/initial_epoch"], asked["tuner/epochs"]
        reached = _finite(curve[first:last]) or _finite(curve[:last]) or [cost]
        super().complete(trial, min(reached), ())


class _Regressor:
    """KerasTuner's Gaussian process, fitted as ever; it predicts single points ten times faster, with the same numbers.

    Args:
        exact: a regressor of scikit-learn with an isotropic Matérn 5/2 kernel, on standardised values.
    """

    def __init__(self, exact: Any) -> None:
        self._exact = exact

    def fit(self, x: Array, y: Array) -> None:
        """Fits to places ``(n, d)`` and costs ``(n,)``."""
        self._exact.fit(x, y)
        self._length = self._exact.kernel_.length_scale
        self._inverse = np.linalg.inv(self._exact.L_)
        self._mean, self._scale = float(np.mean(y)), float(np.std(y)) or 1.0

    def predict(self, x: Array, return_std: bool) -> tuple[Array, Array]:
        """Mean and standard deviation, ``(1,)`` each, at a place ``(1, d)``."""
        apart = (self._exact.X_train_ - x[0]) / self._length
        related = matern52(np.sqrt(np.einsum("ij,ij->i", apart, apart)))
        known = self._inverse @ related
        mean = self._mean + self._scale * (related @ self._exact.alpha_)
        deviation = self._scale * math.sqrt(max(0.0, 1.0 - float(known @ known)))
        return np.array([mean]), np.array([deviation])


_Oracle = _Random | _Bayesian | _Hyperband


def _finite(costs: Sequence[float]) -> list[float]:
    return [cost for cost in costs if math.isfinite(cost)]


@contextmanager
def _calm() -> Iterator[None]:
    """Holds warnings back: of fits that do not converge, and of what KerasTuner has not yet replaced."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _hyperparameters(axes: Mapping[str, Axis]) -> Any:
    """The axes as KerasTuner's hyperparameters."""
    found = keras_tuner.HyperParameters()
    for name, axis in axes.items():
        if isinstance(axis, Options):
            found.Choice(name, list(range(axis.size)))
        elif isinstance(axis, Steps) and not axis.log:
            found.Int(name, 0, axis.size - 1)
        else:
            found.Float(name, 0.0, 1.0, default=INACTIVE)
    if not axes:
        found.Fixed("nothing", True)  # KerasTuner takes no values for no trial
    return found


def _place(axis: Axis, value: ParamValue) -> int | float:
    if isinstance(axis, Options) or (isinstance(axis, Steps) and not axis.log):
        return axis.index(value)
    return axis.coordinate(value)


def _value(axis: Axis, place: int | float) -> ParamValue:
    if isinstance(axis, Options) or (isinstance(axis, Steps) and not axis.log):
        return axis.value(min(int(place), axis.size - 1))  # of very long ranges, KerasTuner rounds past the end
    return axis.at(min(max(float(place), 0.0), 1.0))
