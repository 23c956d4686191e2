"""The README's examples, run as they are printed there; and what it says of options and defaults."""

from __future__ import annotations

import csv
import json
import math
import os
import random
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import pandas as pd
import pytest
from printed_examples import blocks, environment, shell
from pydantic import BaseModel
from ruamel.yaml import YAML

from kerasweep import load_pipeline
from kerasweep.spec import pipeline as sections

REPOSITORY = Path(__file__).resolve().parents[2]
README = (REPOSITORY / "README.md").read_text()
_BESIDE_FILES = {"result.json", "answer.json", "plan.txt", "serve", "request"}


def example_blocks(example: str) -> dict[str, str]:
    """The blocks of one example by name."""
    found = {block.name: block.text for block in blocks(README) if block.folder == example}
    assert found, f"the README has no example {example}"
    return found


def written(example: str, folder: Path) -> dict[str, str]:
    """The blocks of one example, whose files now lie in the folder."""
    parts = example_blocks(example)
    for name, text in parts.items():
        if not name.startswith("$") and name not in _BESIDE_FILES:
            (folder / name).write_text(text)
    return parts


def shape(value: Any) -> Any:
    """A JSON document with kinds in the place of values."""
    if isinstance(value, dict):
        return {key: shape(each) for key, each in value.items()}
    if isinstance(value, list):
        return [shape(each) for each in value]
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__


