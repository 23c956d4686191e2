"""Trials of earlier studies, as far as they say something about this one."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from kerasweep.errors import Problem, SpecError
from kerasweep.records import Params, ParamValue, Status, StudyRecord, Trial
from kerasweep.space import Space
from kerasweep.space.axes import exact
from kerasweep.spec.families import FAMILIES, OPTIMIZER_PARAMETERS, TRAINING_PARAMETERS
from kerasweep.spec.parameters import admits
from kerasweep.spec.pipeline import PipelineSpec
from kerasweep.tracking.base import StudyStore


@dataclass(frozen=True)
class Earlier:
    """What a searcher may learn before its first trial.

    Attributes:
        trials: with configurations of this study's space; their numbers mean nothing here.
        notes: how many of each study fit, and why others do not.
    """

    trials: tuple[Trial, ...] = ()
    notes: tuple[str, ...] = ()


def earlier_trials(names: Sequence[str], spec: PipelineSpec, store: StudyStore) -> Earlier:
    """The trials of earlier studies that fit this one's space.

    A trial fits if this study could train the same network in the same way: each parameter that is active here has a
    legal value there, and what is fixed or absent in one of the two studies is the same in the other, where what
    neither says is the family's default.

    Args:
        names: of studies in the store, or their ids; of several with one name the latest.
        spec: of this study.
        store: holds them.

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
        found, note = _fitting(record, spec)
        trials += found
        notes.append(note)
    return Earlier(tuple(trials), tuple(notes))


def _fitting(record: StudyRecord, spec: PipelineSpec) -> tuple[list[Trial], str]:
    written = json.loads(record.spec)
    ended = [trial for trial in record.trials if trial.status is not Status.RUNNING]
    translation = _Translation(spec, written.get("training", {}).get("fixed", {}))
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
    if written.get("data") != json.loads(spec.model_dump_json(by_alias=True))["data"]:
        note += "; its data were others"
    return found, note


class _Translation:
    """From another study's configurations to this one's.

    Args:
        spec: of this study.
        fixed: what did not vary in the other one.
    """

    def __init__(self, spec: PipelineSpec, fixed: Params) -> None:
        self._space = Space(spec.space)
        self._defaults = dict(_defaults(spec.model.family))
        self._there = fixed
        self._here = spec.training.fixed

    def of(self, params: Params) -> Params | str:
        """The same configuration here, or in a few words why there is none."""
        before = {**self._defaults, **self._there, **params}
        config: dict[str, ParamValue] = {}
        for name in self._space.names:
            if not self._space.is_active(name, config):
                continue
            if name not in before:
                return f"{name} is not known"
            if not admits(self._space.spec.parameters[name], before[name]):
                return f"{name} is outside"
            config[name] = exact(self._space.axes[name], before[name])
        after = {**self._defaults, **self._here, **config}
        differs = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
        return f"{differs[0]} differs" if differs else config


def _defaults(family: str | None) -> Iterator[tuple[str, ParamValue]]:
    """What a family takes where nothing is said; of a user's builder only training's own."""
    known: Mapping[str, object] = TRAINING_PARAMETERS
    if family is not None:
        known = {**FAMILIES[family], **OPTIMIZER_PARAMETERS, **TRAINING_PARAMETERS}
    for name, parameter in known.items():
        default = getattr(parameter, "default", None)
        if default is not None:
            yield name, default
