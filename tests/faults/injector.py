"""Kills what a study runs on, at random moments, and sees whether that changed anything.

A study runs undisturbed first. Then the same one runs again and again, each time in another folder, and while it does
its driver, its workers, Ray's nodes, the MLflow server and the server's database are killed (`kill -9`; an immediate
stop of PostgreSQL) and started again. A study that has no driver is resumed, until it is finished. What it left behind
must be what the undisturbed one left: `verdict.COMPARED` says what that is.

Command: python tests/faults/injector.py --kills 200 --seed 1 --minutes 60 --report benchmarks/results/faults.json
Time:    about 20 seconds a kill on two busy cores
Result:  the kills by kind, and every difference; exit code 1 if there is any
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))  # as pytest does for conftest.py

import psutil
from lab import SPEC, Driver, Lab, Study, lab
from verdict import COMPARED, Left, differences, examine

# How often each kind is killed, and when: at any time, when the journal grows, when a state or weights are written, or
# when the search is over and its winner is delivered.
KINDS = {"driver": 5, "worker": 5, "server": 3, "database": 5, "node": 2}
MOMENTS = {"any time": 4, "journal": 4, "state": 3, "delivery": 3}

# A third death in a cohort separates it, which is another way of training, and so are nodes' deaths their workers'.
_MOST_DEATHS = 2

_LOOK_SECONDS = 0.005
_PATIENCE_SECONDS = 10.0  # for a moment to come
_HANG_SECONDS = 300.0
_LEFTOVER_SECONDS = 60.0
_MOST_KILLS = 25  # of one study, so that it ends


@dataclass
class Report:
    """What was done, and what came of it.

    Attributes:
        kills: by kind.
        moments: likewise, by when.
        differences: from the undisturbed study, and whatever else went wrong.
        studies: that were disturbed and finished.
        drivers: that were started.
        resumes: of these, those that went on with a study.
        refusals: drivers that ended with an error while something was away.
        trials: that were compared.
        points: of their curves.
    """

    kills: Counter[str] = field(default_factory=Counter)
    moments: Counter[str] = field(default_factory=Counter)
    differences: list[str] = field(default_factory=list)
    studies: int = 0
    drivers: int = 0
    resumes: int = 0
    refusals: int = 0
    trials: int = 0
    points: int = 0

    def to_json(self) -> dict[str, Any]:
        counts = {name: getattr(self, name) for name in ("studies", "drivers", "resumes", "refusals")}
        compared = {"what": list(COMPARED), "trials": self.trials, "points of curves": self.points}
        return {
            "kills": {"all": self.kills.total(), **dict(sorted(self.kills.items()))},
            "moments": dict(sorted(self.moments.items())),
            **counts,
            "compared": compared,
            "differences": self.differences,
        }


class Injector:
    """Disturbs studies.

    Args:
        lab: where they run.
        seed: of what is killed, and when.
        kills: so many in all.
        until: when the last study may be disturbed, on the monotonic clock.
        say: is told how it goes.
    """

    def __init__(self, lab: Lab, seed: int, kills: int, until: float, say: Callable[[str], object]) -> None:
        self.report = Report()
        self._lab = lab
        self._random = random.Random(seed)
        self._kills = kills
        self._until = until
        self._say = say
        self._deaths = 0  # of workers of the driver that runs
        self._family: list[psutil.Process] = []  # of drivers that were killed
        self._outages = 0  # that this driver has seen
        self._left_here = 0  # kills of the study that runs

    def run(self) -> Report:
        """Runs the undisturbed study, then disturbs others until all kills are done."""
        undisturbed = Study(self._lab, 0)
        driver = undisturbed.start()
        self._end(undisturbed, driver)
        if driver.code != 0:
            raise RuntimeError(f"the undisturbed study must finish. Received: {driver.messages}")
        expected = examine(self._lab.server.uri, undisturbed.experiment, undisturbed.folder)
        self.report.differences += [f"undisturbed: {problem}" for problem in expected.problems]
        while self._goes_on:
            self._disturb(Study(self._lab, self.report.studies + 1), expected)
        return self.report

    @property
    def _goes_on(self) -> bool:
        return self.report.kills.total() < self._kills and time.monotonic() < self._until

    def _disturb(self, study: Study, expected: Left) -> None:
        before, self._left_here = self.report.kills.total(), _MOST_KILLS
        while True:
            driver = self._start(study)
            killed = self._disturb_driver(study, driver)
            if killed:
                continue
            if driver.code == 0:
                break
            if not self._outages:
                self._wrong(study, f"a driver ended with {driver.code}: {driver.messages[-2000:]}")
                break
            self.report.refusals += 1
            self._say(f"{study.experiment}: refused: {driver.messages.splitlines()[-1][:300]}")
            self._lab.recover()
        self._lab.recover()
        self.report.studies += 1
        self.report.differences += self._left(study, expected)
        self._say(
            f"{study.experiment}: {self.report.kills.total() - before} kills, {len(study.drivers)} drivers; in all "
            f"{dict(self.report.kills)}, {len(self.report.differences)} differences"
        )

    def _start(self, study: Study) -> Driver:
        if study.drivers:
            time.sleep(self._random.choice([0.0, 0.0, 1.0]) * self._random.random())
        while self._lab.away("node"):  # a driver takes the cluster as it finds it
            time.sleep(0.1)
        self._deaths, self._outages = 0, len(self._lab.outages)
        driver = study.start()
        self._say(f"{study.experiment}: driver {len(study.drivers)} {'resumes' if driver.resumes else 'begins'}")
        self.report.drivers += 1
        self.report.resumes += driver.resumes
        return driver

    def _disturb_driver(self, study: Study, driver: Driver) -> bool:
        """Disturbs a driver until it has ended; whether it was killed."""
        while self._goes_on and self._left_here:
            moment = self._drawn(MOMENTS)
            if not self._wait(study, driver, moment):
                return False
            kind = self._drawn(KINDS)
            if self._kill(study, driver, kind):
                self.report.kills[kind] += 1
                self.report.moments[moment] += 1
                self._left_here -= 1
                self._say(f"{study.experiment}: killed {kind} at {moment}")
                if kind == "driver":
                    return True
        self._end(study, driver)
        return False

    def _drawn(self, weights: dict[str, int]) -> str:
        return self._random.choices(list(weights), list(weights.values()))[0]

    def _wait(self, study: Study, driver: Driver, moment: str) -> bool:
        """Waits for a moment; False if the driver ended before it came."""
        until = time.monotonic() + _PATIENCE_SECONDS
        delay = self._random.random()
        if moment == "any time":
            until = time.monotonic() + _PATIENCE_SECONDS * delay
            came: Callable[[], bool] = lambda: False  # noqa: E731  # one of four
        elif moment == "journal":
            lines, size = self._random.randrange(1, 12), study.written()
            seen = {size}

            def came() -> bool:
                seen.add(study.written())
                return len(seen) > lines

        elif moment == "state":
            states = study.states()

            def came() -> bool:
                return not study.states() <= states

        else:

            def came() -> bool:
                return '"event":"searched"' in study.events()

            until += _PATIENCE_SECONDS
        while driver.code is None and time.monotonic() < until:
            if came():
                if moment == "delivery":
                    time.sleep(12 * delay**2)
                break
            time.sleep(_LOOK_SECONDS)
        return driver.code is None

    def _kill(self, study: Study, driver: Driver, kind: str) -> bool:
        """Kills something of a kind, if there is one that may be killed now."""
        lab, chance = self._lab, self._random.random()
        if kind == "driver":
            self._family += driver.kill()
            return True
        if kind == "worker":
            workers = lab.workers(driver)
            if not workers or self._deaths >= _MOST_DEATHS:
                return False
            workers[int(chance * len(workers))].kill()
            self._deaths += 1
            return True
        if kind == "node":
            if lab.nodes is None or lab.away(kind) or self._deaths >= _MOST_DEATHS:
                return False
            self._deaths += 1
            self._outages += 1
            lab.kill_node(int(chance * 2), 3 * chance)
            return True
        if lab.away("server") or lab.away("database"):
            return False
        if kind == "database" and lab.database is None:
            return False
        self._outages += 1
        if kind == "server":
            lab.kill_server(5 * chance)
        else:
            lab.kill_database(8 * chance)
        return True

    def _end(self, study: Study, driver: Driver) -> None:
        """Waits for a driver's end."""
        size, since = study.written(), time.monotonic()
        while driver.code is None:
            time.sleep(0.1)
            if study.written() != size:
                size, since = study.written(), time.monotonic()
            if time.monotonic() - since > _HANG_SECONDS:
                self._wrong(study, f"a driver hangs: {driver.messages[-2000:]}")
                self._family += driver.kill()

    def _left(self, study: Study, expected: Left) -> Iterator[str]:
        """What is wrong with what a study left behind."""
        if not study.drivers or study.drivers[-1].code != 0:
            self._keep(study)
            return
        _, alive = psutil.wait_procs(self._family, timeout=_LEFTOVER_SECONDS)
        self._family = []
        wrong = [f"{study.experiment}: {each} outlives its driver" for each in alive]
        left = examine(self._lab.server.uri, study.experiment, study.folder)
        wrong += differences(expected, left)
        self.report.trials += len(left.retold.trials)
        self.report.points += left.points
        if wrong:
            self._keep(study)
        for line in wrong:
            self._say(f"DIFFERENCE {line}")
        yield from wrong

    def _wrong(self, study: Study, line: str) -> None:
        self.report.differences.append(f"{study.experiment}: {line}")
        self._say(f"DIFFERENCE {line}")

    def _keep(self, study: Study) -> None:
        """Keeps the folder of a study in which something went wrong."""
        kept = self._lab.folder.with_name(f"{self._lab.folder.name}-{study.experiment}")
        shutil.copytree(study.folder, kept, dirs_exist_ok=True)
        self._say(f"{study.experiment}: its folder is kept as {kept}")


