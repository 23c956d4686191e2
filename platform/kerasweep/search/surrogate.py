"""What searchers share that maximise an acquisition function of a surrogate model (Jones et al. 1998)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from kerasweep.records import Candidate, Params, Trial
from kerasweep.search.base import Brief
from kerasweep.search.cube import Array, Cube
from kerasweep.search.modelled import ModelledSearcher
from kerasweep.seeds import derive

# How many of a batch are refined, and from how many points of the pool. Later ones fill in where the model is unsure.
_REFINED = 8
_STARTS = 6

# How near a proposal may come to a trial that is out, as a distance of features. A model that is sure of an optimum
# would send a whole batch there, and learn next to nothing from it.
_APART = 0.02

# The best trials that the pool has neighbours of, and how far away those lie.
_BEST = 10
_SCALES = (0.3, 0.1, 0.03, 0.01)


class Surrogate(Protocol):
    """A model of the costs that holds a pool of points."""

    def pretend(self, points: Array) -> None:
        """Takes settled points, ``(n, dimensions)``, for trials that are out."""
        ...

    def best(self, left: NDArray[np.bool_], refine: bool) -> tuple[int, Array]:
        """The best point that is left.

        Args:
            left: of the pool, ``(pool,)``, at least one.
            refine: whether to look for better ones around it, if the model makes any difference there.

        Returns:
            Its place in the pool, and the point itself, ``(dimensions,)``, or a better one that was found from there.
        """
        ...


class SurrogateSearcher(ModelledSearcher):
    """Proposes the points of a pool that a surrogate model thinks the most of, one after the other.

    The pool is drawn anew for each batch: points all over the unit cube and, if ``near``, around the best trials. The
    model is fitted once for a batch; it then takes each proposal for a trial that is out before it makes the next one,
    which also keeps its distance from those.

    Args:
        brief: what to search.
        startup: trials before the model is asked.
        power: the pool has ``2**power`` points of a Sobol sequence.
        near: neighbours of each of the best trials at each scale.
    """

    def __init__(self, brief: Brief, startup: int, power: int, near: int) -> None:
        super().__init__(brief, startup)
        self.seed = brief.seed
        self.cube = Cube(brief.space)
        self.model_rng = np.random.default_rng(derive(brief.seed, "model"))
        self.costs: list[float] = []
        self.points: list[Array] = []  # one a cost
        self._power = power
        self._near = near
        self._issued: set[bytes] = set()
        self._out = np.empty((0, len(self.cube.owners)))  # what the model sees of the trials that are out

    @abstractmethod
    def surrogate(self, pool: Array) -> Surrogate:
        """A model of ``costs`` at ``points``.

        Args:
            pool: settled points, ``(n, dimensions)``.
        """

    def learn(self, trial: Trial, cost: float) -> None:
        self.points.append(self.space.to_unit(trial.params))
        self.costs.append(cost)

    def issued(self, candidate: Candidate) -> None:
        self._issued.add(self.space.to_unit(candidate.params).tobytes())

    def propose(self, n: int) -> Iterator[Params]:
        if not self.cube.dimensions:
            return
        pool = self._pool()
        surrogate = self.surrogate(pool)
        features = self.cube.features(pool)
        left = self._new(pool)
        self._out = np.empty((0, features.shape[1]))

        def expect(points: Array) -> None:
            surrogate.pretend(points)
            out = self.cube.features(points)
            self._out = np.vstack([self._out, out])
            np.logical_and(left, _apart(features, out), out=left)

        expected: set[int] = set()
        proposed = 0
        while True:
            if news := [number for number in self.pending if number not in expected]:
                expected.update(news)
                expect(np.array([self.space.to_unit(self.pending[number]) for number in news]))
            if not left.any():
                return
            place, point = surrogate.best(left, refine=proposed < _REFINED)
            left[place] = False
            proposed += 1
            yield self.space.from_unit(point)

    def standings(self) -> tuple[Array, Array]:
        """Points ``(n, dimensions)``, and what is known of their costs ``(n,)``; at least one."""
        return np.array(self.points), np.array(self.costs)

    def features(self) -> Array:
        """What a model sees of the points of known cost, ``(n, features)``."""
        return self.cube.features(np.array(self.points))

    def summit(self, pool: Array, heights: Array, height: Callable[[Array], Array] | None) -> tuple[int, Array]:
        """The highest point of the pool, or the highest new one that a climb finds from its highest points.

        Args:
            pool: ``(n, dimensions)``.
            heights: of its points, minus infinity for those to leave out, ``(n,)``.
            height: of any other settled points, ``(m, dimensions) -> (m,)``; None to stay in the pool.

        Returns:
            The place in the pool from where it was found, and the point.
        """
        if height is None:
            highest = int(np.argmax(heights))
            return highest, pool[highest]

        def allowed(points: Array) -> Array:
            free = self._new(points) & _apart(self.cube.features(points), self._out)
            return np.where(free, height(points), -np.inf)

        places = np.argsort(-heights, kind="stable")[: min(_STARTS, np.isfinite(heights).sum())]
        tops, reached = self.cube.climb(pool[places], heights[places], allowed, self.model_rng)
        best = int(np.argmax(reached))
        return int(places[best]), tops[best]

    def _new(self, points: Array) -> NDArray[np.bool_]:
        """Which settled points were not proposed before, ``(n,)``."""
        return np.array([point.tobytes() not in self._issued for point in points], dtype=bool)

    def _pool(self) -> Array:
        points, costs = self.standings()
        around = np.repeat(points[np.argsort(costs, kind="stable")[:_BEST]], self._near, axis=0)
        parts = [self.cube.near(around, scale, self.model_rng) for scale in _SCALES if self._near]
        points = np.unique(np.vstack([self.cube.spread(self._power, self.model_rng), *parts]), axis=0)
        # Where a model sees no difference, the first is taken: in the sorted order, always a lower bound.
        return self.model_rng.permutation(points)


def _apart(features: Array, out: Array) -> NDArray[np.bool_]:
    """Which rows of ``features`` keep their distance from all rows of ``out``."""
    apart: NDArray[np.bool_] = np.all(cdist(features, out) > _APART, axis=1)
    return apart


def standardised(costs: list[float]) -> Array:
    """Costs with mean 0 and standard deviation 1, outliers on the bad side cut off.

    Training that diverges without a NaN can cost any number; beside it, all others would look the same. So costs over
    Tukey's fence, which lies one and a half times the interquartile range above the upper quartile, count as the fence.
    """
    scaled = np.array(costs)
    scaled /= np.abs(scaled).max() or 1.0  # costs near the largest float must not overflow
    lower, upper = np.quantile(scaled, [0.25, 0.75])
    scaled = np.minimum(scaled, upper + 1.5 * (upper - lower))
    deviation = scaled.std()
    standard: Array = (scaled - scaled.mean()) / (deviation if deviation > 0 else 1.0)
    return standard


def spread_out(costs: Array, most: int) -> NDArray[np.int64]:
    """The indices of at most ``most`` costs, evenly from the lowest to the highest; all of them if they are no more."""
    order = np.argsort(costs, kind="stable")
    chosen: NDArray[np.int64] = order[np.unique(np.linspace(0, len(order) - 1, most).round().astype(int))]
    return chosen
