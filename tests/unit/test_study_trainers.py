"""Which trainer a study's trials have, and a study of evolving networks from its file to its refitted winner."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kerasweep.data import load_search
from kerasweep.dispatch import Allocation
from kerasweep.errors import SpecError
from kerasweep.models import FamilyBuilder, Inputs
from kerasweep.pipeline import find_rate
from kerasweep.records import Direction, Objective, Status
from kerasweep.spec import LoadedPipeline, pipeline_from_mapping
from kerasweep.spec.methods import Neuroevolution
from kerasweep.spec.pipeline import EarlyStopping
from kerasweep.spec.vocabulary import Task
from kerasweep.study.events import Silent
from kerasweep.study.local_search import LocalSearch
from kerasweep.study.search import evolution_of
from kerasweep.study.trainers import Trainers
from kerasweep.tracking.untracked import Untracked
from kerasweep.training import Evolution, FoldsTrainer, KerasTrainer, NeuroevolutionTrainer, Schedule

MODELS = FamilyBuilder("mlp", Inputs((2,), Task.BINARY, 1))
SCHEDULE = Schedule(Objective("val_loss", Direction.MINIMIZE), 3, EarlyStopping(patience=2))
ALLOCATION = Allocation(cpus=4, gpus=0, concurrency=1, threads=4)


def evolving(**sections: Any) -> LoadedPipeline:
    mapping = {
        "name": "evolving",
        "data": {"name": "playground_xor"},
        "model": {"family": "mlp"},
        "space": {"parameters": {"sigma": {"type": "float", "min": 0.05, "max": 0.5, "log": True}}},
        "search": {"trials": 2, "max_epochs": 3, "scheduler": "none", "searcher": "random"},
        "training": {"method": {"name": "neuroevolution", "population": 20}, "fixed": {"n_neurons": 4}},
        **sections,
    }
    return pipeline_from_mapping(mapping, Path.cwd())


def test_evolving_trials_have_a_trainer_of_their_own_within_folds_too() -> None:
    evolution = Evolution(Neuroevolution(population=20))
    trainers = Trainers(MODELS, ALLOCATION, evolution=evolution)
    assert trainers.plain(SCHEDULE) == NeuroevolutionTrainer(MODELS, SCHEDULE, evolution, 4)
    assert isinstance(Trainers(MODELS, ALLOCATION).plain(SCHEDULE), KerasTrainer)
    inner = NeuroevolutionTrainer(MODELS, replace(SCHEDULE, early_stopping=None), evolution, 2)
    assert trainers.of_search(SCHEDULE, folds=2) == FoldsTrainer(inner, SCHEDULE, 4)


def test_a_study_s_evolution_leaves_the_builder_what_it_takes() -> None:
    spec = evolving().spec
    assert evolution_of(spec, ()) == Evolution(Neuroevolution(population=20))
    assert evolution_of(spec, ("sigma", "x")) == Evolution(Neuroevolution(population=20), ("population", "parents"))
    assert (
        evolution_of(evolving(space={"parameters": {"l2": {"type": "fixed", "value": 0.1}}}, training={}).spec, ())
        is None
    )


def test_networks_evolve_from_the_file_to_the_refitted_winner() -> None:
    spec = evolving().spec
    data = load_search(spec.data, Path.cwd())
    search = LocalSearch(spec, data, None, Silent())
    searched = search.run(Untracked())
    assert [trial.status for trial in searched.trials] == [Status.FINISHED] * 2
    best = searched.best(spec.objective)
    assert best.value == min(metrics["val_loss"] for trial in searched.trials for metrics in trial.history)
    assert len({trial.history[2]["val_loss"] for trial in searched.trials}) == 2  # by their own sigma
    model = search.refitted(best)
    assert model.predict(data.train.x, verbose=0).shape[0] == len(data.train)


def test_a_learning_rate_is_not_looked_for_where_there_is_none() -> None:
    with pytest.raises(SpecError, match=r"needs training\.method gradient\. Received: neuroevolution"):
        find_rate(evolving())
