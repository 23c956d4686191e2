"""The searchers by the name that a pipeline file uses."""

from __future__ import annotations

import math
from importlib import import_module

from kerasweep.errors import MissingExtra
from kerasweep.records import Objective, Params
from kerasweep.search.base import Brief, Searcher
from kerasweep.search.structured import StructuredSearcher, Varying
from kerasweep.space import Space
from kerasweep.spec.parameters import Float
from kerasweep.spec.searchers import SearcherSpec

# Settings of one structure at most.
_SETTINGS = 8

# name -> module, class, and the extra that its library comes with. A module is imported when it is asked for.
SEARCHERS = {
    "random": ("random_search", "RandomSearcher", ""),
    "sobol": ("sobol_search", "SobolSearcher", ""),
    "grid": ("grid_search", "GridSearcher", ""),
    "tpe": ("tpe_search", "TpeSearcher", ""),
    "hyperopt": ("hyperopt_search", "HyperoptSearcher", "hyperopt"),
    "gp": ("skopt_search", "GpSearcher", ""),
    "forest": ("skopt_search", "ForestSearcher", ""),
    "spearmint": ("spearmint_search", "SpearmintSearcher", ""),
    "keras_tuner": ("keras_tuner_search", "KerasTunerSearcher", "keras-tuner"),
    "evolution": ("evolution_search", "EvolutionSearcher", "evolution"),
    "cmaes": ("cmaes_search", "CmaesSearcher", "cmaes"),
    "bohb": ("bohb_search", "BohbSearcher", ""),
    "zoom": ("zoom_search", "ZoomSearcher", ""),
    "auto": ("auto_search", "AutoSearcher", ""),
}


def make_searcher(
    spec: SearcherSpec,
    space: Space,
    objective: Objective,
    seed: int,
    *,
    max_epochs: int = 1,
    points: tuple[Params, ...] = (),
) -> Searcher:
    """The searcher that a validated spec names.

    Args:
        spec: its name and options.
        space: what to search.
        objective: which values are good.
        seed: of all its draws, e.g. ``derive(study_seed, "searcher")``.
        max_epochs: the most that a trial trains; searchers that look at learning curves need it.
        points: configurations to propose first; parameters that one leaves out are drawn.

    Raises:
        MissingExtra: its library is not installed.
        SpecError: the space has parameters that it cannot search.
    """
    module, name, extra = SEARCHERS[spec.name]
    try:
        found = import_module(f"kerasweep.search.{module}")
    except ModuleNotFoundError as error:
        if not extra or str(error.name).startswith("kerasweep"):
            raise
        raise MissingExtra(f"the searcher {spec.name}", extra) from error
    searcher: Searcher = getattr(found, name)(Brief(space, objective, seed, max_epochs, points), spec)
    return searcher


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
