"""The benchmark of searches: the simulated clock's rules, the methods' manners, and the benchmarks."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from kerasweep.records import Params
from kerasweep.scheduling import paper_brackets

# The benchmarks are scripts: what they import lies beside them.
sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

from quality.benchmark import Array, Facts
from quality.lcbench import MAX_EPOCHS, LCBench, data_folder
from quality.methods import BASELINE, PEERS, Way, way
from quality.simulation import Change, Method, Step, sampled, simulate
from quality.synthetic import SPACE, Synthetic

CURVES = Synthetic(curves=True)
TABLE = Synthetic(curves=False)

OURS = [
    BASELINE,
    "kerasweep:random+hyperband",
    "kerasweep:random+asha",
    "kerasweep:random+median@9",
    "kerasweep:tpe",
    "kerasweep:tpe+hyperband",
    "kerasweep:auto+auto",
]
WAYS = [way(name) for name in (*OURS, *PEERS)]
BUDGET = 10 * CURVES.max_epochs


class Rounds:
    """Trains random trials in turns, each one epoch, so that every trial is paused all the time."""

    def __init__(self, trials: int, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.params = [SPACE.sample(rng) for _ in range(trials)]
        self.waiting = list(range(trials))

    def next(self) -> Step | None:
        if not self.waiting:
            return None
        number = self.waiting.pop(0)
        return Step(number, self.params[number])

    def report(self, number: int, epoch: int, value: float) -> None:
        if epoch < CURVES.max_epochs:
            self.waiting.append(number)


class Watched:
    """A method, and all that was said to it and by it."""

    def __init__(self, method: Method) -> None:
        self.method = method
        self.params: dict[int, Params] = {}
        self.reports: list[tuple[int, int, float]] = []
        self.running: set[int] = set()
        self.most = 0

    def next(self) -> Step | None:
        step = self.method.next()
        if step is not None:
            assert step.number not in self.running
            assert self.params.setdefault(step.number, step.params) == step.params
            self.running.add(step.number)
            self.most = max(self.most, len(self.running))
        return step

    def report(self, number: int, epoch: int, value: float) -> None:
        self.running.remove(number)
        self.reports.append((number, epoch, value))
        self.method.report(number, epoch, value)

    def trained(self) -> dict[int, int]:
        """Each trial's last epoch."""
        return {number: epoch for number, epoch, _ in self.reports}


def seconds(params: Params, epoch: int) -> float:
    return float(CURVES.evaluate(params, [epoch])[1][0])


@pytest.fixture(params=WAYS, ids=lambda each: each.name)
def chosen(request: pytest.FixtureRequest) -> Way:
    each: Way = request.param
    library = {"keras-tuner": "keras_tuner", "scikit-optimize": "skopt"}.get(each.package, each.package)
    pytest.importorskip(library)
    return each


# --- the simulation --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 4, 32])
def test_every_epoch_is_counted_once(workers: int) -> None:
    watched = Watched(Rounds(40))
    run = simulate(watched, CURVES, workers, 500)
    assert run.epochs == 500 == len(watched.reports) == sum(watched.trained().values())
    assert len(set(watched.reports)) == 500
    for number, last in watched.trained().items():
        assert [epoch for each, epoch, _ in watched.reports if each == number] == list(range(1, last + 1))
    assert watched.most == workers
    assert run.trials == 40
    assert run.full == 0


def test_a_resumed_trial_costs_its_new_epochs_only() -> None:
    watched = Watched(Rounds(10))
    run = simulate(watched, CURVES, 1, 10 * CURVES.max_epochs)
    assert set(watched.trained().values()) == {CURVES.max_epochs}
    assert run.full == 10
    assert run.seconds == pytest.approx(sum(seconds(params, CURVES.max_epochs) for params in watched.params.values()))


@pytest.mark.parametrize("workers", [2, 5])
def test_workers_share_the_work(workers: int) -> None:
    watched = Watched(Rounds(40))
    run = simulate(watched, CURVES, workers, 400)
    work = sum(seconds(watched.params[number], last) for number, last in watched.trained().items())
    assert work / workers <= run.seconds < work
    assert run.changes[-1].seconds <= run.seconds


def test_one_worker_does_one_thing_after_another() -> None:
    watched = Watched(way("kerasweep:random+asha").make(CURVES, 1, 300, 3))
    simulate(watched, CURVES, 1, 300)
    alone = way("kerasweep:random+asha").make(CURVES, 1, 300, 3)
    done: Counter[int] = Counter()
    for number, epoch, value in watched.reports:
        step = alone.next()
        assert step is not None
        assert step.number == number
        done[number] += 1
        assert done[number] == epoch
        assert value == CURVES.evaluate(step.params, [epoch])[0][0]
        alone.report(number, epoch, value)


