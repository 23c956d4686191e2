"""The population of one trial: its first generation, and who of each has the next one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from kerasweep.data.rows import row_count
from kerasweep.models.base import ModelBuilder
from kerasweep.models.families import FamilyBuilder
from kerasweep.seeds import derive
from kerasweep.spec.methods import Neuroevolution
from kerasweep.training.base import Array, Member, TrainingArrays
from kerasweep.training.cohort import blueprint, philox
from kerasweep.training.cohort.program import Rows
from kerasweep.training.cohort.shapes import Programs
from kerasweep.training.neuroevolution.generation import Brood, Generation
from kerasweep.training.order import epoch_order

if TYPE_CHECKING:
    import keras

Tensor = Any


class Population:
    """Networks that evolve (Such et al. 2017, Algorithm 1).

    The first generation are networks with initial weights of their own, the first of which is the one that training by
    gradients would begin with. From then on the ``elites`` best stay as they are, and every other individual is a
    network drawn from the ``parents`` best, with normal noise of standard deviation ``sigma`` on each of its weights.

    Args:
        member: whose networks they are.
        method: the member's.
        models: builds the networks.
        data: that they are judged on.
        programs: of this process.

    Raises:
        Unstackable: the networks cannot be judged together.
    """

    def __init__(
        self, member: Member, method: Neuroevolution, models: ModelBuilder, data: TrainingArrays, programs: Programs
    ) -> None:
        from keras import ops

        self._seed = member.seed
        self._method = method
        self._model = blueprint.examine(models.build(member.params, member.seed), data.x, data.y)
        weights = _individuals(member, method.population, models, self._model)
        self._weights: list[Tensor] = [ops.convert_to_tensor(np.stack(each)) for each in weights]
        self._others = [ops.convert_to_tensor(each) for each in _values(self._model.others)]
        settings = blueprint.knobs(self._model)
        self._knobs = {name: ops.convert_to_tensor(np.float32(value)) for name, value in settings.items()}
        self._fitness: Array | None = None
        self._best: list[Tensor] = []
        key = (blueprint.signature(self._model, data.x), method.population)
        self._program: Generation = programs.kept(key, lambda: Generation(self._model, method.population))

    def epoch(self, epoch: int, rows: Rows, order_seed: int) -> dict[str, float]:
        """The metrics of the best individual of one more generation.

        Args:
            epoch: 0-based.
            rows: the data.
            order_seed: see ``Schedule``; the generation is judged on the first rows of the epoch's order.
        """
        from keras import ops

        method, count = self._method, row_count(rows.x)
        parents, spread = self._selected(np.random.default_rng((self._seed, epoch)))
        numbers = np.arange(method.population)
        seeds = np.full(method.population, derive(self._seed, "mutation", epoch))
        order = None
        if method.batch is not None and method.batch < count:
            order = ops.convert_to_tensor(epoch_order(order_seed, epoch, count)[: method.batch])
        keys = ops.convert_to_tensor(philox.keys(seeds, numbers))
        brood = Brood(ops.convert_to_tensor(parents), ops.convert_to_tensor(spread), keys, order)
        judged = self._program.run(self._weights, self._others, self._knobs, rows, brood)
        self._weights, self._best = judged.weights, judged.best
        self._fitness = np.asarray(ops.convert_to_numpy(judged.fitness))
        return {name: float(ops.convert_to_numpy(value)[0]) for name, value in judged.metrics.items()}

    def best(self) -> tuple[Array, ...]:
        """The weights of the last generation's best individual, in the order of ``model.weights``."""
        from keras import ops

        kinds = {True: self._best, False: self._others}
        return tuple(np.array(ops.convert_to_numpy(kinds[kind][i])) for kind, i in self._model.order)

    def arrays(self) -> dict[str, Array]:
        """What the next generation comes out of, by name."""
        if self._fitness is None:
            raise RuntimeError("a snapshot is of a finished epoch. Received: a population before its first")
        named = {f"weights_{i}": np.asarray(each) for i, each in enumerate(self._weights)}
        return {**named, "fitness": self._fitness}

    def restore(self, arrays: Mapping[str, Array]) -> None:
        """Takes over what ``arrays`` gave."""
        from keras import ops

        self._weights = [ops.convert_to_tensor(arrays[f"weights_{i}"]) for i in range(len(self._weights))]
        self._fitness = np.asarray(arrays["fitness"])

    def _selected(self, rng: np.random.Generator) -> tuple[Array, Array]:
        """Each individual's parent and standard deviation, both ``(population,)``; the elites come first."""
        method = self._method
        if self._fitness is None:
            return np.arange(method.population, dtype=np.int32), np.zeros(method.population, np.float32)
        finite = np.flatnonzero(np.isfinite(self._fitness))
        ranked = finite[np.argsort(self._fitness[finite], kind="stable")]
        elites = ranked[: method.elites]
        drawn = rng.choice(ranked[: method.parents], method.population - len(elites))
        spread = np.full(method.population, method.sigma, np.float32)
        spread[: len(elites)] = 0.0
        return np.concatenate([elites, drawn]).astype(np.int32), spread


def _individuals(member: Member, count: int, models: ModelBuilder, model: blueprint.Model) -> list[list[Array]]:
    """For each trainable variable, its initial values in each of so many networks."""
    seeds = [member.seed, *(derive(member.seed, "individual", i) for i in range(1, count))]
    if isinstance(models, FamilyBuilder):  # whose initial weights need no model
        stackable = models.stackable
        frame = stackable.frame([member.params], roomy=False)
        drawn = [stackable.weights(member.params, seed, frame)[0] for seed in seeds]
    else:
        drawn = [_values(models.build(member.params, seed).trainable_variables) for seed in seeds]
    return [[np.asarray(own[i]) for own in drawn] for i in range(len(model.trainable))]


def _values(variables: Iterable[keras.Variable]) -> list[Array | None]:
    from keras import ops

    return [np.array(ops.convert_to_numpy(variable.value)) for variable in variables]
