"""How soon searches find good networks on real data: five searchers on one pipeline, with several seeds.

Purpose: `pipelines/california_housing.yaml` or `fashion_mnist.yaml`, as it stands but for searcher and scheduler:
         random, tpe, gp and auto (with the scheduler auto where it is auto, else with all trials trained to their
         end), and random with hyperband. The best validation value against model-epochs and against wall time. Where
         the scheduler stops trials early there are as many more of them as make the same number of planned epochs.
Command: .venv/bin/python benchmarks/real_search.py [--pipeline …] [--seeds 5] [--trials N] [--rows N] [--save]
         `--rows` takes the first rows of a built-in dataset only; KERASWEEP_DATA names the folder of the image sets.
Time:    about 2 minutes for each searcher and seed of California housing on two quiet cores
Result:  a table; `--save` also writes benchmarks/results/real_search_PIPELINE.json and
         docs/images/real_search_PIPELINE.png

Every study is a process of its own, so that each pays for its imports and for Ray. What was run before is not run
again, until the code or the pipeline is another one (`build/real_search/`).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from measuring import RESULTS, keep_to, made_with, save
from quality.methods import way as way_of

PACKAGES = ("kerasweep", "tensorflow", "keras", "ray", "optuna", "scikit-optimize")
ROOT = RESULTS.parent.parent

# Members of a cohort, as far as the epochs that rungs plan depend on them: what hyperband makes its largest bracket.
_COMPARED = 27

WAYS = {
    "random": ("random", "none"),
    "tpe": ("tpe", "none"),
    "gp": ("gp", "none"),
    "hyperband": ("random", "hyperband"),
    "auto": ("auto", "auto"),
}


class Watch:
    """An observer that notes each improvement: epochs, seconds, value."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, float, float]] = []
        self.epochs = 0
        self.seconds = 0.0

    def progress(self, progress: Any) -> None:
        self.epochs, self.seconds = progress.epochs, progress.seconds
        best = progress.best
        if best is not None and best.value is not None and (not self.steps or self.steps[-1][2] != best.value):
            self.steps.append((progress.epochs, progress.seconds, best.value))

    def stage(self, name: str, detail: str) -> None:
        """Of no interest."""

    def trial_ended(self, trial: Any) -> None:
        """Of no interest."""

    def note(self, message: str) -> None:
        """Of no interest."""


@dataclass(frozen=True)
class Work:
    """What all ways search.

    Attributes:
        pipeline: a file.
        trials: of random search; None for the pipeline's.
        rows: of the data, from its beginning; None for all.
    """

    pipeline: Path
    trials: int | None
    rows: int | None

    def planned_like_random(self, way: str) -> Work:
        """The same with the trials that plan as many epochs as random search's, as far as rungs plan them."""
        from kerasweep.scheduling import expected_epochs
        from kerasweep.spec import load_pipeline

        search = load_pipeline(self.pipeline, [f"search.scheduler={WAYS[way][1]}"]).spec.search
        wanted = (self.trials or search.trials) * search.max_epochs
        trials = (self.trials or search.trials) - 1
        planned = 0.0
        while planned < wanted:
            trials += 1
            planned, _ = expected_epochs(search.scheduler, trials, search.max_epochs, _COMPARED)
        return replace(self, trials=trials)

    def settings(self, folder: Path) -> list[str]:
        """What differs from the pipeline; data that are cut off are written to the folder."""
        settings = [f"search.trials={self.trials}"] if self.trials else []
        if self.rows:
            import numpy as np

            from kerasweep.data.named import read_named
            from kerasweep.spec import load_pipeline

            data = load_pipeline(self.pipeline).spec.data
            raw = read_named(data)
            np.savez(folder / "data.npz", x=raw.x[: self.rows], y=raw.y[: self.rows])
            settings.append(f"data={{npz: {folder}/data.npz, task: {raw.task}, seed: {data.seed}}}")
        return settings


def search(work: Work, way: str, seed: int) -> None:
    """One study, in this process; prints what was seen as JSON."""
    from kerasweep.spec import load_pipeline
    from kerasweep.study.origin import Destination, Origin
    from kerasweep.study.run import StudyRun

    searcher, scheduler = WAYS[way]
    watch = Watch()
    with tempfile.TemporaryDirectory() as folder:
        settings = [f"search.searcher={searcher}", f"search.scheduler={scheduler}", f"search.seed={seed}"]
        loaded = load_pipeline(work.pipeline, settings + work.settings(Path(folder)))
        store = f"sqlite:///{folder}/mlflow.db"
        run = StudyRun(
            loaded.spec, Origin(loaded.directory, loaded.text), Destination(tracking_uri=store, observer=watch)
        )
        try:
            best = run.search()
        finally:
            run.close()
    objective = loaded.spec.objective
    found = {"best": best.value, "epochs": watch.epochs, "seconds": watch.seconds, "steps": watch.steps}
    print(json.dumps({**found, "metric": objective.metric, "direction": objective.direction}))


