from __future__ import annotations

import numpy as np
import pytest

from kerasweep.records import Trial
from kerasweep.search.proposals import Proposals
from kerasweep.space import Space
from kerasweep.spec.parameters import Choice, Float, Int


def proposals(space: Space) -> Proposals:
    return Proposals(space, np.random.default_rng(0))


def test_the_last_free_configurations_are_found_among_millions() -> None:
    """Ten thousand draws would hardly hit the one way out; it is counted off instead."""
    space = Space.of(
        rare=Int(min=1, max=1000),
        wide=Int(min=1, max=10**6, when={"rare": [500]}),
    )
    issued = proposals(space)
    for value in range(1, 1001):
        if value != 500:
            issued.issue({"rare": value})
    params = issued.draw()
    assert params is not None
    assert params["rare"] == 500


def test_an_infinite_space_that_gives_nothing_new_is_given_up() -> None:
    space = Space.of(
        a=Int(min=1, max=10**9),
        b=Choice(values=["x"]),
        c=Float(min=0.0, max=5e-324, when={"a": [7]}),  # two real numbers, and a switch that is hardly ever hit
    )
    issued = proposals(space)
    assert issued.draw() is not None
    tiny = Space.of(x=Float(min=0.0, max=5e-324))
    issued = proposals(tiny)
    issued.issue({"x": 0.0})
    issued.issue({"x": 5e-324})
    assert issued.draw() is None
    assert not issued.used_up


def test_numbers_follow_each_other_and_trials_close_once() -> None:
    issued = proposals(Space.of(x=Int(min=1, max=3)))
    first, second = issued.issue({"x": 1}), issued.issue({"x": 3})
    assert (first.number, second.number, issued.count) == (0, 1, 2)
    assert not issued.is_new({"x": 3})
    assert issued.draw() == {"x": 2}
    issued.close(Trial(1, {"x": 3}, 0))
    with pytest.raises(ValueError, match=r"Received: trial 1, while 0 are open"):
        issued.close(Trial(1, {"x": 3}, 0))
