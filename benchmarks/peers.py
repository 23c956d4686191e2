"""What a user would pick instead of kerasweep, each on the same configurations, as a process to be measured.

The configurations are those that kerasweep's random search proposes for the seed. Each of the others gets the list, and
is used as its own documentation shows it, on the cores as that library shares them out: the plain loop, Optuna and
KerasTuner train one trial at a time on all cores, scikit-learn and Ray as many at a time as there are cores. What
differs in the work done: scikit-learn scores a trial once, at its end, where all others validate after every epoch.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from measuring import Whole, whole_process

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

CORES = 2
BATCH_SIZE = 32


@dataclass(frozen=True)
class Work:
    """What everybody is given.

    Attributes:
        folder: holds ``data.npz`` (standardised ``x``, ``y`` and ``x_valid``, ``y_valid``) and ``pipeline.yaml``. What
            somebody writes goes into the current folder, which is a new one for every process.
        configurations: ``n_hidden``, ``n_neurons`` and ``learning_rate`` of each trial.
        epochs: of each trial.
        seed: of weights and shuffling.
    """

    folder: Path
    configurations: list[dict[str, Any]]
    epochs: int
    seed: int

    def arrays(self) -> tuple[Any, Any, Any, Any]:
        """``x`` and ``y`` of the training rows, then of the validation rows, float32."""
        import numpy as np

        with np.load(self.folder / "data.npz") as data:
            return data["x"], data["y"], data["x_valid"], data["y_valid"]

    def write(self) -> Path:
        """Where it stands from now on, for the process that is measured."""
        file = self.folder / "work.json"
        file.write_text(json.dumps({**asdict(self), "folder": str(self.folder)}))
        return file

    @classmethod
    def read(cls, file: Path) -> Work:
        given = json.loads(file.read_text())
        return cls(**{**given, "folder": Path(given["folder"])})


def build_model(n_hidden: int, n_neurons: int, learning_rate: float) -> Any:
    """The book's network: equal hidden layers, ReLU, one output, plain SGD."""
    import keras

    model = keras.Sequential([keras.Input((8,))])
    for _ in range(n_hidden):
        model.add(keras.layers.Dense(n_neurons, activation="relu"))
    model.add(keras.layers.Dense(1))
    model.compile(optimizer=keras.optimizers.SGD(learning_rate), loss="mse")
    return model


# --- one function for each way to do it: trains everything, returns the validation loss of each trial ----------------


def plain_loop(work: Work) -> list[float]:
    import keras

    x, y, x_valid, y_valid = work.arrays()
    losses = []
    for configuration in work.configurations:
        keras.backend.clear_session()
        keras.utils.set_random_seed(work.seed)
        history = build_model(**configuration).fit(
            x, y, epochs=work.epochs, batch_size=BATCH_SIZE, validation_data=(x_valid, y_valid), verbose=0
        )
        losses.append(min(history.history["val_loss"]))
    return losses


def scikit_learn(work: Work) -> list[float]:
    import numpy as np
    from sklearn.base import BaseEstimator, RegressorMixin
    from sklearn.model_selection import PredefinedSplit, RandomizedSearchCV

    class KerasRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
        def __init__(self, n_hidden: int = 1, n_neurons: int = 30, learning_rate: float = 3e-3) -> None:
            self.n_hidden = n_hidden
            self.n_neurons = n_neurons
            self.learning_rate = learning_rate

        def fit(self, x: Any, y: Any) -> Any:
            import keras

            keras.utils.set_random_seed(work.seed)
            self.model_ = build_model(self.n_hidden, self.n_neurons, self.learning_rate)
            self.model_.fit(x, y, epochs=work.epochs, batch_size=BATCH_SIZE, verbose=0)
            return self

        def predict(self, x: Any) -> Any:
            return self.model_.predict(x, verbose=0).ravel()

    x, y, x_valid, y_valid = work.arrays()
    search = RandomizedSearchCV(
        KerasRegressor(),
        param_distributions=[{name: [value] for name, value in each.items()} for each in work.configurations],
        n_iter=len(work.configurations),
        scoring="neg_mean_squared_error",
        cv=PredefinedSplit(np.repeat([-1, 0], [len(x), len(x_valid)])),
        n_jobs=CORES,
        refit=False,
        random_state=work.seed,
    )
    search.fit(np.concatenate([x, x_valid]), np.concatenate([y, y_valid]).ravel())
    return [-float(score) for score in search.cv_results_["mean_test_score"]]


