"""How good searches are for what they train: kerasweep's searchers and schedulers beside other libraries'.

Purpose: searches of learning curves that are known beforehand (the LCBench surrogate: MLPs on tabular data, 52 epochs),
         on a simulated clock, one by one and with 4 and 32 workers: the regret of the best trial against epochs and
         time. Every search may train 50 x 52 epochs; 20 seeds.
Command: .venv/bin/python benchmarks/search_quality.py [--methods …] [--tasks …] [--seeds 20] [--workers …] [--save]
         KERASWEEP_DATA names the folder that holds lcbench/.
Time:    under 10 minutes on two quiet cores; what was run before is not run again, also after an interrupt
Result:  a table for each number of workers; `--save` also writes benchmarks/results/search_quality.json and
         docs/images/search_quality.png

A method is `kerasweep:SEARCHER+SCHEDULER`, options in brackets and the size of a cohort after an @ if wanted
(`kerasweep:tpe(startup=5)+asha(grace=2)@27`), or a peer of `quality/methods.py`, which is driven as its own
documentation shows it.

The rules are the same for all. A trial that was paused goes on where it was, and costs its new epochs only. At any
moment the incumbent is the trial with the best value at the epoch that it was trained to; its regret is the best value
that is known for the task minus its own at full training. Means are over tasks and seeds, standard errors over seeds.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from measuring import RESULTS, keep_to, made_with, save
from quality.methods import BASELINE, DEFAULT, PEERS, way
from quality.runs import TRAININGS, benchmark, completed, jobs
from quality.summary import Row, summarise

PACKAGES = ("kerasweep", "onnxruntime", "optuna", "ray", "keras-tuner", "smac", "scikit-optimize", "numpy")
TASKS = ("126026", "167168", "189906")
SEEDS = 20
SLOW_SEEDS = 2
ROOT = RESULTS.parent.parent
IMAGE = ROOT / "docs" / "images" / "search_quality.png"


def table(rows: Sequence[Row], workers: int) -> str:
    """One number of workers, from the best to the worst."""
    chosen = [row for row in rows if row.workers == workers]
    width = max(len(row.method) for row in chosen)
    lines = [
        f"{workers} worker{'s' if workers > 1 else ''}",
        f"{'':<{width}} {'regret':>8} {'s.e.':>6} {'speed':>6} {'in time':>8} {'trials':>7} {'full':>5} {'seeds':>6} "
        f"{'CPU s':>6}",
    ]
    for row in chosen:
        error = "-" if row.error is None else f"{row.error:.2f}"
        lines.append(
            f"{row.method:<{width}} {row.regret:>8.2f} {error:>6} {_times(row.speed):>6} "
            f"{_times(row.speed_in_time):>8} {row.trials:>7.0f} {row.full:>5.0f} {row.seeds:>6} {row.cpu_seconds:>6.2f}"
        )
    return "\n".join(lines)


def _times(speed: float | None) -> str:
    return "never" if speed is None else f"{speed:.1f}x"


def notes(methods: Sequence[str], slow_seeds: int) -> str:
    """How the columns are to be read."""
    text = (
        "regret: points of accuracy at the end; speed: epochs of the whole budget by those that the method needs to be "
        "as good as random search at its end; in time: the same on the clock; full: trials trained to the last epoch"
    )
    slow = [method for method in methods if way(method).slow]
    if slow:
        text += f"\n{', '.join(slow)}: too slow for more than {slow_seeds} seeds and one worker"
    return text


def document(rows: Sequence[Row], tasks: Sequence[str], cores: int) -> dict[str, object]:
    """What is saved, with the regret after each full training's worth of epochs."""
    return {
        **made_with(PACKAGES, cores),
        "tasks": {task: {"name": benchmark(task).name, "best": benchmark(task).facts.best} for task in tasks},
        "full_trainings": TRAININGS,
        "rows": [
            {
                "method": row.method,
                "workers": row.workers,
                "seeds": row.seeds,
                "regret": round(row.regret, 4),
                "standard_error": None if row.error is None else round(row.error, 4),
                "speed": None if row.speed is None else round(row.speed, 3),
                "speed_in_time": None if row.speed_in_time is None else round(row.speed_in_time, 3),
                "trials": round(row.trials, 1),
                "full_trials": round(row.full, 1),
                "time": round(row.time, 2),
                "cpu_seconds": round(row.cpu_seconds, 3),
                "regret_at_full_trainings": [round(float(value), 3) for value in row.curves["epochs"][51::52]],
            }
            for row in rows
        ],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = _parser()
    options = parser.parse_args(arguments)
    keep_to(options.cores)
    methods = list(dict.fromkeys([BASELINE, *options.methods]))
    try:
        wanted = list(jobs(methods, options.tasks, options.workers, options.seeds, options.slow_seeds))
        kept = completed(wanted, options.cache / "runs.jsonl", options.cores)
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))
    rows = summarise({job: kept.runs[job] for job in wanted}, kept.seconds, options.tasks)
    print(f"tasks {', '.join(options.tasks)}; {TRAININGS} full trainings\n")
    for workers in options.workers:
        print(f"{table(rows, workers)}\n")
    print(notes(methods, options.slow_seeds))
    if options.save:
        from quality.figure import draw

        save("search_quality", document(rows, options.tasks, options.cores))
        draw(rows, IMAGE)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    known = f"kerasweep:SEARCHER+SCHEDULER, {', '.join(PEERS)}"
    parser.add_argument("--methods", nargs="+", default=list(DEFAULT), help=f"{known}; random search always runs too")
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), help="of LCBench, synthetic-curves, synthetic-table")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--slow-seeds", type=int, default=SLOW_SEEDS, help="of the peers that take long")
    parser.add_argument("--cores", type=int, default=2, help="processes, each on one core")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 4, 32])
    parser.add_argument(
        "--cache", type=Path, default=ROOT / "build" / "search_quality", help="folder that keeps the runs"
    )
    parser.add_argument("--save", action="store_true", help=f"write {RESULTS.name}/search_quality.json and the figure")
    return parser


if __name__ == "__main__":
    main()