@pytest.mark.parametrize("workers", [1, 4])
def test_the_incumbent_counts_as_far_as_it_is_trained_and_is_judged_at_full_training(workers: int) -> None:
    watched = Watched(Rounds(30, seed=5))
    run = simulate(watched, CURVES, workers, 600)
    standing: dict[int, float] = {}
    expected = []
    for number, _, value in watched.reports:
        standing[number] = value
        best = max(standing, key=lambda each: (standing[each], -each))
        final = float(CURVES.evaluate(watched.params[best], [CURVES.max_epochs])[0][0])
        expected.append(CURVES.facts.best - final)
    assert sampled(run.changes, np.arange(1.0, 601.0), "epochs") == pytest.approx(expected)
    assert len(run.changes) > 3


@dataclass(frozen=True)
class Falling:
    """Trial 1 is the best until its value falls."""

    name = "falling"
    space = SPACE
    max_epochs = 3
    facts = Facts(best=1.0, seconds=3.0)

    def evaluate(self, params: Params, epochs: Sequence[int]) -> tuple[Array, Array]:
        curves = {"adam": [0.5, 0.6, 0.7], "sgd": [0.9, 0.2, 0.1]}
        values = np.array([curves[str(params["optimizer"])][epoch - 1] for epoch in epochs])
        return values, np.array(epochs, np.float64)


def test_an_incumbent_whose_value_falls_gives_way() -> None:
    method = Rounds(2)
    method.params = [{"optimizer": "adam"}, {"optimizer": "sgd"}]
    run = simulate(method, Falling(), 1, 6)
    assert [(change.epochs, change.seconds) for change in run.changes] == [(1, 1.0), (2, 2.0), (4, 4.0)]
    assert [change.regret for change in run.changes] == pytest.approx([0.3, 0.9, 0.3])


def test_a_method_may_not_stop_before_the_budget_is_spent() -> None:
    with pytest.raises(RuntimeError, match=r"must go on until 300 epochs are trained\. Received: nothing at 270"):
        simulate(Rounds(10), CURVES, 1, 300)


def test_before_the_first_change_its_regret_counts() -> None:
    changes = (Change(3, 1.0, 5.0), Change(10, 4.0, 2.0))
    assert sampled(changes, np.array([1.0, 3.0, 9.0, 10.0, 99.0]), "epochs").tolist() == [5.0, 5.0, 5.0, 2.0, 2.0]
    assert sampled(changes, np.array([0.5, 3.9, 4.0]), "seconds").tolist() == [5.0, 5.0, 2.0]


# --- the methods -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 4])
def test_a_method_spends_its_budget_in_the_space_and_repeats_itself(chosen: Way, workers: int) -> None:
    if chosen.slow and workers > 1:
        pytest.skip("is run with one worker only")
    runs = []
    for _ in range(2):
        watched = Watched(chosen.make(CURVES, workers, BUDGET, 11))
        runs.append(simulate(watched, CURVES, workers, BUDGET))
        assert all(SPACE.contains(params) for params in watched.params.values())
        assert sum(watched.trained().values()) == BUDGET
    assert runs[0] == runs[1]
    assert runs[0].changes[-1].regret < 60
    assert runs[0] != simulate(chosen.make(CURVES, workers, BUDGET, 12), CURVES, workers, BUDGET)


def test_a_method_searches_a_table_without_curves(chosen: Way) -> None:
    run = simulate(chosen.make(TABLE, 1, 12, 0), TABLE, 1, 12)
    assert run.epochs == run.full == run.trials == 12


def test_hyperband_climbs_its_brackets() -> None:
    brackets = paper_brackets(CURVES.max_epochs, 3.0)
    budget = sum(
        count * (rung - before)
        for bracket in brackets
        for count, rung, before in zip(bracket.survivors, bracket.rungs, (0, *bracket.rungs), strict=False)
    )
    watched = Watched(way("kerasweep:random+hyperband").make(CURVES, 1, budget, 0))
    simulate(watched, CURVES, 1, budget)
    reached = Counter(watched.trained().values())
    expected: Counter[int] = Counter()
    for bracket in brackets:
        for rung, count, after in zip(bracket.rungs, bracket.survivors, (*bracket.survivors[1:], 0), strict=True):
            expected[rung] += count - after
    assert reached == expected


