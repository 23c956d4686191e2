"""The Playground's data sets, held against the formulas of its public description."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from kerasweep.data import load_search, load_test
from kerasweep.data.base import Array
from kerasweep.data.playground import CLASSES, FEATURES, ROWS, playground
from kerasweep.spec.pipeline import DataSpec
from kerasweep.spec.vocabulary import DATASETS, Task

NAMES = ["playground_circle", "playground_xor", "playground_gauss", "playground_spiral"]


def drawn(name: str) -> tuple[Array, Array]:
    columns, classes = playground(name)
    assert tuple(columns) == FEATURES
    points = np.stack(list(columns.values()), axis=1)
    assert points.shape == (ROWS, 2)
    assert set(classes.tolist()) == {0, 1}
    return points, classes == 1


@pytest.mark.parametrize("name", NAMES)
def test_a_named_set_has_two_coordinates_two_classes_and_all_its_rows(name: str) -> None:
    spec = DataSpec(name=name)
    data = load_search(spec, Path())
    test = load_test(spec, Path(), data)
    assert [len(part) for part in (data.train, data.validation, test)] == [562, 188, 250]
    assert (data.facts.task, data.facts.outputs, data.facts.classes) == (Task.BINARY, 1, CLASSES)
    assert data.facts.columns == FEATURES
    points, blue = drawn(name)
    assert np.abs(points).max() < 6
    assert abs(blue.mean() - 0.5) < 0.08  # xor: five standard errors
    parts = [np.stack([*part.x.values(), part.y[:, 0]], axis=1) for part in (data.train, data.validation, test)]  # type: ignore[union-attr]
    rows = np.concatenate(parts)
    whole = np.column_stack([points, blue])
    np.testing.assert_array_equal(rows[np.lexsort(rows.T)], whole[np.lexsort(whole.T)])


def test_every_set_that_is_known_by_name_is_made() -> None:
    assert [name for name in DATASETS if name.startswith("playground_")] == NAMES


def test_the_seed_of_the_split_changes_the_split_and_not_the_points() -> None:
    one, other = (load_search(DataSpec(name="playground_xor", seed=seed), Path()) for seed in (1, 2))
    assert not np.array_equal(one.train.x["x1"], other.train.x["x1"])  # type: ignore[call-overload]
    np.testing.assert_array_equal(playground("playground_xor")[0]["x1"], playground("playground_xor")[0]["x1"])


def test_the_points_are_the_same_on_every_machine() -> None:
    digest = hashlib.sha256()
    for name in NAMES:
        digest.update((np.round(drawn(name)[0], 6) + 0.0).tobytes())
    assert digest.hexdigest()[:16] == "b189979917c2c368"


def test_the_circle() -> None:
    points, blue = drawn("playground_circle")
    radius = np.hypot(*points.T)
    assert radius[blue].max() < 2.5
    assert 3.5 <= radius[~blue].min() <= radius[~blue].max() <= 5
    assert radius[blue].max() > 2.4
    assert blue.sum() == ROWS // 2


def test_the_four_corners() -> None:
    points, blue = drawn("playground_xor")
    assert 0.3 <= np.abs(points).min() <= np.abs(points).max() <= 5.3
    np.testing.assert_array_equal(blue, (points[:, 0] > 0) == (points[:, 1] > 0))


def test_the_two_blobs() -> None:
    """Means and variances to within five standard errors of 500 normal draws."""
    points, blue = drawn("playground_gauss")
    for part, centre in ((points[blue], 2.0), (points[~blue], -2.0)):
        assert len(part) == ROWS // 2
        np.testing.assert_allclose(part.mean(axis=0), centre, atol=5 * np.sqrt(0.5 / 500))
        np.testing.assert_allclose(part.var(axis=0), 0.5, atol=5 * 0.5 * np.sqrt(2 / 499))


def test_the_spiral_has_two_arms_half_a_turn_apart() -> None:
    points, blue = drawn("playground_spiral")
    np.testing.assert_allclose(points[~blue], -points[blue], atol=1e-12)
    radius = np.hypot(*points[blue].T)
    np.testing.assert_allclose(radius, np.arange(500) / 500 * 5)
    angle = np.unwrap(np.arctan2(points[blue][1:, 0], points[blue][1:, 1]))
    np.testing.assert_allclose(angle, 1.75 * np.arange(1, 500) / 500 * 2 * np.pi)
