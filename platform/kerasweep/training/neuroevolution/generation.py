"""One generation of a population as one compiled program: mutation, fitness of all, and the best one's metrics."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kerasweep.training.cohort import philox
from kerasweep.training.cohort.backend import Compiled
from kerasweep.training.cohort.blueprint import Model
from kerasweep.training.cohort.evaluation import Evaluation, each_of
from kerasweep.training.cohort.program import Rows
from kerasweep.training.cohort.shapes import rows_at_a_time

Tensor = Any


@dataclass(frozen=True)
class Brood:
    """How a generation comes out of the one before.

    Attributes:
        parents: ``(population,)`` int32, whose weights each individual has.
        spread: ``(population,)`` float32, standard deviation of what is added to them; 0 for what stays as it is.
        keys: ``(population, 4)`` uint32, states of their random generators.
        order: ``(batch,)`` int32, the training rows that it is judged on; None for all.
    """

    parents: Tensor
    spread: Tensor
    keys: Tensor
    order: Tensor | None


@dataclass(frozen=True)
class Judged:
    """A generation.

    Attributes:
        weights: of ``Model.trainable``, each ``(population, …)``.
        fitness: ``(population,)``, the training loss; less is better.
        best: the weights of the best individual.
        metrics: its own, name -> ``(1,)``.
    """

    weights: list[Tensor]
    fitness: Tensor
    best: list[Tensor]
    metrics: Mapping[str, Tensor]


class Generation:
    """Breeds and judges populations of so many networks of one kind.

    Args:
        model: theirs.
        population: how many.
    """

    def __init__(self, model: Model, population: int) -> None:
        self._model = model
        self._population = population
        self._all = Evaluation(model, {}, population, rows_at_a_time(model, population), measured=False)
        self._one = Evaluation(model, {}, 1, rows_at_a_time(model, 1))
        self._compiled = Compiled(self._generation)

    def run(
        self,
        weights: Sequence[Tensor],
        others: Sequence[Tensor],
        knobs: Mapping[str, Tensor],
        rows: Rows,
        brood: Brood,
    ) -> Judged:
        """The next generation.

        Args:
            weights: of the one before, or the first one itself.
            others: of ``Model.others``, which do not evolve.
            knobs: ``layer/setting`` -> its value, such as a weight penalty's.
            rows: the data.
            brood: how it comes about.
        """
        return Judged(*self._compiled(list(weights), list(others), dict(knobs), dict(vars(rows)), dict(vars(brood))))

    def _generation(
        self,
        weights: list[Tensor],
        others: list[Tensor],
        knobs: dict[str, Tensor],
        rows: dict[str, Any],
        brood: dict[str, Any],
    ) -> tuple[list[Tensor], Tensor, list[Tensor], dict[str, Tensor]]:
        """See ``run``."""
        from keras import ops

        bred = self._bred(weights, brood)
        train = (rows["x"], rows["y"], rows["weights"])
        if brood["order"] is not None:
            chosen = (each_of(lambda a: ops.take(a, brood["order"], axis=0), each) for each in train[:2])
            weights_of_rows = None if train[2] is None else ops.take(train[2], brood["order"], axis=0)
            train = (*chosen, weights_of_rows)
        fitness = self._judged(self._all, bred, others, knobs, train, "")["loss"]
        finite = ops.where(ops.isfinite(fitness), fitness, float("inf"))
        best = [ops.take(each, ops.argmin(finite)[None], axis=0) for each in bred]
        metrics = self._judged(self._one, best, others, knobs, train, "")
        if rows["validation"] is not None:
            metrics |= self._judged(self._one, best, others, knobs, (*rows["validation"], None), "val_")
        return bred, fitness, [each[0] for each in best], metrics

    def _bred(self, weights: list[Tensor], brood: dict[str, Any]) -> list[Tensor]:
        """The individuals: each its parent's weights, and normal noise."""
        from keras import ops

        sizes = [math.prod(variable.shape) for variable in self._model.trainable]
        noise = philox.normal(brood["keys"], sum(sizes)) * brood["spread"][:, None]
        bred, start = [], 0
        for variable, value, size in zip(self._model.trainable, weights, sizes, strict=True):
            parent = ops.take(value, brood["parents"], axis=0)
            child = parent + ops.reshape(noise[:, start : start + size], parent.shape)
            if variable.constraint is not None:
                changes = ops.reshape(brood["spread"] > 0, (-1, *[1] * len(variable.shape)))
                child = ops.where(changes, ops.vectorized_map(variable.constraint, child), parent)
            bred.append(child)
            start += size
        return bred

    def _judged(
        self,
        evaluation: Evaluation,
        values: Sequence[Tensor],
        others: Sequence[Tensor],
        knobs: Mapping[str, Tensor],
        rows: Any,
        prefix: str,
    ) -> dict[str, Tensor]:
        from keras import ops

        members = evaluation.members
        shared = [ops.broadcast_to(other[None], (members, *other.shape)) for other in others]
        settings = {name: ops.broadcast_to(value, (members,)) for name, value in knobs.items()}
        fixed = {"knobs": settings, "units": {}, "widths": {}, "active": {}}
        return evaluation.of(values, shared, fixed, rows, prefix)
