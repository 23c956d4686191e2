"""What it costs to record a trial in MLflow: kerasweep's tracker against what a user would write.

Purpose: trials of 5 parameters and 10 epochs of 6 metrics, recorded on SQLite as child runs of a study, without any
         training. "A call a metric" and "a call an epoch" are nested runs of MLflow's fluent API, in the process that
         would train. kerasweep's tracker gets cohorts of 64 trials that report side by side, and writes in a process of
         its own. Imports and the creation of the store are not counted. Afterwards the store is asked for every run.
Command: .venv/bin/python benchmarks/tracking.py [--trials 4096] [--save]
Time:    about 3 minutes
Result:  a table, and how much memory 3,000 more trials take; `--save` also writes benchmarks/results/tracking.json
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

RESULTS = Path(__file__).resolve().parent / "results" / "tracking.json"
EXPERIMENT = "tracking"
METRICS = ("loss", "mae", "mse", "val_loss", "val_mae", "val_mse")
PARAMS: dict[str, int | float | str] = {
    "n_hidden": 2,
    "n_neurons": 42,
    "learning_rate": 3e-3,
    "activation": "relu",
    "optimizer": "sgd",
}
COHORT = 64
SAMPLE = 64  # trials of the slow ways
PACKAGES = ("kerasweep", "mlflow", "sqlalchemy")


@dataclass(frozen=True)
class Measured:
    """One way of recording.

    Attributes:
        trials: recorded.
        seconds: of wall time.
        cpu_seconds: of all processes.
        driver_seconds: of CPU time in the process that would train or run Ray.
        megabytes: by number of trials, the resident memory of all processes.
    """

    trials: int
    seconds: float
    cpu_seconds: float
    driver_seconds: float
    megabytes: dict[int, float]


class Meter:
    """Time and memory of this process and its children."""

    def __init__(self) -> None:
        self._processes = [psutil.Process(), *psutil.Process().children()]
        self._cpu = self._cpu_seconds()
        self._began = time.perf_counter()
        self._megabytes: dict[int, float] = {}

    def note_memory(self, trials: int) -> None:
        self._megabytes[trials] = sum(process.memory_info().rss for process in self._processes) / 2**20

    def measured(self, trials: int) -> Measured:
        seconds = time.perf_counter() - self._began
        spent = [now - before for now, before in zip(self._cpu_seconds(), self._cpu, strict=True)]
        return Measured(trials, seconds, sum(spent), spent[0], self._megabytes)

    def _cpu_seconds(self) -> list[float]:
        times = [process.cpu_times() for process in self._processes]
        return [each.user + each.system for each in times]


def history(number: int, epochs: int) -> list[dict[str, float]]:
    """Made-up curves; no value comes twice."""
    return [{name: (k + 1) / (epoch + number / 7) for k, name in enumerate(METRICS)} for epoch in range(1, epochs + 1)]


# --- one function for each way to do it: records so many trials in the store ------------------------------------------


def call_a_metric(uri: str, trials: int, epochs: int) -> Measured:
    import mlflow

    with _fluent_study(uri) as meter:
        for number in range(trials):
            with mlflow.start_run(run_name=f"trial {number:04d}", nested=True):
                mlflow.log_params(PARAMS)
                for epoch, metrics in enumerate(history(number, epochs), 1):
                    for name, value in metrics.items():
                        mlflow.log_metric(name, value, step=epoch)
        return meter.measured(trials)


def call_an_epoch(uri: str, trials: int, epochs: int) -> Measured:
    import mlflow

    with _fluent_study(uri) as meter:
        for number in range(trials):
            with mlflow.start_run(run_name=f"trial {number:04d}", nested=True):
                mlflow.log_params(PARAMS)
                for epoch, metrics in enumerate(history(number, epochs), 1):
                    mlflow.log_metrics(metrics, step=epoch)
        return meter.measured(trials)


@contextmanager
def _fluent_study(uri: str) -> Iterator[Meter]:
    import mlflow

    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment(EXPERIMENT)
    with mlflow.start_run(run_name="study"):
        yield Meter()


def kerasweep(uri: str, trials: int, epochs: int) -> Measured:
    """Cohort by cohort; each waits for the one before to be written, as nothing else gives this a pace."""
    from kerasweep.records import Direction, Objective, Status, Trial
    from kerasweep.tracking import StudyHeader, open_tracker

    tracker = open_tracker(uri, EXPERIMENT)
    objective = Objective("val_loss", Direction.MINIMIZE)
    tracker.start(
        StudyHeader("study@00000001", "study", time.time(), objective, "{}", "", "/", 1, {"name": "none"}, {}, None)
    )
    tracker.flush()
    meter = Meter()
    for first in range(0, trials, COHORT):
        numbers = range(first, min(first + COHORT, trials))
        begun = [Trial(number, PARAMS, number, started=time.time()) for number in numbers]
        for trial in begun:
            tracker.begin_trial(trial)
        curves = [history(number, epochs) for number in numbers]
        for epoch in range(1, epochs + 1):
            for number, curve in zip(numbers, curves, strict=True):
                tracker.log_epochs(number, epoch, [curve[epoch - 1]])
        for trial, curve in zip(begun, curves, strict=True):
            best = objective.best(dict(enumerate((epoch["val_loss"] for epoch in curve), 1)))
            ended = replace(trial, status=Status.FINISHED, history=tuple(curve), epoch=best, seconds=1.0)
            tracker.end_trial(replace(ended, value=curve[best - 1]["val_loss"] if best else None))
        tracker.flush()
        meter.note_memory(numbers.stop)
    measured = meter.measured(trials)
    tracker.end("finished")
    tracker.close()
    return measured


WAYS: dict[str, Callable[[str, int, int], Measured]] = {
    "kerasweep": kerasweep,
    "a call an epoch": call_an_epoch,
    "a call a metric": call_a_metric,
}


# --- the measurement -------------------------------------------------------------------------------------------------


def measure(name: str, trials: int, epochs: int) -> Measured:
    """Runs one way in a process and on a store of its own, and looks whether all is there."""
    with tempfile.TemporaryDirectory(prefix="tracking-") as folder:
        uri = f"sqlite:///{folder}/mlruns/mlflow.db"
        command = [sys.executable, __file__, "--way", name, "--uri", uri]
        command += ["--trials", str(trials), "--epochs", str(epochs)]
        output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=folder).stdout
    measured = json.loads(output.splitlines()[-1])
    return Measured(**{**measured, "megabytes": {int(key): value for key, value in measured["megabytes"].items()}})


def prepare(uri: str) -> None:
    """A store as kerasweep creates it: everybody gets its write-ahead log."""
    from kerasweep.tracking import open_tracker

    open_tracker(uri, EXPERIMENT).close()


def check(uri: str, trials: int, epochs: int) -> None:
    """Every run is finished and has its last epoch, and one of them each of its values."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    runs: dict[str, Any] = {}
    token: str | None = ""
    while token is not None:
        page = client.search_runs([experiment.experiment_id], max_results=1000, page_token=token or None)
        runs |= {run.info.run_name: run for run in page}
        token = page.token or None
    for number in range(trials):
        run, last = runs[f"trial {number:04d}"], history(number, epochs)[-1]
        assert run.info.status == "FINISHED"
        assert {name: run.data.metrics[name] for name in METRICS} == last
        assert run.data.params == {name: str(value) for name, value in PARAMS.items()}
    for name in METRICS:
        logged = client.get_metric_history(runs[f"trial {trials - 1:04d}"].info.run_id, name)
        assert {each.step: each.value for each in logged} == {
            epoch: values[name] for epoch, values in enumerate(history(trials - 1, epochs), 1)
        }


