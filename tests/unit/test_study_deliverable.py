"""Subclassed and dynamic models: trained, kept by their weights, delivered; what cannot be is told before training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from kerasweep.data import SearchData, load_search
from kerasweep.delivery import export
from kerasweep.errors import DeliveryError
from kerasweep.models.several import NamesDiffer
from kerasweep.records import Decision, Direction, Objective, Status, Trial
from kerasweep.spec import PipelineSpec, pipeline_from_mapping
from kerasweep.study.deliverable import check_deliverable
from kerasweep.study.origin import Origin, models_for
from kerasweep.study.winner import assembled
from kerasweep.training import Cohort, CohortTrainer, KerasTrainer, Schedule, snapshots
from kerasweep.training.base import EpochReport, Member, Snapshot, TrainingArrays

MODELS = """
import keras


class Net(keras.Model):
    def __init__(self, layer, **options):
        super().__init__(**options)
        self.first = layer
        self.out = keras.layers.Dense(3, "softmax")

    def call(self, x):
        return self.out(self.first(x))


@keras.saving.register_keras_serializable("kerasweep_tests")
class Known(keras.Model):
    def __init__(self, units, **options):
        super().__init__(**options)
        self.units = units
        self.first = keras.layers.Dense(units, "relu")
        self.out = keras.layers.Dense(3, "softmax")

    def call(self, x):
        return self.out(self.first(x))

    def get_config(self):
        return {**super().get_config(), "units": self.units}


class Branching(Net):
    def call(self, x):
        return self.out(self.first(x) if float(keras.ops.sum(x)) > 0 else -self.first(x))


def compiled(model, run_eagerly=False):
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"], run_eagerly=run_eagerly)
    return model


def subclassed(units):
    return compiled(Net(keras.layers.Dense(units, "relu")))


def eager(units):
    return compiled(Net(keras.layers.Dense(units, "relu")), run_eagerly=True)


def branching(units):
    return compiled(Branching(keras.layers.Dense(units, "relu")), run_eagerly=True)


def known(units):
    return compiled(Known(units))


def functional(units):
    inputs = keras.Input((13,))
    return compiled(keras.Model(inputs, keras.layers.Dense(3, "softmax")(keras.layers.Dense(units)(inputs))))


def two_inputs(units):
    inputs = [keras.Input((1,), name=name) for name in ("left", "wrong")]
    hidden = keras.layers.Dense(units)(keras.layers.Concatenate()(inputs))
    return compiled(keras.Model(inputs, keras.layers.Dense(3, "softmax")(hidden)))


def moody(units):
    raise ValueError("in a bad mood")
