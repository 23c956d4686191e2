"""The ledger of a study that begins."""

from __future__ import annotations

from kerasweep.dispatch import Allocation
from kerasweep.records import Trial
from kerasweep.search import by_structure, make_searcher
from kerasweep.seeds import derive
from kerasweep.space import Space
from kerasweep.spec.pipeline import PipelineSpec
from kerasweep.study.budget import budget_of, search_size, sizes
from kerasweep.study.ledger import Ledger, Watchers


def new_ledger(
    spec: PipelineSpec, allocation: Allocation, watchers: Watchers, earlier: tuple[Trial, ...] = ()
) -> Ledger:
    """The ledger of a search that begins.

    Args:
        spec: of the study.
        allocation: what the search may use.
        watchers: are told what happens.
        earlier: trials of other studies that the searcher learns from first.
    """
    settings = spec.search
    space = Space(spec.space)
    searcher = make_searcher(
        settings.searcher,
        space,
        spec.objective,
        derive(settings.seed, "searcher"),
        max_epochs=settings.max_epochs,
        points=tuple(settings.points),
    )
    searcher.recall(earlier)
    if spec.model.builder is not None and allocation.cohort > 1:
        searcher = by_structure(searcher, space, search_size(spec))
    return Ledger(
        searcher=searcher,
        generations=sizes(spec, allocation),
        objective=spec.objective,
        budget=budget_of(spec, allocation),
        seed=settings.seed,
        watchers=watchers,
        fixed=spec.training.fixed,
    )
