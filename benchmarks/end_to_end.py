"""From nothing to a registered model: a random search with kerasweep, and with what a user would pick instead.

Purpose: 256 random configurations of the book's California space, 10 epochs each, on two cores, as whole processes.
         kerasweep is `kerasweep run`: from its start to a registered model, every trial with its curves in MLflow. The
         others search only, and record nothing. The claim: at least 15 times faster than the fastest of them with 256
         trials, 35 times with 1,024; and memory that does not grow with the trials (4,096).
Command: .venv/bin/python benchmarks/end_to_end.py [--trials 256] [--share 16] [--only kerasweep] [--save]
Time:    about 10 minutes with 256 trials; with 1,024, about 30; `--only kerasweep` takes a minute and more
Result:  a table; `--save` also writes benchmarks/results/end_to_end_<trials>.json

`peers.py` says what the others do. They would take hours, so each trains the first sixteenth (`--share`) of the trials,
and, in a process of its own, the first eighth of these: the two give its start and its seconds a trial, and these the
time that all trials would take. Both measured times are shown too.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import peers
from measuring import RESULTS, Whole, adopt_orphans, keep_to, made_with, save, whole_process
from peers import CORES, PEERS, Work, declared, prepare

WAYS = ("kerasweep", "scikit-learn", "Ray Tune, class", "Optuna", "KerasTuner")
CLAIMS = {256: 15, 1024: 40}  # trials -> times faster than the fastest of the others


@dataclass(frozen=True)
class Process:
    """One process.

    Attributes:
        trials: that it trained.
        seconds: of wall time.
        cpu_seconds: of it and of all processes below it.
        memory: ``(seconds, MiB)``; see ``measuring.Whole``.
        best: the lowest validation loss.
        stages: of kerasweep's pipeline, in seconds.
    """

    trials: int
    seconds: float
    cpu_seconds: float
    memory: tuple[tuple[float, float], ...]
    best: float
    stages: dict[str, float]

    @classmethod
    def of(cls, whole: Whole, losses: Sequence[float], stages: dict[str, float]) -> Process:
        return cls(len(losses), whole.seconds, whole.cpu_seconds, whole.memory, min(losses), stages)

    @property
    def peak_megabytes(self) -> float:
        return max(megabytes for _, megabytes in self.memory)


@dataclass(frozen=True)
class Measured:
    """One way.

    Attributes:
        trials: of the whole search.
        processes: one that trained them all, or two that trained a part, the smaller one first.
    """

    trials: int
    processes: tuple[Process, ...]

    @property
    def trial_seconds(self) -> float:
        """What one more trial takes."""
        few, many = self.processes[0], self.processes[-1]
        return (many.seconds - few.seconds) / (many.trials - few.trials) if many is not few else 0.0

    @property
    def seconds(self) -> float:
        """Of the whole search, measured or worked out."""
        many = self.processes[-1]
        return many.seconds + (self.trials - many.trials) * self.trial_seconds


def kerasweep(work: Work) -> Process:
    """The command line on the declaration that everybody's configurations come from; then the store is asked."""
    from kerasweep.records import Status
    from kerasweep.tracking import open_store

    with tempfile.TemporaryDirectory(prefix="end-to-end-") as scratch:
        command = [sys.executable, "-m", "kerasweep", "run", str(work.folder / "pipeline.yaml"), "--json"]
        whole = whole_process(command, Path(scratch))
        result = json.loads(whole.output)
        with contextlib.chdir(scratch):  # its own store is the default one of this folder
            study = open_store("auto").load(result["study"])
    assert result["model"]["version"] == 1, result
    assert [dict(trial.params) for trial in study.trials] == work.configurations
    # With the largest learning rates some diverge. kerasweep ends these, the others train them to the end.
    diverged = [trial for trial in study.trials if trial.status is Status.FAILED]
    assert all(trial.reason.startswith("FloatingPointError: ") for trial in diverged)
    assert len(diverged) < len(study.trials) / 10
    rest = [trial for trial in study.trials if trial.status is Status.FINISHED]
    assert len(rest) + len(diverged) == len(study.trials)
    assert {len(trial.history) for trial in rest} == {work.epochs}
    losses = [math.inf if trial.value is None else trial.value for trial in study.trials]
    return Process.of(whole, losses, result["seconds"])


