from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kerasweep.data import load_search
from kerasweep.data.arrays import IN_MEMORY
from kerasweep.data.folds import deal
from kerasweep.data.preprocessing import fit, refit
from kerasweep.data.rows import concatenate, take
from kerasweep.errors import DataError
from kerasweep.spec.pipeline import DataSpec


@pytest.mark.parametrize(("rows", "folds"), [(60, 3), (61, 3), (10, 10), (7, 2), (103, 5)])
def test_every_dealt_row_is_held_out_once(rows: int, folds: int) -> None:
    splits = deal(rows, None, folds, 7, "the data")
    held = np.concatenate([out for _, out in splits])
    assert len(splits) == folds
    assert {len(out) for _, out in splits} == {rows // folds}
    assert {len(train) for train, _ in splits} == {rows - rows // folds}
    assert len(np.unique(held)) == len(held) == folds * (rows // folds)
    for train, out in splits:
        assert np.array_equal(np.sort(np.concatenate([train, out])), np.arange(rows))


def test_folds_have_their_share_of_every_class() -> None:
    classes = np.repeat([0, 1, 2], [50, 30, 10])
    np.random.default_rng(3).shuffle(classes)
    for _, out in deal(len(classes), classes, 5, 1, "the data"):
        assert np.bincount(classes[out]).tolist() == [10, 6, 2]


def test_the_deal_depends_on_the_seed_alone() -> None:
    first, again, other = (deal(40, None, 4, seed, "the data") for seed in (1, 1, 2))
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a[1], b[1]) for a, b in zip(first, other, strict=True))


def test_fewer_rows_than_folds_are_refused() -> None:
    with pytest.raises(DataError, match="Received: 3 rows for 4 folds"):
        deal(3, None, 4, 0, "the data")


def test_each_fold_is_standardised_by_its_own_rows() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(5, 3, (80, 2)), rng.normal(size=80)
    spec = DataSpec(python=IN_MEMORY, task="regression")
    data = load_search(spec, Path(), (x, y), folds=4)
    assert len(data.folds) == 4
    rows = concatenate(data.train.x, data.validation.x)
    for fold in data.folds:
        assert fold.preprocessing.array is not None
        assert fold.preprocessing.array.mean == pytest.approx(rows[fold.train].mean(axis=0))
        assert fold.preprocessing.array.variance == pytest.approx(rows[fold.train].var(axis=0))
    assert load_search(spec, Path(), (x, y)).folds == ()
    plain = load_search(spec.model_copy(update={"preprocess": "none"}), Path(), (x, y), folds=4)
    assert {fold.preprocessing for fold in plain.folds} == {plain.preprocessing}


def test_a_fold_keeps_the_features_of_the_study() -> None:
    rows = {
        "size": np.array([1.0, 2.0, np.nan, 4.0, 5.0, 6.0]),
        "rare": np.array([7.0, np.nan, np.nan, np.nan, np.nan, np.nan]),
        "city": np.array(["a", "b", "b", None, "a", "c"], dtype=object),
        "old": np.array([True, False, True, True, False, True]),
    }
    whole = fit(rows)
    fold = refit(whole, take(rows, np.array([1, 3, 4, 5])))
    assert fold.feature_shape == whole.feature_shape
    assert fold.categories == whole.categories
    size, rare, old = fold.numbers
    assert (size.mean, size.indicator, size.fill) == (4.25, True, 4.25)
    assert rare == whole.numbers[1], "a column without a value in these rows keeps its numbers"
    assert (old.mean, old.variance) == (0.0, 1.0)
