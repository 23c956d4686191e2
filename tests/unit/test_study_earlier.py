"""Which trials of earlier studies a searcher learns from, and what is said of the others."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kerasweep.errors import SpecError, StudyNotFound
from kerasweep.records import Direction, Objective, Params, Status, StudyRecord, Trial
from kerasweep.spec import pipeline_from_mapping
from kerasweep.spec.pipeline import InitialWeightsSpec, PipelineSpec
from kerasweep.study.earlier import Earlier, earlier_trials
from kerasweep.study.search import rates_of
from kerasweep.training.learning_rates import Rates

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
    directory: Path, space: dict[str, Any], fixed: dict[str, Any] | None = None, name: str = "now", **training: Any
) -> PipelineSpec:
    given = {
        "name": name,
        "data": {"name": "iris"},
        "model": {"family": "mlp"},
        "space": {"parameters": space},
        "training": {"fixed": fixed or {}, **training},
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
    return earlier_trials([each.name for each in records], now, Shelf(*records), rates_of(now, ()))


def test_the_same_space_takes_all_trials_whole(tmp_path: Path) -> None:
    space = {"learning_rate": RATE, "n_neurons": NEURONS}
    before = record(spec(tmp_path, space, name="before"), {"learning_rate": 0.01, "n_neurons": 16})
    found = recalled(spec(tmp_path, space), before)
    assert found.trials == before.trials
    assert found.notes == ("warm start from before@12345678: 1 of 1 trials fit this space",)


def test_other_initial_weights_are_told(tmp_path: Path) -> None:
    now = spec(tmp_path, {"learning_rate": RATE})
    model = now.model.model_copy(update={"initial_weights": InitialWeightsSpec(**{"from": "a", "layers": 1})})
    started = now.model_copy(update={"name": "before", "model": model})
    before = record(started, {"learning_rate": 0.01})
    assert recalled(now, before).notes[0].endswith("1 of 1 trials fit this space; its initial weights were others")
    assert "others" not in recalled(started, before).notes[0]


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


@pytest.mark.parametrize(
    ("model", "why"),
    [
        ({"builder": "mine:build"}, "architecture differs"),  # the first one that does is said
        ({"family": "wide_deep"}, "deep differs"),
        ({"family": "wide_deep", "wide": [0, 1], "deep": [1]}, "wide differs"),
        ({"family": "wide_deep", "wide": [0], "deep": [1]}, None),
    ],
)
def test_another_network_is_not_learnt_from(tmp_path: Path, model: dict[str, Any], why: str | None) -> None:
    def wide_deep(name: str) -> PipelineSpec:
        mapping = json.loads(spec(tmp_path, {"learning_rate": RATE}, name=name).model_dump_json(by_alias=True))
        columns = {"family": "wide_deep", "wide": [0], "deep": [1]}
        return pipeline_from_mapping({**mapping, "model": columns}, tmp_path).spec

    written = json.loads(wide_deep("before").model_dump_json(by_alias=True))
    before = record(wide_deep("before"), {"learning_rate": 0.01})
    other = StudyRecord(**{**before.__dict__, "spec": json.dumps({**written, "model": model})})
    found = recalled(wide_deep("now"), other)
    assert len(found.trials) == (why is None)
    assert why is None or f"others do not: {why} (1)" in found.notes[0]


def test_the_family_auto_and_the_families_of_its_architectures_learn_from_each_other(tmp_path: Path) -> None:
    def of(family: str, name: str, **space: Any) -> PipelineSpec:
        parameters = {"learning_rate": RATE, **space}
        given = {"name": name, "data": {"name": "iris"}, "model": {"family": family}}
        return pipeline_from_mapping({**given, "space": {"parameters": parameters}}, tmp_path).spec

    one: Params = {"learning_rate": 0.01, "n_neurons": 16}
    architecture = {"type": "choice", "values": ["linear", "mlp", "wide_deep"]}
    width = {**NEURONS, "when": {"architecture": ["mlp", "wide_deep"]}}
    auto = of("auto", "now", architecture=architecture, n_neurons=width)
    for family in ("mlp", "wide_deep"):
        (trial,) = recalled(auto, record(of(family, "before", n_neurons=NEURONS), one)).trials
        assert dict(trial.params) == {"architecture": family, **one}
    (trial,) = recalled(auto, record(of("linear", "before"), {"learning_rate": 0.02})).trials
    assert dict(trial.params) == {"architecture": "linear", "learning_rate": 0.02}
    before = of("auto", "before", architecture=architecture, n_neurons=width)
    trials = [{"architecture": family, **one} for family in ("mlp", "wide_deep")]
    found = recalled(of("mlp", "now", n_neurons=NEURONS), record(before, *trials))
    assert [dict(trial.params) for trial in found.trials] == [one]
    assert "architecture differs (1)" in found.notes[0]


def test_other_data_are_said(tmp_path: Path) -> None:
    space = {"learning_rate": RATE}
    before = record(spec(tmp_path, space, name="before"), {"learning_rate": 0.01})
    written = json.loads(before.spec)
    written["data"]["name"] = "wine"
    other = StudyRecord(**{**before.__dict__, "spec": json.dumps(written)})
    assert recalled(spec(tmp_path, space), other).notes[0].endswith("; its data were others")


def test_other_class_weights_are_said_and_keys_that_are_new_are_not(tmp_path: Path) -> None:
    before = spec(tmp_path, {"n_neurons": NEURONS}, name="before")
    text = json.loads(before.model_dump_json(by_alias=True))
    del text["data"]["weights"], text["training"]["class_weight"]  # as an earlier version wrote it
    old = replace(record(before, {"n_neurons": 9}), spec=json.dumps(text))
    now = spec(tmp_path, {"n_neurons": NEURONS})
    assert recalled(now, old).notes == ("warm start from before@12345678: 1 of 1 trials fit this space",)
    balanced = now.model_copy(update={"training": now.training.model_copy(update={"class_weight": "balanced"})})
    assert recalled(balanced, old).notes[0].endswith("fit this space; its classes had other weights")


def test_another_objective_is_refused(tmp_path: Path) -> None:
    now = spec(tmp_path, {"learning_rate": RATE})
    other = record(now, objective=Objective("val_accuracy", Direction.MAXIMIZE))
    with pytest.raises(SpecError, match=r"minimize val_loss. Received: now@12345678, which maximizes val_accuracy"):
        recalled(now, other)


def test_an_unknown_study_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StudyNotFound):
        earlier_trials(["nowhere"], spec(tmp_path, {"learning_rate": RATE}), Shelf(), Rates())


def test_trials_of_another_schedule_fit_as_far_as_this_study_could_have_had_it(tmp_path: Path) -> None:
    cosine = {"name": "cosine", "final_factor": 0.1}
    before = record(spec(tmp_path, {"learning_rate": RATE}, name="before", schedule=cosine), {"learning_rate": 0.01})
    factor = {"type": "float", "min": 0.0, "max": 0.5, "when": {"schedule": ["cosine"]}}
    kinds = {"type": "choice", "values": ["constant", "cosine"]}
    searched = {"learning_rate": RATE, "schedule": kinds, "final_factor": factor}
    (trial,) = recalled(spec(tmp_path, searched), before).trials
    assert trial.params == {"learning_rate": 0.01, "schedule": "cosine", "final_factor": 0.1}

    for here, why in {
        "constant": "final_factor differs",
        "cosine": "final_factor differs",
        "piecewise": "final_factor differs",
    }.items():
        found = recalled(spec(tmp_path, {"learning_rate": RATE}, schedule=here), before)
        assert (found.trials, found.notes[0].endswith(f"others do not: {why} (1)")) == ((), True), found.notes
    assert recalled(spec(tmp_path, {"learning_rate": RATE}, schedule=cosine), before).trials

    changes = {"name": "piecewise", "epochs": [2, 4], "factors": [0.5, 0.2]}
    piecewise = spec(tmp_path, {"learning_rate": RATE}, name="before", schedule=changes)
    other = spec(tmp_path, {"learning_rate": RATE}, schedule={**changes, "factors": [0.5, 0.1]})
    (note,) = recalled(other, record(piecewise, {"learning_rate": 0.01})).notes
    assert note.endswith("others do not: the schedule of the learning rate differs (1)")
    longer = other.model_copy(update={"search": other.search.model_copy(update={"max_epochs": 99})})
    (note,) = recalled(other, record(longer, {"learning_rate": 0.01})).notes
    assert note.endswith("others do not: max_epochs, which the schedule spans, differs (1)")


def test_rates_that_trials_found_fit_where_they_are_found_in_the_same_way_or_searched(tmp_path: Path) -> None:
    find = {"type": "find"}
    finding = spec(tmp_path, {"learning_rate": find, "n_neurons": NEURONS}, name="before")
    before = record(finding, {"n_neurons": 16, "learning_rate": 0.02}, {"n_neurons": 9, "learning_rate": 0.5})
    alike = recalled(spec(tmp_path, {"learning_rate": find, "n_neurons": NEURONS}), before)
    assert [trial.params for trial in alike.trials] == [{"n_neurons": 16}, {"n_neurons": 9}]
    searched = recalled(spec(tmp_path, {"learning_rate": RATE, "n_neurons": NEURONS}), before)
    assert [trial.params for trial in searched.trials] == [{"learning_rate": 0.02, "n_neurons": 16}]
    otherwise = spec(tmp_path, {"learning_rate": {**find, "steps": 90}, "n_neurons": NEURONS})
    other = recalled(otherwise, before)
    assert other.trials == ()
    assert "learning_rate differs (2)" in other.notes[0]


def test_trials_trained_by_another_method_are_not_learnt_from(tmp_path: Path) -> None:
    space = {"n_neurons": NEURONS}
    before = record(spec(tmp_path, space, name="before", method="neuroevolution"), {"n_neurons": 16})
    found = recalled(spec(tmp_path, space), before)
    assert found.trials == ()
    assert found.notes[0].endswith("0 of 1 trials fit this space; they were trained by neuroevolution as before had it")
    assert recalled(spec(tmp_path, space, method="neuroevolution"), before).trials == before.trials
