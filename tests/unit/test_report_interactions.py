"""A forest's exact means, and which parameters act together."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from kerasweep.records import Direction, Objective, Params, Status, Trial
from kerasweep.report.boxes import Boxes, levels, regimes
from kerasweep.report.importance import forest_of, importance
from kerasweep.report.interactions import interaction_maps, surfaces
from kerasweep.space import Space
from kerasweep.spec.parameters import Choice, Fixed, Float, Int

LOSS = Objective("val_loss", Direction.MINIMIZE)
SPACE = Space.of(
    n_hidden=Int(min=0, max=3),
    learning_rate=Float(min=1e-4, max=1e-1, log=True),
    optimizer=Choice(values=["sgd", "adam", "rmsprop"]),
    momentum=Float(min=0.0, max=0.9, when={"optimizer": ["sgd", "rmsprop"]}),
    nesterov=Choice(values=[True, False], when={"optimizer": ["sgd"]}),
    width=Int(min=1, max=64, log=True, when={"n_hidden": [1, 2, 3]}),
    second=Float(min=0.0, max=1.0, when={"n_hidden": [2, 3], "nesterov": [True]}),
    tag=Fixed(value="x"),
)


def unit(name: str, params: Params) -> float:
    """A parameter's coordinate, 0.5 where it is not active."""
    return SPACE.axes[name].coordinate(params[name]) if name in params else 0.5


def trials_of(value: object, count: int, seed: int = 0) -> list[Trial]:
    rng = np.random.default_rng(seed)
    drawn = [SPACE.sample(rng) for _ in range(count)]
    noise = rng.normal(size=count)
    values = [float(value(params, noise[n])) for n, params in enumerate(drawn)]  # type: ignore[operator]
    return [
        Trial(n, params, 0, Status.FINISHED, value=v, epoch=1)
        for n, (params, v) in enumerate(zip(drawn, values, strict=True))
    ]


def crossed(params: Params, noise: float) -> float:
    return (unit("learning_rate", params) - 0.5) * (unit("width", params) - 0.5) + 0.01 * noise


def test_regimes_are_as_likely_as_they_are_drawn() -> None:
    """Of 4,000 configurations, each regime has its share within four sigma."""
    parts = regimes(SPACE)
    assert sum(part.probability for part in parts) == pytest.approx(1)
    rng = np.random.default_rng(0)
    seen = Counter(frozenset(SPACE.sample(rng)) for _ in range(4000))
    expected: Counter[frozenset[str]] = Counter()
    for part in parts:
        expected[part.active] += part.probability  # type: ignore[assignment]  # a Counter of shares
    assert set(seen) == set(expected)
    for active, share in expected.items():
        assert abs(seen[active] - 4000 * share) < 4 * math.sqrt(4000 * share * (1 - share)), active


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("learning_rate", "width"),
        ("optimizer", "momentum"),
        ("momentum", "learning_rate"),
        ("n_hidden", "optimizer"),
        ("n_hidden", "second"),
    ],
)
def test_means_are_those_of_drawn_configurations(first: str, second: str) -> None:
    """Within five standard errors of the mean over 3,000 configurations in which both have these values."""
    trials = trials_of(lambda params, noise: noise + 2 * crossed(params, 0) + unit("momentum", params), 80)
    forest = forest_of(trials, SPACE)
    boxes = Boxes(forest, SPACE, regimes(SPACE))
    pair = SPACE.dimensions.index(first), SPACE.dimensions.index(second)
    rng = np.random.default_rng(5)
    both = [params for params in (SPACE.sample(rng) for _ in range(6000)) if first in params and second in params]
    at = np.array([[unit(first, params), unit(second, params)] for params in both[:3]])
    surface, effect = boxes.surface(*pair, at), boxes.interaction(*pair, at)
    for params, exact, own in zip(both, surface, effect, strict=False):
        means, errors = zip(
            *(
                _mean(forest, [_put(each, held, rng) for each in both[:1500]])
                for held in (
                    {first: params[first], second: params[second]}, {first: params[first]},
                    {second: params[second]}, {},
                )
            ),
            strict=True,
        )  # fmt: skip
        assert abs(exact - means[0]) < 5 * errors[0] + 1e-9
        assert abs(own - (means[0] - means[1] - means[2] + means[3])) < 5 * math.hypot(*errors) + 1e-9


def _put(params: Params, held: Params, rng: np.random.Generator) -> Params | None:
    """A configuration with some values held; None if it is none then, for it has not all that it should."""
    changed = {**params, **held}
    return changed if SPACE.contains(changed) else None


def _mean(forest: object, drawn: list[Params | None]) -> tuple[float, float]:
    points = np.stack([SPACE.to_unit(params) for params in drawn if params is not None])
    predictions = forest.predict(points)  # type: ignore[attr-defined]
    return float(predictions.mean()), float(predictions.std() / math.sqrt(len(points)))


def test_what_acts_together_is_found() -> None:
    for seed in range(3):
        found = importance(trials_of(crossed, 150, seed), SPACE, seed)
        assert found is not None
        assert found.explained > 0.3
        strongest = found.interactions[0]
        assert {strongest.first, strongest.second} == {"learning_rate", "width"}
        assert strongest.share > 0.2
        assert all(other.share < strongest.share / 3 for other in found.interactions[1:])


def test_what_only_adds_up_does_not_act_together() -> None:
    def added(params: Params, noise: float) -> float:
        return unit("learning_rate", params) + unit("momentum", params) + 0.01 * noise

    found = importance(trials_of(added, 150), SPACE)
    assert found is not None
    assert found.explained > 0.6
    assert all(each.share < 0.03 for each in found.interactions)


def test_noise_is_no_interaction() -> None:
    for seed in range(4):
        found = importance(trials_of(lambda params, noise: noise, 60, seed), SPACE, seed)
        assert found is not None
        assert found.explained < 0.1
        assert all(each.share < 0.05 for each in found.interactions)


def test_interactions_are_seeded() -> None:
    trials = trials_of(crossed, 40)
    assert importance(trials, SPACE, 3) == importance(trials, SPACE, 3)


@pytest.mark.parametrize("direction", Direction)
def test_a_surface_says_where_both_are_best(direction: Direction) -> None:
    objective = Objective("val_score", direction)
    sign = 1 if direction is Direction.MINIMIZE else -1
    trials = trials_of(lambda params, noise: sign * crossed(params, noise), 200)
    found = importance(trials, SPACE)
    surface = surfaces(found, trials, objective, SPACE)[0]
    corners = {name: SPACE.axes[name].coordinate(value) for name, value in surface.best.items()}
    assert set(corners) == {"learning_rate", "width"}
    assert (corners["learning_rate"] - 0.5) * (corners["width"] - 0.5) < -0.05
    figure = interaction_maps([surface], trials, objective)
    mesh = figure.axes[0].collections[0].get_array()
    assert mesh is not None
    assert np.asarray(mesh).reshape(surface.ranks.shape) == pytest.approx(surface.ranks)


def test_where_both_cannot_be_active_a_surface_has_no_value() -> None:
    trials = trials_of(lambda params, noise: noise, 60)
    boxes = Boxes(forest_of(trials, SPACE), SPACE, regimes(SPACE))
    units, values = levels(SPACE.axes["optimizer"], 20)
    assert values == ("sgd", "adam", "rmsprop")
    at = np.stack([units, np.full(3, 0.4)], axis=1)
    pair = SPACE.dimensions.index("optimizer"), SPACE.dimensions.index("momentum")
    assert np.isnan(boxes.surface(*pair, at)).tolist() == [False, True, False]
