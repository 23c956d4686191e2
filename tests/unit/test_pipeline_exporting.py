"""A trial as a model again, from its study's record and weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import kerasweep
from kerasweep.data import load_search
from kerasweep.errors import ModelError, StudyNotFound
from kerasweep.pipeline import export_trial, find_rate
from kerasweep.records import Direction, Objective, Status, Trial
from kerasweep.spec import pipeline_from_mapping
from kerasweep.spec.pipeline import DataSpec
from kerasweep.study.events import Silent
from kerasweep.study.initial import read_initial
from kerasweep.study.local_search import LocalSearch
from kerasweep.study.origin import Origin, models_for
from kerasweep.tracking import StudyHeader, Untracked, open_tracker
from kerasweep.training import Snapshot, snapshots

OBJECTIVE = Objective("val_loss", Direction.MINIMIZE)
SUBCLASSED = """
import keras


class Net(keras.Model):
    def __init__(self, units):
        super().__init__()
        self.hidden = keras.layers.Dense(units, "relu")
        self.out = keras.layers.Dense(3, "softmax")

    def call(self, x):
        return self.out(self.hidden(x))


def build(n_neurons):
    return Net(n_neurons)
"""


def record(folder: Path, model: dict[str, Any], kept: tuple[int, ...] = (1, 3)) -> tuple[str, dict[int, Any]]:
    """A study of four trials with the weights of some, and those weights; trial 3 is the best."""
    space = {"parameters": {"n_neurons": {"type": "int", "min": 2, "max": 9}}}
    mapping = {"name": "wine", "data": {"name": "wine"}, "model": model, "space": space}
    spec = pipeline_from_mapping(mapping, folder).spec
    data = load_search(spec.data, folder)
    models = models_for(spec, data, Origin(folder))
    uri = f"sqlite:///{folder}/mlruns/mlflow.db"
    tracker = open_tracker(uri, "wine")
    text = spec.model_dump_json(by_alias=True)
    tracker.start(StudyHeader("wine@0000000a", "wine", 1.75e9, OBJECTIVE, text, "", str(folder), 1, {}, {}, None))
    weights = {}
    for number in range(4):
        trial = Trial(number, {"n_neurons": 3 + number}, seed=number, started=1.75e9)
        value = 1.0 - number / 10
        ended = replace(trial, status=Status.FINISHED, history=({"val_loss": value},), value=value, epoch=1)
        tracker.end_trial(ended)
        if number in kept:
            weights[number] = [
                np.random.default_rng(number).normal(size=each.shape).astype("float32")
                for each in models.build(trial.params, 99).get_weights()
            ]
            place = folder / f"weights{number}"
            place.mkdir()
            snapshots.save(Snapshot(snapshots.named_best(number, tuple(weights[number])), {}), place)
            tracker.log_files(tuple(place.iterdir()), "weights", number)
    tracker.end("finished")
    tracker.close()
    return uri, weights


def expected(rows: Any, weights: Any) -> Any:
    """The network's predictions, by hand: one hidden layer."""
    from scipy.special import softmax

    kernel, bias, out, shift = weights
    return softmax(np.maximum(rows @ kernel + bias, 0) @ out + shift, axis=1)


@pytest.fixture(scope="module", params=["family", "builder"])
def study(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, dict[int, Any]]:
    folder = tmp_path_factory.mktemp(request.param)
    (folder / f"subclassed_{request.param}.py").write_text(SUBCLASSED)
    model = {"family": "mlp"} if request.param == "family" else {"builder": f"subclassed_{request.param}:build"}
    return (folder, *record(folder, model))


def test_a_trial_is_a_model_of_raw_rows_again(study: tuple[Path, str, dict[int, Any]]) -> None:
    folder, uri, weights = study
    data = load_search(DataSpec(name="wine"), folder)
    raw = data.validation.x
    scaled = (raw - data.train.x.mean(axis=0)) / data.train.x.std(axis=0)
    for trial, number in ((1, 1), (3, 3), (None, 3)):
        model = kerasweep.load_model("wine@0000000a", trial=trial, tracking_uri=uri)
        assert isinstance(model, keras.Model)
        predicted = model.predict(raw, verbose=0)
        np.testing.assert_allclose(predicted, expected(scaled, weights[number]), rtol=1e-3, atol=1e-5)