def test_asha_in_cohorts_lets_the_best_third_go_on() -> None:
    watched = Watched(way("kerasweep:random+asha(grace=3)@9").make(CURVES, 4, 200, 0))
    simulate(watched, CURVES, 4, 200)
    third = {number: value for number, epoch, value in watched.reports if epoch == 3 and number < 9}
    best = sorted(third, key=lambda number: -third[number])[:3]
    assert {number for number, last in watched.trained().items() if number < 9 and last > 3} == set(best)


def test_ray_decides_as_its_rule_says() -> None:
    pytest.importorskip("ray")
    watched = Watched(way("ray:asha(grace=2,eta=3)").make(CURVES, 1, BUDGET, 0))
    simulate(watched, CURVES, 1, BUDGET)
    recorded: dict[int, list[float]] = {2: [], 6: [], 18: []}
    ended = watched.trained()
    last = watched.reports[-1][0]  # cut off by the budget
    for number, epoch, value in watched.reports:
        if epoch in recorded:
            stops = bool(recorded[epoch]) and value < np.percentile(recorded[epoch], 100 * (1 - 1 / 3))
            recorded[epoch].append(value)
            if number != last:
                assert (ended[number] == epoch) == stops
    assert all(recorded.values())


def test_optuna_proposes_as_without_the_faster_function(monkeypatch: pytest.MonkeyPatch) -> None:
    optuna_peer = pytest.importorskip("quality.optuna_peer")
    runs = [simulate(way("optuna:tpe").make(CURVES, 1, 30 * 27, 0), CURVES, 1, 30 * 27)]
    monkeypatch.setattr(optuna_peer, "log_ndtr", optuna_peer._truncnorm._log_ndtr)
    runs.append(simulate(way("optuna:tpe").make(CURVES, 1, 30 * 27, 0), CURVES, 1, 30 * 27))
    fast, slow = ([(change.epochs, round(change.regret, 6)) for change in run.changes] for run in runs)
    assert fast == slow


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("optuna:cma", "a method must be one of"),
        ("kerasweep:tpe+", r"must be kerasweep:SEARCHER\(OPTIONS\)"),
        ("kerasweep:tpe(start=3)", "start"),
        ("kerasweep:magic", "magic"),
    ],
)
def test_a_wrong_name_is_refused(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        way(name)


# --- the benchmarks --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("searched", [CURVES, TABLE], ids=lambda each: each.name)
def test_a_synthetic_benchmark_knows_its_best(searched: Synthetic) -> None:
    rng = np.random.default_rng(0)
    finals = [searched.evaluate(SPACE.sample(rng), [searched.max_epochs])[0][0] for _ in range(500)]
    assert max(finals) < searched.facts.best
    best: Params = {
        "optimizer": "sgd",
        "momentum": 0.9,
        "learning_rate": 2e-2,
        "n_hidden": 2,
        "n_neurons": 128,
        "batch_size": 64,
        "dropout": 0.2,
    }
    assert SPACE.contains(best)
    assert searched.evaluate(best, [searched.max_epochs])[0][0] == pytest.approx(searched.facts.best)


@pytest.fixture(scope="module")
def lcbench() -> LCBench:
    pytest.importorskip("onnxruntime")
    try:
        return LCBench("126026", data_folder())
    except FileNotFoundError as error:
        pytest.skip(str(error))


def test_a_curve_is_the_same_in_parts_and_as_a_whole(lcbench: LCBench) -> None:
    params = lcbench.space.sample(np.random.default_rng(1))
    values, times = lcbench.evaluate(params, range(1, MAX_EPOCHS + 1))
    assert values.shape == times.shape == (MAX_EPOCHS,)
    parts = [lcbench.evaluate(params, part) for part in (range(1, 3), range(3, 40), range(40, 53))]
    assert np.concatenate([part[0] for part in parts]) == pytest.approx(values, rel=1e-5)
    assert np.concatenate([part[1] for part in parts]) == pytest.approx(times, rel=1e-5)
    assert ((values >= 0) & (values <= 100)).all()
    assert times[-1] > times[0] > 0


def test_no_random_configuration_beats_the_best_known_one(lcbench: LCBench) -> None:
    rng = np.random.default_rng(2)
    finals = [lcbench.evaluate(lcbench.space.sample(rng), [MAX_EPOCHS]) for _ in range(300)]
    assert max(values[0] for values, _ in finals) <= lcbench.facts.best
    assert np.mean([times[0] for _, times in finals]) == pytest.approx(lcbench.facts.seconds, rel=0.2)


def test_an_unknown_task_is_refused(lcbench: LCBench) -> None:
    with pytest.raises(ValueError, match=r"a task must be one of .*126026.*\. Received: 1"):
        LCBench("1", lcbench.folder)
