from __future__ import annotations

import dataclasses
import math
import pickle
import subprocess
import sys
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasweep.space import Space
from kerasweep.spec.parameters import Choice, Find, Fixed, Float, Int, SpaceSpec

BOOK = Space.of(
    n_hidden=Int(min=0, max=3),
    n_neurons=Int(min=1, max=100),
    optimizer=Choice(values=["sgd", "adam"]),
    momentum=Float(min=0.0, max=0.99, when={"optimizer": ["sgd"]}),
    learning_rate=Float(min=3e-4, max=3e-2, log=True),
    batch_size=Choice(values=[32, 64, 128]),
)
NESTED = Space.of(
    depth=Int(min=1, max=2, when={"rate": [0.1, 0.3], "kind": ["b"]}),  # declared before what it depends on
    kind=Choice(values=["a", "b"]),
    rate=Float(min=0.1, max=0.3, step=0.1, when={"kind": ["b"]}),
    flag=Choice(values=[True, 1], when={"depth": [2]}),
    only=Fixed(value="x", when={"flag": [1]}),
)


@st.composite
def ranges(draw: st.DrawFn) -> Float | Int:
    log = draw(st.booleans())
    if draw(st.booleans()):
        low = draw(st.integers(1 if log else -1000, 1000))
        step = draw(st.none() | st.integers(1, 50))
        high = low + draw(st.integers(0, 200)) * (step or 1)
        return Int(min=low, max=high, step=step, log=log)
    low_float = draw(st.floats(1e-6, 1e3) if log else st.floats(-1e3, 1e3))
    if draw(st.booleans()):
        return Float(min=low_float, max=low_float + draw(st.floats(0, 1e3)), log=log)
    low_float = round(low_float, 3) or 0.001
    step_float = draw(st.sampled_from([0.001, 0.1, 0.25, 1.0, 5.0]))
    count = draw(st.integers(0, 200))
    return Float(min=low_float, max=low_float + count * step_float, step=step_float, log=log)


values = st.lists(
    st.booleans() | st.integers(-3, 3) | st.sampled_from([0.0, 1.0, 2.5]) | st.sampled_from(["", "a", "1", "True"]),
    min_size=1, max_size=6, unique_by=lambda value: (type(value), value),
)  # fmt: skip


@st.composite
def spaces(draw: st.DrawFn) -> Space:
    """Any space: each parameter may depend on any of the earlier ones that can be counted."""
    parameters: dict[str, Float | Int | Choice | Fixed] = {}
    for place in range(draw(st.integers(1, 6))):
        parameter = draw(ranges() | values.map(lambda v: Choice(values=v)) | st.just(Fixed(value="only")))
        when = {}
        for other, declared in parameters.items():
            axis = Space.of(x=declared.model_copy(update={"when": {}})).axes["x"]
            if hasattr(axis, "size") and draw(st.integers(0, 3)) == 0:
                picked = draw(st.lists(st.integers(0, axis.size - 1), min_size=1, max_size=3))
                when[other] = [axis.value(index) for index in picked]
        parameters[f"p{place}"] = parameter.model_copy(update={"when": when})
    names = draw(st.permutations(list(parameters)))
    return Space(SpaceSpec(parameters={name: parameters[name] for name in names}))


def same(a: object, b: object) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9)
    return type(a) is type(b) and a == b