def searched(work: Work, way: str, seed: int) -> dict[str, Any]:
    """The same in a process of its own, or what is kept of it."""
    code = way_of("kerasweep:auto+auto").fingerprint()
    key = json.dumps([work.pipeline.read_text(), work.trials, work.rows, WAYS[way], seed, code])
    kept = ROOT / "build" / "real_search" / f"{hashlib.blake2b(key.encode(), digest_size=8).hexdigest()}.json"
    if not kept.exists():
        command = [sys.executable, __file__, "--pipeline", str(work.pipeline), "--one", way, str(seed)]
        command += ["--trials", str(work.trials)] if work.trials else []
        command += ["--rows", str(work.rows)] if work.rows else []
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(done.stdout.strip().splitlines()[-1])
    found: dict[str, Any] = json.loads(kept.read_text())
    return found


def rows(results: dict[str, list[dict[str, Any]]]) -> list[str]:
    """The table."""
    sign = 1 if results["random"][0]["direction"] == "minimize" else -1
    random = statistics.mean(run["best"] for run in results["random"])
    lines = [f"{'':<10} {'best':>8} {'s.e.':>8} {'epochs':>8} {'seconds':>8} {'epochs to random':>17}"]
    for way, runs in results.items():
        bests = [run["best"] for run in runs]
        error = statistics.stdev(bests) / len(bests) ** 0.5 if len(bests) > 1 else float("nan")
        reached = [next((step[0] for step in run["steps"] if sign * step[2] <= sign * random), None) for run in runs]
        known = [epochs for epochs in reached if epochs is not None]
        to_random = f"{statistics.mean(known):.0f} ({len(known)} of {len(runs)})" if known else "-"
        epochs = statistics.mean(run["epochs"] for run in runs)
        seconds = statistics.mean(run["seconds"] for run in runs)
        lines.append(
            f"{way:<10} {statistics.mean(bests):>8.4f} {error:>8.4f} {epochs:>8.0f} {seconds:>8.1f} {to_random:>17}"
        )
    return lines


def draw(results: dict[str, list[dict[str, Any]]], file: Path) -> None:
    """The mean of the best value so far, against epochs and against seconds."""
    import numpy as np

    from kerasweep.report.style import FONT, MUTED, new_figure, quiet

    figure = new_figure(11.0, 4.0)
    panels = figure.subplots(1, 2, sharey=True)
    for axis, (axes, label) in enumerate(zip(panels, ("model-epochs", "seconds of search"), strict=True)):
        for way, runs in results.items():
            last = max(run["epochs" if axis == 0 else "seconds"] for run in runs)
            first = max(run["steps"][0][axis] for run in runs)
            places = np.geomspace(max(first, 1e-3), last, 200)
            lines = [_at(run["steps"], places, axis) for run in runs]
            mean = np.mean(lines, axis=0)
            error = np.std(lines, axis=0, ddof=1) / len(lines) ** 0.5 if len(lines) > 1 else np.zeros(len(mean))
            (drawn,) = axes.plot(places, mean, label=way)
            axes.fill_between(places, mean - error, mean + error, alpha=0.15, color=drawn.get_color(), linewidth=0)
        quiet(axes)
        axes.set_xscale("log")
        axes.set_xlabel(label, color=MUTED, fontsize=FONT)
    one = results["random"][0]
    panels[0].set_ylabel(f"best {one['metric']} so far", color=MUTED, fontsize=FONT)
    panels[0].legend(frameon=False)
    finals = [run["best"] for runs in results.values() for run in runs]
    low, high = min(finals), max(finals)
    room = 3 * (high - low)  # the beginnings are far off
    panels[0].set_ylim(*((low * 0.99, high + room) if one["direction"] == "minimize" else (low - room, high * 1.005)))
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=100)


def _at(steps: Sequence[Sequence[float]], places: Any, axis: int) -> Any:
    import numpy as np

    index = np.searchsorted([step[axis] for step in steps], places, side="right") - 1
    return np.array([steps[max(0, at)][2] for at in index])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pipeline", type=Path, default=ROOT / "pipelines" / "california_housing.yaml")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trials", type=int, help="of random search; else the pipeline's")
    parser.add_argument("--rows", type=int, help="of a built-in dataset; all if left out")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), help="random is always one of them")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--save", action="store_true")
    parser.add_argument("--one", nargs=2, metavar=("WAY", "SEED"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    keep_to(arguments.cores)
    work = Work(arguments.pipeline, arguments.trials, arguments.rows)
    if arguments.one:
        way, seed = arguments.one
        search(work, way, int(seed))
        return
    results: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS if way in {"random", *arguments.ways}}
    for seed in range(1, arguments.seeds + 1):
        for way in results:
            found = searched(work.planned_like_random(way), way, seed)
            results[way].append(found)
            print(
                f"seed {seed}, {way}: {found['best']:.4f} in {found['epochs']} epochs, {found['seconds']:.0f} s",
                flush=True,
            )
    print("\n".join(rows(results)))
    if arguments.save:
        name = f"real_search_{arguments.pipeline.stem}"
        summary = {
            way: [{key: run[key] for key in ("best", "epochs", "seconds")} for run in runs]
            for way, runs in results.items()
        }
        told = {"trials": work.trials, "rows": work.rows, "runs": summary}
        save(name, {**made_with(PACKAGES, arguments.cores), **told})
        draw(results, ROOT / "docs" / "images" / f"{name}.png")


if __name__ == "__main__":
    main()