def test_a_name_finds_the_newest_study_and_the_working_directory_its_store(
    study: tuple[Path, str, dict[int, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(study[0])
    assert kerasweep.load_model("wine").count_params() > 0


def test_weights_that_were_not_kept_are_an_error_that_lists_those_that_were(
    study: tuple[Path, str, dict[int, Any]],
) -> None:
    message = "a trial's weights must have been kept, as those of wine@0000000a's trials 3, 1 were. Received: trial 2"
    with pytest.raises(StudyNotFound) as caught:
        kerasweep.load_model("wine", trial=2, tracking_uri=study[1])
    assert str(caught.value) == message
    with pytest.raises(StudyNotFound, match=r"trial must be one of wine@0000000a's 4\. Received: 7"):
        kerasweep.load_model("wine", trial=7, tracking_uri=study[1])


def test_the_same_model_is_exported(study: tuple[Path, str, dict[int, Any]], tmp_path: Path) -> None:
    import tensorflow as tf

    paths = export_trial("wine", ["saved_model"], tmp_path, trial=1, tracking_uri=study[1])
    rows = np.random.default_rng(0).normal(size=(5, 13)).astype("float32")
    served = tf.saved_model.load(str(paths["saved_model"])).signatures["serving_default"](tf.constant(rows))
    model = kerasweep.load_model("wine", trial=1, tracking_uri=study[1])
    (output,) = served.values()
    np.testing.assert_allclose(output, model.predict(rows, verbose=0), rtol=1e-4, atol=1e-6)


def test_a_study_that_kept_none_says_so(tmp_path: Path) -> None:
    uri, _ = record(tmp_path, {"family": "mlp"}, kept=())
    with pytest.raises(StudyNotFound, match=r"wine@0000000a kept none\. Received: trial 3"):
        kerasweep.load_model("wine", tracking_uri=uri)


def test_its_layers_are_what_another_study_starts_from(study: tuple[Path, str, dict[int, Any]]) -> None:
    folder, uri, weights = study
    for source, number in (("wine", 3), ("wine@0000000a/trials/1", 1)):
        space = {"parameters": {"learning_rate": {"type": "float", "min": 0.1, "max": 0.2}}}
        model = {"family": "mlp", "initial_weights": {"from": source, "layers": 1, "freeze": 2}}
        mapping = {"name": "next", "data": {"name": "wine"}, "model": model, "space": space}
        initial = read_initial(pipeline_from_mapping(mapping, folder).spec, uri)
        assert initial is not None
        assert initial.facts == {
            "from": source,
            "layers": 1,
            "freeze": 2,
            "study": "wine@0000000a",
            "trial": number,
            "fingerprint": initial.weights.fingerprint,
        }
        (layer,) = initial.weights.layers
        for given, expected in zip(layer.trainable, weights[number][:2], strict=True):
            np.testing.assert_array_equal(given, expected)


def test_a_local_search_starts_from_it_too(study: tuple[Path, str, dict[int, Any]]) -> None:
    folder, uri, weights = study
    data = load_search(DataSpec(name="wine"), folder)
    model = {"family": "mlp", "initial_weights": {"from": "wine", "layers": 1}}
    space = {"parameters": {"learning_rate": {"type": "float", "min": 0.1, "max": 0.2}}}
    mapping = {"name": "next", "data": {"name": "wine"}, "model": model, "space": space}
    fitting = pipeline_from_mapping({**mapping, "training": {"fixed": {"n_hidden": 1, "n_neurons": 6}}}, folder).spec
    search = LocalSearch(fitting, data, None, Silent(), uri)
    given = search._models.build({"n_hidden": 1, "n_neurons": 6}, 1).get_weights()
    np.testing.assert_array_equal(given[0], weights[3][0])
    other = pipeline_from_mapping({**mapping, "training": {"fixed": {"n_hidden": 1, "n_neurons": 7}}}, folder).spec
    with pytest.raises(ModelError, match=r"layer 'hidden_1' has \(13, 7\) and \(7,\)\. Received: \(13, 6\)"):
        LocalSearch(other, data, None, Silent(), uri)


def test_layers_stay_frozen_from_the_search_to_the_refitted_winner(study: tuple[Path, str, dict[int, Any]]) -> None:
    folder, uri, weights = study
    space = {"parameters": {"learning_rate": {"type": "float", "min": 0.01, "max": 0.1}}}
    initial = {"from": "wine", "layers": 1, "freeze": "all"}
    mapping = {
        "name": "next",
        "data": {"name": "wine"},
        "model": {"family": "mlp", "initial_weights": initial},
        "space": space,
        "search": {"trials": 2, "max_epochs": 2, "searcher": "random"},
        "training": {"fixed": {"n_hidden": 1, "n_neurons": 6}},
    }

    def first_layer(freeze: int | str) -> list[Any]:
        initial["freeze"] = freeze
        spec = pipeline_from_mapping(mapping, folder).spec
        search = LocalSearch(spec, load_search(DataSpec(name="wine"), folder), None, Silent(), uri)
        best = search.run(Untracked()).best(spec.objective)
        body = search.refitted(best).layers[-1]
        return [np.array(each.value) for each in body.weights[:2]]

    for given, expected, free in zip(first_layer("all"), weights[3], first_layer(0), strict=False):
        np.testing.assert_array_equal(given, expected)
        assert not np.allclose(free, expected, atol=1e-4)


def test_a_range_test_starts_from_it_and_freezes_it_too(study: tuple[Path, str, dict[int, Any]]) -> None:
    folder, uri, _ = study

    def tested(units: int, **initial: Any) -> Any:
        mapping = {
            "name": "next",
            "data": {"name": "wine"},
            "model": {"family": "mlp", "initial_weights": {"from": "wine", "layers": 1, **initial}},
            "space": {"parameters": {"learning_rate": {"type": "float", "min": 0.01, "max": 0.1}}},
            "tracking": {"uri": uri},
            "training": {"fixed": {"n_hidden": 1, "n_neurons": units}},
        }
        return find_rate(pipeline_from_mapping(mapping, folder), low=1e-3, steps=40).test

    free, frozen = tested(6), tested(6, freeze=1)
    assert frozen.losses[0] == pytest.approx(free.losses[0], rel=1e-5)  # before the first step
    assert not np.allclose(frozen.losses[:20], free.losses[:20], rtol=1e-4)
    with pytest.raises(ModelError, match=r"must be able to train\..*must have their shapes"):
        tested(7)