def _add(run: dict[str, Any], file: Path) -> None:
    """Adds a run to a file of reports; one of the same kind and seed is replaced."""
    runs = json.loads(file.read_text())["runs"] if file.exists() else []
    others = [each for each in runs if (each["ray"], each["seed"]) != (run["ray"], run["seed"])]
    file.write_text(json.dumps({"runs": [*others, run]}, indent=1) + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="so many in all")
    parser.add_argument("--seed", type=int, default=1, help="of what is killed, and when")
    parser.add_argument("--minutes", type=float, default=60.0, help="after which no study is disturbed any more")
    parser.add_argument("--own-ray", action="store_true", help="a Ray for every driver, and no nodes to kill")
    parser.add_argument("--report", type=Path, help="a file of outcomes as JSON, to which this one is added")
    options = parser.parse_args(arguments)
    begun = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - begun:6.0f} s  {line}", flush=True)

    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that nothing stays behind
    with lab(cluster=not options.own_ray) as there:
        until = begun + 60 * options.minutes
        report = Injector(there, options.seed, options.kills, until, say).run()
        database = "SQLite" if there.database is None else "PostgreSQL"
    packages = ("kerasweep", "tensorflow", "keras", "ray", "mlflow", "optuna", "numpy")
    document = {
        "date": datetime.now(UTC).date().isoformat(),
        "seed": options.seed,
        "minutes": round((time.monotonic() - begun) / 60, 1),
        "ray": "one of its own for each driver" if options.own_ray else "a cluster of a head and two nodes",
        "tracking": f"an MLflow server on {database}",
        "study": SPEC,
        **report.to_json(),
        "versions": {"python": sys.version.split()[0], **{name: metadata.version(name) for name in packages}},
    }
    if options.report is not None:
        _add(document, options.report)
    say(json.dumps(document, indent=1))
    return 1 if report.differences else 0


if __name__ == "__main__":
    sys.exit(main())
