"""What many runs say together: means over tasks, standard errors over seeds, and speed against random search."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from quality.benchmark import Array
from quality.methods import BASELINE
from quality.runs import TRAININGS, Job, benchmark
from quality.simulation import Run, sampled

Axis = Literal["epochs", "seconds"]

# Both axes count full trainings: epochs by ``max_epochs``, seconds by the task's mean full training, shared by all
# workers. On the second one the end is the run's own; what is asked for later stays as it was.
PLACES: Mapping[Axis, Array] = {
    "epochs": np.linspace(0, TRAININGS, 2601)[1:],
    "seconds": np.geomspace(0.05, 20 * TRAININGS, 2600),
}


@dataclass(frozen=True)
class Row:
    """One method with so many workers.

    Attributes:
        method: its name.
        workers: of the simulation.
        seeds: that all tasks were run with; others are left out.
        regret: at the end, the mean over tasks and seeds.
        error: the standard error of that mean over seeds (the tasks are given); None of a single seed.
        speed: epochs of the whole budget, by those that the mean curve needs to be as good as random search at its
            end, with the same seeds; 1 for random search itself, None if it never is.
        speed_in_time: the time that random search takes, by the time after which the mean curve is as good.
        trials: begun, on average.
        full: of them trained fully.
        time: at the end, in full trainings, on average.
        cpu_seconds: of a run, on average: what the method itself and the surrogate take.
        curves: the mean regret at ``PLACES`` of each axis.
        errors: its standard errors.
    """

    method: str
    workers: int
    seeds: int
    regret: float
    error: float | None
    speed: float | None
    speed_in_time: float | None
    trials: float
    full: float
    time: float
    cpu_seconds: float
    curves: Mapping[Axis, Array]
    errors: Mapping[Axis, Array]


def summarise(runs: Mapping[Job, Run], cpu_seconds: Mapping[Job, float], tasks: Sequence[str]) -> list[Row]:
    """The rows of the table, by workers and then from the best to the worst.

    Args:
        runs: of some methods on all of these tasks, and of random search with the same workers and seeds.
        cpu_seconds: that they took.
        tasks: names of benchmarks.
    """
    grouped: dict[tuple[str, int], dict[int, list[Job]]] = defaultdict(lambda: defaultdict(list))
    for job in runs:
        if job.task in tasks:
            grouped[job.method, job.workers][job.seed].append(job)
    complete = {
        key: {seed: jobs for seed, jobs in sorted(by_seed.items()) if len(jobs) == len(tasks)}
        for key, by_seed in grouped.items()
    }
    rows = [
        _row(by_seed, complete.get((BASELINE, workers), {}), runs, cpu_seconds)
        for (_, workers), by_seed in complete.items()
        if by_seed
    ]
    return sorted(rows, key=lambda row: (row.workers, row.regret))


def _row(
    by_seed: Mapping[int, Sequence[Job]],
    baseline: Mapping[int, Sequence[Job]],
    runs: Mapping[Job, Run],
    cpu_seconds: Mapping[Job, float],
) -> Row:
    jobs = [job for each in by_seed.values() for job in each]
    curves = {axis: _curves(by_seed, runs, axis) for axis in PLACES}
    finals = np.array([np.mean([runs[job].changes[-1].regret for job in each]) for each in by_seed.values()])
    shared = {seed: baseline[seed] for seed in by_seed if seed in baseline}
    speeds: dict[Axis, float | None] = dict.fromkeys(PLACES)
    if len(shared) == len(by_seed):
        goal = float(np.mean([runs[job].changes[-1].regret for each in shared.values() for job in each]))
        whole = {"epochs": float(TRAININGS), "seconds": _mean_time(shared, runs)}
        for axis, each in curves.items():
            reached = np.flatnonzero(each.mean(axis=0) <= goal + 1e-9)
            speeds[axis] = whole[axis] / float(PLACES[axis][reached[0]]) if len(reached) else None
    if jobs[0].method == BASELINE:
        speeds = dict.fromkeys(PLACES, 1.0)
    return Row(
        method=jobs[0].method,
        workers=jobs[0].workers,
        seeds=len(by_seed),
        regret=float(finals.mean()),
        error=float(finals.std(ddof=1) / np.sqrt(len(finals))) if len(finals) > 1 else None,
        speed=speeds["epochs"],
        speed_in_time=speeds["seconds"],
        trials=float(np.mean([runs[job].trials for job in jobs])),
        full=float(np.mean([runs[job].full for job in jobs])),
        time=_mean_time(by_seed, runs),
        cpu_seconds=float(np.mean([cpu_seconds[job] for job in jobs])),
        curves={axis: each.mean(axis=0) for axis, each in curves.items()},
        errors={
            axis: each.std(axis=0, ddof=min(1, len(each) - 1)) / np.sqrt(len(each)) for axis, each in curves.items()
        },
    )


def _curves(by_seed: Mapping[int, Sequence[Job]], runs: Mapping[Job, Run], axis: Axis) -> Array:
    """The mean regret over tasks, ``(seeds, places)``."""
    return np.array(
        [
            np.mean([sampled(runs[job].changes, PLACES[axis] * _unit(job, axis), axis) for job in jobs], axis=0)
            for jobs in by_seed.values()
        ]
    )


def _unit(job: Job, axis: Axis) -> float:
    """Epochs or seconds of a full training on average."""
    searched = benchmark(job.task)
    return float(searched.max_epochs) if axis == "epochs" else searched.facts.seconds / job.workers


def _mean_time(by_seed: Mapping[int, Sequence[Job]], runs: Mapping[Job, Run]) -> float:
    return float(np.mean([runs[job].seconds / _unit(job, "seconds") for jobs in by_seed.values() for job in jobs]))
