"""The next space: what stays, what goes, and whether a second search in it finds more."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasweep.errors import StudyError
from kerasweep.records import Direction, Objective, Params, Status, StudyRecord, Trial
from kerasweep.report.narrowing import NextSpace, narrow
from kerasweep.report.space_file import space_file
from kerasweep.space import Space
from kerasweep.spec import load_pipeline, load_space
from kerasweep.spec.parameters import Choice, Find, Fixed, Float, Int, Parameter

LOSS = Objective("val_loss", Direction.MINIMIZE)
SPACE = Space.of(
    n_hidden=Int(min=1, max=5),
    n_neurons=Int(min=1, max=100, prior=3),
    batch_size=Int(min=16, max=256, step=16, log=True),
    activation=Choice(values=["relu", "no", "1.5", True, 2, 2.5]),
    optimizer=Choice(values=["sgd", "adam"]),
    momentum=Float(min=0.0, max=0.9, step=0.1, when={"optimizer": ["sgd"]}),
    learning_rate=Float(min=1e-5, max=1.0, log=True),
    dropout=Float(min=0.0, max=0.5),
    third=Int(min=1, max=9, when={"n_hidden": [3, 4, 5]}),
    tag=Fixed(value="x y"),
)
Value = Callable[[Params], float]


def searched(value: Value, count: int, seed: int = 0, space: Space = SPACE) -> list[Trial]:
    rng = np.random.default_rng(seed)
    drawn = [space.sample(rng) for _ in range(count)]
    return [Trial(n, params, 0, Status.FINISHED, value=value(params), epoch=1) for n, params in enumerate(drawn)]


def near(params: Params) -> float:
    """Lowest at a learning rate of 0.01, 60 neurons, no dropout, one layer and Adam."""
    distance = abs(math.log10(float(params["learning_rate"])) + 2) + abs(int(params["n_neurons"]) - 60) / 20
    return distance + 4 * float(params["dropout"]) + int(params["n_hidden"]) - 1 + 20 * (params["optimizer"] == "sgd")


def record(trials: Sequence[Trial]) -> StudyRecord:
    return StudyRecord("tiny@12345678", "tiny", "finished", 1.0, LOSS, "", tuple(trials))


def parameter(found: NextSpace, name: str) -> Parameter:
    return found.spec.parameters[name]


def test_ranges_hold_the_best_and_a_margin_and_the_prior_is_the_best() -> None:
    trials = searched(near, 200)
    best = sorted(trials, key=lambda trial: near(trial.params))[:40]
    found = narrow(trials, LOSS, SPACE)
    assert (found.best, found.trials) == (40, 200)
    for name in ("n_neurons", "learning_rate"):
        declared, narrowed = SPACE.spec.parameters[name], parameter(found, name)
        assert isinstance(declared, Int | Float)
        assert isinstance(narrowed, Int | Float)
        assert (narrowed.type, narrowed.log, narrowed.step) == (declared.type, declared.log, declared.step)
        values = [float(trial.params[name]) for trial in best]
        axis = SPACE.axes[name]
        low, high = axis.coordinate(narrowed.min), axis.coordinate(narrowed.max)
        assert low == pytest.approx(max(axis.coordinate(type(declared.min)(min(values))) - 0.1, 0), abs=0.02)
        assert high == pytest.approx(min(axis.coordinate(type(declared.min)(max(values))) + 0.1, 1), abs=0.02)
        assert narrowed.prior == best[0].params[name]


def test_few_of_the_best_make_a_wider_margin() -> None:
    space = Space.of(x=Float(min=0.0, max=1.0))
    values = [0.3, 0.5, 0.7, 0.0, 1.0, 0.1]
    trials = [Trial(n, {"x": x}, 0, Status.FINISHED, value=float(n), epoch=1) for n, x in enumerate(values)]
    narrowed = parameter(narrow(trials, LOSS, space), "x")
    assert isinstance(narrowed, Float)
    assert (narrowed.min, narrowed.max, narrowed.prior) == (pytest.approx(0.1), pytest.approx(0.9), 0.3)


def test_the_direction_counts() -> None:
    trials = searched(lambda params: -near(params), 100)
    highest = narrow(trials, Objective("val_score", Direction.MAXIMIZE), SPACE)
    assert highest.spec == narrow(searched(near, 100), LOSS, SPACE).spec


def test_what_was_tried_often_and_is_never_among_the_best_is_dropped() -> None:
    found = narrow(searched(near, 100), LOSS, SPACE)
    assert parameter(found, "optimizer") == Choice(values=["adam"], prior="adam")
    assert "momentum" not in found.spec.parameters
    (momentum,) = (each for each in found.parameters if each.name == "momentum")
    assert momentum.why == "left out: its condition can no longer be met"


@pytest.mark.parametrize(("tried", "values"), [(9, ["a", "b"]), (10, ["a"])])
def test_what_was_tried_too_seldom_stays(tried: int, values: list[str]) -> None:
    """Of 40 trials the best 8: none of 9 (10) would be among them with a probability of 0.103 (0.076)."""
    space = Space.of(kind=Choice(values=["a", "b"]))
    assert (math.comb(31, 8) / math.comb(40, 8) > 0.1, math.comb(30, 8) / math.comb(40, 8) > 0.1) == (True, False)
    kinds = ["a"] * (40 - tried) + ["b"] * tried
    trials = [Trial(n, {"kind": kind}, 0, Status.FINISHED, value=float(n), epoch=1) for n, kind in enumerate(kinds)]
    assert parameter(narrow(trials, LOSS, space), "kind") == Choice(values=values, prior="a")


def test_trials_that_failed_were_tried() -> None:
    space = Space.of(kind=Choice(values=["a", "b"]))
    good = [Trial(n, {"kind": "a"}, 0, Status.FINISHED, value=float(n), epoch=1) for n in range(31)]
    assert parameter(narrow(good, LOSS, space), "kind") == Choice(values=["a", "b"], prior="a")
    bad = [Trial(n, {"kind": "b"}, 0, Status.FAILED, "NaN") for n in range(31, 43)]
    assert parameter(narrow([*good, *bad], LOSS, space), "kind") == Choice(values=["a"], prior="a")


def test_a_condition_keeps_what_its_switch_still_has() -> None:
    found = narrow(searched(lambda params: abs(int(params["n_hidden"]) - 4), 100), LOSS, SPACE, 0.1)
    hidden, third = parameter(found, "n_hidden"), parameter(found, "third")
    assert isinstance(hidden, Int)
    assert (hidden.min, hidden.max, hidden.prior) == (3, 5, 4)
    assert third.when == {"n_hidden": [3, 4, 5]}
    found = narrow(searched(lambda params: abs(int(params["n_hidden"]) - 2), 100), LOSS, SPACE, 0.1)
    assert parameter(found, "third").when == {"n_hidden": [3]}
    assert SPACE.spec.parameters["third"].when == {"n_hidden": [3, 4, 5]}


def test_what_none_of_the_best_has_stays_as_it_was() -> None:
    """The best have two layers; three stay possible, as their neighbour, and so does what three layers have."""
    found = narrow(searched(lambda params: abs(int(params["n_hidden"]) - 2), 100), LOSS, SPACE, 0.1)
    assert parameter(found, "third") == Int(min=1, max=9, when={"n_hidden": [3]})


@pytest.mark.parametrize(
    ("declared", "sign", "border"),
    [
        (Float(min=1e-3, max=1e-1, log=True), -1, "max"),
        (Float(min=1e-3, max=1e-1, log=True), 1, "min"),
        (Float(min=1.0, max=2.0), -1, "max"),
        (Float(min=1.0, max=2.0), 1, "min"),
        (Float(min=0.5, max=2.0, step=0.1), -1, "max"),
        (Int(min=4, max=64), -1, "max"),
        (Int(min=16, max=256, step=16, log=True), -1, "max"),
        (Int(min=1, max=64, log=True), 1, ""),  # there is nothing below 1
        (Float(min=0.0, max=1.0), 1, ""),  # nor below 0
        (Int(min=1, max=2), -1, "max"),
    ],
)
def test_it_says_when_the_best_press_against_a_declared_border(declared: Float | Int, sign: int, border: str) -> None:
    space = Space.of(x=declared)
    trials = searched(lambda params: sign * float(params["x"]), 100, space=space)
    found = narrow(trials, LOSS, space, keep=0.05)
    narrowed = parameter(found, "x")
    assert isinstance(narrowed, Int | Float)
    assert (narrowed.max == declared.max) if sign < 0 else (narrowed.min == declared.min)
    if not border:
        assert found.hints == ()
        return
    (hint,) = found.hints
    begins = f"x: the best trials press against {border}, so the optimum may lie outside: consider {border}: "
    assert hint.startswith(begins)
    beyond = float(hint.removeprefix(begins))
    assert beyond > declared.max if sign < 0 else 0 < beyond < declared.min
    wider = declared.model_dump() | {border: type(declared.min)(beyond)}
    assert type(declared).model_validate(wider)  # on its steps
    assert "  # the best trials press against " in space_file(record(trials), found, 0.05)


def test_the_best_inside_press_against_nothing() -> None:
    hints = narrow(searched(near, 200), LOSS, SPACE).hints
    assert [hint.partition(":")[0] for hint in hints] == ["n_hidden"]  # 1 is the best, and the least


def test_no_hint_exceeds_what_a_family_allows() -> None:
    space = Space.of(dropout=Float(min=0.0, max=0.99), l2=Float(min=0.0, max=1.0))
    trials = searched(lambda params: -float(params["dropout"]), 100, space=space)
    assert narrow(trials, LOSS, space, family="mlp").hints == ()
    assert len(narrow(trials, LOSS, space).hints) == 1


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.05, 0.2, 0.5, 0.9]))
def test_any_next_space_is_one_and_lies_within_the_space(seed: int, keep: float) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=len(SPACE.dimensions))
    trials = searched(lambda params: float(weights @ SPACE.to_unit(params)), 60, seed)
    found = narrow(trials, LOSS, SPACE, keep)
    assert 0 < found.volume <= 1
    best = min(trials, key=lambda trial: trial.value or 0.0)
    inside = Space(found.spec)
    left = {name: value for name, value in best.params.items() if name in found.spec.parameters}
    assert inside.contains(left)
    for name, narrowed in found.spec.parameters.items():
        declared = SPACE.spec.parameters[name]
        if isinstance(narrowed, Int | Float) and isinstance(declared, Int | Float):
            assert declared.min <= narrowed.min < narrowed.max <= declared.max
            if narrowed.prior is not None and narrowed.prior != declared.prior:
                assert narrowed.min < narrowed.prior or narrowed.min == declared.min
                assert narrowed.prior < narrowed.max or narrowed.max == declared.max
    for _ in range(20):
        drawn = inside.sample(rng)
        assert all(SPACE.axes[name].problem(value) is None for name, value in drawn.items())


def test_the_optimum_stays_inside_and_the_volume_shrinks() -> None:
    """Of 40 studies of 60 trials, the optimum lies inside in at least 36 (the rest is the luck of random search)."""
    space = Space.of(
        learning_rate=Float(min=1e-5, max=1.0, log=True), n=Int(min=1, max=300, log=True), d=Float(min=0.0, max=0.5)
    )
    optimum: Params = {"learning_rate": 3e-3, "n": 40, "d": 0.1}
    goal = space.to_unit(optimum)
    inside, volumes = 0, []
    for seed in range(40):
        trials = searched(lambda params: float(((space.to_unit(params) - goal) ** 2).sum()), 60, seed, space)
        found = narrow(trials, LOSS, space)
        inside += Space(found.spec).contains(optimum)
        volumes.append(found.volume)
    assert inside >= 36
    assert np.mean(volumes) < 0.5


def test_a_second_search_in_the_next_space_finds_better_values() -> None:
    """Thirty pairs of 40 + 40 random trials: the mean gain in log10(best) lies over three standard errors above 0."""
    space = Space.of(**{name: Float(min=0.0, max=1.0) for name in "abcd"})

    def value(params: Params) -> float:
        return sum((float(params[name]) - 0.3 - 0.1 * i) ** 2 for i, name in enumerate("abcd"))

    gains = []
    for seed in range(30):
        first = searched(value, 40, seed, space)
        narrowed = Space(narrow(first, LOSS, space).spec)
        again, there = (searched(value, 40, 1000 + seed, each) for each in (space, narrowed))
        best = [min(trial.value or 0.0 for trial in [*first, *second]) for second in (again, there)]
        gains.append(math.log10(best[0]) - math.log10(best[1]))
    assert np.mean(gains) > 3 * np.std(gains, ddof=1) / math.sqrt(30), gains


def test_the_file_reads_back_as_the_same_space(tmp_path: Path) -> None:
    trials = searched(lambda params: abs(int(params["n_hidden"]) - 4), 100)
    found = narrow(trials, LOSS, SPACE)
    path = tmp_path / "next_space.yaml"
    path.write_text(space_file(record(trials), found, 0.2))
    assert load_space(path) == found.spec
    lines = path.read_text().splitlines()
    assert lines[0] == (
        "# The space of tiny@12345678, narrowed around the best 20 of its 100 trials (val_loss, minimized)"
    )
    assert all(line.startswith(("#", "parameters:", "  ")) for line in lines)
    assert sum(line.startswith("  # ") for line in lines) >= len(SPACE.names)


def test_a_pipeline_takes_the_file(tmp_path: Path) -> None:
    space = Space.of(n_hidden=Int(min=0, max=3), learning_rate=Float(min=1e-6, max=1.0, log=True))
    trials = searched(lambda params: abs(math.log10(float(params["learning_rate"])) + 5), 50, space=space)
    found = narrow(trials, LOSS, space, family="mlp")
    (tmp_path / "next_space.yaml").write_text(space_file(record(trials), found, 0.2))
    pipeline = tmp_path / "next.yaml"
    pipeline.write_text("name: next\ndata: {name: iris}\nmodel: {family: mlp}\nspace: next_space.yaml\n")
    assert load_pipeline(pipeline).spec.space == found.spec


@pytest.mark.parametrize("keep", [0.0, 1.0, -0.1, math.nan])
def test_the_share_is_a_share(keep: float) -> None:
    with pytest.raises(ValueError, match="0 < keep < 1 must hold"):
        narrow(searched(near, 20), LOSS, SPACE, keep)


def test_too_few_trials() -> None:
    with pytest.raises(StudyError, match=r"narrowing takes at least 6 trials with a value\. Received: 5"):
        narrow(searched(near, 5), LOSS, SPACE)


def test_a_rate_that_trials_find_stays_to_be_found(tmp_path: Path) -> None:
    space = Space.of(n=Int(min=1, max=100), kind=Choice(values=["a", "b"]), learning_rate=Find(when={"kind": ["a"]}))
    trials = [
        replace(trial, params={**trial.params, "learning_rate": 0.1})
        for trial in searched(lambda params: float(params["n"]), 40, space=space)
        if trial.params["kind"] == "a"
    ]
    found = narrow(trials, LOSS, space)
    assert parameter(found, "learning_rate") == space.found["learning_rate"]
    assert parameter(found, "n").max < 100  # type: ignore[union-attr]
