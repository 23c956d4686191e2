"""Runs many searches in a few processes, and keeps each as soon as it is known."""

from __future__ import annotations

import ctypes
import json
import multiprocessing
import os
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from statistics import fmean

from quality.benchmark import Benchmark, Final
from quality.lcbench import LCBench
from quality.methods import way
from quality.simulation import Change, Run, simulate
from quality.synthetic import Synthetic

# What a search may spend, in full trainings.
TRAININGS = 50

# Ends the name of a benchmark of which only the last epoch is seen.
FINAL = "-final"

_PR_SET_PDEATHSIG = 1  # linux/prctl.h

_SYNTHETIC = {benchmark.name: benchmark for benchmark in (Synthetic(curves=True), Synthetic(curves=False))}


@cache
def benchmark(name: str) -> Benchmark:
    """A task of LCBench by its number, or ``synthetic-curves`` or ``synthetic-table``; with ``-final``, without curves.

    Raises:
        ValueError: there is none of that name.
    """
    if name.endswith(FINAL):
        return Final(benchmark(name.removesuffix(FINAL)))
    return _SYNTHETIC[name] if name in _SYNTHETIC else LCBench(name)


@dataclass(frozen=True)
class Job:
    """One search to run.

    Attributes:
        method: its name, see ``methods.way``.
        task: the benchmark's name, see ``benchmark``.
        workers: of the simulation.
        seed: of the method.
    """

    method: str
    task: str
    workers: int
    seed: int

    def run(self) -> tuple[Run, float]:
        """What came of it, and the seconds of CPU time that it took."""
        began = time.process_time()
        searched = benchmark(self.task)
        budget = TRAININGS * searched.max_epochs
        method = way(self.method).make(searched, self.workers, budget, self.seed)
        run = simulate(method, searched, self.workers, budget)
        return run, time.process_time() - began


class Kept:
    """The runs of a file, one a line, so that what was run once need not be run again.

    A line that was cut off when a process died is overlooked. A run counts as long as the code and the library's
    version that it came from are the same.

    Args:
        file: made if it is not there.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._fingerprints: dict[str, str] = {}
        self.runs: dict[Job, Run] = {}
        self.seconds: dict[Job, float] = {}
        if file.is_file():
            for line in file.read_text().splitlines():
                self._read(line)

    def add(self, job: Job, run: Run, seconds: float) -> None:
        """Keeps one more, as the file has it: a table printed from the file is the same."""
        seconds = round(seconds, 3)
        self.runs[job], self.seconds[job] = run, seconds
        entry = {
            "job": asdict(job),
            "fingerprint": self._fingerprint(job),
            "seconds": seconds,
            "run": {**asdict(run), "changes": [[each.epochs, each.seconds, each.regret] for each in run.changes]},
        }
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("a") as stream:
            stream.write(json.dumps(entry) + "\n")

    def _read(self, line: str) -> None:
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            return
        job = Job(**entry["job"])
        try:
            current = entry["fingerprint"] == self._fingerprint(job)
        except ValueError:  # a method of an earlier version
            return
        if current:
            changes = tuple(Change(*change) for change in entry["run"]["changes"])
            self.runs[job] = Run(**{**entry["run"], "changes": changes})
            self.seconds[job] = entry["seconds"]

    def _fingerprint(self, job: Job) -> str:
        if job.method not in self._fingerprints:
            self._fingerprints[job.method] = way(job.method).fingerprint()
        return f"{self._fingerprints[job.method]}-{TRAININGS}"


def jobs(
    methods: Sequence[str], tasks: Sequence[str], workers: Sequence[int], seeds: int, slow_seeds: int
) -> Iterator[Job]:
    """All searches of a table, seed by seed, so that a table cut short is one of fewer seeds.

    Args:
        methods: their names.
        tasks: names of benchmarks.
        workers: of each setting.
        seeds: of each method, counted from 0.
        slow_seeds: of the slow ones, which run with one worker only.
    """
    for seed in range(seeds):
        for task in tasks:
            for count in workers:
                for method in methods:
                    if not way(method).slow or (count == 1 and seed < slow_seeds):
                        yield Job(method, task, count, seed)


class Left:
    """What is still to run, and how long it may take: each run like the mean of the same method's so far.

    Args:
        todo: all runs that are wanted.
        kept: those that are there.
        processes: at a time.
    """

    def __init__(self, todo: Sequence[Job], kept: Kept, processes: int) -> None:
        self.jobs = [job for job in todo if job not in kept.runs]
        self._counts = Counter(job.method for job in self.jobs)
        self._processes = processes
        self._spent: dict[str, list[float]] = defaultdict(list)
        for job, seconds in kept.seconds.items():
            self._spent[job.method].append(seconds)

    def done(self, job: Job, seconds: float) -> None:
        """One less."""
        self._counts[job.method] -= 1
        self._spent[job.method].append(seconds)

    @property
    def count(self) -> int:
        return self._counts.total()

    @property
    def seconds(self) -> float | None:
        """None while nothing is known of a method."""
        if any(count and method not in self._spent for method, count in self._counts.items()):
            return None
        return (
            sum(count * fmean(self._spent[method]) for method, count in self._counts.items() if count) / self._processes
        )


def run_all(left: Left, kept: Kept, processes: int, told: Callable[[Left], object]) -> None:
    """Runs what is not kept yet.

    Args:
        left: what there is to do, in the order in which it is begun.
        kept: gets every run as it ends.
        processes: at a time.
        told: called after each run.

    Raises:
        RuntimeError: a run failed; its cause says how.
    """
    context = multiprocessing.get_context("spawn")  # a forked ONNX runtime has no threads
    with ProcessPoolExecutor(processes, context, _begin) as pool:
        futures = {pool.submit(job.run): job for job in left.jobs}
        try:
            for future in as_completed(futures):
                job = futures[future]
                try:
                    run, seconds = future.result()
                except Exception as error:
                    raise RuntimeError(f"{job} failed: {error}") from error
                kept.add(job, run, seconds)
                left.done(job, seconds)
                told(left)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def completed(wanted: Sequence[Job], file: Path, processes: int) -> Kept:
    """Runs what a file does not hold yet, and shows on standard error what is left.

    Args:
        wanted: all that is to be in the file, in the order in which it is begun.
        file: see ``Kept``.
        processes: at a time, each on one core.

    Raises:
        SystemExit: Ctrl-C was pressed; what was run is kept.
    """
    # For the processes that are started: a core for each, and KerasTuner's oracles need no TensorFlow.
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", KERAS_BACKEND="numpy")
    for task in {job.task for job in wanted}:
        _ = benchmark(task).facts  # in one process: they are kept in a file
    kept = Kept(file)
    left = Left(wanted, kept, processes)
    try:
        run_all(left, kept, processes, _show)
    except KeyboardInterrupt:
        sys.exit(f"\n{left.count} of {len(wanted)} runs are left; the same command goes on with them")
    return kept


def _show(left: Left) -> None:
    """One line, written over."""
    seconds = left.seconds
    time = "" if seconds is None else f", about {int(seconds) // 60}:{int(seconds) % 60:02d} left"
    print(f"\r{left.count} runs{time}   ", end="" if left.count else "\n", file=sys.stderr, flush=True)


def _begin() -> None:
    """A process ends with the one that started it, however that ends; Ctrl-C is for that one alone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
