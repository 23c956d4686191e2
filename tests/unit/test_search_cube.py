"""The unit cube of a space, many points at once."""

from __future__ import annotations

import numpy as np
import pytest

from kerasweep.search.cube import Cube
from kerasweep.space import Space
from kerasweep.space.axes import Continuous
from kerasweep.spec.parameters import Choice, Fixed, Float, Int

SPACES = {
    "conditions": Space.of(
        late=Float(min=0.0, max=0.9, when={"kind": ["a", "b"], "deep": [True]}),
        kind=Choice(values=["a", "b", "c"]),
        deep=Choice(values=[True, False], when={"kind": ["a"]}),
        layers=Int(min=1, max=4, when={"deep": [True]}),
        width=Int(min=8, max=512, log=True, when={"layers": [2, 3]}),
        tag=Fixed(value="x", when={"kind": ["b"]}),
        tagged=Float(min=-1.0, max=1.0, when={"tag": ["x"]}),
        exact=Float(min=0.0, max=1.0, when={"half": [0.5]}),
        half=Float(min=0.0, max=1.0, step=0.25),
    ),
    "steps": Space.of(
        batch=Int(min=32, max=512, step=32, log=True),
        units=Int(min=1, max=10_000, log=True),
        drop=Float(min=0.1, max=0.7, step=0.1),
    ),
    "one choice": Space.of(kind=Choice(values=["p", "q"])),
}


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_settled_points_are_those_of_their_configurations(space: Space) -> None:
    cube, rng = Cube(space), np.random.default_rng(0)
    spread = cube.spread(7, rng)
    near = [cube.near(spread, scale, rng) for scale in (0.5, 0.05, 0.001)]
    stepped = [not isinstance(space.axes[name], Continuous) for name in space.dimensions]
    for point in np.vstack([spread, *near]):
        own = space.to_unit(space.from_unit(point))
        np.testing.assert_allclose(point, own, atol=1e-12)
        np.testing.assert_array_equal(point[stepped], own[stepped])


def test_steps_by_the_million_are_taken_for_real_numbers() -> None:
    space = Space.of(seed=Int(min=0, max=2**62))
    points = Cube(space).spread(5, np.random.default_rng(0))
    assert len({space.from_unit(point)["seed"] for point in points}) == 32


def test_any_two_options_are_equally_far_apart() -> None:
    space = Space.of(
        two=Choice(values=["p", "q"]), three=Choice(values=[1, 2, 3]), x=Float(min=0.0, max=2.0), n=Int(min=0, max=1)
    )
    cube = Cube(space)
    assert cube.owners.tolist() == [0, 1, 1, 1, 2, 3]

    def features(two: str, three: int, x: float, n: int) -> np.ndarray:
        return cube.features(space.to_unit({"two": two, "three": three, "x": x, "n": n})[None])[0]

    first = features("p", 1, 0.5, 0)
    np.testing.assert_allclose(np.linalg.norm(features("q", 1, 0.5, 0) - first), 1.0)
    for three in (2, 3):
        np.testing.assert_allclose(np.linalg.norm(features("p", three, 0.5, 0) - first), 1.0)
    np.testing.assert_allclose(features("p", 1, 1.5, 1) - first, [0, 0, 0, 0, 0.5, 0.5])


def test_neighbours_are_as_near_as_they_should_be_and_cells_can_be_left() -> None:
    space = Space.of(x=Float(min=0.0, max=1.0), n=Int(min=0, max=4), kind=Choice(values=["a", "b", "c"]))
    cube, rng = Cube(space), np.random.default_rng(0)
    points = np.tile(space.to_unit({"x": 0.5, "n": 2, "kind": "a"}), (3000, 1))
    near = cube.near(points, 0.01, rng)
    moved = near != points
    # Shares of 3000 have a standard deviation (sigma) of at most 0.01; four of them are allowed for.
    assert abs(moved[:, 0].mean() - 1 / 2) < 0.04
    assert abs(moved[:, 2].mean() - 1 / 3 * 2 / 3) < 0.04
    assert abs(near[moved[:, 0], 0].std() - 0.01) < 0.002
    assert {space.from_unit(point)["n"] for point in near} >= {1, 2, 3}


def test_a_climb_ends_at_the_top() -> None:
    space = Space.of(x=Float(min=0.0, max=1.0), y=Float(min=0.0, max=1.0), kind=Choice(values=["a", "b", "c"]))
    cube, rng = Cube(space), np.random.default_rng(0)
    top = space.to_unit({"x": 1.0, "y": 0.3, "kind": "b"})

    def height(points: np.ndarray) -> np.ndarray:
        return -np.sum((points - top) ** 2, axis=1)

    starts = cube.spread(3, rng)
    tops, heights = cube.climb(starts, height(starts), height, rng)
    np.testing.assert_array_equal(heights, height(tops))
    assert np.all(heights >= height(starts))
    np.testing.assert_allclose(tops[np.argmax(heights)], top, atol=0.01)
