"""KerasTuner's oracles behind the contract: that they are KerasTuner's, and what is different here on purpose."""

from __future__ import annotations

import itertools
import math
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras_tuner
import numpy as np
import pytest
from keras_tuner.oracles import BayesianOptimizationOracle
from pydantic import TypeAdapter, ValidationError

from kerasweep.records import Candidate, Direction, Objective, Params, Status, Trial
from kerasweep.search import make_searcher
from kerasweep.search.keras_tuner_search import KerasTunerSearcher, _Regressor
from kerasweep.seeds import derive
from kerasweep.space import Space
from kerasweep.spec.parameters import Choice, Float, Int
from kerasweep.spec.searchers import KerasTunerSearch

LOSS = Objective("val_loss", Direction.MINIMIZE)
SQUARE = Space.of(x=Float(min=0.0, max=1.0), y=Float(min=0.0, max=1.0))
ORACLES = ("random", "bayesian", "hyperband")


def made(space: Space = SQUARE, objective: Objective = LOSS, seed: int = 3, **options: Any) -> KerasTunerSearcher:
    searcher = make_searcher(KerasTunerSearch(**options), space, objective, seed, max_epochs=9)
    assert isinstance(searcher, KerasTunerSearcher)
    return searcher


def ended(candidate: Candidate, value: float, epochs: int = 9, status: Status = Status.FINISHED) -> Trial:
    """A trial whose curve falls towards its value, a tenth an epoch."""
    history = tuple({"val_loss": value + (epochs - epoch) / 10} for epoch in range(1, epochs + 1))
    return Trial(candidate.number, candidate.params, 0, status, history=history, value=value, epoch=epochs)


def failed(candidate: Candidate) -> Trial:
    return Trial(candidate.number, candidate.params, 0, Status.FAILED)


def bowl(params: Params) -> float:
    return (float(params["x"]) - 0.3) ** 2 + (float(params["y"]) - 0.8) ** 2


def searched(searcher: KerasTunerSearcher, trials: int, value: Callable[[Params], float] = bowl) -> list[Params]:
    found = []
    for _ in range(trials):
        (candidate,) = searcher.ask(1)
        searcher.tell([ended(candidate, value(candidate.params))])
        found.append(candidate.params)
    return found


def distance(a: Params, b: Params) -> float:
    return math.hypot(float(a["x"]) - float(b["x"]), float(a["y"]) - float(b["y"]))


@pytest.mark.parametrize("oracle", ORACLES)
def test_nothing_is_written_said_or_warned_of(oracle: str, capfd: pytest.CaptureFixture[str]) -> None:
    searcher = made(oracle=oracle)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        searched(searcher, 8)
        (candidate,) = searcher.ask(1)
        searcher.tell([failed(candidate)])
    assert caught == []
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""
    assert list(Path.cwd().iterdir()) == []


def test_the_bayesian_oracle_is_kerastuners(tmp_path: Path) -> None:
    """What KerasTuner's own oracle proposes in its own way, for the same seed and costs."""
    hyperparameters = keras_tuner.HyperParameters()
    for name in ("x", "y"):
        hyperparameters.Float(name, 0.0, 1.0)
    seed = 1 + derive(3, "keras_tuner")
    oracle = BayesianOptimizationOracle(
        keras_tuner.Objective("cost", "min"), 99, hyperparameters=hyperparameters, seed=seed
    )
    oracle.verbose = 0
    oracle._set_project_dir(str(tmp_path), "bare")
    expected = []
    for number in range(8):
        trial = oracle.create_trial(str(number))
        expected.append(dict(trial.hyperparameters.values))
        oracle.update_trial(trial.trial_id, {"cost": bowl(trial.hyperparameters.values)})
        trial.status = "COMPLETED"
        oracle.end_trial(trial)
    received = searched(made(), 8)
    assert received[:6] == expected[:6]  # three random ones a parameter
    for ours, theirs in zip(received[6:], expected[6:], strict=True):
        assert distance(ours, theirs) < 1e-3  # by L-BFGS-B, from values that differ in the last digits


def test_single_points_are_predicted_as_scikit_learn_does() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.random((20, 4)), 1e3 + 50 * rng.random(20)
    exact = BayesianOptimizationOracle(seed=1)._make_gpr()
    swift = _Regressor(BayesianOptimizationOracle(seed=1)._make_gpr())
    exact.fit(x, y)
    swift.fit(x, y)
    for point in (*rng.random((10, 1, 4)), x[:1]):
        expected = exact.predict(point, return_std=True)
        np.testing.assert_allclose(swift.predict(point, return_std=True), expected, rtol=1e-6)


@pytest.mark.parametrize("direction", Direction)
def test_the_model_learns(direction: Direction) -> None:
    sign = 1 if direction is Direction.MINIMIZE else -1
    searcher = made(objective=Objective("val_loss", direction), startup=5)
    found = searched(searcher, 20, lambda params: sign * bowl(params))
    assert min(map(bowl, found[:5])) > 0.01
    assert min(map(bowl, found)) < 0.001


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_a_batch_spreads_whatever_the_scale_of_the_costs(scale: float) -> None:
    """Of a batch from a fresh model, too, for which KerasTuner takes trials that are out for ones of cost 1."""
    searcher = made(startup=6)
    searched(searcher, 6, lambda params: scale * (1 + bowl(params)))
    batch = [candidate.params for candidate in searcher.ask(4)]
    assert min(distance(a, b) for a, b in itertools.combinations(batch, 2)) > 0.05