@settings(deadline=None)
@given(space=spaces(), seed=st.integers(0, 2**32))
def test_samples_are_contained_native_and_come_back_from_the_unit_cube(space: Space, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(3):
        params = space.sample(rng)
        assert space.problems(params) == []
        assert tuple(params) == space.active(params)
        assert {type(value) for value in params.values()} <= {bool, int, float, str}
        point = space.to_unit(params)
        assert point.shape == (len(space.dimensions),)
        assert np.all((point >= 0) & (point <= 1))
        back = space.from_unit(point)
        assert list(back) == list(params)
        assert all(same(back[name], params[name]) for name in params)


@settings(deadline=None)
@given(space=spaces(), corner=st.sampled_from([0.0, 1.0]))
def test_the_corners_of_the_cube_are_the_bounds(space: Space, corner: float) -> None:
    params = space.from_unit(np.full(len(space.dimensions), corner))
    assert space.problems(params) == []
    for name, value in params.items():
        parameter = space.spec.parameters[name]
        if isinstance(parameter, Float | Int):
            assert value == (parameter.max if corner else parameter.min)
        elif isinstance(parameter, Choice):
            assert same(value, parameter.values[-1 if corner else 0])


# More values than any range of ``spaces`` lists. Real numbers that no configuration can have do not make a space
# infinite, and a grid takes as many values of those.
FULL = 1000


@settings(deadline=None)
@given(space=spaces())
def test_size_counts_what_configuration_and_a_full_grid_list(space: Space) -> None:
    size = space.size()
    if size is None:
        with pytest.raises(IndexError):
            space.configuration(0)
        return
    with pytest.raises(IndexError):
        space.configuration(size)
    listed = [space.configuration(rank) for rank in range(min(size, 300))]
    assert all(space.problems(params) == [] for params in listed)
    assert len({space.key(params) for params in listed}) == len(listed)
    assert space.lattice(FULL).size == size
    if size <= 300:
        grid = list(space.grid(FULL))
        assert {space.key(params) for params in grid} == {space.key(params) for params in listed}


@settings(deadline=None)
@given(space=spaces(), steps=st.integers(1, 4))
def test_a_grid_holds_distinct_configurations_of_the_space(space: Space, steps: int) -> None:
    grid = list(islice(space.grid(steps), 200))
    assert all(space.problems(params) == [] for params in grid)
    assert len({space.key(params) for params in grid}) == len(grid) == min(200, space.lattice(steps).size)


def test_a_space_is_frozen_and_picklable() -> None:
    copy = pickle.loads(pickle.dumps(BOOK))
    assert copy == BOOK
    assert copy.sample(np.random.default_rng(3)) == BOOK.sample(np.random.default_rng(3))
    with pytest.raises(dataclasses.FrozenInstanceError):
        BOOK.spec = NESTED.spec  # type: ignore[misc]


def test_conditions_come_first() -> None:
    assert BOOK.names == ("n_hidden", "n_neurons", "optimizer", "momentum", "learning_rate", "batch_size")
    assert NESTED.names == ("kind", "rate", "depth", "flag", "only")
    assert NESTED.dimensions == ("kind", "rate", "depth", "flag")


def test_active_follows_nested_conditions() -> None:
    assert NESTED.active({"kind": "a"}) == ("kind",)
    assert NESTED.active({"kind": "a", "rate": 0.1, "depth": 2}) == ("kind",), "an inactive switch switches nothing"
    assert NESTED.active({"kind": "b", "rate": 0.2}) == ("kind", "rate")
    assert NESTED.active({"kind": "b", "rate": 0.1 + 0.2, "depth": 2, "flag": True}) == (
        "kind", "rate", "depth", "flag",
    )  # fmt: skip
    assert NESTED.active({"kind": "b", "rate": 0.1, "depth": 2, "flag": 1})[-1] == "only"


def test_sizes_count_conditions() -> None:
    assert NESTED.size() == 1 + 1 + 2 * (1 + 2)
    assert BOOK.size() is None
    assert Space.of(x=Float(min=1.0, max=1.0)).size() == 1
    assert Space.of(x=Int(min=-(2**63), max=2**63 - 1)).size() == 2**64
    never = Space.of(
        a=Choice(values=["x", "y"]),
        b=Int(min=1, max=2, when={"a": ["x"]}),
        c=Float(min=0.0, max=1.0, when={"a": ["y"], "b": [1]}),  # never active: b needs a = x
    )
    assert never.size() == 3


def test_counting_takes_no_time_in_a_large_space() -> None:
    parameters: dict[str, Choice | Int] = {f"switch_{i}": Choice(values=["on", "off"]) for i in range(40)}
    parameters |= {f"n_{i}": Int(min=1, max=1000, when={f"switch_{i}": ["on"]}) for i in range(40)}
    space = Space(SpaceSpec(parameters=parameters))
    assert space.size() == 1001**40
    assert space.contains(space.configuration(1001**39))
    assert space.lattice(3).size == 4**40


@pytest.mark.parametrize(
    ("params", "problems"),
    [
        ({"kind": "a"}, []),
        ({}, ["kind must be set. Received: nothing"]),
        ({"kind": "c"}, ["kind must be one of 'a', 'b'. Received: 'c'"]),
        ({"kind": "a", "knd": 1}, [
            "a parameter must be one of kind, rate, depth, flag, only. Did you mean 'kind'? Received: 'knd'"]),
        ({"kind": "a", "rate": 0.1}, ["rate may be set only when kind in ['b']. Received: rate=0.1"]),
        ({"kind": "b", "rate": 0.15}, ["rate must be a multiple of 0.1 above 0.1. Received: 0.15"]),
        ({"kind": "b", "rate": 0.4}, ["rate must lie in [0.1, 0.3]. Received: 0.4"]),
        ({"kind": "b", "rate": 1}, ["rate must be a float. Received: 1"]),
        ({"kind": "b", "rate": np.float64(0.1)}, ["rate must be a float. Received: np.float64(0.1)"]),
        ({"kind": "b", "rate": math.nan}, ["rate must lie in [0.1, 0.3]. Received: nan"]),
        ({"kind": "b", "rate": 0.1}, ["depth must be set. Received: kind, rate"]),
        ({"kind": "b", "rate": 0.1, "depth": True}, ["depth must be an int. Received: True"]),
        ({"kind": "b", "rate": 0.1, "depth": 1.0}, ["depth must be an int. Received: 1.0"]),
        ({"kind": "b", "rate": 0.2, "depth": 1}, [
            "depth may be set only when rate in [0.1, 0.3] and kind in ['b']. Received: depth=1"]),
        ({"kind": "b", "rate": 0.1, "depth": 2, "flag": True}, []),
        ({"kind": "b", "rate": 0.1, "depth": 2, "flag": 1}, ["only must be set. Received: kind, rate, depth, flag"]),
        ({"kind": "b", "rate": 0.1, "depth": 2, "flag": 1, "only": "y"}, ["only must be one of 'x'. Received: 'y'"]),
    ],
)  # fmt: skip
def test_problems_name_the_rule_and_the_value(params, problems: list[str]) -> None:
    assert NESTED.problems(params) == problems
    assert NESTED.contains(params) == (not problems)


def test_all_problems_are_told_at_once() -> None:
    params = {"n_hidden": 4, "n_neurons": 0, "optimizer": "adam", "momentum": 0.5, "learning_rate": "fast"}
    assert BOOK.problems(params) == [
        "n_hidden must lie in [0, 3]. Received: 4",
        "n_neurons must lie in [1, 100]. Received: 0",
        "momentum may be set only when optimizer in ['sgd']. Received: momentum=0.5",
        "learning_rate must be a float. Received: 'fast'",
        "batch_size must be set. Received: n_hidden, n_neurons, optimizer, momentum, learning_rate",
    ]


def test_whole_numbers_are_equally_likely_at_both_ends() -> None:
    """Chi-squared of 20,000 draws over 5 values: under 23.5, which is exceeded with probability 1e-4 (4 degrees)."""
    space = Space.of(x=Int(min=-2, max=2))
    rng = np.random.default_rng(0)
    counts = np.bincount([int(space.sample(rng)["x"]) + 2 for _ in range(20_000)], minlength=5)
    assert ((counts - 4000) ** 2 / 4000).sum() < 23.5


def test_real_numbers_are_uniform_in_their_scale() -> None:
    """Kolmogorov-Smirnov distance of 5,000 draws: under 1.95 / sqrt(n), exceeded with probability 1e-3."""
    space = Space.of(linear=Float(min=-1.0, max=3.0), log=Float(min=1e-5, max=1e-1, log=True))
    rng = np.random.default_rng(0)
    drawn = [space.sample(rng) for _ in range(5000)]
    for units in (
        sorted((float(params["linear"]) + 1) / 4 for params in drawn),
        sorted((math.log10(float(params["log"])) + 5) / 4 for params in drawn),
    ):
        assert np.abs(np.array(units) - (np.arange(5000) + 0.5) / 5000).max() < 1.95 / math.sqrt(5000)


def test_a_logarithmic_step_is_rounded_to_its_nearest() -> None:
    space = Space.of(x=Int(min=32, max=512, step=32, log=True))
    axis = space.axes["x"]
    # The cell of 64 reaches from 48 to 80 on the logarithmic scale; that of 32 as far below 32 as above it.
    edges = [math.log(32**2 / 48), math.log(48), math.log(80)]
    whole = math.log(512**2 / 496) - edges[0]
    assert axis.cell(0) == pytest.approx((0.0, (edges[1] - edges[0]) / whole))
    assert axis.cell(1) == pytest.approx(((edges[1] - edges[0]) / whole, (edges[2] - edges[0]) / whole))
    assert axis.cell(15)[1] == 1.0


def test_steps_are_written_as_a_person_would() -> None:
    space = Space.of(x=Float(min=0.1, max=0.7, step=0.1))
    assert [params["x"] for params in space.grid(100)] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
    assert space.contains({"x": 0.1 + 0.2}), "rounding noise is not a mistake"
    assert space.key({"x": 0.1 + 0.2}) == space.key({"x": 0.3})


def test_keys_keep_types_apart() -> None:
    space = Space.of(x=Choice(values=[True, 1, 1.0, "1"]))
    assert len({space.key({"x": value}) for value in (True, 1, 1.0, "1")}) == 4


def test_inactive_parameters_lie_in_the_middle() -> None:
    params = {"n_hidden": 0, "n_neurons": 1, "optimizer": "adam", "learning_rate": 3e-3, "batch_size": 128}
    assert BOOK.to_unit(params) == pytest.approx([0.125, 0.005, 0.75, 0.5, 0.5, 5 / 6])


def test_grid_values() -> None:
    space = Space.of(
        x=Float(min=1e-4, max=1.0, log=True),
        n=Int(min=0, max=100, prior=7),
        m=Int(min=0, max=2, when={"n": [42]}),
    )
    grid = list(space.grid(5))
    assert sorted({float(params["x"]) for params in grid}) == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1, 1])
    assert sorted({int(params["n"]) for params in grid}) == [0, 7, 25, 42, 50, 75, 100]
    assert len(grid) == 5 * (6 + 3)
    assert next(iter(BOOK.grid(1000))), "lazy: nobody walks through 24 million"
    with pytest.raises(ValueError, match=r"steps must be >= 1. Received: 0"):
        space.grid(0)


