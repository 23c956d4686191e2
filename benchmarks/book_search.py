"""The randomized search of chapter 10, as the book does it and as kerasweep does.

Purpose: California housing. The book's way: scikit-learn's `RandomizedSearchCV` over a wrapped Keras model, 10
         configurations, 3 folds, up to 100 epochs each, early stopping with a patience of 10 on a validation split,
         then the best configuration once more. kerasweep's way: `KerasSearchCV` over the same ranges, with 3 folds, up
         to 100 epochs and a patience of 10 on the mean of the folds; the rows of the validation split are in its folds.
         Each is a process of its own, from starting Python to a fitted model, and is judged once on one test split.
Command: .venv/bin/python benchmarks/book_search.py [--trials 10 64] [--save]
Time:    about half an hour on two cores, nearly all of it the book's way
Result:  a table; `--save` also writes benchmarks/results/book_search.json

The book (Géron, *Hands-On Machine Learning*, 2nd ed.) draws the number of hidden layers from 0 to 3, of neurons from 1
to 99, and the learning rate from a reciprocal distribution between 3e-4 and 3e-2; SGD, batches of 32. Its splits are
those of `train_test_split` with `random_state=42`, and its features are standardised by the training rows.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from measuring import adopt_orphans, keep_to, made_with, save, whole_process
from numpy.typing import NDArray

CORES = 2
EPOCHS, PATIENCE, FOLDS, CONFIGURATIONS = 100, 10, 3, 10
SEED = 42
Array = NDArray[Any]


@dataclass(frozen=True)
class Rows:
    """The book's three splits, standardised by the first."""

    train: tuple[Array, Array]
    validation: tuple[Array, Array]
    test: tuple[Array, Array]


def rows() -> Rows:
    """California housing as the book splits it."""
    from importlib import resources

    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import StandardScaler

    with np.load(str(resources.files("kerasweep.data") / "bundled" / "california_housing.npz")) as archive:
        x, y = archive["X"], archive["y"]
    x_full, x_test, y_full, y_test = train_test_split(x, y, random_state=SEED)
    x_train, x_valid, y_train, y_valid = train_test_split(x_full, y_full, random_state=SEED)
    scaler = StandardScaler().fit(x_train)
    scaled = [scaler.transform(each).astype("float32") for each in (x_train, x_valid, x_test)]
    return Rows((scaled[0], y_train), (scaled[1], y_valid), (scaled[2], y_test))


def by_the_book(trials: int) -> dict[str, float]:
    """``RandomizedSearchCV`` over a wrapper like that of the book's Keras, which newer versions do not have."""
    import keras
    from scipy.stats import reciprocal
    from sklearn.base import BaseEstimator, RegressorMixin
    from sklearn.model_selection import RandomizedSearchCV

    class KerasRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
        def __init__(self, n_hidden: int = 1, n_neurons: int = 30, learning_rate: float = 3e-3) -> None:
            self.n_hidden = n_hidden
            self.n_neurons = n_neurons
            self.learning_rate = learning_rate

        def fit(self, x: Array, y: Array, **options: Any) -> KerasRegressor:
            hidden = [keras.layers.Dense(self.n_neurons, activation="relu") for _ in range(self.n_hidden)]
            self.model_ = keras.Sequential([keras.Input(x.shape[1:]), *hidden, keras.layers.Dense(1)])
            self.model_.compile(keras.optimizers.SGD(self.learning_rate), "mse")
            stopping = keras.callbacks.EarlyStopping(patience=PATIENCE)
            self.model_.fit(x, y, callbacks=[stopping], **options)
            return self

        def predict(self, x: Array) -> Array:
            return np.asarray(self.model_.predict(x, verbose=0)).ravel()

    keras.utils.set_random_seed(SEED)
    data = rows()
    space = {
        "n_hidden": [0, 1, 2, 3],
        "n_neurons": np.arange(1, 100).tolist(),
        "learning_rate": reciprocal(3e-4, 3e-2),
    }
    search = RandomizedSearchCV(
        KerasRegressor(),
        space,
        n_iter=trials,
        cv=FOLDS,
        scoring="neg_mean_squared_error",
        error_score=-np.inf,  # a diverged network predicts NaN; the book's wrapper scored it so
        random_state=SEED,
    )
    search.fit(*data.train, epochs=EPOCHS, validation_data=data.validation, verbose=0)
    return _judged(search.best_estimator_.predict(data.test[0]), -search.best_score_, data)


