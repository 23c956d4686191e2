"""The schedulers within a cohort by the name that a pipeline file uses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kerasweep.records import Objective
from kerasweep.scheduling.asha import Asha
from kerasweep.scheduling.auto import PacedHalving
from kerasweep.scheduling.base import Scheduler
from kerasweep.scheduling.exploration import Exploration, Scope
from kerasweep.scheduling.hyperband import Hyperband
from kerasweep.scheduling.median import MedianRule
from kerasweep.scheduling.none import AllGoOn
from kerasweep.scheduling.pb2 import PopulationBandits
from kerasweep.scheduling.pbt import PopulationBased
from kerasweep.scheduling.rungs import asha_rungs, auto_rungs, paper_brackets
from kerasweep.space import Space
from kerasweep.spec.families import MUTABLE_PARAMETERS
from kerasweep.spec.schedulers import (
    AshaScheduler,
    AutoScheduler,
    HyperbandScheduler,
    MedianScheduler,
    NoScheduler,
    Pb2Scheduler,
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


def _auto(spec: AutoScheduler, study: _Study) -> Scheduler:
    return PacedHalving(auto_rungs(study.max_epochs, spec.eta), spec.eta, study.max_epochs, study.objective)


def _pbt(spec: PbtScheduler, study: _Study) -> Scheduler:
    exploration = Exploration(_explored(spec, study), study.mutable, tuple(spec.factors), spec.resample)
    return PopulationBased(spec.interval, spec.quantile, study.max_epochs, study.seed, study.objective, exploration)


def _pb2(spec: Pb2Scheduler, study: _Study) -> Scheduler:
    scope = Scope(_explored(spec, study), study.mutable)
    return PopulationBandits(spec.interval, spec.quantile, study.max_epochs, study.seed, study.objective, scope)


def _explored(spec: PbtScheduler | Pb2Scheduler, study: _Study) -> Space:
    if study.space is None:
        raise ValueError(f"{spec.name} must have the space that it explores. Received: None")
    return study.space


SCHEDULERS: dict[str, Callable[[Any, _Study], Scheduler]] = {
    "none": _none,
    "hyperband": _hyperband,
    "asha": _asha,
    "median": _median,
    "pbt": _pbt,
    "pb2": _pb2,
    "auto": _auto,
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
