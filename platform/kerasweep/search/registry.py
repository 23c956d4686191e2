"""The searchers by the name that a pipeline file uses."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from kerasweep.records import Objective
from kerasweep.search.base import Searcher
from kerasweep.search.structured import StructuredSearcher, Varying
from kerasweep.space import Space
from kerasweep.spec.parameters import Float
from kerasweep.spec.pipeline import GridSearch, RandomSearch, SearcherSpec, TpeSearch

# Settings of one structure at most.
_SETTINGS = 8


def _random(spec: RandomSearch, space: Space, objective: Objective, seed: int) -> Searcher:
    from kerasweep.search.random_search import RandomSearcher

    return RandomSearcher(space, seed)


def _grid(spec: GridSearch, space: Space, objective: Objective, seed: int) -> Searcher:
    from kerasweep.search.grid_search import GridSearcher

    return GridSearcher(space, spec.steps, seed)


def _tpe(spec: TpeSearch, space: Space, objective: Objective, seed: int) -> Searcher:
    from kerasweep.search.tpe_search import TpeSearcher  # Optuna takes a second to import

    return TpeSearcher(space, objective, spec, seed)


SEARCHERS: dict[str, Callable[[Any, Space, Objective, int], Searcher]] = {
    "random": _random,
    "grid": _grid,
    "tpe": _tpe,
}


def make_searcher(spec: SearcherSpec, space: Space, objective: Objective, seed: int) -> Searcher:
    """The searcher that a validated spec names.

    Args:
        spec: its name and options.
        space: what to search.
        objective: which values are good.
        seed: of all its draws, e.g. ``derive(study_seed, "searcher")``.
    """
    return SEARCHERS[spec.name](spec, space, objective, seed)


def by_structure(searcher: Searcher, space: Space, trials: int) -> Searcher:
    """The same searcher, asked for several settings of each structure; see ``StructuredSearcher``.

    The more trials there are, the more settings: half the root of their number, from 1 to 8. A searcher that lists a
    space, as the grid does, stays as it is.

    Args:
        searcher: from ``make_searcher``.
        space: that it searches.
        trials: that it will be asked for.
    """
    free = frozenset(name for name, parameter in space.spec.parameters.items() if isinstance(parameter, Float))
    settings = min(_SETTINGS, math.isqrt(trials) // 2)
    if not free or settings < 2 or not isinstance(searcher, Varying):
        return searcher
    return StructuredSearcher(searcher, free, settings)