def test_the_model_leaves_a_region_that_fails() -> None:
    searcher = made(startup=4)
    outcomes = []
    for _ in range(16):
        (candidate,) = searcher.ask(1)
        fails = float(candidate.params["x"]) > 0.6
        outcomes.append(fails)
        searcher.tell([failed(candidate) if fails else ended(candidate, -float(candidate.params["x"]))])
    assert outcomes[4:].count(True) <= 6


def test_proposals_that_are_old_are_not_told_as_bad_ones() -> None:
    space = Space.of(x=Int(min=0, max=5), y=Int(min=0, max=5))
    searcher = made(space, startup=4)
    searched(searcher, 20, lambda params: abs(int(params["x"]) - 2) + abs(int(params["y"]) - 3))
    trials = list(searcher._oracle.trials.values())
    assert len(trials) > 20  # some were old
    assert [trial.status for trial in trials].count("COMPLETED") == 20


def test_an_enormous_value_does_not_stop_it() -> None:
    searcher = made(startup=2)
    for value in (1.0, 1e300, 2.0, 3.0):
        (candidate,) = searcher.ask(1)
        searcher.tell([ended(candidate, value)])
    assert len(searcher.ask(2)) == 2


def test_earlier_trials_and_points_are_trials_of_the_oracle() -> None:
    earlier = searched(made(seed=8), 12)
    searcher = make_searcher(KerasTunerSearch(startup=12), SQUARE, LOSS, 3, points=({"x": 0.5, "y": 0.5},))
    assert isinstance(searcher, KerasTunerSearcher)
    searcher.recall([ended(Candidate(number, params), bowl(params)) for number, params in enumerate(earlier)])
    point, proposed = searcher.ask(2)
    assert point.params == {"x": 0.5, "y": 0.5}
    assert bowl(proposed.params) < 0.05  # by the model: a random one has one chance in six
    trials = searcher._oracle.trials.values()
    assert [trial.status for trial in trials] == ["COMPLETED"] * 12 + ["RUNNING"] * 2
    assert [dict(trial.hyperparameters.values) for trial in trials][:13] == [*earlier, point.params]


class TestHyperband:
    def test_promotions_are_answered_from_the_curve(self) -> None:
        searcher = made(oracle="hyperband")
        candidates = searcher.ask(9)  # the first bracket of nine epochs: nine trials of one epoch
        searcher.tell([ended(candidate, candidate.number / 10) for candidate in candidates])
        assert len(searcher.ask(1)) == 1
        asked = [trial.hyperparameters.values for trial in searcher._oracle.trials.values()]
        promoted = [trial for trial in searcher._oracle.trials.values() if trial.hyperparameters.values["tuner/round"]]
        rungs = [(values["tuner/initial_epoch"], values["tuner/epochs"]) for values in asked if values["tuner/round"]]
        assert rungs == [(1, 3)] * 3 + [(3, 9)]
        # The best three after epoch 1, with their values after epoch 3; and the best of them after epoch 9.
        assert [trial.score for trial in promoted] == pytest.approx([0.6, 0.7, 0.8, 0.0])
        assert all(trial.status == "COMPLETED" for trial in promoted)

    def test_a_trial_that_was_stopped_is_known_by_its_last_epochs(self) -> None:
        searcher = made(oracle="hyperband")
        searcher.tell([ended(each, each.number / 10, epochs=1, status=Status.STOPPED) for each in searcher.ask(9)])
        searcher.ask(1)
        promoted = [trial for trial in searcher._oracle.trials.values() if trial.hyperparameters.values["tuner/round"]]
        assert [trial.score for trial in promoted] == pytest.approx([0.0, 0.1, 0.2, 0.0])

    def test_it_goes_on_through_brackets_and_bands_without_repeating_itself(self) -> None:
        searcher = made(oracle="hyperband")
        found = searched(searcher, 60)
        assert len({SQUARE.key(params) for params in found}) == 60
        assert len(searcher._oracle.trials) >= 75  # with six promotions a band of seventeen


@pytest.mark.parametrize("oracle", ORACLES)
def test_pickles_stay_small(oracle: str) -> None:
    space = Space.of(
        **{f"x{number}": Float(min=1e-5, max=1.0, log=True) for number in range(8)},
        n=Int(min=1, max=500),
        kind=Choice(values=["a", "b", "c"]),
    )
    searcher = made(space, oracle=oracle, **({"startup": 100} if oracle == "bayesian" else {}))
    sizes = []
    for _ in range(2):
        searched(searcher, 40, lambda params: float(params["x0"]))
        sizes.append(len(pickle.dumps(searcher)))
    assert (sizes[1] - sizes[0]) / 40 < 2500  # bytes a trial, its curve of nine epochs included


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"oracle": "random", "startup": 3}, "startup"),
        ({"oracle": "hyperband", "beta": 1.0}, "beta"),
        ({"factor": 4}, "factor"),
    ],
)
def test_options_of_another_oracle_are_refused(options: dict[str, Any], key: str) -> None:
    with pytest.raises(ValidationError, match=rf"{key} is for the oracle \w+ only\. Received: oracle="):
        KerasTunerSearch(**options)


@pytest.mark.parametrize("oracle", ORACLES)
def test_a_record_that_spells_out_all_options_can_be_read_again(oracle: str) -> None:
    spec = KerasTunerSearch(oracle=oracle)  # type: ignore[arg-type]  # one of the literals
    assert TypeAdapter(KerasTunerSearch).validate_python(spec.model_dump()) == spec
