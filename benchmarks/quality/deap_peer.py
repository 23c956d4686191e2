"""DEAP: its simple genetic algorithm, set up as sklearn-deap sets it up."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field

from deap import algorithms, base, tools

from kerasweep.spec.searchers import EvolutionSearch
from quality.asking import Asking
from quality.benchmark import Benchmark
from quality.simulation import Step

# What EvolutionaryAlgorithmSearchCV takes: of pairs that mix, of children that change, and of genes in these.
_CROSSOVER, _MUTATION, _GENE_CROSSOVER, _GENE_MUTATION, _TOURNAMENT = 0.5, 0.2, 0.5, 0.1, 3


class _Fitness(base.Fitness):  # type: ignore[misc]  # DEAP ships no types
    weights = (1.0,)


@dataclass
class _Individual:
    """Coordinates in ``[0, 1]``, one for each dimension of the space."""

    genes: list[float]
    fitness: _Fitness = field(default_factory=_Fitness)


class DeapPeer(Asking):
    """``algorithms.eaSimple``, asked for one individual after another; every trial is trained fully.

    A generation is as large as kerasweep's. The next one begins when all individuals of the last one are known.

    Args:
        benchmark: what is searched.
        seed: of the module ``random``, from which DEAP draws.
    """

    def __init__(self, benchmark: Benchmark, seed: int) -> None:
        super().__init__()
        random.seed(seed)
        self._space = benchmark.space
        self._max_epochs = benchmark.max_epochs
        self._names = list(benchmark.space.dimensions)
        self._toolbox = base.Toolbox()
        self._toolbox.register("mate", _mate)
        self._toolbox.register("mutate", _mutate)
        self._population = [
            _Individual([random.random() for _ in self._names]) for _ in range(EvolutionSearch().population)
        ]
        self._queue = deque(self._population)
        self._out: dict[int, _Individual] = {}
        self._asked = 0

    def ask(self) -> Step | None:
        while not self._queue:
            if self._out:
                return None
            chosen = tools.selTournament(self._population, len(self._population), _TOURNAMENT)
            self._population = algorithms.varAnd(chosen, self._toolbox, _CROSSOVER, _MUTATION)
            self._queue.extend(each for each in self._population if not each.fitness.valid)
        individual = self._queue.popleft()
        number, self._asked = self._asked, self._asked + 1
        self._out[number] = individual
        places = dict(zip(self._names, individual.genes, strict=True))
        return Step(number, self._space.compose(lambda name: self._space.axes[name].at(places[name])))

    def goes_on(self, number: int, epoch: int, value: float) -> bool:
        if epoch < self._max_epochs:
            return True
        self._out.pop(number).fitness.values = (value,)
        return False


def _mate(one: _Individual, other: _Individual) -> tuple[_Individual, _Individual]:
    tools.cxUniform(one.genes, other.genes, _GENE_CROSSOVER)
    return one, other


def _mutate(individual: _Individual) -> tuple[_Individual]:
    individual.genes = [random.random() if random.random() < _GENE_MUTATION else gene for gene in individual.genes]
    return (individual,)
