"""A long study: what its processes hold in memory and what it leaves on disk, from the first trial to the last.

Purpose: that neither grows with the trials, but for what is said of it: the journal, MLflow's database, and in the
         driver what it knows of every trial. And that a driver that died late is back soon: a journal of 10,000 trials
         is told again in a fresh process, for a searcher that draws and for one that learns.
Command: .venv/bin/python benchmarks/soak.py [--trials 4096] [--journal 10000] [--save]
Time:    about 6 minutes on two cores
Result:  a table; `--save` also writes benchmarks/results/soak.json and docs/images/soak.png
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
from measuring import RESULTS, made_with, save

ROOT = RESULTS.parent.parent

EVERY = 2.0  # seconds between two looks
SPEC = """
name: soak
data: {name: wine}
model: {family: mlp}
space:
  parameters:
    n_hidden:      {type: int, min: 0, max: 3}
    n_neurons:     {type: int, min: 2, max: 64, log: true}
    learning_rate: {type: float, min: 1.0e-4, max: 1.0e-1, log: true}
    optimizer:     {type: choice, values: [sgd, adam]}
search:    {trials: %d, max_epochs: 10, searcher: random, scheduler: none, seed: 1}
training:  {early_stopping: null}
retrain:   null
export:    {formats: []}
register:  null
"""
# Of the processes below the driver, by what stands in their command lines.
ROLES = {"ray::": "workers", "kerasweep.tracking": "tracking writer"}

TELL = """
import json, resource, sys, time
from pathlib import Path
before = time.perf_counter()
from kerasweep.study.folder import StudyFolder
from kerasweep.study.replay import reread
imported = time.perf_counter()
bare = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
trials = reread(StudyFolder(Path(sys.argv[1])))[0].trials
told = time.perf_counter()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"trials": len(trials), "seconds": told - imported, "megabytes": peak - bare}))
"""


@dataclass(frozen=True)
class Look:
    """How a study stood at one moment.

    Attributes:
        seconds: since its start.
        trials: that had ended.
        memory: MiB by role; pages that processes share count for each.
        journal: bytes.
        checkpoints: bytes.
        database: bytes of MLflow's.
    """

    seconds: float
    trials: int
    memory: Mapping[str, float]
    journal: int
    checkpoints: int
    database: int


def soak(trials: int) -> list[Look]:
    """Runs the study and looks at it now and then."""
    looks: list[Look] = []
    with tempfile.TemporaryDirectory(prefix="kerasweep-soak-") as name:
        folder = Path(name)
        (folder / "soak.yaml").write_text(SPEC % trials)
        begun = time.monotonic()
        with (folder / "log").open("w") as log:
            driver = subprocess.Popen(
                [sys.executable, "-m", "kerasweep", "run", "soak.yaml"], cwd=folder, stdout=log, stderr=log
            )
            while driver.poll() is None:
                looks.append(_look(psutil.Process(driver.pid), folder, time.monotonic() - begun))
                time.sleep(EVERY)
        if driver.returncode:
            raise RuntimeError((folder / "log").read_text()[-2000:])
    return looks


def _look(driver: psutil.Process, folder: Path, seconds: float) -> Look:
    memory: dict[str, float] = {}
    for process in [driver, *driver.children(recursive=True)]:
        try:
            command, size = " ".join(process.cmdline()), process.memory_info().rss / 2**20
        except psutil.Error:
            continue
        role = next((role for sign, role in ROLES.items() if sign in command), "Ray's own")
        role = "driver" if process == driver else role
        memory[role] = memory.get(role, 0.0) + size
    studies = folder / "mlruns" / "studies"
    journals = list(studies.glob("*/journal.jsonl"))
    ended = sum(line.count(b'"finished"') for path in journals for line in path.read_bytes().splitlines())
    return Look(
        seconds,
        ended,
        memory,
        sum(path.stat().st_size for path in journals),
        sum(_size(Path(path, file)) for path, _, files in os.walk(studies) if "checkpoints" in path for file in files),
        sum(_size(path) for path in (folder / "mlruns").glob("mlflow.db*")),
    )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # deleted since it was listed
        return 0


def told_again(trials: int, searcher: str) -> dict[str, Any]:
    """What a driver does first with a study of so many trials, which another one has begun."""
    import yaml

    from kerasweep.dispatch import Allocation, Ended, Next, Reported
    from kerasweep.records import Objective, Status
    from kerasweep.spec import pipeline_from_mapping
    from kerasweep.study.folder import StudyFolder
    from kerasweep.study.recording import Recording
    from kerasweep.study.replay import NOBODY
    from kerasweep.tracking import StudyHeader

    mapping = yaml.safe_load(SPEC % trials)
    mapping["search"]["searcher"] = searcher
    draw = random.Random(1)
    with tempfile.TemporaryDirectory(prefix="kerasweep-soak-") as name:
        spec = pipeline_from_mapping(mapping, name).spec
        objective: Objective = spec.objective
        header = StudyHeader(
            "soak@1", "soak", 1.0, objective, spec.model_dump_json(by_alias=True), "", name, 1, {}, {}, None
        )
        folder = StudyFolder(Path(name) / "soak@1")
        recording = Recording(folder, begins=True)
        feed = recording.begin(header, spec, Allocation(1, 1.0, 1, cohort=128))
        feed.listen(NOBODY)
        while not isinstance(cohort := feed.next_cohort(), Next):
            numbers = [member.number for member in cohort.members]
            feed.started(numbers)
            for epoch in range(1, 11):
                rows = {
                    n: dict.fromkeys(("loss", "accuracy", "val_loss", "val_accuracy"), draw.random()) for n in numbers
                }
                ends = tuple(Ended(n, Status.FINISHED) for n in numbers) if epoch == 10 else ()
                feed.reported(Reported(epoch, rows, ended=ends, seconds=0.1))
        recording.close()
        size = folder.journal.stat().st_size
        told = subprocess.run(
            [sys.executable, "-c", TELL, str(folder.path)], capture_output=True, text=True, check=True
        )
    return {"searcher": searcher, "bytes": size, **json.loads(told.stdout)}


def draw(looks: list[Look], path: Path) -> None:
    """Memory by role, and what is on disk, over the trials that have ended."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (memory, disk) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    seconds = [look.seconds for look in looks]
    for role in ("driver", "workers", "tracking writer", "Ray's own"):
        memory.plot(seconds, [look.memory.get(role, 0.0) for look in looks], label=role)
    memory.set(title="memory", xlabel="seconds", ylabel="MiB")
    for kind in ("journal", "checkpoints", "database"):
        disk.plot(seconds, [getattr(look, kind) / 2**20 for look in looks], label=kind)
    disk.set(title="on disk", xlabel="seconds", ylabel="MiB")
    for axes in (memory, disk):
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False)
    figure.savefig(path, dpi=110)


