"""Numbers and durations as a terminal shows them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasweep.cli.quantities import counted, duration, ended, names, number, setting, settings


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.27, "0.2700"),
        (1.3123, "1.312"),
        (12345.6, "12346"),
        (0.0, "0"),
        (3.2e-7, "3.200e-07"),
        (-0.5, "-0.5000"),
        (math.nan, "nan"),
        (math.inf, "inf"),
        (17, "17"),
        (None, "-"),
    ],
)
def test_numbers_keep_four_digits(value: object, shown: str) -> None:
    assert number(value) == shown


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e300, max_value=1e300))
def test_a_shown_number_is_within_one_part_in_a_thousand(value: float) -> None:
    assert math.isclose(float(number(value)), value, rel_tol=1e-3, abs_tol=1e-300)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.6, "1 min 00 s"),
        (125, "2 min 05 s"),
        (3599.7, "1 h 00 min"),
        (4 * 3600 + 65, "4 h 01 min"),
        (None, "-"),
        (math.nan, "-"),
    ],
)
def test_durations(seconds: float | None, shown: str) -> None:
    assert duration(seconds) == shown


def test_parameters_on_one_line() -> None:
    assert settings({"n": 2, "rate": 0.0031234567, "opt": "adam", "norm": True}) == (
        "n=2 rate=0.003123 opt=adam norm=True"
    )
    assert setting(32.0) == "32"


def test_names_come_in_the_order_of_their_first_use() -> None:
    assert names([{"a": 1, "c": 2}, {"b": 1, "a": 3}]) == ("a", "c", "b")


def test_counts() -> None:
    assert counted(1, "trial") == "1 trial"
    assert counted(0, "trial") == "0 trials"
    assert ended({"finished": 3, "stopped": 0, "failed": 1}) == "3 finished, 1 failed"
    assert ended({}) == "none ended"
