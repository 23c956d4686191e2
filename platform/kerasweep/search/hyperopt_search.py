"""The tree-structured Parzen estimator and the annealing of Hyperopt."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import hyperopt
from hyperopt.base import JOB_STATE_DONE, STATUS_NEW, Domain, trials_from_docs
from hyperopt.pyll import Apply, Literal, scope

from kerasweep.records import Candidate, Params, ParamValue, Trial
from kerasweep.search.base import Brief
from kerasweep.search.modelled import ModelledSearcher
from kerasweep.space import Space
from kerasweep.space.axes import Axis, Continuous, Options, Steps, exact
from kerasweep.spec.searchers import HyperoptSearch

# What Hyperopt's own ``fmin`` takes.
_STARTUP, _CANDIDATES, _GAMMA = 20, 24, 0.25

# Numbers with more steps than this are as good as real; Hyperopt's integrals over a step would drown in rounding.
_STEPS = 2**30

# Suggestions that may be old configurations before what varies is drawn at random.
_ATTEMPTS = 10

_Result = dict[str, Any]  # of a trial, as Hyperopt keeps it: its status, and its loss if it has one


class HyperoptSearcher(ModelledSearcher):
    """Proposes where good trials are dense and others are not, or near good ones: Hyperopt's ``tpe`` or ``anneal``.

    ``tpe`` (Bergstra et al. 2011) models each parameter by itself: l(x) over the best ``gamma * sqrt(n)`` of ``n``
    trials, 25 at most, and g(x) over the others, where old trials fade; the best of ``candidates`` draws from l(x), by
    l(x)/g(x), is proposed. ``anneal`` picks one of the best trials and draws near it, the nearer the more is known.
    Conditions are those of the space, as branches of Hyperopt's graph. A configuration that is suggested again counts
    again, without a trial, as Hyperopt would have it.

    What it learns:

    - finished and stopped trials: their best value;
    - failed trials, and while they are out all others: for ``tpe`` that they are not good, as Hyperopt itself has it,
      so that a batch spreads; nothing for ``anneal``, which would draw near them while little else is known.

    How Hyperopt sees a parameter:

    - real numbers: their coordinate in ``[0, 1]``, in the parameter's scale, ``uniform``; its ``loguniform`` is the
      same thing;
    - integers and steps, linear: their index, ``quniform`` with half a step beyond either end, so that no value is
      rarer than the others; logarithmic: their coordinate, of which the one in the middle of a value's cell is learnt;
    - choices: their index, ``randint``.

    Sources: Bergstra, Bardenet, Bengio, Kégl: Algorithms for Hyper-Parameter Optimization, NeurIPS 2011; Bergstra,
    Yamins, Cox: Making a Science of Model Search, ICML 2013.

    Args:
        brief: what to search.
        spec: its options.
    """

    def __init__(self, brief: Brief, spec: HyperoptSearch) -> None:
        tpe = spec.algorithm == "tpe"
        super().__init__(brief, startup=(spec.startup or _STARTUP) if tpe else 1)
        self._suggest = hyperopt.anneal.suggest
        if tpe:
            self._suggest = partial(
                hyperopt.tpe.suggest,
                n_startup_jobs=0,
                n_EI_candidates=spec.candidates or _CANDIDATES,
                gamma=spec.gamma or _GAMMA,
                verbose=False,
            )
        self._sees_bad = tpe
        self._places = {name: _Place(brief.space.axes[name]) for name in brief.space.dimensions}
        self._domain = Domain(None, _branches(brief.space, self._places)) if self._places else None
        self._documents: list[dict[str, Any]] = []  # of all trials, as Hyperopt keeps them, in order
        self._latest: dict[Hashable, _Result] = {}  # by configuration
        self._open: dict[int, _Result] = {}  # of candidates that are out, by number

    def propose(self, n: int) -> Iterator[Params]:
        while self._domain is not None:
            params, count = self._suggested({}), len(self._documents)
            yield params
            if len(self._documents) == count:
                self._repeat(params)

    def vary(self, candidate: Candidate, free: frozenset[str]) -> Candidate | None:
        """See ``structured.Varying``; what varies is suggested as everything is."""
        held = {name: value for name, value in candidate.params.items() if name not in free}
        for _ in range(_ATTEMPTS if self._known >= self._startup else 0):
            params = self._suggested(held)
            if self._proposals.is_new(params):
                return self._issue(params)
            self._repeat(params)
        return super().vary(candidate, free)

    def issued(self, candidate: Candidate) -> None:
        self._open[candidate.number] = self._begun(candidate.params)

    def learn(self, trial: Trial, cost: float) -> None:
        self._result(trial).update(status=hyperopt.STATUS_OK, loss=cost)

    def failed(self, trial: Trial) -> None:
        self._result(trial).update(status=hyperopt.STATUS_FAIL)

    def _result(self, trial: Trial) -> _Result:
        """Of a trial that ended; one of an earlier study begins now."""
        return self._open.pop(trial.number) if trial.number in self._open else self._begun(trial.params)

    def _begun(self, params: Params) -> _Result:
        result: _Result = {"status": STATUS_NEW}
        self._latest[self.space.key(params)] = result
        self._add(params, result)
        return result

    def _repeat(self, params: Params) -> None:
        """A configuration counts again, now or once its result is there."""
        self._add(params, self._latest[self.space.key(params)])

    def _add(self, params: Params, result: _Result) -> None:
        """Adds a document, numbered in order, by which Hyperopt lets old trials fade."""
        number = len(self._documents)
        values = {name: [place.of(params[name])] if name in params else [] for name, place in self._places.items()}
        numbers = {name: [number] * len(value) for name, value in values.items()}
        misc = {"tid": number, "idxs": numbers, "vals": values}
        self._documents.append({"tid": number, "state": JOB_STATE_DONE, "spec": None, "result": result, "misc": misc})

    def _suggested(self, held: Params) -> Params:
        """The configuration that Hyperopt suggests, but for the values of ``held``.

        What is active only because of those has no suggestion, and is drawn.
        """
        seen = [each for each in self._documents if self._sees_bad or "loss" in each["result"]]
        trials = trials_from_docs(seen, validate=False)
        seed = int(self.rng.integers(2**31))
        (document,) = self._suggest([len(self._documents)], self._domain, trials, seed)
        values = document["misc"]["vals"]

        def choose(name: str) -> ParamValue:
            if name in held:
                return held[name]
            if not values[name]:
                return self.space.axes[name].at(self.rng.random())
            return self._places[name].value(values[name][0])

        return self.space.compose(choose)


@dataclass(frozen=True)
class _Place:
    """How Hyperopt sees a parameter; see ``HyperoptSearcher``."""

    axis: Axis

    @property
    def is_index(self) -> bool:
        return isinstance(self.axis, Options) or (
            isinstance(self.axis, Steps) and not self.axis.log and self.axis.size <= _STEPS
        )

    def node(self, name: str) -> Apply:
        """Its distribution as long as nothing is known."""
        if isinstance(self.axis, Options):
            distribution = scope.randint(self.axis.size)
        elif isinstance(self.axis, Steps) and self.is_index:
            distribution = scope.quniform(-0.5, self.axis.size - 0.5, 1)
        else:
            distribution = scope.uniform(0.0, 1.0)
        return scope.hyperopt_param(name, distribution)

    def value(self, place: float) -> ParamValue:
        """The value at a place, which Hyperopt may have rounded out of its bounds."""
        if isinstance(self.axis, Continuous) or not self.is_index:
            return self.axis.at(min(max(float(place), 0.0), 1.0))
        return self.axis.value(min(max(int(place), 0), self.axis.size - 1))

    def of(self, value: ParamValue) -> float:
        """The place of a value."""
        if isinstance(self.axis, Continuous) or not self.is_index:
            return self.axis.coordinate(value)
        return self.axis.index(value)


@dataclass(frozen=True)
class _Gate:
    """A condition on one parameter.

    Attributes:
        place: where that parameter lies.
        accepted: the identities of the values that meet the condition.
    """

    place: _Place
    accepted: frozenset[int | float]

    def branch(self, place: float) -> int:
        """1 if the value at this place meets the condition, else 0."""
        return int(self.place.axis.identity(self.place.value(place)) in self.accepted)


def _branches(space: Space, places: dict[str, _Place]) -> dict[str, Apply]:
    """Each parameter that varies as a node of Hyperopt's graph, behind a switch for each condition on its way."""
    nodes = {name: place.node(name) for name, place in places.items()}

    def behind(name: str, node: Apply) -> Apply:
        for switch, values in space.spec.parameters[name].when.items():
            if switch in nodes:
                axis = space.axes[switch]
                gate = _Gate(places[switch], frozenset(axis.identity(exact(axis, value)) for value in values))
                branch = scope.call_method_pure(Literal(gate), "branch", nodes[switch])
                node = scope.switch(branch, None, node)
            node = behind(switch, node)
        return node

    return {name: behind(name, node) for name, node in nodes.items()}
