"""The benchmark of searches: what is kept of its runs, and what they say together."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

# The benchmarks are scripts: what they import lies beside them.
sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

from quality.figure import draw
from quality.methods import BASELINE, Way, way
from quality.runs import Job, Kept, Left, benchmark, jobs
from quality.simulation import Change, Run, simulate
from quality.summary import summarise
from quality.synthetic import Synthetic
from wrapped_searchers import PAIRS, Pair, pair, wanted

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
CURVES = Synthetic(curves=True)
TABLE = Synthetic(curves=False)
DONE = Run((Change(1, 0.5, 3.0), Change(20, 8.0, 1.0)), 1350, 600.0, 50, 50)


def test_runs_are_kept_and_not_run_again(tmp_path: Path) -> None:
    file = tmp_path / "deeper" / "runs.jsonl"
    todo = list(jobs([BASELINE, "optuna:tpe"], ["synthetic-curves"], [1, 4], seeds=2, slow_seeds=1))
    assert len(todo) == 8
    kept = Kept(file)
    for job in todo[:3]:
        kept.add(job, DONE, 0.5)
    file.write_text(file.read_text() + '{"job": {"method": "opt')  # the process died
    again = Kept(file)
    assert again.runs == dict.fromkeys(todo[:3], DONE)
    left = Left(todo, again, processes=2)
    assert left.jobs == todo[3:]
    assert left.seconds == pytest.approx(5 * 0.5 / 2)
    left.done(todo[3], 0.5)
    assert left.count == 4


def test_runs_of_other_code_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Kept(tmp_path / "runs.jsonl")
    job = Job("optuna:tpe", "synthetic-curves", 1, 0)
    kept.add(job, DONE, 0.5)
    monkeypatch.setattr(Way, "fingerprint", lambda self: "other")
    assert not Kept(tmp_path / "runs.jsonl").runs


def test_slow_peers_run_with_one_worker_and_fewer_seeds() -> None:
    slow = list(jobs(["smac:multi_fidelity"], ["synthetic-table"], [1, 4, 32], seeds=5, slow_seeds=2))
    assert [(job.workers, job.seed) for job in slow] == [(1, 0), (1, 1)]


def test_a_job_gives_what_the_simulation_gives() -> None:
    job = Job(BASELINE, "synthetic-table", 4, 3)
    run, cpu_seconds = job.run()
    assert run == simulate(way(BASELINE).make(TABLE, 4, 50, 3), TABLE, 4, 50)
    assert cpu_seconds > 0


def test_a_final_benchmark_hides_the_curves() -> None:
    final = benchmark("synthetic-curves-final")
    assert (final.name, final.max_epochs, final.space) == (f"{CURVES.name}-final", 1, CURVES.space)
    params = CURVES.space.sample(np.random.default_rng(0))
    assert final.facts == CURVES.facts
    for seen, whole in zip(final.evaluate(params, [1]), CURVES.evaluate(params, [CURVES.max_epochs]), strict=True):
        assert seen.tolist() == whole.tolist()


def test_a_summary_compares_with_random_search() -> None:
    unit = benchmark("synthetic-curves").facts.seconds
    epochs = CURVES.max_epochs
    runs = {}
    for seed, shift in enumerate((-1.0, 1.0)):
        last = Change(50 * epochs, 50 * unit, 2.0 + shift)
        slow = Run((Change(1, 1.0, 9.0), last), 50 * epochs, 50 * unit, 50, 50)
        early = Change(10 * epochs, 5 * unit, 1.5 + shift)
        runs[Job(BASELINE, "synthetic-curves", 1, seed)] = slow
        runs[Job("optuna", "synthetic-curves", 1, seed)] = replace(slow, changes=(slow.changes[0], early))
        runs[Job("ray:asha", "synthetic-curves", 1, seed)] = replace(slow, changes=slow.changes[:1])
    runs[Job("optuna:tpe", "synthetic-table", 1, 0)] = slow  # not among the tasks
    best, middle, worst = summarise(runs, dict.fromkeys(runs, 0.25), ["synthetic-curves"])
    assert [row.method for row in (best, middle, worst)] == ["optuna", BASELINE, "ray:asha"]
    assert [best.regret, best.error] == pytest.approx([1.5, 1.0])
    assert best.speed == pytest.approx(5.0, rel=0.01)
    assert best.speed_in_time == pytest.approx(10.0, rel=0.01)
    assert middle.speed == middle.speed_in_time == 1.0
    assert worst.speed is worst.speed_in_time is None
    assert [best.seeds, best.trials, best.cpu_seconds, best.time] == pytest.approx([2, 50, 0.25, 50])


def test_a_seed_that_is_not_complete_is_left_out() -> None:
    tasks = ["synthetic-curves", "synthetic-table"]
    runs = {Job(BASELINE, task, 1, seed): DONE for seed in (0, 1) for task in tasks}
    del runs[Job(BASELINE, tasks[1], 1, 1)]
    (row,) = summarise(runs, dict.fromkeys(runs, 0.1), tasks)
    assert row.seeds == 1
    assert row.error is None


def test_a_figure_has_a_line_for_each_method(tmp_path: Path) -> None:
    methods = (BASELINE, "kerasweep:tpe", "optuna")
    runs = {Job(method, "synthetic-curves", count, 0): DONE for method in methods for count in (1, 4)}
    draw(summarise(runs, dict.fromkeys(runs, 0.1), ["synthetic-curves"]), tmp_path / "deeper" / "figure.png")
    assert (tmp_path / "deeper" / "figure.png").read_bytes().startswith(b"\x89PNG")


def ended(regret: float) -> Run:
    return replace(DONE, changes=(Change(2600, 900.0, regret),))


def paired(*regrets: tuple[float, float]) -> Pair:
    """A searcher's and its library's regrets, seed by seed."""
    runs = {
        Job(method, "synthetic-table", 1, seed): ended(regret)
        for seed, both in enumerate(regrets)
        for method, regret in zip(("kerasweep:cmaes", "optuna:cmaes"), both, strict=True)
    }
    return pair(runs, dict.fromkeys(runs, 0.5), ["synthetic-table"])


def test_a_pair_is_as_good_within_one_standard_error() -> None:
    close = paired((1.0, 0.0), (3.0, 3.5))
    assert close.difference == pytest.approx(0.25)
    assert close.error == pytest.approx((1.0**2 + 1.75**2) ** 0.5)
    assert close.as_good
    assert not paired((2.9, 0.9), (3.1, 1.1)).as_good
    assert paired((0.5, 2.0), (0.5, 2.0)).as_good


def test_a_pair_of_one_seed_has_no_standard_error() -> None:
    better, worse = paired((1.0, 1.0)), paired((1.1, 1.0))
    assert math.isnan(better.error)
    assert better.as_good
    assert not worse.as_good


def test_both_sides_of_a_slow_pair_have_fewer_seeds() -> None:
    todo = wanted(["tpe", "gp"], ["synthetic-table"], 5, 2)
    assert {searcher: len(each) for searcher, each in todo.items()} == {"tpe": 10, "gp": 4}
    assert {job.method for job in todo["gp"]} == {"kerasweep:gp", "skopt:gp"}


def test_every_pair_is_of_methods_that_there_are() -> None:
    for searcher, library in PAIRS.items():
        assert way(f"kerasweep:{searcher}").package == "kerasweep"
        assert way(library).package != "kerasweep"


def twice(script: str, cache: Path, *options: str) -> tuple[str, str]:
    """What a benchmark prints, and what it prints when all runs are kept."""
    command = [sys.executable, str(BENCHMARKS / script), *options]
    command += ["--tasks", "synthetic-table", "--seeds", "2", "--cores", "1", "--cache", str(cache)]
    first, second = (subprocess.run(command, check=True, capture_output=True, text=True).stdout for _ in range(2))
    return first, second


def test_the_table_of_searches_goes_on_where_it_was(tmp_path: Path) -> None:
    first, second = twice("search_quality.py", tmp_path, "--methods", "kerasweep:tpe", "--workers", "1", "4")
    assert "4 workers" in first
    assert first.count("kerasweep:tpe") == first.count(BASELINE) == 2
    assert first == second
    assert len((tmp_path / "runs.jsonl").read_text().splitlines()) == 8


def test_the_table_of_pairs_goes_on_where_it_was(tmp_path: Path) -> None:
    first, second = twice("wrapped_searchers.py", tmp_path, "--pairs", "evolution")
    assert "kerasweep:evolution deap:simple" in first
    assert first == second
    assert len((tmp_path / "runs.jsonl").read_text().splitlines()) == 4
