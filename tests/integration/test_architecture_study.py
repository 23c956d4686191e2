"""A search over architectures on rows that do not go with all of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kerasweep import Choice, Study
from kerasweep.errors import SpecError


def test_rows_that_turn_out_to_be_no_images_are_told_before_anything_trains(tmp_path: Path) -> None:
    space = {"architecture": Choice(values=["cnn", "mlp"])}
    x, y = np.zeros((40, 36), "float32"), np.arange(40) + 0.5
    with (
        Study("flat", data=(x, y), model="auto", space=space, directory=tmp_path) as study,
        pytest.raises(SpecError, match=r"cnn needs rows that are images, of 2 or 3 axes\. Received: cnn for"),
    ):
        study.run(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
