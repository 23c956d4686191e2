"""Trials of earlier studies, as far as they say something about this one."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kerasweep.errors import Problem, SpecError
from kerasweep.records import Params, ParamValue, Status, StudyRecord, Trial
from kerasweep.space import Space
from kerasweep.space.axes import exact
from kerasweep.spec.families import (
    ARCHITECTURES,
    AUTO,
    COLUMN_KEYS,
    FAMILIES,
    OPTIMIZER_PARAMETERS,
    SCHEDULE_PARAMETERS,
    TRAINING_PARAMETERS,
)
from kerasweep.spec.learning_rates import ConstantRate, RateSchedule
from kerasweep.spec.parameters import admits
from kerasweep.spec.pipeline import PipelineSpec, TrainingSpec
from kerasweep.tracking.base import StudyStore
from kerasweep.training.learning_rates import Rates

_OTHER_SCHEDULE = "the schedule of the learning rate differs"


@dataclass(frozen=True)
class Earlier:
    """What a searcher may learn before its first trial.

    Attributes:
        trials: with configurations of this study's space; their numbers mean nothing here.
        notes: how many of each study fit, and why others do not.
    """

    trials: tuple[Trial, ...] = ()
    notes: tuple[str, ...] = ()


def earlier_trials(names: Sequence[str], spec: PipelineSpec, store: StudyStore, rates: Rates) -> Earlier:
    """The trials of earlier studies that fit this one's space.

    A trial fits if this study could train the same network in the same way: each parameter that is active here has a
    legal value there, and what is fixed or absent in one of the two studies is the same in the other, where what
    neither says is the family's default.

    Args:
        names: of studies in the store, or their ids; of several with one name the latest.
        spec: of this study.
        store: holds them.
        rates: of this study.

    Raises:
        StudyNotFound: there is no such study.
        SpecError: a study optimised something else.
    """
    trials: list[Trial] = []
    notes: list[str] = []
    for position, name in enumerate(names):
        record = store.load(name)
        if record.objective != spec.objective:
            rule = f"warm_start must name studies that {spec.objective.direction} {spec.objective.metric}"
            received = f"{record.id}, which {record.objective.direction}s {record.objective.metric}"
            path = ("search", "warm_start", position)
            raise SpecError([Problem(f"{rule}. Received: {received}", path)])
        found, note = _fitting(record, spec, rates)
        trials += found
        notes.append(note)
    return Earlier(tuple(trials), tuple(notes))


def _fitting(record: StudyRecord, spec: PipelineSpec, rates: Rates) -> tuple[list[Trial], str]:
    written = json.loads(record.spec)
    ended = [trial for trial in record.trials if trial.status is not Status.RUNNING]
    training = TrainingSpec.model_validate_json(json.dumps(written.get("training", {})))
    if training.method != spec.training.method:
        other = f"warm start from {record.id}: 0 of {len(ended)} trials fit this space"
        return [], f"{other}; they were trained by {training.method.name} as {record.name} had it"
    horizon = written.get("search", {}).get("max_epochs")
    there = Rates(training.schedule, horizon, rates.parameters)
    fixed = {**training.fixed, **_structure(written.get("model", {}))}
    translation = _Translation(spec, rates, fixed, there, _found_alike(written, spec))
    found: list[Trial] = []
    misfits = Counter[str]()
    for trial in ended:
        params = translation.of(trial.params)
        if isinstance(params, str):
            misfits[params] += 1
        else:
            found.append(replace(trial, params=params))
    note = f"warm start from {record.id}: {len(found)} of {len(ended)} trials fit this space"
    if misfits:
        note += "; others do not: " + ", ".join(f"{reason} ({count})" for reason, count in misfits.most_common(3))
    now = json.loads(spec.model_dump_json(by_alias=True))
    if _said(written.get("data", {})) != _said(now["data"]):
        note += "; its data were others"
    if written.get("model", {}).get("initial_weights") != now["model"]["initial_weights"]:
        note += "; its initial weights were others"
    if written.get("training", {}).get("class_weight") != now["training"]["class_weight"]:
        note += "; its classes had other weights"
    return found, note


def _said(section: Mapping[str, object]) -> dict[str, object]:
    """A section without what it leaves open: an earlier version may not have had the key."""
    return {key: value for key, value in section.items() if value is not None}


def _found_alike(written: Mapping[str, Any], spec: PipelineSpec) -> frozenset[str]:
    """What the trials of another study, as it is written, found for themselves in the way of this one's."""
    there = (written.get("space") or {}).get("parameters", {})
    return frozenset(
        name for name, find in Space(spec.space).found.items() if there.get(name) == json.loads(find.model_dump_json())
    )


