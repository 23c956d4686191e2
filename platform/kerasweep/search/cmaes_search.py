"""Covariance matrix adaptation, by the package cmaes."""

from __future__ import annotations

import copy
import sys
from collections.abc import Hashable, Iterator, Sequence
from operator import itemgetter

import numpy as np
from cmaes import CMA, get_warm_start_mgd
from numpy.typing import NDArray

from kerasweep.errors import SpecError
from kerasweep.records import Candidate, Params, Trial
from kerasweep.search.base import Brief
from kerasweep.search.modelled import ModelledSearcher
from kerasweep.spec.search_checks import plain_numbers_only
from kerasweep.spec.searchers import CmaesSearch

_Point = NDArray[np.float64]  # in the unit cube, (dimensions,)

# The first standard deviation: three of them reach from the middle of the unit cube to a bound.
_SIGMA = 1 / 6

# Known trials of which the best tenth is at least one: a distribution to begin with.
_WARM = 10

# Generations that trials told at once can make. More would say the same again, as all were sampled alike.
_AT_ONCE = 2

# Samples that may be old configurations before what varies is drawn at random.
_ATTEMPTS = 10

_WORST = sys.float_info.max


class CmaesSearcher(ModelledSearcher):
    """Samples a normal distribution that moves towards good trials and takes their shape (Hansen, Ostermeier 2001).

    It searches numbers, in the unit cube and thus in their scales; those that can be counted as real ones that fall
    into a value's cell. Choices and conditions are refused.

    A generation is as many trials as ``population`` says, in the order in which they were told and whenever they were
    sampled, so that none is wasted while others are out. Where trials told at once would make more than two, they make
    two that are larger, and the best and the worst of each count. A configuration that is sampled again counts again,
    without a trial. When the distribution has collapsed, another one begins at a random place.

    The first one lies in the middle of the cube, or around the best trial if one is known: of the points and priors,
    which are then awaited, of earlier studies or of a startup. From ten known trials on it lies over the best tenth
    (warm start).

    What it learns: from finished and stopped trials their best value; a failed one is as bad as can be.

    Sources: Hansen, Ostermeier: Completely Derandomized Self-Adaptation in Evolution Strategies, Evolutionary
    Computation 9 (2001); warm start: Nomura, Watanabe, Akimoto, Ozaki, Onishi: Warm Starting CMA-ES for Hyperparameter
    Optimization, AAAI 2021.

    Args:
        brief: what to search.
        spec: its options.

    Raises:
        SpecError: the space has choices, or numbers that are not always active.
    """

    def __init__(self, brief: Brief, spec: CmaesSearch) -> None:
        if problems := list(plain_numbers_only(brief.space.spec.parameters)):
            raise SpecError(problems)
        has_points = bool(brief.points) or brief.space.typical(np.random.default_rng(0)) is not None
        super().__init__(brief, max(spec.startup, int(has_points)))
        self._spec = spec
        self._cma: CMA | None = None
        self._before: list[tuple[_Point, float]] = []  # what is known when it begins
        self._costs: dict[Hashable, float] = {}  # of all trials, by configuration
        self._sampled: tuple[Params, _Point] | None = None  # the last one
        self._samples: dict[int, _Point] = {}  # of candidates that are out, by number
        self._solutions: list[tuple[_Point, float]] = []  # told since the last generation

    def propose(self, n: int) -> Iterator[Params]:
        while self.space.dimensions:
            point = self._sample()
            params = self.space.from_unit(point)
            key = self.space.key(params)
            if key in self._costs and not self._proposals.is_new(params):
                self._solutions.append((point, self._costs[key]))
            self._sampled = params, point
            yield params

    def vary(self, candidate: Candidate, free: frozenset[str]) -> Candidate | None:
        """See ``structured.Varying``; what varies is sampled."""
        held = [name not in free for name in self.space.dimensions]
        base = self.space.to_unit(candidate.params)
        for _ in range(_ATTEMPTS if self._known >= self._startup else 0):
            point = np.where(held, base, self._sample())
            sampled = self.space.from_unit(point)
            values = {name: sampled[name] if name in free else value for name, value in candidate.params.items()}
            params = self.space.compose(values.__getitem__)
            if self._proposals.is_new(params):
                self._sampled = params, point
                return self._issue(params)
        return super().vary(candidate, free)

    def issued(self, candidate: Candidate) -> None:
        if self._sampled is not None and self._sampled[0] is candidate.params:
            self._samples[candidate.number] = self._sampled[1]

    def tell(self, trials: Sequence[Trial]) -> None:
        super().tell(trials)
        if self._cma is not None:
            self._adapt(self._cma)

    def learn(self, trial: Trial, cost: float) -> None:
        if self._cma is None:
            self._before.append((self.space.to_unit(trial.params), cost))
        self._collect(trial, cost)

    def failed(self, trial: Trial) -> None:
        self._collect(trial, _WORST)

    def _collect(self, trial: Trial, cost: float) -> None:
        self._costs[self.space.key(trial.params)] = cost
        point = self._samples.pop(trial.number, None)
        if point is not None:
            self._solutions.append((point, cost))

    def _sample(self) -> _Point:
        if self._cma is None:
            self._cma = self._begun()
        self._cma.reseed_rng(int(self.rng.integers(2**32)))  # its own generator does not survive pickling
        point: _Point = self._cma.ask()
        return point

    def _adapt(self, cma: CMA) -> None:
        """Moves the distribution, as far as whole generations are known."""
        size, told = cma.population_size, len(self._solutions)
        share = size if told < (_AT_ONCE + 1) * size else told // _AT_ONCE
        best = size // 2
        for _ in range(min(told // size, _AT_ONCE)):
            generation = sorted(self._solutions[:share], key=itemgetter(1))
            del self._solutions[:share]
            cma.tell(generation[:best] + generation[best - size :])
            if cma.should_stop():
                cma = self._created(self.rng.uniform(size=cma.dim), _SIGMA)
                self._solutions.clear()
                self._samples.clear()
                break
        self._cma = _settled(cma)

    def _begun(self) -> CMA:
        """The first distribution; see the class."""
        if len(self._before) >= _WARM:
            cma = self._created(*get_warm_start_mgd(self._before))
        elif self._before:
            cma = self._created(min(self._before, key=itemgetter(1))[0], _SIGMA)
        else:
            cma = self._created(np.full(len(self.space.dimensions), 0.5), _SIGMA)
        self._before.clear()
        return _settled(cma)

    def _created(self, mean: _Point, sigma: float, shape: NDArray[np.float64] | None = None) -> CMA:
        """A distribution.

        Args:
            mean: its middle, in the unit cube.
            sigma: its standard deviation, unless the user set one.
            shape: its covariance matrix but for ``sigma``, ``(dimensions, dimensions)``; None is a ball.
        """
        bounds = np.tile([0.0, 1.0], (len(mean), 1))
        return CMA(mean, self._spec.sigma or sigma, bounds, population_size=self._spec.population, cov=shape)


def _settled(cma: CMA) -> CMA:
    """The same distribution as if it had been pickled.

    Pickling keeps one triangle of its matrix, and the two differ by rounding once it is decomposed. So that a searcher
    that is pickled goes on exactly as one that is not, the matrix is decomposed now and copied in the form it keeps.
    """
    cma.should_stop()  # decomposes
    return copy.deepcopy(cma)
