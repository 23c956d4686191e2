"""``KerasSearchCV`` among scikit-learn's own things, and a cross-validated study on Ray."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_iris
from sklearn.exceptions import NotFittedError
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import GridSearchCV, StratifiedKFold, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

from kerasweep import Float, Int, KerasSearchCV, Study
from kerasweep.errors import DeliveryError, SpecError, StudyError
from kerasweep.tracking import open_store

SPACE = {
    "n_hidden": [0, 1, 2],
    "n_neurons": Int(min=4, max=32, log=True),
    "learning_rate": Float(min=3e-3, max=1e-1, log=True),
}


def search(**options: Any) -> KerasSearchCV:
    return KerasSearchCV(
        **{"space": SPACE, "cv": 3, "trials": 6, "max_epochs": 12, "fixed": {"batch_size": 16}} | options
    )


@pytest.fixture(scope="module")
def irises() -> tuple[Any, ...]:
    x, y = load_iris(return_X_y=True)
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    return tuple(train_test_split(x, names, stratify=names, random_state=0))


@pytest.fixture(scope="module")
def fitted(irises: tuple[Any, ...], tmp_path_factory: pytest.TempPathFactory) -> KerasSearchCV:
    uri = f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlflow.db'}"
    return search(tracking_uri=uri).fit(irises[0], irises[2])


def test_it_learns_and_predicts_classes_by_their_names(fitted: KerasSearchCV, irises: tuple[Any, ...]) -> None:
    _, x, _, y = irises
    probabilities = fitted.predict_proba(x)
    assert fitted.score(x, y) == accuracy_score(y, fitted.predict(x)) > 0.9
    assert fitted.classes_.tolist() == ["setosa", "versicolor", "virginica"]
    assert probabilities.sum(axis=1) == pytest.approx(1.0)
    assert (fitted.classes_[probabilities.argmax(axis=1)] == fitted.predict(x)).all()
    assert log_loss(y, probabilities, labels=fitted.classes_) < 0.5
    assert isinstance(fitted.best_estimator_.model, keras.Model)


def test_its_table_is_that_of_scikit_learns_searches(fitted: KerasSearchCV) -> None:
    table = pd.DataFrame(fitted.cv_results_)
    assert len(table) == 6
    splits = table[[f"split{fold}_test_score" for fold in range(3)]].to_numpy()
    assert table["mean_test_score"].to_numpy() == pytest.approx(splits.mean(axis=1))
    assert table["std_test_score"].to_numpy() == pytest.approx(splits.std(axis=1))
    best = table.iloc[fitted.best_index_]
    assert best["rank_test_score"] == 1
    assert best["mean_test_score"] == table["mean_test_score"].max() == fitted.best_score_ < 0
    assert best["params"] == fitted.best_params_
    assert {name: best[f"param_{name}"] for name in fitted.best_params_} == fitted.best_params_
    assert table["mean_test_accuracy"].between(0, 1).all()
    assert fitted.n_splits_ == 3


def test_a_store_has_all_of_it_if_asked(fitted: KerasSearchCV) -> None:
    (record,) = open_store(str(fitted.tracking_uri)).list()
    study = open_store(str(fitted.tracking_uri)).load(record.id)
    assert study.status == "finished"
    values = [-trial.value for trial in study.trials if trial.value is not None]
    assert values == pytest.approx(list(fitted.cv_results_["mean_test_score"]))


def test_it_survives_pickling_and_clones_unfitted(fitted: KerasSearchCV, irises: tuple[Any, ...]) -> None:
    again = pickle.loads(pickle.dumps(fitted))
    assert np.array_equal(again.predict_proba(irises[1]), fitted.predict_proba(irises[1]))
    with pytest.raises(NotFittedError):
        clone(fitted).predict(irises[1])


def test_the_same_seed_gives_the_same_search(irises: tuple[Any, ...]) -> None:
    first, second = (search(trials=2, max_epochs=2, refit=False).fit(irises[0], irises[2]) for _ in range(2))
    assert first.cv_results_["params"] == second.cv_results_["params"]
    assert first.cv_results_["mean_test_score"] == pytest.approx(second.cv_results_["mean_test_score"], rel=1e-6)
    assert not hasattr(first, "best_estimator_")


def build(n_neurons: int, learning_rate: float, input_shape: tuple[int, ...], n_outputs: int) -> keras.Model:
    model = keras.Sequential(
        [keras.Input(input_shape), keras.layers.Dense(n_neurons, "tanh"), keras.layers.Dense(n_outputs)]
    )
    model.compile(keras.optimizers.Adam(learning_rate), "mse", metrics=["mae"])
    return model


def test_a_builder_in_a_pipeline_in_a_grid_search_regresses() -> None:
    x, y = load_diabetes(return_X_y=True)
    own = search(
        model=build, space={"n_neurons": [8, 16], "learning_rate": [0.03]}, task="regression", trials=2, fixed=None
    )
    pipeline = make_pipeline(StandardScaler(), own)
    grid = GridSearchCV(pipeline, {"kerassearchcv__max_epochs": [1, 25]}, cv=2).fit(x, y / 100)
    assert grid.best_params_ == {"kerassearchcv__max_epochs": 25}
    assert grid.best_estimator_[-1].best_params_["n_neurons"] in (8, 16)
    assert grid.predict(x).shape == (len(x),)
    assert not hasattr(own, "predict_proba")


def test_tables_with_text_and_splitters_with_groups() -> None:
    rng = np.random.default_rng(0)
    city = rng.choice(["Graz", "Lyon", "Porto"], 90)
    rows = pd.DataFrame({"city": city, "age": rng.integers(18, 80, 90).astype(float)})
    y = np.where(city == "Graz", "yes", "no")
    splitter = StratifiedKFold(2)
    own = search(cv=splitter, trials=2, max_epochs=25, fixed={"learning_rate": 0.05}, space={"n_neurons": [8]})
    own.fit(rows, y)
    assert own.n_splits_ == 2
    assert own.score(rows, y) > 0.95
    assert own.predict_proba(rows).shape == (90, 2)
    with pytest.raises(ValueError, match="feature names"):
        own.predict(rows.rename(columns={"age": "years"}))


def test_mistakes_are_told_before_anything_trains(irises: tuple[Any, ...]) -> None:
    x, _, y, _ = irises
    with pytest.raises(SpecError, match="Did you mean 'n_neurons'"):
        search(space={"n_neuron": [3]}).fit(x, y)
    with pytest.raises(ValueError, match="Unknown label type"):
        search().fit(x, np.linspace(0, 1, len(x)))
    with pytest.raises(ValueError, match="task must be one of classification, regression"):
        search(task="ranking").fit(x, y)


def mislabelled(irises: tuple[Any, ...]) -> tuple[Any, Any, Any]:
    """Irises, of which a third bear a wrong name; and whether each row is right."""
    x, _, y, _ = irises
    wrong = np.arange(len(y)) % 3 == 0
    return x, np.where(wrong, np.roll(np.unique(y), 1)[np.unique(y, return_inverse=True)[1]], y), ~wrong


QUICK: dict[str, Any] = {
    "space": {"n_neurons": [16]},
    "trials": 1,
    "max_epochs": 25,
    "early_stopping": None,
    "fixed": {"batch_size": 8, "learning_rate": 0.03},
}


def test_rows_that_weigh_nothing_teach_nothing(irises: tuple[Any, ...]) -> None:
    x, y, right = mislabelled(irises)
    held = np.flatnonzero(right)[::4]  # what is validated counts once, whatever it weighs
    own = search(**QUICK, cv=[(np.setdiff1d(np.arange(len(y)), held), held)])
    weighted = clone(own).fit(x, y, sample_weight=right.astype(int))
    assert weighted.score(irises[1], irises[3]) > 0.9
    alone = weighted.predict_proba(irises[1])
    light = clone(own).fit(x, y, np.where(right, 1.0, 1e-6)).predict_proba(irises[1])
    np.testing.assert_allclose(light, alone, atol=0.02)
    plain = clone(own).fit(x, y).predict_proba(irises[1])
    assert np.abs(plain - alone).mean() > 0.1


@pytest.mark.slow
def test_weights_of_classes_are_those_of_their_rows(irises: tuple[Any, ...]) -> None:
    x, _, y, _ = irises

    def scores(names: Any, sample_weight: Any = None, **options: Any) -> Any:
        own = search(**QUICK | {"max_epochs": 2, "refit": False}, **options).fit(x, names, sample_weight)
        return own.cv_results_["mean_test_score"], own.cv_results_["mean_test_accuracy"]

    of_rows = scores(y, np.select([y == "setosa", y == "virginica"], [0.5, 3.0], 1.0))
    np.testing.assert_allclose(scores(y, class_weight={"setosa": 0.5, "virginica": 3}), of_rows, rtol=1e-5)
    codes = np.unique(y, return_inverse=True)[1] * 10
    np.testing.assert_allclose(scores(codes, class_weight={np.int64(0): 0.5, 20: 3.0}), of_rows, rtol=1e-5)
    few = np.where(codes == 20, 1, 0)
    balanced = scores(few, class_weight="balanced")
    counted = dict(enumerate(len(few) / 2 / np.bincount(few)))
    np.testing.assert_allclose(balanced, scores(few, class_weight=counted), rtol=1e-5)
    assert not np.allclose(balanced, scores(few), rtol=1e-3)


def test_weights_that_make_no_sense_are_told(irises: tuple[Any, ...]) -> None:
    x, _, y, _ = irises
    with pytest.raises(ValueError, match="Negative values in data passed to `sample_weight`"):
        search().fit(x, y, np.where(y == "setosa", -1.0, 1.0))
    with pytest.raises(ValueError, match=r"a class of class_weight must be one of setosa.*Received: 'sibirica'"):
        search(class_weight={"sibirica": 2}).fit(x, y)
    with pytest.raises(SpecError, match=r"class_weight needs one class a row.*Received: regression"):
        search(task="regression", class_weight={1: 2.0}).fit(x, np.arange(len(x)))
    with pytest.raises(SpecError, match="class_weight"):
        search(class_weight="even").fit(x, y)


def test_networks_may_evolve(irises: tuple[Any, ...]) -> None:
    x, test, y, expected = irises
    method = {"name": "neuroevolution", "population": 32, "parents": 8}
    own = search(
        method=method, space={"sigma": [0.1, 0.3]}, fixed={"n_hidden": 0}, trials=2, max_epochs=30, early_stopping=None
    )
    assert set(own.fit(x, y).best_params_) == {"sigma"}
    assert own.score(test, expected) > 0.7
    with pytest.raises(SpecError, match="learning_rate belongs to training by gradients"):
        search(method="neuroevolution").fit(x, y)


def test_weights_are_routed_to_it(irises: tuple[Any, ...]) -> None:
    x, y, right = mislabelled(irises)
    weights, quick = right.astype(float), QUICK | {"max_epochs": 3, "refit": False}
    with config_context(enable_metadata_routing=True):
        own = search(**quick).set_fit_request(sample_weight=True)
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        routed = make_pipeline(scaler, own).fit(x, y, sample_weight=weights)[-1]
        own = search(**quick).set_fit_request(sample_weight=False)
        ignored = make_pipeline(scaler, own).fit(x, y)[-1]
    by_hand = search(**quick).fit(StandardScaler().fit_transform(x), y, weights)
    scores = [each.cv_results_["mean_test_score"][0] for each in (routed, by_hand, ignored)]
    assert scores[0] == pytest.approx(scores[1], rel=1e-6)
    assert abs(scores[2] - scores[0]) > 1e-3


# Of scikit-learn's own MLPClassifier the same is known.
_NOT_FOR_MINI_BATCHES = "check_sample_weight_equivalence_on_dense_data"


def checks() -> Iterator[Any]:
    """scikit-learn's checks: all of them for a classifier, and those that are for regressors only.

    That a row of weight 2 is the same as two rows cannot be so where rows are dealt out into mini-batches.
    """
    for task in ("classification", "regression"):
        quick = search(
            space={"n_neurons": [8]},
            task=task,
            cv=2,
            trials=1,
            max_epochs=15,
            early_stopping=None,
            fixed={"learning_rate": 0.05, "batch_size": 8},
        )
        for estimator, check in estimator_checks_generator(quick):
            name = check.func.__name__
            if name == _NOT_FOR_MINI_BATCHES:
                continue
            if task == "classification" or "regress" in name:
                yield pytest.param(estimator, check, id=f"{task}-{name}")


@pytest.mark.slow
@pytest.mark.parametrize(("estimator", "check"), checks())
def test_scikit_learns_own_checks(estimator: KerasSearchCV, check: Any) -> None:
    check(estimator)


def test_a_cross_validated_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sections = {"search": {"folds": 3, "trials": 6, "max_epochs": 8}, "training": {"fixed": {"batch_size": 16}}}
    space = {name: parameter for name, parameter in SPACE.items() if name != "n_hidden"}
    with Study("irises", data="iris", model="mlp", space=space, **sections) as study:
        best = study.run()
        with pytest.raises(StudyError, match="a model for each fold"):
            _ = study.model
        with pytest.raises(DeliveryError, match="retrained on train\\+validation"):
            study.retrain(data="train")
        study.retrain()
        assert study.evaluate().test["accuracy"] > 0.8
    assert best.epoch is not None
    at_best = best.history[best.epoch - 1]
    folds = [at_best[f"val_loss_fold_{fold}"] for fold in (1, 2, 3)]
    assert best.value == at_best["val_loss"] == pytest.approx(np.mean(folds))
    assert at_best["val_loss_std"] == pytest.approx(np.std(folds))
    record = open_store(f"sqlite:///{tmp_path}/mlruns/mlflow.db").load(study.id)
    assert record.trials[best.number].history == best.history