class _Translation:
    """From another study's configurations to this one's.

    Args:
        spec: of this study.
        rates: likewise.
        fixed: what did not vary in the other one, its family and columns included.
        others: the other one's rates.
        found: what trials found for themselves there as they do here.
    """

    def __init__(self, spec: PipelineSpec, rates: Rates, fixed: Params, others: Rates, found: Collection[str]) -> None:
        self._space = Space(spec.space)
        self._defaults = dict(_defaults(spec.model.family))
        self._there = fixed
        self._here = {**spec.training.fixed, **_structure(spec.model.model_dump())}
        self._rates_there, self._rates_here = others, rates
        self._found = found

    def of(self, params: Params) -> Params | str:
        """The same configuration here, or in a few words why there is none."""
        then = {**self._there, **params}
        try:
            scheduled_then = self._rates_there.of(then)
        except ValueError:  # the other study's builder took an option for itself
            return _OTHER_SCHEDULE
        before = {**self._defaults, **then, **self._said(scheduled_then)}
        config: dict[str, ParamValue] = {}
        for name in self._space.names:
            if not self._space.is_active(name, config):
                continue
            if name not in before:
                return f"{name} is not known"
            if not admits(self._space.spec.parameters[name], before[name]):
                return f"{name} is outside"
            config[name] = exact(self._space.axes[name], before[name])
        now = {**self._here, **config}
        scheduled = self._rates_here.of(now)
        after = {**self._defaults, **now, **self._said(scheduled)}
        differs = sorted(
            name for name in {*before, *after} if name not in self._found and before.get(name) != after.get(name)
        )
        if differs:
            return f"{differs[0]} differs"
        if scheduled != scheduled_then:
            return _OTHER_SCHEDULE
        if scheduled != ConstantRate() and self._rates_here.horizon != self._rates_there.horizon:
            return "max_epochs, which the schedule spans, differs"
        return config

    def _said(self, schedule: RateSchedule) -> Params:
        """A schedule as hyperparameters, as far as there are any for it."""
        said = {"schedule": schedule.name, **{name: value for name, value in schedule if name != "name"}}
        return {name: said[name] for name in self._rates_here.parameters if said.get(name) is not None}


def _structure(model: Mapping[str, object]) -> dict[str, ParamValue]:
    """What of a model section two studies must have in common: a family, and the columns of its parts.

    The family ``auto`` has the others' networks, so that these are told apart by their architecture only.
    """
    said = {key: str(model[key]) for key in ("family", *COLUMN_KEYS) if model.get(key) is not None}
    if (family := said.get("family")) in ARCHITECTURES:
        said |= {"family": AUTO, "architecture": str(family)}
    return dict(said)


def _defaults(family: str | None) -> Iterator[tuple[str, ParamValue]]:
    """What a family takes where nothing is said; of a user's builder only training's own."""
    known: Mapping[str, object] = TRAINING_PARAMETERS
    if family is not None:
        known = {**FAMILIES[family], **OPTIMIZER_PARAMETERS, **TRAINING_PARAMETERS}
    for name, parameter in known.items():
        default = getattr(parameter, "default", None)
        if default is not None and name not in SCHEDULE_PARAMETERS:  # a study says that by its own schedule
            yield name, default
