"""Which trials of earlier studies a searcher learns from, and what is said of the others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kerasweep.errors import SpecError, StudyNotFound
from kerasweep.records import Direction, Objective, Params, Status, StudyRecord, Trial
from kerasweep.spec import pipeline_from_mapping
from kerasweep.spec.pipeline import PipelineSpec
from kerasweep.study.earlier import Earlier, earlier_trials

LOSS = Objective("val_loss", Direction.MINIMIZE)
RATE = {"type": "float", "min": 0.001, "max": 0.1, "log": True}
NEURONS = {"type": "int", "min": 8, "max": 64}


class Shelf:
    """A store with a few studies."""

    def __init__(self, *records: StudyRecord) -> None:
        self._records = {record.name: record for record in records}

    def list(self) -> tuple[StudyRecord, ...]:
        return tuple(self._records.values())

    def load(self, study: str) -> StudyRecord:
        if study not in self._records:
            raise StudyNotFound(f"no study is called {study}")
        return self._records[study]

    def fetch_files(self, study_id: str, folder: str, into: Path, trial: int | None = None) -> tuple[Path, ...]:
        return ()


def spec(
    directory: Path, space: dict[str, Any], fixed: dict[str, Any] | None = None, name: str = "now"
) -> PipelineSpec:
    given = {
        "name": name,
        "data": {"name": "iris"},
        "model": {"family": "mlp"},
        "space": {"parameters": space},
        "training": {"fixed": fixed or {}},
    }
    return pipeline_from_mapping(given, directory).spec


def record(spec: PipelineSpec, *configurations: Params, objective: Objective = LOSS) -> StudyRecord:
    trials = tuple(
        Trial(number, params, seed=1, status=Status.FINISHED, history=({"val_loss": 0.5},), value=0.5, epoch=1)
        for number, params in enumerate(configurations)
    )
    text = spec.model_dump_json(by_alias=True)
    return StudyRecord(f"{spec.name}@12345678", spec.name, "finished", 0.0, objective, text, trials)


def recalled(now: PipelineSpec, *records: StudyRecord) -> Earlier:
    return earlier_trials([each.name for each in records], now, Shelf(*records))


def test_the_same_space_takes_all_trials_whole(tmp_path: Path) -> None:
    space = {"learning_rate": RATE, "n_neurons": NEURONS}
    before = record(spec(tmp_path, space, name="before"), {"learning_rate": 0.01, "n_neurons": 16})
    found = recalled(spec(tmp_path, space), before)
    assert found.trials == before.trials
    assert found.notes == ("warm start from before@12345678: 1 of 1 trials fit this space",)


def test_a_narrower_space_takes_what_lies_in_it(tmp_path: Path) -> None:
    wide = spec(tmp_path, {"learning_rate": RATE}, name="before")
    before = record(wide, {"learning_rate": 0.01}, {"learning_rate": 0.09}, {"learning_rate": 0.08})
    found = recalled(spec(tmp_path, {"learning_rate": {**RATE, "max": 0.05}}), before)
    assert [trial.params for trial in found.trials] == [{"learning_rate": 0.01}]
    assert "1 of 3 trials fit this space; others do not: learning_rate is outside (2)" in found.notes[0]


def test_what_was_not_said_was_the_familys_default(tmp_path: Path) -> None:
    before = record(spec(tmp_path, {"learning_rate": RATE}, name="before"), {"learning_rate": 0.01})
    sizes = {"learning_rate": RATE, "batch_size": {"type": "choice", "values": [16, 32]}}
    found = recalled(spec(tmp_path, sizes), before)
    assert [trial.params for trial in found.trials] == [{"learning_rate": 0.01, "batch_size": 32}]
    other = recalled(spec(tmp_path, {"learning_rate": RATE}, fixed={"batch_size": 64}), before)
    assert other.trials == ()
    assert "batch_size differs (1)" in other.notes[0]


def test_what_was_fixed_there_may_vary_here_and_the_other_way_round(tmp_path: Path) -> None:
    fixed = spec(tmp_path, {"learning_rate": RATE}, fixed={"n_neurons": 16}, name="before")
    varied = {"learning_rate": RATE, "n_neurons": NEURONS}
    (trial,) = recalled(spec(tmp_path, varied), record(fixed, {"learning_rate": 0.01})).trials
    assert trial.params == {"learning_rate": 0.01, "n_neurons": 16}
    free = spec(tmp_path, varied, name="before")
    both = [{"learning_rate": 0.01, "n_neurons": 16}, {"learning_rate": 0.01, "n_neurons": 17}]
    here = spec(tmp_path, {"learning_rate": RATE}, fixed={"n_neurons": 16})
    assert [trial.number for trial in recalled(here, record(free, *both)).trials] == [0]


def test_a_condition_that_was_not_there_is_met_or_not(tmp_path: Path) -> None:
    momentum = {"type": "float", "min": 0.0, "max": 0.99}
    optimizer = {"type": "choice", "values": ["sgd", "adam"]}
    old = spec(tmp_path, {"momentum": momentum}, fixed={"optimizer": "sgd"}, name="before")
    new = spec(tmp_path, {"optimizer": optimizer, "momentum": {**momentum, "when": {"optimizer": ["sgd"]}}})
    (trial,) = recalled(new, record(old, {"momentum": 0.9})).trials
    assert dict(trial.params) == {"optimizer": "sgd", "momentum": 0.9}


def test_other_data_are_said(tmp_path: Path) -> None:
    space = {"learning_rate": RATE}
    before = record(spec(tmp_path, space, name="before"), {"learning_rate": 0.01})
    written = json.loads(before.spec)
    written["data"]["name"] = "wine"
    other = StudyRecord(**{**before.__dict__, "spec": json.dumps(written)})
    assert recalled(spec(tmp_path, space), other).notes[0].endswith("; its data were others")


def test_another_objective_is_refused(tmp_path: Path) -> None:
    now = spec(tmp_path, {"learning_rate": RATE})
    other = record(now, objective=Objective("val_accuracy", Direction.MAXIMIZE))
    with pytest.raises(SpecError, match=r"minimize val_loss. Received: now@12345678, which maximizes val_accuracy"):
        recalled(now, other)


def test_an_unknown_study_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StudyNotFound):
        earlier_trials(["nowhere"], spec(tmp_path, {"learning_rate": RATE}), Shelf())
