"""The decision boundary: which studies have one, what is drawn, and where the lines are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import image
from matplotlib.colors import to_rgb
from matplotlib.contour import ContourSet

from kerasweep.data import IN_MEMORY, load_search
from kerasweep.records import Direction, Objective
from kerasweep.report import write_figures
from kerasweep.report.boundary import decision_boundary, shades
from kerasweep.report.plane import Plane, Points
from kerasweep.space import Space
from kerasweep.spec.parameters import Fixed
from kerasweep.spec.pipeline import DataSpec
from kerasweep.study.plane import on_a_plane


def plane(classes: int, rows: int = 40, boundary: float = 0.5) -> Plane:
    """``classes`` bands side by side, of which the first ends at ``boundary``."""
    rng = np.random.default_rng(0)
    at = rng.uniform(0, classes, (rows, 2))
    band = np.minimum(at[:, 0].astype(np.int64), classes - 1)
    x = np.linspace(-1, classes + 1, 101)
    distance = np.stack([-np.abs(x - index - boundary) for index in range(classes)], axis=1)
    shares = np.exp(4 * distance) / np.exp(4 * distance).sum(axis=1, keepdims=True)
    probabilities = np.repeat(shares[None], 51, axis=0)
    points = Points(at, band)
    names = tuple(f"class {index}" for index in range(classes))
    limits = (-1.0, classes + 1.0)
    return Plane(3, 7, ("width", "height"), names, limits, limits, probabilities, points, points, band)


@pytest.mark.parametrize("classes", [2, 3, 8, 30])
def test_it_is_written_with_the_other_figures(classes: int, tmp_path: Path) -> None:
    objective = Objective("val_loss", Direction.MINIMIZE)
    paths = write_figures([], objective, Space.of(a=Fixed(value=1)), tmp_path, plane(classes))
    drawn = {path.name: path for path in paths}
    assert len(drawn) == len(paths) == 6
    assert image.imread(drawn["decision_boundary.png"])[..., :3].std() > 0.05, "something is drawn"


def test_the_line_is_where_two_classes_are_equally_likely() -> None:
    axes = decision_boundary(plane(2)).axes[0]
    (lines,) = [each for each in axes.collections if isinstance(each, ContourSet)]
    (path,) = lines.get_paths()
    np.testing.assert_allclose(path.vertices[:, 0], 1.0, atol=0.02)
    assert axes.get_title(loc="left") == "Decision boundary of the best trial"
    assert "trial 3, epoch 7: 40 of 40 validation rows are on the right side" in [t.get_text() for t in axes.texts]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("width", "height")


def test_every_class_has_its_own_border() -> None:
    axes = decision_boundary(plane(3)).axes[0]
    places = {
        round(float(path.vertices[0, 0]))
        for each in axes.collections
        if isinstance(each, ContourSet)
        for path in each.get_paths()
        if len(path.vertices)
    }
    assert places == {1, 2}


def test_a_model_that_knows_one_class_only_has_no_border() -> None:
    same = plane(2)
    certain = np.zeros_like(same.probabilities)
    certain[..., 0] = 1
    axes = decision_boundary(Plane(**{**same.__dict__, "probabilities": certain})).axes[0]
    assert not [each for each in axes.collections if isinstance(each, ContourSet)]


def test_colours_are_those_of_the_likeliest_class_and_paler_where_it_is_unsure() -> None:
    painted = shades(np.array([[[1.0, 0.0], [0.5, 0.5], [0.1, 0.9]]]), ["#ff0000", "#0000ff"])[0]
    red, blue = np.array(to_rgb("#ff0000")), np.array(to_rgb("#0000ff"))
    assert painted[0] @ red > painted[0] @ blue + 0.5
    assert painted[1].min() > 0.9
    assert painted[2] @ blue > painted[2] @ red + 0.3


def test_many_points_are_thinned_out_and_that_is_said() -> None:
    labels = [text.get_text() for text in decision_boundary(plane(2, rows=4000)).axes[0].get_legend().get_texts()]
    assert labels == ["class 0", "class 1", "training (1,500 of 4,000)", "validation (1,500 of 4,000)"]


ROWS = 40
NUMBERS = np.random.default_rng(0).normal(size=ROWS)
NAMES = ["no", "yes"] * (ROWS // 2)


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        (np.stack([NUMBERS, NUMBERS**2], axis=1), NAMES, True),
        ({"a": NUMBERS, "b": np.arange(ROWS)}, NAMES, True),
        ({"a": NUMBERS, "b": np.arange(ROWS)}, ["x", "y", "z", "z"] * (ROWS // 4), True),
        ({"a": NUMBERS, "b": NAMES}, NAMES, False),
        ({"a": NUMBERS, "b": np.arange(ROWS) % 2 == 0}, NAMES, False),
        ({"a": NUMBERS}, NAMES, False),
        ({"a": NUMBERS, "b": NUMBERS, "c": NUMBERS}, NAMES, False),
        (np.stack([NUMBERS, NUMBERS], axis=1)[..., None], NAMES, False),
        (np.stack([NUMBERS, NUMBERS], axis=1), NUMBERS, False),
    ],
)
def test_a_plane_takes_two_numbers_and_a_class(x: Any, y: Any, expected: bool) -> None:
    assert on_a_plane(load_search(DataSpec(python=IN_MEMORY), Path(), (x, y))) is expected
