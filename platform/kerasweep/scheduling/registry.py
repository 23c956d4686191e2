"""The schedulers within a cohort by the name that a pipeline file uses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kerasweep.records import Objective
from kerasweep.scheduling.asha import Asha
from kerasweep.scheduling.base import Scheduler
from kerasweep.scheduling.exploration import Exploration
from kerasweep.scheduling.hyperband import Hyperband
from kerasweep.scheduling.median import MedianRule
from kerasweep.scheduling.none import AllGoOn
from kerasweep.scheduling.pbt import PopulationBased
from kerasweep.scheduling.rungs import asha_rungs, paper_brackets
from kerasweep.space import Space
from kerasweep.spec.families import MUTABLE_PARAMETERS
from kerasweep.spec.schedulers import (
    AshaScheduler,
    HyperbandScheduler,
    MedianScheduler,
    NoScheduler,
    PbtScheduler,
    SchedulerSpec,
)


@dataclass(frozen=True)
class _Study:
    """What every factory may need of a study; see ``make_scheduler``."""

    max_epochs: int
    objective: Objective
    seed: int
    space: Space | None
    mutable: tuple[str, ...]


def _none(spec: NoScheduler, study: _Study) -> Scheduler:
    return AllGoOn()


def _hyperband(spec: HyperbandScheduler, study: _Study) -> Scheduler:
    return Hyperband(paper_brackets(study.max_epochs, spec.eta), study.objective)


def _asha(spec: AshaScheduler, study: _Study) -> Scheduler:
    ladders = asha_rungs(spec.grace, spec.eta, study.max_epochs, spec.brackets)
    return Asha(ladders, spec.eta, study.max_epochs, study.seed, study.objective)


def _median(spec: MedianScheduler, study: _Study) -> Scheduler:
    return MedianRule(spec.grace, spec.min_trials, study.max_epochs, study.objective)


def _pbt(spec: PbtScheduler, study: _Study) -> Scheduler:
    if study.space is None:
        raise ValueError("pbt must have the space that it explores. Received: None")
    exploration = Exploration(study.space, study.mutable, tuple(spec.factors), spec.resample)
    return PopulationBased(spec.interval, spec.quantile, study.max_epochs, study.seed, study.objective, exploration)


SCHEDULERS: dict[str, Callable[[Any, _Study], Scheduler]] = {
    "none": _none,
    "hyperband": _hyperband,
    "asha": _asha,
    "median": _median,
    "pbt": _pbt,
}


def make_scheduler(
    spec: SchedulerSpec,
    max_epochs: int,
    objective: Objective,
    seed: int,
    space: Space | None = None,
    mutable: tuple[str, ...] = MUTABLE_PARAMETERS,
) -> Scheduler:
    """The scheduler within cohorts that a validated spec names.

    Args:
        spec: its name and options.
        max_epochs: the most a trial trains.
        objective: which values are good.
        seed: of all its draws, e.g. ``search.seed``.
        space: of the study; only population-based training looks at it.
        mutable: names that may change while a trial trains, a built-in family's if left out; for a user's builder,
            ``spec.families.mutable_parameters`` knows them.

    Raises:
        SpecError: the rungs do not fit into ``max_epochs``.
        ValueError: population-based training without a space.
    """
    return SCHEDULERS[spec.name](spec, _Study(max_epochs, objective, seed, space, mutable))
