"""What would run, told without running it."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kerasweep.dispatch import local_cpus
from kerasweep.pipeline import Plan, plan
from kerasweep.spec import LoadedPipeline, load_pipeline, pipeline_from_mapping


def loaded(folder: Path, **sections: Any) -> LoadedPipeline:
    mapping = {
        "name": "tiny",
        "data": {"name": "wine"},
        "model": {"family": "mlp"},
        "space": {
            "parameters": {
                "n_neurons": {"type": "int", "min": 10, "max": 50, "step": 10},
                "learning_rate": {"type": "float", "min": 0.001, "max": 0.1, "log": True},
                "optimizer": {"type": "choice", "values": ["sgd", "adam"]},
                "momentum": {"type": "float", "min": 0.0, "max": 0.9, "when": {"optimizer": ["sgd"]}},
            }
        },
        **sections,
    }
    return pipeline_from_mapping(mapping, folder)


def section(made: Plan, title: str) -> dict[str, str]:
    rows = next(rows for name, rows in made.sections if name.startswith(title))
    assert len(dict(rows)) == len(rows)
    return dict(rows)


def test_the_whole_plan(tmp_path: Path) -> None:
    search = {
        "searcher": {"name": "tpe", "startup": 5},
        "scheduler": "hyperband",
        "trials": 17,
        "max_epochs": 9,
        "time_limit": "90s",
        "seed": 3,
    }
    made = plan(loaded(tmp_path, search=search, training={"fixed": {"batch_size": 16}}))
    assert [title for title, _ in made.sections] == [
        "Pipeline",
        "Space (infinitely many configurations)",
        "Search",
        "Resources on this machine",
        "Stages",
    ]
    overview = section(made, "Pipeline")
    assert (overview["data"], overview["model"], overview["objective"]) == ("wine", "mlp", "val_loss, minimized")
    assert section(made, "Space") == {
        "n_neurons": "int from 10 to 50, in steps of 10",
        "learning_rate": "float from 0.001 to 0.1, logarithmic",
        "optimizer": "one of sgd, adam",
        "momentum": "float from 0 to 0.9, when optimizer is sgd",
        "batch_size": "fixed at 16",
    }
    rows = section(made, "Search")
    assert rows["searcher"] == "tpe (startup 5, candidates 24)"
    assert rows["scheduler"] == "hyperband (eta 3)"
    # The paper's brackets for R = 9 and eta = 3.
    assert rows["bracket 0"] == "9 to epoch 1 → 3 to epoch 3 → 1 to epoch 9"
    assert rows["bracket 1"] == "5 to epoch 3 → 1 to epoch 9"
    assert rows["bracket 2"] == "3 to epoch 9"
    # (9*1 + 3*2 + 1*6) + (5*3 + 1*6) + 3*9
    assert rows["epochs in all"] == "69"
    assert (rows["time limit"], rows["seed"], rows["trials"]) == ("90 s", "3", "17")
    resources = section(made, "Resources")
    assert resources.pop("members of a cohort").startswith("9: the largest bracket of hyperband; 853 parameters")
    workers = math.ceil(local_cpus() / 8)
    assert resources == {
        "CPUs": str(local_cpus()),
        "workers at a time": str(min(workers, 2)),
        "threads per worker": str(local_cpus() // min(workers, 2)),
        "on disk": f"at most 32 kB of journal and the states of {min(workers, 2) + 5} cohorts, in mlruns/studies; "
        "then 5 trials' weights",
    }
    assert section(made, "Stages")["1 search"] == "17 trials"
    far = plan(
        loaded(
            tmp_path,
            search={**search, "trials": 90, "max_epochs": 1000},
            resources={"cohort": "off", "storage": "/far"},
        )
    )
    # Hyperband's largest bracket waits at its rung.
    assert section(far, "Resources")["on disk"].startswith(
        f"at most 9.1 MB of journal and the states of {729 + 5 + local_cpus()} cohorts, in /far; "
    )


def test_a_wide_and_deep_network_s_columns_are_named(tmp_path: Path) -> None:
    model = {"family": "wide_deep", "wide": [0, "hue"], "deep": None}
    space = {"parameters": {"aux_weight": {"type": "float", "min": 0.0, "max": 0.3}}}
    overview = section(plan(loaded(tmp_path, model=model, space=space)), "Pipeline")
    assert (overview["model"], overview["wide columns"]) == ("wide_deep", "alcohol, hue")
    assert overview["deep columns"] == "all"
    (tmp_path / "mine.py").write_text("def load():\n    raise RuntimeError('must not run')\n")
    later = loaded(tmp_path, model={**model, "deep": [3, "hue"]}, data={"python": "mine:load"}, space=space)
    assert section(plan(later), "Pipeline")["deep columns"] == "3, hue"  # checked when the study starts


def test_the_family_auto_has_a_space_of_its_own_for_what_the_data_are(tmp_path: Path) -> None:
    auto: dict[str, Any] = {"model": {"family": "auto"}, "space": None}
    made = plan(loaded(tmp_path, **auto, training={"fixed": {"activation": "silu", "n_neurons": 500}}))
    space = section(made, "Space (infinitely many")
    assert space["architecture"] == "one of linear, mlp, residual, wide_deep"
    assert space["n_blocks"] == "int from 1 to 3, when architecture is residual"
    assert space["n_neurons"] == "fixed at 500, when architecture is mlp or residual or wide_deep"
    assert space["activation"] == "fixed at silu, when architecture is mlp or residual or wide_deep"
    assert "filters" not in space
    assert "parameters at most" in section(made, "Resources")["members of a cohort"]
    images = section(plan(loaded(tmp_path, **auto, data={"name": "mnist"})), "Space")
    assert images["architecture"] == "one of linear, mlp, residual, wide_deep, cnn"
    assert images["filters"] == "one of 16, 32, when architecture is cnn"
    for shape, filters in (((12, 5), False), ((12, 4, 5), True)):
        np.savez(tmp_path / "rows.npz", x=np.zeros(shape), y=np.arange(12.0))
        archive = {"npz": "rows.npz", "task": "regression"}
        assert ("filters" in section(plan(loaded(tmp_path, **auto, data=archive)), "Space")) == filters
    (tmp_path / "mine.py").write_text("def load():\n    raise RuntimeError('must not run')\n")
    later = section(plan(loaded(tmp_path, **auto, data={"python": "mine:load"})), "Space")
    assert later == {"parameters": "those of the family auto, for images or for tables as the data turn out to be"}


def test_a_plan_without_cohorts_is_rays(tmp_path: Path) -> None:
    search = {"scheduler": "hyperband", "trials": 17, "max_epochs": 9}
    made = plan(loaded(tmp_path, search=search, resources={"cohort": "off"}))
    rows = section(made, "Search")
    # Ray's brackets for R = 9 and eta = 3.
    assert rows["bracket 0"] == "3 to epoch 9"
    assert rows["bracket 1"] == "5 to epoch 3 → 2 to epoch 9"
    assert rows["bracket 2"] == "9 to epoch 1 → 3 to epoch 3 → 1 to epoch 9"
    # 3*9 + (5*3 + 2*6) + (9*1 + 3*2 + 1*6)
    assert rows["epochs in all"] == "75"
    assert section(made, "Resources") == {
        "CPUs": str(local_cpus()),
        "workers at a time": str(min(local_cpus(), 17)),
        "threads per worker": str(max(1, local_cpus() // 17)),
        "on disk": f"at most 32 kB of journal and the states of {min(local_cpus(), 17) + 5 + 9} cohorts, "
        "in mlruns/studies; then 5 trials' weights",
    }


def test_what_only_the_start_of_the_study_can_tell_is_left_to_it(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def load():\n    raise RuntimeError('must not run')\n")
    for data in ({"python": "mine:load"}, {"name": "mnist"}, {"csv": "gone.csv", "target": "y"}):
        if "csv" in data:
            (tmp_path / "gone.csv").write_text("x,y\n1,2\n")  # too few rows to split
        made = plan(loaded(tmp_path, data=data))
        assert section(made, "Resources")["members of a cohort"] == "chosen when the study starts"
        assert "workers at a time" not in section(made, "Resources")
    made = plan(loaded(tmp_path, data={"name": "mnist"}, resources={"cohort": 32}))
    assert section(made, "Resources")["members of a cohort"] == "32"


def test_stages_that_are_left_out_say_so(tmp_path: Path) -> None:
    made = plan(loaded(tmp_path, retrain=None, register=None, export={"formats": []}))
    stages = section(made, "Stages")
    assert stages["2 retrain"].startswith("skipped")
    assert (stages["4 export"], stages["5 register"]) == ("skipped", "skipped")


@pytest.mark.parametrize(
    ("scheduler", "expected"),
    [
        ("none", {}),
        ({"name": "asha", "grace": 1, "eta": 3}, {"bracket 0": "rungs at epoch 1, 3, 9"}),
        ({"name": "median", "grace": 4}, {"rungs": "every epoch from 4 on"}),
        ({"name": "pbt", "interval": 3}, {"rungs": "copies at every epoch that 3 divides"}),
        ({"name": "pb2", "interval": 2}, {"rungs": "copies at every epoch that 2 divides"}),
    ],
)
def test_rungs(tmp_path: Path, scheduler: Any, expected: dict[str, str]) -> None:
    rows = section(plan(loaded(tmp_path, search={"scheduler": scheduler, "max_epochs": 9})), "Search")
    assert {key: text for key, text in rows.items() if key.startswith(("bracket", "rungs"))} == expected


def test_a_small_space_and_a_patience_that_never_ends_are_warned_of(tmp_path: Path) -> None:
    space = {"parameters": {"n_neurons": {"type": "int", "min": 1, "max": 7}}}
    search = {"searcher": "random", "scheduler": "none", "trials": 20, "max_epochs": 5}
    made = plan(loaded(tmp_path, space=space, search=search, training={"early_stopping": {"patience": 5}}))
    assert made.warnings == (
        "the space has 7 configurations only: 7 trials instead of 20",
        "early stopping never acts: patience 5 with at most 5 epochs",
    )
    rows = section(made, "Search")
    assert (rows["trials"], rows["epochs in all"]) == ("7", "35")
    assert made.sections[1][0] == "Space (7 configurations)"


def test_a_space_of_fixed_parameters_only_is_one_configuration(tmp_path: Path) -> None:
    space = {"parameters": {"n_hidden": {"type": "fixed", "value": 2}, "n_neurons": {"type": "fixed", "value": 30}}}
    made = plan(loaded(tmp_path, space=space, search={"trials": 3}, retrain=None))
    assert made.sections[1][0] == "Space (1 configuration)"
    assert section(made, "Search")["trials"] == "1"
    stages = section(made, "Stages")
    assert (stages["1 search"], stages["2 retrain"]) == (
        "1 trial",
        "skipped: the winner's own weights are delivered",
    )
    assert made.warnings == ("the space has 1 configuration only: 1 trial instead of 3",)


def test_weights_are_told(tmp_path: Path) -> None:
    given = {"class_1": 2.5, "class_2": 0.0}
    overview = section(plan(loaded(tmp_path, training={"class_weight": given})), "Pipeline")
    assert overview["class weights"] == "class_1 2.5, class_2 0; others 1"
    assert (
        section(plan(loaded(tmp_path, training={"class_weight": "balanced"})), "Pipeline")["class weights"]
        == "balanced"
    )
    (tmp_path / "d.csv").write_text("a,y,w\n" + "".join(f"{i},{i}.5,{i}\n" for i in range(20)))
    overview = section(plan(loaded(tmp_path, data={"csv": "d.csv", "target": "y", "weights": "w"})), "Pipeline")
    assert overview["row weights"] == "column w"
    assert "class weights" not in overview


def test_frozen_layers_are_told(tmp_path: Path) -> None:
    def rows(freeze: int | str) -> dict[str, str]:
        initial = {"from": "churn", "layers": 2, "freeze": freeze}
        return section(plan(loaded(tmp_path, model={"family": "mlp", "initial_weights": initial})), "Pipeline")

    assert rows(0)["starts from"] == "the first 2 layers with weights of churn"
    assert "frozen" not in rows(0)
    assert rows(3)["frozen"] == "for the first 3 epochs"
    assert rows("all")["frozen"] == "throughout"


def test_resources_that_are_not_there_are_told_and_cards_are_left_for_later(tmp_path: Path) -> None:
    made = plan(loaded(tmp_path, resources={"concurrency": 10_000}))
    assert "Received: 10000" in section(made, "Resources")["impossible"]
    made = plan(loaded(tmp_path, resources={"gpus_per_trial": 0.5}))
    assert section(made, "Resources")["GPUs per worker"] == "0.5 (checked when the study starts)"


def test_every_pipeline_of_the_repository_can_be_planned(repository: Path) -> None:
    files = sorted((repository / "pipelines").glob("*.yaml"))
    assert files
    for file in files:
        made = plan(load_pipeline(file))
        assert made.warnings == ()
        assert all(text for _, rows in made.sections for _, text in rows)


def test_planning_writes_nothing_and_loads_nothing_heavy(tmp_path: Path, repository: Path) -> None:
    file = next((repository / "pipelines").glob("*.yaml"))
    program = (
        "import sys\n"
        "from kerasweep.pipeline import plan\n"
        "from kerasweep.spec import load_pipeline\n"
        f"plan(load_pipeline({str(file)!r}))\n"
        "heavy = {'tensorflow', 'keras', 'ray', 'mlflow', 'sklearn', 'pandas', 'matplotlib'} & sys.modules.keys()\n"
        "print(sorted(heavy))\n"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert list(tmp_path.iterdir()) == []


def test_the_plan_says_how_learning_rates_go_up_and_down(tmp_path: Path) -> None:
    def said(**sections: Any) -> str:
        return section(plan(loaded(tmp_path, **sections)), "Search")["learning rate"]

    assert said() == "constant"
    cosine = {"name": "cosine", "warmup_epochs": 2.5}
    assert said(training={"schedule": cosine}) == "cosine (warmup_epochs 2.5, final_factor 0)"
    fixed = {"fixed": {"decay_rate": 0.5}, "schedule": "exponential"}
    assert said(training=fixed) == ("exponential (decay_epochs auto, staircase no), decay_rate as the parameter says")
    space = {"parameters": {"schedule": {"type": "choice", "values": ["constant", "one_cycle"]}}}
    assert said(space=space) == "as the parameters say: schedule"


def test_the_plan_says_what_range_tests_cost(tmp_path: Path) -> None:
    made = plan(
        loaded(
            tmp_path,
            space={
                "parameters": {
                    "n_neurons": {"type": "int", "min": 4, "max": 64},
                    "learning_rate": {"type": "find", "steps": 200},
                }
            },
        )
    )
    (rows,) = (dict(rows) for title, rows in made.sections if title.startswith("Space"))
    assert rows["learning_rate"] == "found by every trial, in a range test from 1e-05 to 10"
    trials = int(section(made, "Search")["trials"])
    expected = f"at most 200 steps before each trial, {200 * trials:,} in all"
    assert section(made, "Search")["range tests"] == expected


def test_the_plan_says_how_networks_evolve(tmp_path: Path) -> None:
    space = {"parameters": {"sigma": {"type": "float", "min": 0.01, "max": 0.1}}}
    made = plan(loaded(tmp_path, space=space, training={"method": {"name": "neuroevolution", "parents": 8}}))
    rows = section(made, "Search")
    expected = "neuroevolution (population 64, parents 8, elites 1, batch all rows), sigma as the parameter says"
    assert rows["training"] == expected
    assert "learning rate" not in rows
    assert "learning_rate" not in str(made.sections)  # no advice to search it either
    assert "training" not in section(plan(loaded(tmp_path)), "Search")
