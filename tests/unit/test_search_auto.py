"""The default searcher: what its model of learning curves learns, and what it makes of it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import check_grad

from kerasweep.records import Candidate, Direction, Objective, Params, Status, Trial
from kerasweep.search import make_searcher
from kerasweep.search.auto_search import AutoSearcher
from kerasweep.search.base import Brief
from kerasweep.search.curve_model import Curve, CurveModel, Scale
from kerasweep.space import Space
from kerasweep.spec.parameters import Choice, Float, Int
from kerasweep.spec.searchers import AutoSearch, RandomSearch

LOSS = Objective("val_loss", Direction.MINIMIZE)
ACCURACY = Objective("val_loss", Direction.MAXIMIZE)
SQUARE = Space.of(x=Float(min=0.0, max=1.0), y=Float(min=0.0, max=1.0))
EPOCHS = 27


def curve(params: Params, epochs: int, sign: int = 1) -> tuple[dict[str, float], ...]:
    """A loss that falls to its end, which lies the lower the nearer the point is to (0.7, 0.2)."""
    end = (float(params["x"]) - 0.7) ** 2 + (float(params["y"]) - 0.2) ** 2
    return tuple({"val_loss": sign * (0.1 + end + 1 / epoch)} for epoch in range(1, epochs + 1))


def trained(candidate: Candidate, epochs: int = EPOCHS, sign: int = 1) -> Trial:
    history = curve(candidate.params, epochs, sign)
    status = Status.FINISHED if epochs == EPOCHS else Status.STOPPED
    value = history[-1]["val_loss"]
    return Trial(candidate.number, candidate.params, 0, status, history=history, value=value, epoch=epochs)


def searcher(space: Space = SQUARE, objective: Objective = LOSS, seed: int = 3, explore: float = 0.0) -> AutoSearcher:
    return AutoSearcher(Brief(space, objective, seed, EPOCHS), AutoSearch(explore=explore))


def test_the_gradient_of_the_models_loss_is_right() -> None:
    rng = np.random.default_rng(0)
    model = CurveModel(np.array([0, 1, 1]), 9)
    x, y = rng.random((12, 4)), rng.standard_normal(12)
    squares = np.zeros((3, 12, 12))
    for column, owner in zip(x.T, (0, 1, 1, 2), strict=True):
        squares[owner] += np.subtract.outer(column, column) ** 2
    for _ in range(5):
        theta = rng.normal(scale=0.7, size=5)
        error = check_grad(lambda at: model._loss(at, squares, y)[0], lambda at: model._loss(at, squares, y)[1], theta)
        assert error < 1e-4


def test_values_go_to_the_models_scale_and_back() -> None:
    costs = np.array([3.0, 0.5, 0.7, 90.0])
    scale = Scale.of(costs)
    inward = scale.inward(costs)
    assert inward.mean() == pytest.approx(0, abs=1e-12)
    assert inward.std() == pytest.approx(1)
    assert [scale.outward(float(value)) for value in inward] == pytest.approx(costs.tolist())
    assert scale.outward(1e6) == math.inf
    assert Scale.of(np.array([2.0, 2.0])).inward(np.array([2.0])).tolist() == [0.0]


def test_short_curves_tell_the_model_where_long_ones_will_end() -> None:
    rng = np.random.default_rng(1)
    model = CurveModel(np.array([0, 1]), EPOCHS)
    curves = []
    for number in range(30):
        x, y = rng.random(2)
        values = curve({"x": x, "y": y}, EPOCHS)
        epochs = (1, 3, 9, 27) if number < 6 else (1, 3)
        curves.append(Curve(np.array([x, y]), {epoch: values[epoch - 1]["val_loss"] for epoch in epochs}))
    process, _ = model.posterior(curves, rng)
    unseen = rng.random((40, 2))
    expected = process.predict(model.place(unseen, EPOCHS))[0][:, 0]
    truth = [curve({"x": x, "y": y}, EPOCHS)[-1]["val_loss"] for x, y in unseen]
    assert np.corrcoef(expected, np.log(truth))[0, 1] > 0.9


def test_it_learns_from_trials_that_were_stopped_early() -> None:
    distances = []
    for seed in range(6):
        search = searcher(seed=seed)
        search.tell([trained(candidate, 3) for candidate in search.ask(20)])
        (first,) = search.ask(1)
        distances.append(math.hypot(float(first.params["x"]) - 0.7, float(first.params["y"]) - 0.2))
    assert np.mean(distances) < 0.2  # of a random point: 0.55


@pytest.mark.parametrize("objective", [LOSS, ACCURACY], ids=["minimize", "maximize"])
def test_the_pace_is_what_a_trial_must_reach_to_become_the_best(objective: Objective) -> None:
    sign = 1 if objective is LOSS else -1
    search = searcher(objective=objective)
    first = search.ask(12)
    assert all(candidate.pace == {} for candidate in first)  # nothing is known yet
    search.tell([trained(candidate, EPOCHS, sign) for candidate in first])
    best = min(curve(candidate.params, EPOCHS)[-1]["val_loss"] for candidate in first)
    for candidate in search.ask(6):
        assert set(candidate.pace) <= {1, 3, 9}
        slowest = {epoch: sign * value for epoch, value in candidate.pace.items()}
        # Curves all fall by 1/epoch - 1/27 from here: what cannot become the best is behind, what can is not.
        assert slowest[9] > best + 1 / 9 - 1 / 27
        assert slowest[9] < best + 1 / 9 + 0.5


def test_both_directions_propose_the_same() -> None:
    low, high = searcher(objective=LOSS), searcher(objective=ACCURACY)
    for sign, search in ((1, low), (-1, high)):
        search.tell([trained(candidate, EPOCHS, sign) for candidate in search.ask(12)])
    assert [each.params for each in low.ask(4)] == [each.params for each in high.ask(4)]


def test_where_trials_fail_it_does_not_go_on_trying() -> None:
    space = Space.of(kind=Choice(values=["good", "bad"]), x=Float(min=0.0, max=1.0))
    search = searcher(space)
    tried = []
    for _ in range(8):
        asked = search.ask(4)
        tried += [candidate.params["kind"] for candidate in asked]
        ended = []
        for candidate in asked:
            trial = trained(Candidate(candidate.number, {"x": candidate.params["x"], "y": 0.2}))
            bad = candidate.params["kind"] == "bad"
            trial = replace(trial, params=candidate.params)
            ended.append(replace(trial, status=Status.FAILED, value=None, history=()) if bad else trial)
        search.tell(ended)
    assert tried[8:].count("bad") <= 9  # of 24, once it knows; chance would make it 12


def test_half_of_what_asks_no_model_lies_around_the_priors() -> None:
    space = Space.of(x=Float(min=0.0, max=1.0, prior=0.9), y=Float(min=0.0, max=1.0, prior=0.1))
    asked = searcher(space, explore=1.0).ask(200)
    assert asked[0].params == {"x": 0.9, "y": 0.1}
    near = sum(c.params["x"] > 0.6 and c.params["y"] < 0.4 for c in asked) / 200
    assert 0.33 < near < 0.6  # most of a half, and a few by chance; without priors 0.16


def test_a_batch_is_spread_even_where_the_model_is_sure() -> None:
    search = searcher()
    search.tell([trained(candidate) for candidate in search.ask(12)])
    points = np.array([[c.params["x"], c.params["y"]] for c in search.ask(8)])
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)[np.triu_indices(8, 1)]
    assert np.min(distances) > 0.02


def test_it_beats_random_search_by_three_standard_errors() -> None:
    space = Space.of(
        x=Float(min=-5.0, max=5.0),
        rate=Float(min=1e-5, max=1.0, log=True),
        n=Int(min=0, max=50),
        kind=Choice(values=["a", "b", "c"]),
        shift=Float(min=-1.0, max=1.0, when={"kind": ["b"]}),
    )

    def distance(params: Params) -> float:
        x, rate, n = float(params["x"]), float(params["rate"]), float(params["n"])
        kind = (float(params["shift"]) - 0.5) ** 2 if "shift" in params else 1.0
        return (x - 2) ** 2 / 10 + (math.log10(rate) + 3) ** 2 / 2 + ((n - 40) / 20) ** 2 + kind

    def best(spec: AutoSearch | RandomSearch, seed: int) -> float:
        search = make_searcher(spec, space, LOSS, seed)
        found = math.inf
        for _ in range(10):
            asked = search.ask(4)
            values = [distance(candidate.params) for candidate in asked]
            search.tell(
                [
                    Trial(candidate.number, candidate.params, 0, Status.FINISHED, value=value, epoch=1)
                    for candidate, value in zip(asked, values, strict=True)
                ]
            )
            found = min(found, *values)
        return math.log10(found)

    gains = np.array([best(RandomSearch(), seed) - best(AutoSearch(), seed) for seed in range(8)])
    assert gains.mean() > 3 * gains.std(ddof=1) / math.sqrt(8)