"""
OBJECTIVE = Objective("val_loss", Direction.MINIMIZE)


def study(folder: Path, builder: str, **sections: Any) -> tuple[PipelineSpec, Any, SearchData]:
    (folder / "delivered_models.py").write_text(MODELS)
    mapping = {
        "name": "wine",
        "data": {"name": "wine"},
        "model": {"builder": f"delivered_models:{builder}"},
        "space": {"parameters": {"units": {"type": "int", "min": 2, "max": 9}}},
        **sections,
    }
    spec = pipeline_from_mapping(mapping, folder).spec
    data = load_search(spec.data, folder)
    return spec, models_for(spec, data, Origin(folder)), data


def arrays() -> TrainingArrays:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(60, 13)).astype("float32"), rng.integers(0, 3, 60)
    return TrainingArrays(x[:40], y[:40], (x[40:], y[40:]))


@pytest.mark.parametrize("builder", ["subclassed", "eager", "branching"])
def test_such_models_train_and_go_on_from_their_weights(builder: str, tmp_path: Path) -> None:
    _, models, _ = study(tmp_path, builder)
    trainer, cohort = KerasTrainer(models, Schedule(OBJECTIVE, 4)), Cohort((Member(0, {"units": 5}, 7),))
    taken: list[Snapshot] = []

    def report(each: EpochReport) -> Decision:
        if each.epoch == 2:
            snapshots.save(each.snapshot(), tmp_path)
            taken.append(snapshots.load(tmp_path))
        return Decision()

    (whole,) = trainer.train(cohort, arrays(), report)
    (resumed,) = trainer.train(cohort, arrays(), lambda each: Decision(), taken[0])
    assert whole.status is Status.FINISHED, whole.reason
    assert len(whole.history) == 4
    assert resumed.history == whole.history
    for one, other in zip(whole.weights, resumed.weights, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("builder", ["subclassed", "eager"])
def test_such_models_are_delivered_with_their_weights(builder: str, tmp_path: Path) -> None:
    spec, models, data = study(tmp_path, builder)
    source = models.build({"units": 5}, 3)
    model = assembled(spec, Trial(0, {"units": 5}, 7), source.get_weights(), models, data)
    features = (data.validation.x - data.train.x.mean(axis=0)) / data.train.x.std(axis=0)
    expected = keras.ops.convert_to_numpy(source(features))
    np.testing.assert_allclose(model.predict(data.validation.x, verbose=0), expected, rtol=1e-3, atol=1e-5)
    paths = export(model, ["saved_model"], tmp_path / "out", data.validation.x, data.facts)  # compares what it reads
    assert paths["saved_model"].is_dir()


def test_an_eager_model_trains_beside_a_cohort_and_a_note_says_so(tmp_path: Path) -> None:
    _, models, _ = study(tmp_path, "eager")
    cohort = Cohort(tuple(Member(number, {"units": 5}, number) for number in range(2)))
    notes: list[str] = []

    def report(each: EpochReport) -> Decision:
        notes.extend(each.notes)
        return Decision()

    outcomes = CohortTrainer(models, Schedule(OBJECTIVE, 1)).train(cohort, arrays(), report)
    assert [outcome.status for outcome in outcomes] == [Status.FINISHED] * 2
    assert any("run_eagerly=True" in note for note in notes)


class TestBeforeTraining:
    def test_what_a_keras_file_cannot_hold_is_told_with_the_ways_out(self, tmp_path: Path) -> None:
        with pytest.raises(DeliveryError, match=r"keras format must be made of Keras's own layers.*other formats"):
            check_deliverable(*study(tmp_path, "subclassed", register=None))

    def test_the_registry_needs_a_keras_file_too(self, tmp_path: Path) -> None:
        saved = {"formats": ["saved_model"]}
        with pytest.raises(DeliveryError, match=r"Received: Net: .*\n.*register: null leaves it out"):
            check_deliverable(*study(tmp_path, "eager", export=saved))
        check_deliverable(*study(tmp_path, "eager", export=saved, register=None))

    def test_a_model_whose_way_depends_on_values_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(DeliveryError, match="must accept the preprocessed features"):
            check_deliverable(*study(tmp_path, "branching", export={"formats": []}, register=None))

    @pytest.mark.parametrize("builder", ["known", "functional"])
    def test_what_can_be_delivered_passes(self, builder: str, tmp_path: Path) -> None:
        check_deliverable(*study(tmp_path, builder))

    def test_inputs_of_other_names_than_the_datas_are_told(self, tmp_path: Path) -> None:
        (tmp_path / "rows.csv").write_text("a,b,y\n" + "".join(f"{i},{i % 7},{i % 3}\n" for i in range(60)))
        data = {"csv": "rows.csv", "target": "y", "task": "multiclass", "inputs": {"left": ["a"], "right": ["b"]}}
        with pytest.raises(NamesDiffer, match=r"as the data's, left, right, .*Received: left, wrong"):
            check_deliverable(*study(tmp_path, "two_inputs", data=data))

    def test_a_builder_that_fails_is_left_to_its_trials(self, tmp_path: Path) -> None:
        check_deliverable(*study(tmp_path, "moody"))