def measure(name: str, work: Work, parts: Sequence[int]) -> Measured:
    """One way: kerasweep on all trials, one of the others on these parts of them."""
    trials = len(work.configurations)
    if name == "kerasweep":
        return Measured(trials, (kerasweep(work),))
    script = Path(peers.__file__).resolve()
    works = [replace(work, configurations=work.configurations[:part]) for part in parts]
    return Measured(trials, tuple(Process.of(*peers.measure(script, name, each), {}) for each in works))


def table(results: dict[str, Measured]) -> str:
    """In the order of time."""
    own = results.get("kerasweep")
    lines = [
        f"{'':<16} {'measured: trials in seconds':<29} {'start':>6} {'a trial':>8} {'all trials':>10} {'ratio':>6} "
        f"{'peak MiB':>8} {'best val_loss':>13}"
    ]
    for name, each in sorted(results.items(), key=lambda item: item[1].seconds):
        many = each.processes[-1]
        runs = ", ".join(f"{process.trials} in {process.seconds:.1f}" for process in each.processes)
        start, a_trial = "", ""
        if len(each.processes) > 1:
            start, a_trial = f"{many.seconds - many.trials * each.trial_seconds:.1f}", f"{each.trial_seconds:.2f}"
        ratio = f"{each.seconds / own.seconds:.1f}" if own else ""
        lines.append(
            f"{name:<16} {runs:<29} {start:>6} {a_trial:>8} {each.seconds:>10.1f} {ratio:>6} "
            f"{many.peak_megabytes:>8.0f} {many.best:>13.4f}"
        )
    return "\n".join(lines)


def remarks(results: dict[str, Measured]) -> str:
    """The claim, and how kerasweep's time and memory went."""
    own = results.get("kerasweep")
    if own is None:
        return ""
    process = own.processes[0]
    stages = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in process.stages.items())
    quarters = [
        max((mib for at, mib in process.memory if begin <= 4 * at / process.seconds < begin + 1), default=0.0)
        for begin in range(4)
    ]
    lines = [
        f"kerasweep: {stages}",
        f"kerasweep's memory, MiB, the most in each quarter of its time: {', '.join(f'{mib:.0f}' for mib in quarters)}",
    ]
    others = {name: each.seconds / own.seconds for name, each in results.items() if name in PEERS}
    if others:
        fastest = min(others, key=lambda name: others[name])
        line = f"{others[fastest]:.1f} times faster than {fastest}, the fastest of the others"
        if claim := CLAIMS.get(own.trials):
            line += f"; at least {claim} times {'holds' if others[fastest] >= claim else 'does not hold'}"
        lines.append(line)
    return "\n".join(lines)


def document_of(work: Work, results: dict[str, Measured]) -> dict[str, Any]:
    return {
        **made_with(peers.PACKAGES, CORES),
        "trials": len(work.configurations),
        "epochs": work.epochs,
        "seed": work.seed,
        "measured": {
            name: {"seconds": each.seconds, "processes": [asdict(process) for process in each.processes]}
            for name, each in results.items()
        },
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--trials", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--share", type=int, default=16, help="the others train one trial in so many")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--only", choices=WAYS, action="append", help="measure this one; may be repeated")
    parser.add_argument("--save", action="store_true", help=f"write {RESULTS.name}/end_to_end_<trials>.json")
    options = parser.parse_args(arguments)
    # As many at a time as there are cores: a part that is no multiple would leave one idle at its end.
    many = options.trials // options.share // CORES * CORES
    few = max(CORES, many // 8 // CORES * CORES)
    if many <= few:
        parser.error(f"--trials / --share must be at least {2 * CORES}. Received: {options.trials} / {options.share}")

    os.environ.pop("MLFLOW_TRACKING_URI", None)  # kerasweep's own store is part of what it does
    keep_to(CORES)
    adopt_orphans()
    declaration = declared("end-to-end", options.trials, options.epochs, options.seed) | {
        "resources": {"cpus": CORES, "cohort": "auto"},
        "export": {"formats": ["keras"]},
        "register": {"name": "end-to-end"},
    }
    results: dict[str, Measured] = {}
    with tempfile.TemporaryDirectory(prefix="end-to-end-") as scratch:
        work = prepare(Path(scratch), declaration)
        for name in options.only or WAYS:
            results[name] = measure(name, work, (few, many))
            runs = ", ".join(f"{each.seconds:.1f} s" for each in results[name].processes)
            print(f"{name}: {runs}", file=sys.stderr)
    print(f"{table(results)}\n{remarks(results)}")
    if options.save:
        save(f"end_to_end_{options.trials}", document_of(work, results))


if __name__ == "__main__":
    main()
