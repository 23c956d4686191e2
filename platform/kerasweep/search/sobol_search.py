"""Sobol search: a low-discrepancy sequence instead of random draws."""

from __future__ import annotations

from collections.abc import Iterator

from scipy.stats import qmc

from kerasweep.records import Params, Trial
from kerasweep.search.base import Brief
from kerasweep.search.modelled import ModelledSearcher
from kerasweep.seeds import derive
from kerasweep.spec.searchers import SobolSearch


class SobolSearcher(ModelledSearcher):
    """Proposes the points of a scrambled Sobol sequence in the unit cube, one after the other.

    They leave smaller gaps than random draws, in the cube as in each parameter's scale; the first 2**m are the most
    even. Each parameter that varies is a dimension, active or not, so what depends on a choice is less even than the
    rest. Where points keep falling on old configurations, random ones take their place. It learns nothing.

    Sources: Sobol: On the distribution of points in a cube, 1967; scrambling: Owen: Scrambling Sobol' and
    Niederreiter-Xing points, 1998; SciPy's ``qmc.Sobol``.

    Args:
        brief: what to search.
        spec: has no options.
    """

    def __init__(self, brief: Brief, spec: SobolSearch) -> None:
        super().__init__(brief, startup=0)
        self._sequence = qmc.Sobol(len(brief.space.dimensions), rng=derive(brief.seed, "sobol"))

    def propose(self, n: int) -> Iterator[Params]:
        while True:
            yield self.space.from_unit(self._sequence.random(1)[0])

    def learn(self, trial: Trial, cost: float) -> None:
        pass
