"""What TensorBoard reads of the networks of a study's best trials."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util import tensor_util

from kerasweep import Float, Study
from kerasweep.errors import TrackingError
from kerasweep.models import FamilyBuilder, Inputs, UserBuilder
from kerasweep.records import Status, Trial
from kerasweep.spec.pipeline import TensorBoardSpec
from kerasweep.spec.vocabulary import Task
from kerasweep.study.board import show_models
from kerasweep.training import Snapshot, snapshots


@keras.saving.register_keras_serializable("kerasweep_board")
class Subclassed(keras.Model):
    """Without a graph of layers."""

    def __init__(self) -> None:
        super().__init__()
        self.out = keras.layers.Dense(2, name="out")

    def call(self, x: Any) -> Any:
        return self.out(x)


@pytest.mark.parametrize("subclassed", [False, True])
def test_the_best_networks_are_shown(tmp_path: Path, subclassed: bool) -> None:
    inputs = Inputs((3,), Task.REGRESSION, 2)
    models = UserBuilder(Subclassed, Path(), inputs) if subclassed else FamilyBuilder("mlp", inputs)
    kept = [Trial(number, {}, number, Status.FINISHED, epoch=5) for number in (4, 2)]
    fixed: dict[str, Any] = {} if subclassed else {"n_neurons": 6}
    values = {}
    for trial in kept:
        values[trial.number] = models.build(fixed, trial.number).get_weights()
        (tmp_path / "weights" / str(trial.number)).mkdir(parents=True)
        taken = Snapshot(snapshots.named_best(trial.number, values[trial.number]), {})
        snapshots.save(taken, tmp_path / "weights" / str(trial.number))
    board = TensorBoardSpec(histograms=True, graph=True)
    show_models(board, tmp_path / "board", models, fixed, kept, tmp_path / "weights")

    for place, trial in enumerate(kept):
        read = EventAccumulator(str(tmp_path / "board" / f"trial_{trial.number:04d}" / "model"), size_guidance={})
        read.Reload()
        tags = read.Tags()
        assert tags["graph"] == (place == 0)
        assert len(tags["tensors"]) == len(values[trial.number]) == (2 if subclassed else 4)
        kernel = next(tag for tag in tags["tensors"] if tag.endswith("out/kernel" if subclassed else "hidden_1/kernel"))
        assert read.SummaryMetadata(kernel).plugin_data.plugin_name == "histograms"
        (event,) = read.Tensors(kernel)
        assert event.step == 4  # the fifth epoch, as its metrics have it
        left, right, counts = tensor_util.make_ndarray(event.tensor_proto).T
        expected, edges = np.histogram(values[trial.number][0], 30)
        np.testing.assert_array_equal(counts, expected)
        np.testing.assert_allclose((left[0], right[-1]), (edges[0], edges[-1]))
    read = EventAccumulator(str(tmp_path / "board" / "trial_0004" / "model"))
    read.Reload()
    operations = {node.op for node in read.Graph().node}
    assert {"Placeholder", "MatMul"} <= operations
    assert ("Relu" in operations) != subclassed

    for wanted in (TensorBoardSpec(), TensorBoardSpec(graph=True)):
        folder = tmp_path / f"graph-{wanted.graph}"
        show_models(wanted, folder, models, fixed, kept, tmp_path / "weights")
        assert [path.name for path in folder.glob("*")] == (["trial_0004"] if wanted.graph else [])
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(TrackingError, match="event files must be writable"):
        show_models(board, file, models, fixed, kept, tmp_path / "weights")


@pytest.mark.slow
def test_a_study_shows_them_once_its_search_has_ended(project: Path) -> None:
    board = {"directory": "boards", "histograms": True, "graph": True}
    sections: dict[str, Any] = {"search": {"trials": 2, "max_epochs": 2}, "tracking": {"tensorboard": board}}
    space = {"learning_rate": Float(min=1e-3, max=1e-1)}
    with Study("wine", data="wine", model="mlp", space=space, **sections) as study:
        best = study.run()
        kernel = study.model.layers[-1].get_weights()[0]
    folder = project / "boards" / study.id / f"trial_{best.number:04d}" / "model"
    read = EventAccumulator(str(folder))
    read.Reload()
    assert read.Tags()["graph"]
    (tag,) = [tag for tag in read.Tags()["tensors"] if tag.endswith("hidden_1/kernel")]
    (event,) = read.Tensors(tag)
    assert best.epoch is not None
    assert event.step == best.epoch - 1
    buckets = tensor_util.make_ndarray(event.tensor_proto)
    np.testing.assert_array_equal(buckets[:, 2], np.histogram(kernel, 30)[0])
    curves = EventAccumulator(str(folder.parent / "validation"))
    curves.Reload()
    assert "epoch_loss" in curves.Tags()["scalars"]