def optuna(work: Work) -> list[float]:
    import keras
    import optuna

    x, y, x_valid, y_valid = work.arrays()

    def objective(trial: optuna.Trial) -> float:
        keras.backend.clear_session()
        keras.utils.set_random_seed(work.seed)
        model = build_model(
            trial.suggest_int("n_hidden", 0, 3),
            trial.suggest_int("n_neurons", 1, 100),
            trial.suggest_float("learning_rate", 3e-4, 3e-2, log=True),
        )
        history = model.fit(
            x, y, epochs=work.epochs, batch_size=BATCH_SIZE, validation_data=(x_valid, y_valid), verbose=0
        )
        return float(min(history.history["val_loss"]))

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=work.seed))
    for configuration in work.configurations:
        study.enqueue_trial(configuration)
    study.optimize(objective, n_trials=len(work.configurations))
    return [trial.value for trial in study.trials if trial.value is not None]


def keras_tuner(work: Work) -> list[float]:
    import keras
    import keras_tuner  # type: ignore[import-untyped]  # it has no types

    x, y, x_valid, y_valid = work.arrays()

    def build(hp: keras_tuner.HyperParameters) -> Any:
        keras.utils.set_random_seed(work.seed)
        return build_model(**work.configurations[hp.Choice("configuration", list(range(len(work.configurations))))])

    # Its random search gives up after meeting the same value twenty times; its grid search takes each once.
    tuner = keras_tuner.GridSearch(build, objective="val_loss", seed=work.seed, directory=Path.cwd() / "keras_tuner")
    tuner.search(x, y, epochs=work.epochs, batch_size=BATCH_SIZE, validation_data=(x_valid, y_valid), verbose=0)
    return [float(trial.score) for trial in tuner.oracle.trials.values()]


def ray_tune_functions(work: Work) -> list[float]:
    from ray import tune

    def train(config: dict[str, Any], data: tuple[Any, Any, Any, Any]) -> None:
        import keras

        x, y, x_valid, y_valid = data
        keras.utils.set_random_seed(work.seed)
        report = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: tune.report({"val_loss": logs["val_loss"]})
        )
        build_model(**config["configuration"]).fit(
            x,
            y,
            epochs=work.epochs,
            batch_size=BATCH_SIZE,
            validation_data=(x_valid, y_valid),
            callbacks=[report],
            verbose=0,
        )

    return _ray_tune(work, train, {}, reuse=False)


def ray_tune_class(work: Work) -> list[float]:
    from ray import tune

    class Trial(tune.Trainable):  # type: ignore[misc]  # mypy does not follow Ray
        def setup(self, config: dict[str, Any], data: tuple[Any, Any, Any, Any]) -> None:
            self.data = data
            self.reset_config(config)

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            import keras

            keras.backend.clear_session()
            keras.utils.set_random_seed(work.seed)
            self.model = build_model(**new_config["configuration"])
            return True

        def step(self) -> dict[str, float]:
            x, y, x_valid, y_valid = self.data
            fitted = self.model.fit(x, y, batch_size=BATCH_SIZE, validation_data=(x_valid, y_valid), verbose=0)
            return {"val_loss": fitted.history["val_loss"][0]}

    return _ray_tune(work, Trial, {"training_iteration": work.epochs}, reuse=True)


def _ray_tune(work: Work, trainable: Any, stop: dict[str, int], *, reuse: bool) -> list[float]:
    """Everything but the trainable is the same for Ray's two ways: as many trials at a time as there are cores."""
    import ray
    from ray import tune

    ray.init("local", num_cpus=CORES, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(trainable, data=work.arrays()), {"cpu": 1}),
        param_space={"configuration": tune.grid_search(work.configurations)},
        tune_config=tune.TuneConfig(max_concurrent_trials=CORES, reuse_actors=reuse),
        run_config=tune.RunConfig(storage_path=str(Path.cwd() / "ray"), stop=stop, verbose=0),
    )
    results = tuner.fit()
    ray.shutdown()
    return [float(result.metrics_dataframe["val_loss"].min()) for result in results]