def with_kerasweep(trials: int) -> dict[str, float]:
    """The same ranges and limits, all trials and folds in one process."""
    from kerasweep import Float, Int, KerasSearchCV

    data = rows()
    space = {
        "n_hidden": Int(min=0, max=3),
        "n_neurons": Int(min=1, max=99),
        "learning_rate": Float(min=3e-4, max=3e-2, log=True),
    }
    search = KerasSearchCV(
        "mlp",
        space,
        task="regression",
        cv=FOLDS,
        trials=trials,
        max_epochs=EPOCHS,
        early_stopping=PATIENCE,
        searcher="random" if trials == CONFIGURATIONS else "tpe",
        scheduler="none" if trials == CONFIGURATIONS else "hyperband",
        fixed={"optimizer": "sgd"},
        random_state=SEED,
    )
    both = [np.concatenate(pair) for pair in zip(data.train, data.validation, strict=True)]
    search.fit(*both)
    return _judged(search.predict(data.test[0]), -search.best_score_, data)


def _judged(predicted: Array, cross_validated: float, data: Rows) -> dict[str, float]:
    error = np.asarray(predicted, float).reshape(-1) - data.test[1]
    return {"cross_validated": float(cross_validated), "test_mse": float(np.mean(error**2))}


WAYS = {"book": by_the_book, "kerasweep": with_kerasweep}


@dataclass(frozen=True)
class Measured:
    """One search.

    Attributes:
        way: of ``WAYS``.
        trials: configurations.
        seconds: of the whole process.
        cpu_seconds: likewise.
        cross_validated: the winner's mean MSE over the folds.
        test_mse: on the test split.
    """

    way: str
    trials: int
    seconds: float
    cpu_seconds: float
    cross_validated: float
    test_mse: float


def measure(way: str, trials: int) -> Measured:
    """Runs one way in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        whole = whole_process([sys.executable, str(Path(__file__).resolve()), "--way", way, str(trials)], Path(folder))
    return Measured(way, trials, whole.seconds, whole.cpu_seconds, **json.loads(whole.output.splitlines()[-1]))


def table(found: list[Measured]) -> str:
    book = found[0]
    lines = [f"{'':<12}{'trials':>7}{'seconds':>9}{'ratio':>7}{'CPU s':>8}{'ratio':>7}{'test MSE':>10}"]
    lines += [
        f"{each.way:<12}{each.trials:>7}{each.seconds:>9.1f}{each.seconds / book.seconds:>7.3f}"
        f"{each.cpu_seconds:>8.1f}{each.cpu_seconds / book.cpu_seconds:>7.3f}{each.test_mse:>10.4f}"
        for each in found
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--trials", type=int, nargs="+", default=[CONFIGURATIONS, 64], help="of kerasweep's searches")
    parser.add_argument("--save", action="store_true")
    parser.add_argument("--way", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    keep_to(CORES)
    if given.way:
        print(json.dumps(WAYS[given.way[0]](int(given.way[1]))))
        return
    adopt_orphans()
    found = [measure("book", CONFIGURATIONS), *(measure("kerasweep", trials) for trials in given.trials)]
    print(table(found))
    if given.save:
        packages = ("kerasweep", "tensorflow", "keras", "scikit-learn")
        save("book_search", {**made_with(packages, CORES), "searches": [asdict(each) for each in found]})


if __name__ == "__main__":
    main()