def customers(path: Path) -> None:
    """Continues the README's table to 1,200 rows, whose customers leave for reasons that can be learnt."""
    rng = random.Random(1)
    with path.open("a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        for _ in range(1195):
            age, months, calls = rng.randint(18, 80), rng.randint(1, 72), min(9, int(rng.expovariate(0.8)))
            city, contract = rng.choice(["Lyon", "Porto", "Graz"]), rng.choice(["monthly", "monthly", "yearly"])
            fee = rng.uniform(15, 70)
            unhappy = (1.6 if contract == "monthly" else -1.2) + (fee - 40) / 14 + 0.7 * abs(calls - 1) - months / 20
            unhappy += {"Lyon": 0.6, "Porto": -0.6, "Graz": 0.0}[city] + (2.2 if age < 30 and months < 24 else 0.0)
            row = [age, city, contract, months, f"{fee:.2f}", calls]
            known = [value if position == 3 or rng.random() >= 0.06 else "" for position, value in enumerate(row)]
            leaves = rng.random() < 1 / (1 + math.exp(-1.6 * (unhappy - 0.8)))
            writer.writerow([*known, "yes" if leaves else "no"])


@contextmanager
def served(command: str, folder: Path, port: int) -> Iterator[None]:
    """A server that runs while the block does."""
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen(
            ["bash", "-c", f"exec env {command}"], cwd=folder, env=environment(), stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert server.poll() is None, (folder / "server.log").read_text()
                assert time.monotonic() < deadline, (folder / "server.log").read_text()
                time.sleep(0.5)
        yield
    finally:
        os.killpg(server.pid, 15)
        server.wait(30)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.slow
def test_your_own_table(project: Path) -> None:
    parts = written("churn", project)
    customers(project / "customers.csv")
    assert len(pd.read_csv(project / "customers.csv")) == 1200

    *_, line = shell(parts["$"], project).splitlines()

    result, printed = json.loads(line), json.loads(parts["result.json"])
    assert shape(result) == shape(printed)
    assert result["trials"] == printed["trials"]
    assert result["test"]["auc"] > result["baselines"]["dummy"]["auc"] + 0.3
    assert result["model"]["uri"] == printed["model"]["uri"]
    assert Path(result["exports"]["keras"]).is_file()

    if shutil.which("curl") is None:
        pytest.skip("the rest of the example asks the model with curl, which is not installed")
    port = free_port()
    with served(parts["serve"].replace("5001", str(port)), project, port):
        answer = json.loads(shell(parts["request"].replace("5001", str(port)), project))
    assert shape(answer) == shape(json.loads(parts["answer.json"]))
    leaving, staying = answer["predictions"]
    assert leaving["yes"] > 0.5 > staying["yes"]


@pytest.mark.slow
def test_your_own_model(project: Path) -> None:
    parts = written("digits", project)

    assert portable(shell(parts["$plan"], project)) == portable(parts["plan.txt"])

    out = shell(parts["$"], project)
    assert re.search(r"this model +\S+ +0\.9", out), out
    assert "models:/digits@champion  version 1" in out
    assert re.search(r"^ +3 +\d+ +finished", out, re.MULTILINE), out
    assert (project / "runner_up" / "model.keras").is_file()


@pytest.mark.slow
def test_several_inputs_and_outputs(project: Path) -> None:
    written("several", project)

    out = json.loads(shell("kerasweep run two_ways.yaml --json", project))

    assert list(out["test"])[:2] == ["main_mse", "main_rmse"]
    assert {"main_mse", "aux_mse"} <= set(out["baselines"]["linear"])
    assert out["trials"]["failed"] == 0


@pytest.mark.slow
def test_from_python(project: Path) -> None:
    written("wine", project)

    out = shell("python wine.py; kerasweep show wine --json", project)

    assert re.search(r"^number|  number +status +value", out), out
    assert {path.name for path in (project / "exports").iterdir()} == {"model.keras", "saved_model"}
    *_, line = out.splitlines()
    record = json.loads(line)
    assert record["status"] == "finished"
    assert record["top"][0]["params"].keys() == {"n_neurons", "activation", "learning_rate"}


def test_with_scikit_learn(project: Path) -> None:
    written("flowers", project)

    out = shell("python flowers.py", project)

    assert "'learning_rate'" in out, out
    assert re.search(r"\['setosa' 'setosa' 'setosa'\]", out), out
    assert "Total params" in out
    assert not (project / "mlruns").exists()


def portable(plan: str) -> list[str]:
    """The lines of a plan that are the same on every machine."""
    lines = []
    title = ""
    for line in plan.splitlines():
        title = title if line.startswith(" ") else line
        if not title.startswith("Resources") and not line.startswith("  tracking"):
            lines.append(line.rstrip())
    return lines


def test_the_defaults_are_the_defaults(project: Path) -> None:
    written("defaults", project)
    (project / "customers.csv").write_text(example_blocks("churn")["customers.csv"])
    full = load_pipeline(project / "churn.yaml").spec
    document = YAML(typ="safe").load(project / "churn.yaml")
    short = {key: document[key] for key in ("name", "model", "space")}
    short["data"] = {key: document["data"][key] for key in ("csv", "target")}
    (project / "short.yaml").write_text(json.dumps(short))  # JSON is YAML
    assert load_pipeline(project / "short.yaml").spec == full


def test_every_key_is_in_the_file_of_defaults() -> None:
    text = example_blocks("defaults")["churn.yaml"]
    document = YAML(typ="safe").load(text)
    missing = [f"{path}.{key}" for path, key in _keys(sections.PipelineSpec) if not re.search(rf"\b{key}\b:", text)]
    assert not missing
    assert list(document) == [field.alias or name for name, field in sections.PipelineSpec.model_fields.items()]


def _keys(model: type[BaseModel], path: str = "") -> Iterator[tuple[str, str]]:
    for name, field in model.model_fields.items():
        key = field.alias or name
        kinds = [kind for kind in (field.annotation, *get_args(field.annotation)) if isinstance(kind, type)]
        below = [kind for kind in kinds if issubclass(kind, BaseModel)]
        if key in ("searcher", "scheduler", "schedule", "parameters"):
            below = []
        yield path, key
        for kind in below:
            yield from _keys(kind, f"{path}.{key}")


@pytest.mark.parametrize(
    "kind",
    [
        *get_args(get_args(sections.SearcherSpec)[0]),
        *get_args(get_args(sections.SchedulerSpec)[0]),
        *get_args(get_args(sections.RateSchedule)[0]),
    ],
)
def test_searchers_schedulers_and_schedules_are_told_with_their_options(kind: Any) -> None:
    model = get_args(kind)[0]
    aside = ("name", "warmup_epochs", "warmup_share")  # a warm-up is told once
    options: Mapping[str, Any] = {k: field.default for k, field in model.model_fields.items() if k not in aside}
    said = ", ".join(f"`{name}: {_shown(value)}`" for name, value in options.items())
    assert f"| `{model().name}` | {said}{' ' if said else ''}|" in README


def _shown(value: Any) -> str:
    """A default as YAML writes it, numbers in short."""
    if isinstance(value, list):
        return f"[{', '.join(map(_shown, value))}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return value if isinstance(value, str) else f"{value:g}"


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docker/README.md"])
def test_links_lead_somewhere(name: str) -> None:
    page = REPOSITORY / name
    text = page.read_text()
    anchors = {
        re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-")
        for title in re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    }
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("#"):
            assert target[1:] in anchors, target
        elif "://" not in target:
            assert (page.parent / target).exists(), target
