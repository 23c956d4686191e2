"""The one look at the test split: the delivered model, beside what a user would get without any tuning."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kerasweep.data.base import Array, Facts, Split
from kerasweep.data.preprocessing import Preprocessing, transform
from kerasweep.data.rows import Features, take
from kerasweep.delivery.prediction import predict_each
from kerasweep.delivery.scores import score
from kerasweep.spec.vocabulary import Task

if TYPE_CHECKING:
    import keras

# The linear baseline is fitted on at most this many numbers (rows x features), evenly spaced over the training rows:
# all of a usual table, 25,500 images of Fashion-MNIST (4 s on one core, and 84.4 % accuracy).
_LINEAR_NUMBERS = 20_000_000
_LINEAR_ITERATIONS = 100


def evaluate(model: keras.Model, split: Split, facts: Facts) -> dict[str, float]:
    """Test metrics of a model that takes raw rows (see ``scores.score``).

    Args:
        model: from raw rows to predictions.
        split: raw rows and targets that the search has never seen.
        facts: of the data.
    """
    return _scores(split.y, predict_each(model, split.x), facts)


def _scores(y: Features, predictions: Mapping[str, Array], facts: Facts) -> dict[str, float]:
    """Test metrics; those of several outputs under their names, as in ``main_mae``."""
    if not isinstance(y, Mapping):
        (values,) = predictions.values()
        return score(y, values, facts)
    return {
        f"{name}_{metric}": value
        for name, head in facts.heads.items()
        for metric, value in score(y[name], predictions[name], head).items()
    }


def baselines(train: Split, test: Split, preprocessing: Preprocessing, facts: Facts) -> dict[str, dict[str, float]]:
    """Test metrics of two models that need no search, from scikit-learn.

    - ``linear``: least squares, or logistic regression (L-BFGS, at most 100 iterations, C = 1; one per label for
      multi-label targets), on the preprocessed features; on large data fitted on evenly spaced rows, 20 million
      numbers at most.
    - ``dummy``: the mean of the training targets, or the shares of the classes among them.

    With several outputs there is one of each for every output. All heed the weights of the training rows, as the
    delivered model did.

    Args:
        train: the raw rows the delivered model was trained on.
        test: the raw rows it is evaluated on.
        preprocessing: the model's own.
        facts: of the data.

    Returns:
        Baseline -> metric -> value.
    """
    features = _flat(transform(preprocessing, test.x))
    count = min(len(train), max(1, _LINEAR_NUMBERS // features.shape[1]))
    sample = np.linspace(0, len(train) - 1, count).astype(np.int64)
    sampled = _flat(transform(preprocessing, take(train.x, sample)))
    nothing, nothing_known = np.zeros((len(test), 1)), np.zeros((len(train), 1))
    weights = None if train.weights is None else train.weights[sample]
    heads = facts.heads or {"": facts}
    predictions: dict[str, dict[str, Array]] = {"linear": {}, "dummy": {}}
    for name, head in heads.items():
        y = train.y[name] if isinstance(train.y, Mapping) else train.y
        predictions["linear"][name] = _predictions(_linear, _Known(sampled, y[sample], weights), features, head)
        predictions["dummy"][name] = _predictions(_dummy, _Known(nothing_known, y, train.weights), nothing, head)
    return {name: _scores(test.y, values, facts) for name, values in predictions.items()}


@dataclass(frozen=True)
class _Known:
    """What a baseline is fitted on.

    Attributes:
        features: of the training rows, flat.
        y: their targets.
        weights: theirs ``(rows,)``, None for equal ones.
    """

    features: Array
    y: Array
    weights: Array | None


def _linear(known: _Known, regression: bool) -> Any:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LinearRegression, LogisticRegression
    from sklearn.pipeline import make_pipeline

    if not regression and len(np.unique(known.y)) == 1:
        return _dummy(known, regression)  # logistic regression needs two classes
    last = LinearRegression() if regression else LogisticRegression(max_iter=_LINEAR_ITERATIONS)
    # The model's own preprocessing leaves no gaps, unless it is none.
    estimator = make_pipeline(SimpleImputer(keep_empty_features=True), last)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the bound on iterations is deliberate
        weights = {f"{estimator.steps[-1][0]}__sample_weight": known.weights}
        return estimator.fit(known.features, known.y, **weights)


def _dummy(known: _Known, regression: bool) -> Any:
    from sklearn.dummy import DummyClassifier, DummyRegressor

    model = DummyRegressor() if regression else DummyClassifier(strategy="prior")
    return model.fit(known.features, known.y, sample_weight=known.weights)


def _predictions(
    fit: Callable[[_Known, bool], Any], known: _Known, features: Array, facts: Facts
) -> NDArray[np.float64]:
    """Predictions ``(rows, outputs)``, in the form in which a network gives them.

    Args:
        fit: fits a model, of a regression or of classes.
        known: the training rows.
        features: of the rows to predict.
        facts: of the data.
    """
    if facts.task is Task.REGRESSION:
        return np.asarray(fit(known, True).predict(features), dtype=np.float64).reshape(len(features), -1)
    if facts.task is Task.MULTICLASS:
        return _probabilities(fit(replace(known, y=known.y.reshape(-1)), False), features, facts.outputs)
    labels = known.y.astype(np.int64)
    models = [fit(replace(known, y=labels[:, i]), False) for i in range(labels.shape[1])]
    columns = [_probabilities(model, features, 2)[:, 1] for model in models]
    return np.stack(columns, axis=1)


def _probabilities(fitted: Any, features: Array, classes: int) -> NDArray[np.float64]:
    """Of all classes, also those that were not among the training rows."""
    probabilities = np.zeros((len(features), classes))
    probabilities[:, fitted.classes_.astype(np.int64)] = fitted.predict_proba(features)
    return probabilities


def _flat(features: Features) -> Array:
    """Features as one matrix; those of several inputs side by side."""
    parts = features.values() if isinstance(features, Mapping) else [features]
    return np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)
