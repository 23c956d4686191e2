"""What a search costs besides the training: the same trials with kerasweep and with what a user would pick instead.

Purpose: 12 configurations of the California housing network, 10 epochs each, on two cores, as whole processes: from
         starting Python to the best value known, imports, start-up and shutdown included. Nobody stops a trial early,
         so everybody trains the same number of steps, of the same configurations, on the same rows.
Command: .venv/bin/python benchmarks/overhead.py [--repeats 3] [--save]
Time:    about 8 minutes a repeat
Result:  a table; `--save` also writes benchmarks/results/overhead.json

`peers.py` says what the others do. kerasweep trains every trial by itself here (`cohort: off`), as they do: what
training together saves is for `end_to_end.py` to say. Besides, it records every trial in MLflow, with figures and the
weights of the best.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import peers
from measuring import RESULTS, adopt_orphans, keep_to, made_with, save
from peers import CORES, PEERS, Work, declared, prepare


def kerasweep(work: Work) -> list[float]:
    """A study on the declaration that everybody's configurations come from."""
    from kerasweep import Space, Study
    from kerasweep.spec import SpaceSpec

    sections = json.loads((work.folder / "pipeline.yaml").read_text())
    space = Space(SpaceSpec.model_validate(sections.pop("space")))
    with Study(**sections, space=space) as study:
        study.run()
        trials = study.trials
    if list(trials["status"]) != ["finished"] * len(work.configurations):
        raise RuntimeError(f"kerasweep must finish {len(work.configurations)} trials. Received: {trials['status']}")
    if trials[list(work.configurations[0])].to_dict("records") != work.configurations:
        raise RuntimeError("kerasweep must train the configurations of the others. Received: other ones")
    return list(trials["value"])


WAYS: dict[str, Callable[[Work], list[float]]] = {"kerasweep": kerasweep, **PEERS}


@dataclass(frozen=True)
class Measured:
    """One process.

    Attributes:
        seconds: of wall time.
        cpu_seconds: of it and of all processes below it.
        best: the lowest validation loss.
    """

    seconds: float
    cpu_seconds: float
    best: float


def measure(name: str, work: Work) -> Measured:
    """Runs one way in a process of its own."""
    whole, losses = peers.measure(Path(peers.__file__ if name in PEERS else __file__).resolve(), name, work)
    return Measured(whole.seconds, whole.cpu_seconds, min(losses))


def table(results: dict[str, list[Measured]]) -> str:
    """Medians, in the order of time, each with its ratio to kerasweep."""

    def median(name: str, attribute: str) -> float:
        return float(statistics.median(getattr(each, attribute) for each in results[name]))

    lines = [f"{'':<20} {'seconds':>8} {'CPU seconds':>12} {'ratio':>6} {'best val_loss':>14}"]
    for name in sorted(results, key=lambda name: median(name, "seconds")):
        ratio = f"{median(name, 'seconds') / median('kerasweep', 'seconds'):.2f}" if "kerasweep" in results else "-"
        lines.append(
            f"{name:<20} {median(name, 'seconds'):>8.1f} {median(name, 'cpu_seconds'):>12.1f} {ratio:>6} "
            f"{median(name, 'best'):>14.4f}"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=1, help="of everything, in turn; the table shows medians")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--only", choices=WAYS, action="append", help="measure this one; may be repeated")
    parser.add_argument("--save", action="store_true", help=f"write {RESULTS.name}/overhead.json")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)  # given to the processes that are measured
    options = parser.parse_args(arguments)
    if options.work:
        print(json.dumps(WAYS[options.only[0]](Work.read(options.work))))
        return

    os.environ.pop("MLFLOW_TRACKING_URI", None)  # kerasweep's own store is part of what it does
    keep_to(CORES)
    adopt_orphans()
    results: dict[str, list[Measured]] = {name: [] for name in options.only or WAYS}
    with tempfile.TemporaryDirectory(prefix="overhead-") as scratch:
        declaration = declared("overhead", options.trials, options.epochs, options.seed)
        work = prepare(Path(scratch), declaration | {"resources": {"cpus": CORES, "cohort": "off"}})
        for repeat in range(options.repeats):
            for name, repeats in results.items():
                repeats.append(measure(name, work))
                print(f"{repeat + 1}/{options.repeats} {name}: {repeats[-1].seconds:.1f} s", file=sys.stderr)
    print(table(results))
    if options.save:
        document = {
            **made_with(peers.PACKAGES, CORES),
            "trials": len(work.configurations),
            "epochs": work.epochs,
            "seed": work.seed,
            "configurations": work.configurations,
            "measured": {name: [asdict(each) for each in repeats] for name, repeats in results.items()},
        }
        save("overhead", document)


if __name__ == "__main__":
    main()