def table(results: dict[str, Measured]) -> str:
    """Milliseconds a trial, each with its ratio to kerasweep."""

    def per_trial(measured: Measured, attribute: str) -> float:
        return float(getattr(measured, attribute)) / measured.trials * 1e3

    lines = [f"{'ms a trial':<18} {'trials':>7} {'wall':>8} {'CPU':>8} {'ratio':>6} {'in the driver':>14} {'ratio':>7}"]
    for name, measured in results.items():
        ratios = [
            f"{per_trial(measured, attribute) / per_trial(results['kerasweep'], attribute):.1f}"
            for attribute in ("cpu_seconds", "driver_seconds")
        ]
        lines.append(
            f"{name:<18} {measured.trials:>7} {per_trial(measured, 'seconds'):>8.1f} "
            f"{per_trial(measured, 'cpu_seconds'):>8.1f} {ratios[0]:>6} "
            f"{per_trial(measured, 'driver_seconds'):>14.2f} {ratios[1]:>7}"
        )
    return "\n".join([*lines, growth(results["kerasweep"])])


def growth(measured: Measured) -> str:
    """The memory after about 1,000 and after about 4,000 trials, where there were so many."""
    early = min(measured.megabytes, key=lambda trials: abs(trials - 1000))
    late = min(measured.megabytes, key=lambda trials: abs(trials - 4000))
    if early == late:
        return "memory: too few trials to see it grow"
    before, after = measured.megabytes[early], measured.megabytes[late]
    return f"memory: {before:.0f} MB after {early} trials, {after:.0f} MB after {late}: {after - before:+.0f} MB"


def save(results: dict[str, Measured], epochs: int) -> None:
    """Writes the measurements, and what they were made with."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    document = {
        "processor": models[0].partition(":")[2].strip() if models else "unknown",
        "versions": {"python": sys.version.split()[0], **{name: metadata.version(name) for name in PACKAGES}},
        "epochs": epochs,
        "metrics": len(METRICS),
        "measured": {name: asdict(each) for name, each in results.items()},
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(document, indent=1) + "\n")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--trials", type=int, default=4096, help=f"of kerasweep; the others record at most {SAMPLE}")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--save", action="store_true", help=f"write {RESULTS.name}")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)  # given to the processes that are measured
    parser.add_argument("--uri", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    if options.way:
        prepare(options.uri)
        measured = WAYS[options.way](options.uri, options.trials, options.epochs)
        check(options.uri, options.trials, options.epochs)
        print(json.dumps(asdict(measured)))
        return

    results = {}
    for name in WAYS:
        trials = options.trials if name == "kerasweep" else min(SAMPLE, options.trials)
        results[name] = measure(name, trials, options.epochs)
        print(f"{name}: {results[name].seconds:.1f} s", file=sys.stderr)
    print(table(results))
    if options.save:
        save(results, options.epochs)


if __name__ == "__main__":
    main()
