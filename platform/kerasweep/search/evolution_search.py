"""A genetic algorithm, by DEAP."""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from deap import algorithms, base, tools

from kerasweep.records import Candidate, Params, ParamValue, Trial
from kerasweep.search.base import Brief
from kerasweep.search.modelled import ModelledSearcher
from kerasweep.seeds import derive
from kerasweep.space.axes import Options
from kerasweep.spec.searchers import EvolutionSearch

# How likely a parameter takes part when two parents mix, and a number is then drawn between theirs.
_SHARE, _BETWEEN = 0.5, 0.5

# How likely a number that changes is drawn anew; else it moves, by this standard deviation in its scale's [0, 1].
_ANEW, _MOVE = 0.3, 0.1

# Generations in a row that may hold nothing new before a random configuration takes their place.
_VAIN = 20


class _Fitness(base.Fitness):  # type: ignore[misc]  # DEAP ships no types
    """Of one cost."""

    weights = (-1.0,)


@dataclass
class _Individual:
    """A configuration and what its inactive parameters would be.

    Attributes:
        genes: a value for each of ``space.dimensions``.
        fitness: valid once the cost is known.
    """

    genes: list[ParamValue]
    fitness: _Fitness = field(default_factory=_Fitness)


class EvolutionSearcher(ModelledSearcher):
    """Breeds from good trials, generation by generation (Holland 1975), with DEAP as sklearn-deap does.

    The first generation is random. Then parents are chosen by tournaments, clones of them mix in pairs and change,
    and those that are new configurations are proposed; those that are not count again with the cost that is known.
    The best ``population`` of the parents and their children are the next parents.

    - Two parents that mix exchange each parameter with probability 1/2; a number is in half of these cases drawn anew
      for both, between theirs.
    - A parameter that changes is drawn anew if it is a choice. A number moves, normally by a tenth of its range, or
      is drawn anew (3 of 10).
    - Inactive parameters are inherited too, and show again where their condition is met.

    If more is asked for while children are out, they are bred from the same parents; the next generation begins when
    as many trials were told as are still out. All that was told since then belongs to it.

    What it learns: from finished and stopped trials their best value; a failed one is the worst of all.

    Sources: Holland: Adaptation in Natural and Artificial Systems, 1975; Fortin, De Rainville, Gardner, Parizeau,
    Gagné: DEAP: Evolutionary Algorithms Made Easy, JMLR 13 (2012). Unlike sklearn-deap, which keeps no parents, makes
    changes of a number uniform and knows lists of values only.

    Args:
        brief: what to search.
        spec: its options.
    """

    def __init__(self, brief: Brief, spec: EvolutionSearch) -> None:
        super().__init__(brief, startup=spec.population)
        self._spec = spec
        self._axes = {name: brief.space.axes[name] for name in brief.space.dimensions}
        self._deap = random.Random(derive(brief.seed, "evolution"))
        self._parents: list[_Individual] = []
        self._generation: list[_Individual] = []  # what is known of the next one
        self._told = 0  # trials since it began
        self._children: deque[_Individual] = deque()  # bred and not yet proposed
        self._proposed: tuple[Params, _Individual] | None = None  # the last one
        self._out: dict[int, _Individual] = {}  # by the candidate's number
        self._costs: dict[Hashable, float] = {}  # of all trials, by configuration

    def propose(self, n: int) -> Iterator[Params]:
        while self._children or any(self._breed() for _ in range(_VAIN)):
            child = self._children.popleft()
            self._proposed = self._params(child), child
            yield self._proposed[0]

    def vary(self, candidate: Candidate, free: frozenset[str]) -> Candidate | None:
        """See ``structured.Varying``; what varies is that of the next children."""
        held = {name: value for name, value in candidate.params.items() if name not in free}
        for _ in range(_VAIN if self._known >= self._startup else 0):
            if self._children or self._breed():
                bred = zip(self._axes, self._children.popleft().genes, strict=True)
                child = _Individual([held.get(name, gene) for name, gene in bred])
                params = self._params(child)
                if self._proposals.is_new(params):
                    self._proposed = params, child
                    return self._issue(params)
        return super().vary(candidate, free)

    def issued(self, candidate: Candidate) -> None:
        params, child = self._proposed or (None, None)
        if child is None or params is not candidate.params:  # a random one
            child = self._individual(candidate.params)
        self._out[candidate.number] = child

    def learn(self, trial: Trial, cost: float) -> None:
        self._costs[self.space.key(trial.params)] = cost
        individual = self._out.pop(trial.number) if trial.number in self._out else self._individual(trial.params)
        individual.fitness.values = (cost,)
        self._generation.append(individual)
        self._told += 1

    def failed(self, trial: Trial) -> None:
        self.learn(trial, math.inf)

    def _breed(self) -> bool:
        """Breeds as many children as there are individuals in a generation; whether any is new."""
        begins = self._told >= len(self.pending)
        if begins:
            self._parents = tools.selBest(self._parents + self._generation, self._spec.population)
            self._generation, self._told = [], 0
        keys: set[Hashable] = set()
        for child in self._offspring():
            params = self._params(child)
            key = self.space.key(params)
            if key in self._costs:
                child.fitness.values = (self._costs[key],)
                if begins:  # once a generation, or it would drift while nothing is learnt
                    self._generation.append(child)
            elif key not in keys and self._proposals.is_new(params):
                keys.add(key)
                self._children.append(child)
        return bool(self._children)

    def _offspring(self) -> list[_Individual]:
        toolbox = base.Toolbox()
        toolbox.register("mate", self._mate)
        toolbox.register("mutate", self._mutate)
        with _drawing_from(self._deap):
            chosen = tools.selTournament(self._parents, self._spec.population, self._spec.tournament)
            offspring: list[_Individual] = algorithms.varAnd(chosen, toolbox, cxpb=self._spec.crossover, mutpb=1.0)
        return offspring

    def _mate(self, one: _Individual, other: _Individual) -> tuple[_Individual, _Individual]:
        for index, axis in enumerate(self._axes.values()):
            if self.rng.random() >= _SHARE:
                continue
            a, b = one.genes[index], other.genes[index]
            if isinstance(axis, Options) or self.rng.random() >= _BETWEEN:
                one.genes[index], other.genes[index] = b, a
            else:
                low, high = sorted((axis.coordinate(a), axis.coordinate(b)))
                one.genes[index], other.genes[index] = (axis.at(self.rng.uniform(low, high)) for _ in range(2))
        return one, other

    def _mutate(self, child: _Individual) -> tuple[_Individual]:
        for index, axis in enumerate(self._axes.values()):
            if self.rng.random() >= self._spec.mutation:
                continue
            if isinstance(axis, Options) or self.rng.random() < _ANEW:
                place = self.rng.random()
            else:
                place = min(max(self.rng.normal(axis.coordinate(child.genes[index]), _MOVE), 0.0), 1.0)
            child.genes[index] = axis.at(place)
        return (child,)

    def _individual(self, params: Params) -> _Individual:
        """A configuration that was not bred; its inactive parameters are drawn."""
        return _Individual(
            [params[name] if name in params else axis.at(self.rng.random()) for name, axis in self._axes.items()]
        )

    def _params(self, individual: _Individual) -> Params:
        return self.space.compose(dict(zip(self._axes, individual.genes, strict=True)).__getitem__)


@contextmanager
def _drawing_from(generator: random.Random) -> Iterator[None]:
    """DEAP draws from the module ``random``: gives it this generator's state, and puts the user's own back."""
    users = random.getstate()
    random.setstate(generator.getstate())
    try:
        yield
    finally:
        generator.setstate(random.getstate())
        random.setstate(users)
