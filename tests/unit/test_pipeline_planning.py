"""What would run, told without running it."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

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
    }
    assert section(made, "Stages")["1 search"] == "17 trials"


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