PEERS: dict[str, Callable[[Work], list[float]]] = {
    "scikit-learn": scikit_learn,
    "Ray Tune, class": ray_tune_class,
    "plain loop": plain_loop,
    "Optuna": optuna,
    "KerasTuner": keras_tuner,
    "Ray Tune, functions": ray_tune_functions,
}
PACKAGES = ("kerasweep", "tensorflow", "keras", "ray", "scikit-learn", "optuna", "keras-tuner", "mlflow")


# --- what they are given, and how they are measured ------------------------------------------------------------------


def declared(name: str, trials: int, epochs: int, seed: int) -> dict[str, Any]:
    """A pipeline that searches the book's space for the California housing network at random, and does nothing else."""
    return {
        "name": name,
        "data": {"name": "california_housing", "seed": seed},
        "model": {"family": "mlp"},
        "space": {
            "parameters": {
                "n_hidden": {"type": "int", "min": 0, "max": 3},
                "n_neurons": {"type": "int", "min": 1, "max": 100},
                "learning_rate": {"type": "float", "min": 3e-4, "max": 3e-2, "log": True},
            }
        },
        "search": {"searcher": "random", "scheduler": "none", "trials": trials, "max_epochs": epochs, "seed": seed},
        "training": {"early_stopping": None, "fixed": {"optimizer": "sgd", "batch_size": BATCH_SIZE}},
        "resources": {"cpus": CORES},
        "retrain": None,
        "export": {"formats": []},
        "register": None,
    }


def prepare(folder: Path, declaration: Mapping[str, Any]) -> Work:
    """Writes kerasweep's declaration, and for the others what it comes to: its split, standardised, and its draws."""
    import numpy as np

    from kerasweep.data import load_search
    from kerasweep.search import make_searcher
    from kerasweep.seeds import derive
    from kerasweep.space import Space
    from kerasweep.spec import load_pipeline

    file = folder / "pipeline.yaml"
    file.write_text(json.dumps(declaration, indent=1))  # JSON is YAML
    spec = load_pipeline(file).spec
    seed = spec.search.seed
    searcher = make_searcher(spec.search.searcher, Space(spec.space), spec.objective, derive(seed, "searcher"))
    configurations = [dict(candidate.params) for candidate in searcher.ask(spec.search.trials)]

    data = load_search(spec.data, folder)
    x, x_valid = (np.asarray(split.x) for split in (data.train, data.validation))
    mean, deviation = x.mean(axis=0), x.std(axis=0)
    np.savez(
        folder / "data.npz",
        x=((x - mean) / deviation).astype(np.float32),
        y=data.train.y,
        x_valid=((x_valid - mean) / deviation).astype(np.float32),
        y_valid=data.validation.y,
    )
    return Work(folder, configurations, spec.search.max_epochs, seed)


def measure(script: Path, name: str, work: Work) -> tuple[Whole, list[float]]:
    """Runs one way in a process of its own, in a new folder.

    Args:
        script: understands ``--only`` and ``--work``, and prints the validation loss of each trial as its last line.
        name: of the way.
        work: for it.

    Raises:
        RuntimeError: it failed, or did not train what it was given.
    """
    with tempfile.TemporaryDirectory(prefix="benchmark-") as scratch:
        command = [sys.executable, str(script), "--only", name, "--work", str(work.write())]
        whole = whole_process(command, Path(scratch))
    losses = json.loads(whole.output.splitlines()[-1])
    if len(losses) != len(work.configurations):
        raise RuntimeError(f"{name} must train {len(work.configurations)} trials. Received: {len(losses)}")
    return whole, losses


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", choices=PEERS, required=True)
    parser.add_argument("--work", type=Path, required=True)
    options = parser.parse_args()
    print(json.dumps(PEERS[options.only](Work.read(options.work))))


if __name__ == "__main__":
    main()