def test_the_central_configuration_takes_priors_then_middles_then_first_values() -> None:
    space = Space.of(
        a=Choice(values=["x", "y"]),
        b=Float(min=1e-4, max=1.0, log=True, when={"a": ["x"]}),
        c=Int(min=0, max=10),
        d=Float(min=0.0, max=1.0, when={"a": ["y"]}),
        e=Float(min=0.0, max=1.0, prior=0.25),
        f=Choice(values=[1, 2, 3], prior=3),
    )
    assert space.central() == {"a": "x", "b": pytest.approx(1e-2), "c": 5, "e": 0.25, "f": 3}


def test_typical_configurations_take_the_priors() -> None:
    space = Space.of(
        a=Choice(values=["x", "y"], prior="y"),
        b=Float(min=1e-5, max=1.0, log=True, prior=3e-3, when={"a": ["y"]}),
        c=Int(min=0, max=10),
        d=Float(min=0.0, max=1.0, prior=0.5, when={"a": ["x"]}),
    )
    rng = np.random.default_rng(0)
    typical = [space.typical(rng) for _ in range(20)]
    assert all(params is not None and space.contains(params) for params in typical)
    assert {(params["a"], params["b"]) for params in typical if params} == {("y", 3e-3)}
    assert len({params["c"] for params in typical if params}) > 5
    assert BOOK.typical(rng) is None


