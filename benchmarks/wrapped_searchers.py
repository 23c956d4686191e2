"""Searchers that wrap a library beside that library, used as its own documentation shows it.

Purpose: the same search, once by a searcher of kerasweep and once by the library that it wraps: 50 trials on tasks of
         LCBench, one worker. A searcher has to be as good as what it wraps.
Command: .venv/bin/python benchmarks/wrapped_searchers.py [--pairs …] [--tasks …] [--seeds 40] [--save]
         KERASWEEP_DATA names the folder that holds lcbench/.
Time:    about 20 minutes on two quiet cores; what was run before is not run again, also after an interrupt
Result:  a table; `--save` also writes benchmarks/results/wrapped_searchers.json

Of each trial one value is known, that at full training, so that both sides learn the same (of a curve, kerasweep takes
the best epoch and Optuna the last one). The regret is the best value that is known for the task minus the best found.
The two sides draw different random numbers from the same seed, so that the difference has the standard error of two
independent means over seeds.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from measuring import RESULTS, keep_to, made_with, save
from quality.lcbench import DEVELOPMENT_TASKS
from quality.methods import OURS, way
from quality.runs import FINAL, TRAININGS, Job, benchmark, completed, jobs
from quality.simulation import Run
from quality.summary import Row, summarise

PACKAGES = ("kerasweep", "deap", "hyperopt", "keras-tuner", "numpy", "onnxruntime", "optuna", "scikit-optimize")
SEEDS = 40
SLOW_SEEDS = 3
ROOT = RESULTS.parent.parent

# A searcher of kerasweep, and the method of the library that it wraps.
PAIRS = {
    "tpe": "optuna:tpe",
    "cmaes": "optuna:cmaes",
    "hyperopt": "hyperopt:tpe",
    "hyperopt(algorithm=anneal)": "hyperopt:anneal",
    "evolution": "deap:simple",
    "gp": "skopt:gp",
    "forest": "skopt:extra_trees",
    "forest(trees=random_forest)": "skopt:random_forest",
    "keras_tuner": "keras_tuner:bayesian",
}


@dataclass(frozen=True)
class Pair:
    """A searcher, and the library that it wraps, with the same tasks and seeds."""

    searcher: Row
    library: Row

    @property
    def difference(self) -> float:
        """Of the regrets; below 0 if the searcher's is the smaller one."""
        return self.searcher.regret - self.library.regret

    @property
    def error(self) -> float:
        """The standard error of the difference; of a single seed there is none: NaN."""
        return math.hypot(*(math.nan if row.error is None else row.error for row in (self.searcher, self.library)))

    @property
    def as_good(self) -> bool:
        """Whether the searcher is no worse than the library, within one standard error if there is one."""
        return self.difference <= (0.0 if math.isnan(self.error) else self.error)


def wanted(searchers: Sequence[str], tasks: Sequence[str], seeds: int, slow_seeds: int) -> dict[str, list[Job]]:
    """Both sides' runs of each pair; those of a slow library have fewer seeds, on both sides."""
    return {
        searcher: list(jobs((OURS + searcher, PAIRS[searcher]), tasks, (1,), count, count))
        for searcher in searchers
        for count in [slow_seeds if way(PAIRS[searcher]).slow else seeds]
    }


def pair(runs: Mapping[Job, Run], cpu_seconds: Mapping[Job, float], tasks: Sequence[str]) -> Pair:
    """What the runs of one pair say together.

    Args:
        runs: of both sides.
        cpu_seconds: that they took.
        tasks: names of benchmarks, all of which were run.
    """
    rows = {row.method.startswith(OURS): row for row in summarise(runs, cpu_seconds, tasks)}
    return Pair(rows[True], rows[False])


def table(pairs: Sequence[Pair]) -> str:
    """A line for each pair."""
    width = max(len(f"{each.searcher.method} {each.library.method}") for each in pairs)
    lines = [f"{'':<{width}} {'regret':>13} {'library':>13} {'difference':>13} {'seeds':>6} {'CPU s':>6} {'its':>6}"]
    for each in pairs:
        ours, theirs = each.searcher, each.library
        figures = [
            f"{value:.2f} ± {error:.2f}"
            for value, error in (
                (ours.regret, ours.error or math.nan),
                (theirs.regret, theirs.error or math.nan),
                (each.difference, each.error),
            )
        ]
        lines.append(
            f"{f'{ours.method} {theirs.method}':<{width}} {figures[0]:>13} {figures[1]:>13} {figures[2]:>13} "
            f"{ours.seeds:>6} {ours.cpu_seconds:>6.1f} {theirs.cpu_seconds:>6.1f}{'' if each.as_good else '  worse'}"
        )
    return "\n".join(lines)


def document(pairs: Sequence[Pair], tasks: Sequence[str], cores: int) -> dict[str, object]:
    """What is saved."""
    return {
        **made_with(PACKAGES, cores),
        "tasks": {task: benchmark(task).name for task in tasks},
        "full_trainings": TRAININGS,
        "pairs": [
            {
                "searcher": each.searcher.method,
                "library": each.library.method,
                "seeds": each.searcher.seeds,
                "regret": round(each.searcher.regret, 4),
                "library_regret": round(each.library.regret, 4),
                "difference": round(each.difference, 4),
                "standard_error": round(each.error, 4),
                "cpu_seconds": round(each.searcher.cpu_seconds, 2),
                "library_cpu_seconds": round(each.library.cpu_seconds, 2),
            }
            for each in pairs
        ],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = _parser()
    options = parser.parse_args(arguments)
    keep_to(options.cores)
    try:
        todo = wanted(options.pairs, options.tasks, options.seeds, options.slow_seeds)
        kept = completed([job for each in todo.values() for job in each], options.cache / "runs.jsonl", options.cores)
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))
    pairs = [pair({job: kept.runs[job] for job in each}, kept.seconds, options.tasks) for each in todo.values()]
    print(f"tasks {', '.join(options.tasks)}; {TRAININGS} full trainings, points of accuracy\n\n{table(pairs)}")
    if options.save:
        save("wrapped_searchers", document(pairs, options.tasks, options.cores))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pairs", nargs="+", choices=PAIRS, default=list(PAIRS), help="by their searchers")
    parser.add_argument("--tasks", nargs="+", default=[f"{task}{FINAL}" for task in DEVELOPMENT_TASKS])
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--slow-seeds", type=int, default=SLOW_SEEDS, help="of the pairs that take long")
    parser.add_argument("--cores", type=int, default=2, help="processes, each on one core")
    parser.add_argument("--cache", type=Path, default=ROOT / "build" / "wrapped_searchers", help="keeps the runs")
    parser.add_argument("--save", action="store_true", help=f"write {RESULTS.name}/wrapped_searchers.json")
    return parser


if __name__ == "__main__":
    main()