def _row(name: str, half: float, most: float) -> None:
    print(f"  {name:16} {half:8.1f} MiB {most:8.1f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trials", type=int, default=4096)
    parser.add_argument("--journal", type=int, default=10_000, help="trials of the journal that is told again")
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    # What a searcher that learns proposes takes it some milliseconds each here already: a tenth of the trials will do.
    again = [told_again(options.journal, "random"), told_again(options.journal // 10, "tpe")]
    for each in again:
        print(
            f"a journal of {each['trials']:,} trials, searcher {each['searcher']}: {each['bytes'] / 2**20:.1f} MiB, "
            f"told again in {each['seconds']:.1f} s with {each['megabytes']:.0f} MiB"
        )
    looks = soak(options.trials)
    half = next(look for look in looks if look.trials >= options.trials / 2)
    print(f"{options.trials:,} trials in {looks[-1].seconds:.0f} s; at half of them, and at most:")
    for role in sorted(half.memory):
        _row(role, half.memory[role], max(look.memory.get(role, 0.0) for look in looks))
    for kind in ("journal", "checkpoints", "database"):
        _row(kind, getattr(half, kind) / 2**20, max(getattr(look, kind) for look in looks) / 2**20)
    if options.save:
        packages = ("kerasweep", "tensorflow", "ray", "mlflow")
        document = {"trials": options.trials, "again": again, "looks": [asdict(look) for look in looks]}
        save("soak", {**made_with(packages, psutil.cpu_count() or 1), **document})
        draw(looks, ROOT / "docs" / "images" / "soak.png")


if __name__ == "__main__":
    main()
