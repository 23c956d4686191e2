"""Splits are fixed, disjoint, complete, and keep the shares of the classes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasweep.data.splits import allot, split
from kerasweep.errors import DataError
from kerasweep.spec.pipeline import DataSpec


def spec(**options: object) -> DataSpec:
    return DataSpec.model_validate({"name": "iris", **options})


@given(
    rows=st.integers(8, 400),
    seed=st.integers(0, 2**31 - 1),
    test=st.floats(0.05, 0.5),
    validation=st.floats(0.05, 0.5),
    own_test=st.booleans(),
)
def test_splits_are_disjoint_complete_and_repeatable(
    rows: int, seed: int, test: float, validation: float, own_test: bool
) -> None:
    options = spec(seed=seed, validation=validation, **({} if own_test else {"test": test}))
    one, two = (split(rows, None, options, "data", own_test=own_test) for _ in range(2))
    parts = [one.train, one.validation, one.test]
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(rows))
    for a, b in zip(parts, [two.train, two.validation, two.test], strict=True):
        np.testing.assert_array_equal(a, b)
    held = 0 if own_test else max(1, round(test * rows))
    assert len(one.test) == held
    assert len(one.validation) == max(1, round(validation * (rows - held)))


@given(
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=12).map(np.array).filter(lambda s: s.sum() > len(s)),
    data=st.data(),
)
def test_allot_shares_out_by_the_largest_remainder(sizes: np.ndarray, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, int(sizes.sum() - len(sizes))))
    seats = allot(sizes, count)
    assert seats.sum() == count
    assert (seats >= 0).all()
    assert (seats < sizes).all()
    quota = sizes * count / sizes.sum()
    if (np.ceil(quota) < sizes).all():  # nobody is held back by having to keep a row
        assert (np.abs(seats - quota) < 1).all()


def test_classes_keep_their_shares_in_every_split() -> None:
    classes = np.repeat([0, 1, 2], [200, 100, 20])
    parts = split(320, classes, spec(), "data", own_test=False)
    assert [np.bincount(classes[part]).tolist() for part in (parts.test, parts.validation, parts.train)] == [
        [50, 25, 5],
        [37, 19, 4],
        [113, 56, 11],
    ]


def test_the_shares_of_california_housing_are_the_documented_ones() -> None:
    parts = split(20640, None, spec(), "data", own_test=False)
    assert [len(part) for part in (parts.train, parts.validation, parts.test)] == [11610, 3870, 5160]


def test_the_split_of_a_seed_never_changes() -> None:
    parts = split(12, None, spec(seed=42), "data", own_test=False)
    assert [part.tolist() for part in (parts.test, parts.validation)] == [[0, 3, 9], [10, 11]]


def test_another_seed_is_another_split() -> None:
    one, two = (split(100, None, spec(seed=seed), "data", own_test=False) for seed in (1, 2))
    assert one.test.tolist() != two.test.tolist()


def test_the_test_split_does_not_depend_on_the_validation_share() -> None:
    one, two = (split(100, None, spec(validation=share), "data", own_test=False) for share in (0.1, 0.4))
    assert one.test.tolist() == two.test.tolist()


@pytest.mark.parametrize(
    ("rows", "classes", "options", "own_test", "message"),
    [
        (2, None, {}, False, "each split needs a row, 3 in all. Received: 2"),
        (4, None, {"test": 0.9}, False, "enough rows must be left for training"),
        (4, [0, 0, 0, 1], {}, False, "every class must have at least two rows, to train and to be judged on. "
         "Received: 1 with a single row, the first of them row 3"),
        (6, [0, 0, 1, 1, 2, 2], {"test": 0.6}, False, "Received: 6 rows in 3 classes, of which 4 are to be held out"),
        (100, None, {"test": 0.1}, True, "these data have their own test split, so test must be left out"),
    ],
)  # fmt: skip
def test_what_cannot_be_split_is_refused(
    rows: int, classes: list[int] | None, options: dict[str, object], own_test: bool, message: str
) -> None:
    labels = None if classes is None else np.array(classes)
    with pytest.raises(DataError, match=r"^my data: ") as caught:
        split(rows, labels, spec(**options), "my data", own_test=own_test)
    assert message in str(caught.value)
