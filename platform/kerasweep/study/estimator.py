"""scikit-learn's view of a search: an estimator that finds its own hyperparameters."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import BaseEstimator, MetaEstimatorMixin
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import check_cv
from sklearn.utils import ClassifierTags, RegressorTags, Tags, check_consistent_length, check_random_state, column_or_1d
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from kerasweep.data import IN_MEMORY, load_folds
from kerasweep.data.rows import Array, Rows
from kerasweep.data.sources import canonical_rows
from kerasweep.data.weights import weighted
from kerasweep.delivery.prediction import predict
from kerasweep.errors import one_of
from kerasweep.records import Status, Trial
from kerasweep.report import cv_results
from kerasweep.space import Space
from kerasweep.spec import pipeline_from_mapping
from kerasweep.spec.builders import is_hypermodel
from kerasweep.spec.parameters import Choice, Parameter
from kerasweep.spec.pipeline import PipelineSpec
from kerasweep.study.events import Silent
from kerasweep.study.local_search import LocalSearch
from kerasweep.study.study import model_section, reference, space_section
from kerasweep.tracking import Tracker, Untracked, open_tracker, resolve_uri

if TYPE_CHECKING:
    import keras
    from keras_tuner import HyperModel
    from numpy.typing import ArrayLike

_NAME = "keras-search"


@dataclass(frozen=True)
class FittedKeras:
    """A Keras model that predicts as scikit-learn's estimators do.

    Attributes:
        model: from raw rows to predictions.
        classes: of a classification, in the order of ``predict_proba``; None for a regression.
        flat: whether a regression was fitted to one value a row, not to a vector.
    """

    model: keras.Model
    classes: Array | None
    flat: bool

    def predict(self, rows: Rows) -> Array:
        """Classes ``(rows,)``; or amounts, in the shape of the target that was fitted."""
        if self.classes is not None:
            chosen: Array = self.classes[self.predict_proba(rows).argmax(axis=1)]
            return chosen
        amounts = predict(self.model, rows)
        return amounts[:, 0] if self.flat else amounts

    def predict_proba(self, rows: Rows) -> Array:
        """``(rows, classes)``."""
        found = predict(self.model, rows)
        if found.shape[1] == 1:
            return np.hstack([1 - found, found])
        shares: Array = found / found.sum(axis=1, keepdims=True)  # in single precision they miss 1 by a little
        return shares


class KerasSearchCV(MetaEstimatorMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Searches the hyperparameters of a Keras model with cross-validation, and fits the best on all rows.

    It stands where ``RandomizedSearchCV`` over a wrapped Keras model would, in pipelines and in other searches too. The
    networks of all trials and folds train in this process, in cohorts, and no Ray has to be started for that.

    Args:
        model: a function that takes hyperparameters by name and returns a Keras model, KerasTuner's function of ``hp``
            or ``HyperModel``, the name of a built-in family, or the ``model`` section of a pipeline file.
        space: hyperparameters by name, or a ``Space``; a list stands for a choice of its values. None takes what a
            KerasTuner model asks for, or the default space of the family ``auto``.
        task: ``classification`` or ``regression``.
        cv: the number of folds, dealt out at random and with classes in their shares; or a splitter of scikit-learn, or
            an iterable of pairs of row numbers.
        trials: configurations to try, at most.
        max_epochs: of one training, at most.
        objective: ``val_…`` of a metric. The loss, of whose epochs and trials hardly two are alike, tells more than the
            accuracy; ``cv_results_`` has that too.
        searcher: a name, or a mapping with options, as in a pipeline file.
        scheduler: likewise.
        early_stopping: epochs without a better mean over the folds after which a trial ends; None turns it off.
        fixed: hyperparameters that do not vary.
        class_weight: how much rows of a class weigh in training, by class; ``balanced`` gives all classes the same sum.
        method: how networks are trained, ``gradient`` or ``neuroevolution``; a name, or a mapping with options.
        refit: whether to train the best configuration again on all rows; without it there are no predictions.
        random_state: of proposals, weights, shuffling and folds.
        verbose: 1 prints a line for every trial that ends, and what the search has to say.
        tracking_uri: of an MLflow server or database that records the search; None records nothing.

    Attributes:
        best_params_: of the best trial; what is fixed is not among them.
        best_score_: its mean objective over the folds; negative if less is better, so that more is always better.
        best_index_: its row in ``cv_results_``.
        best_estimator_: fitted on all rows; ``best_estimator_.model`` is the Keras model.
        cv_results_: see ``report.cv_results``.
        n_splits_: folds.
        classes_: of a classification.
        n_features_in_: columns.
        refit_time_: seconds.
    """

    def __init__(
        self,
        model: str | Callable[..., Any] | HyperModel | Mapping[str, Any] = "mlp",
        space: Space | Mapping[str, Parameter | Sequence[Any]] | None = None,
        *,
        task: str = "classification",
        cv: Any = 5,
        trials: int = 20,
        max_epochs: int = 30,
        objective: str = "val_loss",
        searcher: str | Mapping[str, Any] = "auto",
        scheduler: str | Mapping[str, Any] = "auto",
        early_stopping: int | None = 10,
        fixed: Mapping[str, Any] | None = None,
        class_weight: str | Mapping[Any, float] | None = None,
        method: str | Mapping[str, Any] = "gradient",
        refit: bool = True,
        random_state: Any = 42,
        verbose: int = 0,
        tracking_uri: str | None = None,
    ) -> None:
        self.model = model
        self.space = space
        self.task = task
        self.cv = cv
        self.trials = trials
        self.max_epochs = max_epochs
        self.objective = objective
        self.searcher = searcher
        self.scheduler = scheduler
        self.early_stopping = early_stopping
        self.fixed = fixed
        self.class_weight = class_weight
        self.method = method
        self.refit = refit
        self.random_state = random_state
        self.verbose = verbose
        self.tracking_uri = tracking_uri

    def fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None, *, groups: ArrayLike | None = None
    ) -> Self:
        """Searches, and fits the best on all rows.

        Args:
            X: rows ``(rows, …)``, or a DataFrame, whose columns of text become categories.
            y: classes ``(rows,)``, or amounts ``(rows,)`` or ``(rows, outputs)``.
            sample_weight: how much each row weighs in training, ``(rows,)``, at least 0; times its class's weight. What
                is validated counts every row once.
            groups: of the rows, for a splitter that heeds them.

        Raises:
            ValueError: something does not fit; the message says what.
            StudyError: no trial succeeded.
        """
        rows, target = self._checked(X, y)
        seed = int(check_random_state(self.random_state).randint(2**31))
        splits = self._splits(rows, target, groups)
        spec, builder = self._spec(target, seed)
        memory: tuple[Any, ...] = (rows, target)
        if sample_weight is not None:
            memory = (*memory, _check_sample_weight(sample_weight, rows, ensure_non_negative=True))
        data = weighted(load_folds(spec.data, memory, splits), spec.training.class_weight)
        self.n_splits_ = len(data.folds)
        search = LocalSearch(spec, data, builder, self._observer(), self.tracking_uri or "auto")
        with ExitStack() as stack:
            tracker: Tracker = Untracked()
            if self.tracking_uri is not None:
                tracker = open_tracker(resolve_uri(self.tracking_uri, Path.cwd()), spec.experiment)
                stack.callback(tracker.close)
            searched = search.run(tracker)
            best = searched.best(spec.objective)
            self.cv_results_ = cv_results(searched.trials, spec.objective, self.n_splits_)
            self.best_index_ = next(i for i, trial in enumerate(searched.trials) if trial.number == best.number)
            self.best_params_ = dict(best.params)
            self.best_score_ = float(self.cv_results_["mean_test_score"][self.best_index_])
            if self.refit:
                begun = time.monotonic()
                flat = target.ndim == 1
                self.best_estimator_ = FittedKeras(search.refitted(best), getattr(self, "classes_", None), flat)
                self.refit_time_ = time.monotonic() - begun
        return self

    def predict(self, X: ArrayLike) -> Array:
        """See ``FittedKeras.predict``."""
        return self._fitted.predict(self._rows(X))

    @available_if(lambda self: self.task == "classification")  # type: ignore[untyped-decorator]  # scikit-learn's
    def predict_proba(self, X: ArrayLike) -> Array:
        """The probability of each class, ``(rows, classes)``."""
        return self._fitted.predict_proba(self._rows(X))

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """The accuracy of a classification, R² of a regression."""
        judge = accuracy_score if self.task == "classification" else r2_score
        return float(judge(y, self.predict(X), sample_weight=sample_weight))

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        if self.task == "classification":
            tags.estimator_type = "classifier"
            tags.classifier_tags = ClassifierTags()
        else:
            tags.estimator_type = "regressor"
            tags.regressor_tags = RegressorTags()
            tags.target_tags.multi_output = True
        return tags

    @property
    def _fitted(self) -> FittedKeras:
        check_is_fitted(self, "best_estimator_")
        return self.best_estimator_

    def _checked(self, rows: Any, y: Any) -> tuple[Any, Array]:
        """Rows and targets as kerasweep's data take them; a classification's are the indices of its classes."""
        if self.task not in ("classification", "regression"):
            raise ValueError(one_of("task", self.task, ("classification", "regression")))
        classifies = self.task == "classification"
        if _has_text(rows):
            validate_data(self, rows, skip_check_array=True)
            y = column_or_1d(y, warn=True) if classifies else np.asarray(y, float)
            check_consistent_length(rows, y)
        else:
            rows, y = validate_data(
                self,
                rows,
                y,
                ensure_min_samples=2,
                allow_nd=True,
                multi_output=not classifies,
                y_numeric=not classifies,
            )
            y = column_or_1d(y, warn=True) if classifies else y
        if not classifies:
            return rows, y.astype(float)
        check_classification_targets(y)
        self.classes_, indices = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"a classification needs two classes or more. Received: one class, {self.classes_[0]!r}")
        return rows, indices

    def _rows(self, rows: Any) -> Rows:
        """Rows to predict."""
        self._fitted  # noqa: B018  # scikit-learn looks whether it is fitted before it looks at the rows
        if _has_text(rows):
            validate_data(self, rows, reset=False, skip_check_array=True)
        else:
            rows = validate_data(self, rows, reset=False, allow_nd=True)
        canonical, _ = canonical_rows("the rows", rows)
        return canonical

    def _splits(self, rows: Any, y: Array, groups: Any) -> int | list[tuple[Array, Array]]:
        if self.cv is None or isinstance(self.cv, int):
            return 5 if self.cv is None else self.cv
        splitter = check_cv(self.cv, y, classifier=self.task == "classification")
        return list(splitter.split(rows, y, groups))

    def _spec(self, y: Array, seed: int) -> tuple[PipelineSpec, Any]:
        """The pipeline that the arguments amount to, and the builder handed over as an object."""
        builder = self.model if callable(self.model) or is_hypermodel(self.model) else None
        task = "regression" if self.task == "regression" else "binary" if y.max() == 1 else "multiclass"
        mapping = {
            "name": _NAME,
            "data": {"python": IN_MEMORY, "task": task, "seed": seed},
            "model": model_section(self.model, builder),
            "space": space_section(_parameters(self.space)),
            "search": {
                "objective": {"metric": self.objective},
                "searcher": self.searcher,
                "scheduler": self.scheduler,
                "trials": self.trials,
                "max_epochs": self.max_epochs,
                "seed": seed,
            },
            "training": {
                "early_stopping": None if self.early_stopping is None else {"patience": self.early_stopping},
                "fixed": dict(self.fixed or {}),
                "class_weight": self._class_weights(),
                "method": self.method,
            },
        }
        at_hand: dict[str, object] = {IN_MEMORY: None}
        if builder is not None:
            at_hand[reference(builder)] = builder
        spec = pipeline_from_mapping(mapping, Path.cwd(), functions=at_hand).spec
        return spec, builder

    def _class_weights(self) -> Any:
        """The classes' weights, by the indices that the data have for them."""
        if not isinstance(self.class_weight, Mapping):
            return self.class_weight
        names = [str(label) for label in self.class_weight]
        if self.task == "classification":
            places = {label: str(index) for index, label in enumerate(self.classes_.tolist())}
            if strangers := [label for label in self.class_weight if label not in places]:
                raise ValueError(one_of("a class of class_weight", str(strangers[0]), [*map(str, places)]))
            names = [places[label] for label in self.class_weight]
        return dict(zip(names, map(float, self.class_weight.values()), strict=True))

    def _observer(self) -> Silent:
        return _Printed() if self.verbose else Silent()


class _Printed(Silent):
    """Prints what happens."""

    def trial_ended(self, trial: Trial) -> None:
        value = "" if trial.value is None else f" {trial.value:.5g} at epoch {trial.epoch}"
        why = f" ({trial.reason})" if trial.status is Status.FAILED else ""
        print(  # noqa: T201  # verbose asks for it
            f"trial {trial.number} {trial.status}:{value}{why} {dict(trial.params)}"
        )

    def note(self, message: str) -> None:
        print(message)  # noqa: T201  # verbose asks for it


def _has_text(rows: Any) -> bool:
    """Whether the rows are a table with columns that are no numbers."""
    return hasattr(rows, "dtypes") and hasattr(rows, "columns") and any(kind.kind not in "biuf" for kind in rows.dtypes)


def _parameters(space: Space | Mapping[str, Any] | None) -> Space | dict[str, Parameter] | None:
    """The space, with a choice in the place of every list."""
    if space is None or isinstance(space, Space):
        return space
    return {
        name: given if hasattr(given, "model_dump") else Choice(values=list(given)) for name, given in space.items()
    }
