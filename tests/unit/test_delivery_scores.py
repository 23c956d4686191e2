from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from kerasweep.data.base import Facts
from kerasweep.delivery import TEST_METRICS, score
from kerasweep.errors import DeliveryError
from kerasweep.spec.vocabulary import Task

REGRESSION = Facts(Task.REGRESSION, 2)
BINARY = Facts(Task.BINARY, 1, ("no", "yes"))
CLASSES = Facts(Task.MULTICLASS, 3, ("a", "b", "c"))
LABELS = Facts(Task.MULTILABEL, 3, ("a", "b", "c"))

seeds = st.integers(0, 2**32 - 1)
rows = st.integers(6, 40)


def _probabilities(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.uniform(0.01, 0.99, shape)


@settings(deadline=None, max_examples=40)
@given(seeds, rows)
def test_regression_agrees_with_scikit_learn(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    y, p = rng.normal(size=(n, 2)).astype("float32"), rng.normal(size=(n, 2))
    expected = {
        "mse": sk.mean_squared_error(y, p),
        "rmse": math.sqrt(sk.mean_squared_error(y, p)),
        "mae": sk.mean_absolute_error(y, p),
        "r2": sk.r2_score(y, p),
    }
    assert score(y, p, REGRESSION) == pytest.approx(expected, rel=1e-5)


@settings(deadline=None, max_examples=40)
@given(seeds, rows)
def test_binary_agrees_with_scikit_learn_for_probabilities_logits_and_two_columns(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    y = np.arange(n)[:, None] % 2
    p = _probabilities(rng, (n, 1))
    expected = {
        "loss": sk.log_loss(y, p),
        "accuracy": sk.accuracy_score(y, p > 0.5),
        "auc": sk.roc_auc_score(y, p),
    }
    assert score(y, p, BINARY) == pytest.approx(expected)
    assert score(y, np.hstack([1 - p, p]), BINARY) == pytest.approx(expected)
    logits = np.log(p / (1 - p))
    if logits.min() < 0 or logits.max() > 1:
        assert score(y, logits, BINARY) == pytest.approx(expected)


@settings(deadline=None, max_examples=40)
@given(seeds, rows)
def test_classes_agree_with_scikit_learn_for_probabilities_and_logits(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    p = _probabilities(rng, (n, 3))
    p /= p.sum(axis=1, keepdims=True)
    expected = {"loss": sk.log_loss(y, p), "accuracy": sk.accuracy_score(y, p.argmax(axis=1))}
    assert score(y.astype("int32"), p, CLASSES) == pytest.approx(expected)
    assert score(y, np.log(p) + 5, CLASSES) == pytest.approx(expected)


@settings(deadline=None, max_examples=40)
@given(seeds, rows)
def test_labels_agree_with_scikit_learn(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    y = (np.arange(n)[:, None] + np.arange(3)) % 2
    p = _probabilities(rng, (n, 3))
    expected = {
        "loss": np.mean([sk.log_loss(y[:, i], p[:, i]) for i in range(3)]),
        "accuracy": (y == (p > 0.5)).mean(),
        "auc": sk.roc_auc_score(y, p, average="macro"),
    }
    assert score(y, p, LABELS) == pytest.approx(expected)


@pytest.mark.parametrize("facts", [REGRESSION, BINARY, CLASSES, LABELS], ids=lambda f: f.task.value)
def test_a_nan_prediction_makes_every_metric_nan(facts: Facts) -> None:
    y = np.zeros(4, "int32") if facts is CLASSES else np.zeros((4, facts.outputs), "float32")
    p = np.full((4, facts.outputs), 1 / facts.outputs)
    assert set(score(y, p, facts)) == set(TEST_METRICS[facts.task])
    p[2] = math.nan
    result = score(y, p, facts)
    assert set(result) == set(TEST_METRICS[facts.task])
    assert all(math.isnan(value) for value in result.values())


def test_what_is_not_defined_is_nan_and_the_rest_is_kept() -> None:
    constant = score(np.ones((4, 1)), np.full((4, 1), 0.25), BINARY)
    assert math.isnan(constant["auc"])
    assert constant["loss"] == pytest.approx(math.log(4))
    assert constant["accuracy"] == 0

    flat = score(np.ones((4, 2)), np.full((4, 2), 2.0), REGRESSION)
    assert math.isnan(flat["r2"])
    assert (flat["mse"], flat["rmse"], flat["mae"]) == (1, 1, 1)


def test_the_area_under_the_curve_is_averaged_over_the_labels_that_have_one() -> None:
    y = np.array([[0, 1, 1], [1, 1, 0], [0, 1, 1], [1, 1, 0]])
    p = np.array([[0.1, 0.5, 0.1], [0.9, 0.5, 0.9], [0.2, 0.5, 0.2], [0.8, 0.5, 0.8]])
    assert score(y, p, LABELS)["auc"] == pytest.approx(
        0.5
    )  # 1 for the first label, none for the second, 0 for the third


def test_a_certain_and_wrong_prediction_costs_what_it_costs_in_keras() -> None:
    assert score(np.ones((1, 1)), np.zeros((1, 1)), BINARY)["loss"] == pytest.approx(-math.log(1e-7))
    assert score(np.array([0]), np.array([[0.0, 1.0, 0.0]]), CLASSES)["loss"] == pytest.approx(-math.log(1e-7))


def test_predictions_that_do_not_fit_the_target_are_refused() -> None:
    with pytest.raises(DeliveryError) as caught:
        score(np.zeros(4, "int32"), np.zeros((4, 2)), CLASSES)
    assert str(caught.value) == "predictions for a multiclass target must have shape (4, 3). Received: (4, 2)"