def test_points_outside_the_cube_are_refused() -> None:
    with pytest.raises(ValueError, match=r"a point must have shape \(6,\). Received: shape \(5,\)"):
        BOOK.from_unit(np.zeros(5))
    for bad in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match=r"a point's coordinates must lie in \[0, 1\]"):
            BOOK.from_unit(np.full(6, bad))
    with pytest.raises(ValueError, match="kind must be set"):
        NESTED.to_unit({})


def test_the_spec_can_be_read_without_numpy() -> None:
    script = "import sys, kerasweep.spec; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], env={"PYTHONPATH": ":".join(sys.path)}).returncode == 0


def test_what_trials_find_for_themselves_is_no_part_of_the_space() -> None:
    find = Find(min=1e-4, when={"optimizer": ["sgd"]})
    space = Space.of(learning_rate=find, optimizer=Choice(values=["sgd", "adam"]), n=Int(min=1, max=3))
    assert (space.names, space.dimensions, space.size()) == (("optimizer", "n"), ("optimizer", "n"), 6)
    assert space.found == {"learning_rate": find}
    params = {"optimizer": "sgd", "n": 2}
    found = {**params, "learning_rate": 0.03}
    assert space.contains(params)
    assert space.contains(found)
    assert space.key(params) == space.key(found)
    np.testing.assert_array_equal(space.to_unit(found), space.to_unit(params))
    assert all("learning_rate" not in space.sample(np.random.default_rng(seed)) for seed in range(5))
    assert space.corner(0.0) == {"optimizer": "sgd", "n": 1, "learning_rate": 1e-4}
    assert space.corner(1.0) == {"optimizer": "adam", "n": 3}
    assert space.central()["learning_rate"] == 1e-4
    assert Space.of(learning_rate=Find()).size() == 1
