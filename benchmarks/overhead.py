"""What a search costs besides the training: the same trials with kerasweep and with what a user would pick instead.

Purpose: 12 configurations of the California housing network, 10 epochs each, on two cores, as whole processes: from
         starting Python to the best value known, imports, start-up and shutdown included. Nobody stops a trial early,
         so everybody trains the same number of steps, of the same configurations, on the same rows.
Command: .venv/bin/python benchmarks/overhead.py [--repeats 3] [--save]
Time:    about 8 minutes a repeat
Result:  a table; `--save` also writes benchmarks/results/overhead.json

The configurations are those that kerasweep's random search proposes for the seed. Each of the others gets the list, and
is used as its own documentation shows it, on the cores as that library shares them out: the plain loop, Optuna and
KerasTuner train one trial at a time on both cores, scikit-learn and Ray two at a time. What differs in the work done:
scikit-learn scores a trial once, at its end, where all others validate after every epoch; and kerasweep also records
every trial in MLflow, with figures and the weights of the best.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

CORES = 2
BATCH_SIZE = 32
RESULTS = Path(__file__).resolve().parent / "results" / "overhead.json"
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


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

    class KerasRegressor(RegressorMixin, BaseEstimator):
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
    return [float(trial.value) for trial in study.trials]


def keras_tuner(work: Work) -> list[float]:
    import keras
    import keras_tuner

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

    class Trial(tune.Trainable):
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


def kerasweep(work: Work) -> list[float]:
    """A study on the declaration that everybody's configurations come from."""
    from kerasweep import Space, Study
    from kerasweep.spec import SpaceSpec

    sections = json.loads((work.folder / "pipeline.yaml").read_text())
    space = Space(SpaceSpec.model_validate(sections.pop("space")))
    with Study(**sections, space=space) as study:
        study.run()
        trials = study.trials
    if list(trials["status"]) != ["finished"] * len(work.configurations):
        raise RuntimeError(f"kerasweep must finish {len(work.configurations)} trials. Received: {trials['status']}")
    if trials[list(work.configurations[0])].to_dict("records") != work.configurations:
        raise RuntimeError("kerasweep must train the configurations of the others. Received: other ones")
    return list(trials["value"])


WAYS: dict[str, Callable[[Work], list[float]]] = {
    "kerasweep": kerasweep,
    "scikit-learn": scikit_learn,
    "Ray Tune, class": ray_tune_class,
    "plain loop": plain_loop,
    "Optuna": optuna,
    "KerasTuner": keras_tuner,
    "Ray Tune, functions": ray_tune_functions,
}
PACKAGES = ("kerasweep", "tensorflow", "keras", "ray", "scikit-learn", "optuna", "keras-tuner", "mlflow")


# --- the measurement -------------------------------------------------------------------------------------------------


def prepare(folder: Path, trials: int, epochs: int, seed: int) -> Work:
    """Writes kerasweep's declaration, and for the others what it comes to: its split, standardised, and its draws."""
    import numpy as np

    from kerasweep.data import load_search
    from kerasweep.search import make_searcher
    from kerasweep.seeds import derive
    from kerasweep.space import Space
    from kerasweep.spec import load_pipeline

    # JSON is YAML.
    declaration = {
        "name": "overhead",
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
    file = folder / "pipeline.yaml"
    file.write_text(json.dumps(declaration, indent=1))
    spec = load_pipeline(file).spec
    searcher = make_searcher(spec.search.searcher, Space(spec.space), spec.objective, derive(seed, "searcher"))
    configurations = [dict(candidate.params) for candidate in searcher.ask(trials)]

    data = load_search(spec.data, folder)
    mean, deviation = data.train.x.mean(axis=0), data.train.x.std(axis=0)
    np.savez(
        folder / "data.npz",
        x=((data.train.x - mean) / deviation).astype(np.float32),
        y=data.train.y,
        x_valid=((data.validation.x - mean) / deviation).astype(np.float32),
        y_valid=data.validation.y,
    )
    return Work(folder, configurations, epochs, seed)


@dataclass(frozen=True)
class Measured:
    """One process.

    Attributes:
        seconds: of wall time.
        cpu_seconds: of it and of all processes below it, sampled twice a second.
        best: the lowest validation loss.
    """

    seconds: float
    cpu_seconds: float
    best: float


def measure(name: str, work: Work) -> Measured:
    """Runs one way in a process of its own, and waits for everything that it started."""
    given = work.folder / "work.json"
    given.write_text(json.dumps({**asdict(work), "folder": str(work.folder)}))
    command = [sys.executable, __file__, "--only", name, "--work", str(given)]
    spent = CpuTime()
    with (
        tempfile.TemporaryDirectory(prefix="overhead-") as scratch,
        tempfile.TemporaryFile("w+") as output,
        tempfile.TemporaryFile("w+") as log,
    ):
        began = time.perf_counter()
        process = subprocess.Popen(command, cwd=scratch, stdout=output, stderr=log)
        while process.poll() is None:
            spent.sample()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=0.5)
        seconds = time.perf_counter() - began
        _reap_orphans()
        log.seek(0)
        output.seek(0)
        lines = output.read().splitlines()
        if process.returncode:
            raise RuntimeError(f"{name} failed:\n{log.read()}")
    losses = json.loads(lines[-1])
    if name != "kerasweep" and len(losses) != len(work.configurations):
        raise RuntimeError(f"{name} must train {len(work.configurations)} trials. Received: {len(losses)}")
    return Measured(seconds, spent.seconds, min(losses))


class CpuTime:
    """CPU time of all processes below this one, as far as it was sampled.

    The kernel's own sum leaves out the children of a process that ignores their end, as Ray's node does.
    """

    def __init__(self) -> None:
        self._seen: dict[psutil.Process, float] = {}

    @property
    def seconds(self) -> float:
        return sum(self._seen.values())

    def sample(self) -> None:
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                self._seen[process] = times.user + times.system


def _adopt_orphans() -> None:
    """Processes that outlive their parent, as Ray's do, become this one's: they are measured, and waited for."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER) failed")


def _reap_orphans() -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            ended, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not ended:
            time.sleep(0.05)
    raise RuntimeError("every process must end within a minute of the one that started it; some still run")


def table(results: dict[str, list[Measured]]) -> str:
    """Medians, in the order of time, each with its ratio to kerasweep."""

    def median(name: str, attribute: str) -> float:
        return statistics.median(getattr(each, attribute) for each in results[name])

    lines = [f"{'':<20} {'seconds':>8} {'CPU seconds':>12} {'ratio':>6} {'best val_loss':>14}"]
    for name in sorted(results, key=lambda name: median(name, "seconds")):
        ratio = f"{median(name, 'seconds') / median('kerasweep', 'seconds'):.2f}" if "kerasweep" in results else "-"
        lines.append(
            f"{name:<20} {median(name, 'seconds'):>8.1f} {median(name, 'cpu_seconds'):>12.1f} {ratio:>6} "
            f"{median(name, 'best'):>14.4f}"
        )
    return "\n".join(lines)


def save(work: Work, results: dict[str, list[Measured]]) -> None:
    """Writes the measurements, and what they were made with."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    document = {
        "processor": models[0].partition(":")[2].strip() if models else "unknown",
        "cores": CORES,
        "versions": {"python": sys.version.split()[0], **{name: metadata.version(name) for name in PACKAGES}},
        "trials": len(work.configurations),
        "epochs": work.epochs,
        "seed": work.seed,
        "configurations": work.configurations,
        "measured": {name: [asdict(each) for each in repeats] for name, repeats in results.items()},
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(document, indent=1) + "\n")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=1, help="of everything, in turn; the table shows medians")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--only", choices=WAYS, action="append", help="measure this one; may be repeated")
    parser.add_argument("--save", action="store_true", help=f"write {RESULTS.name}")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)  # given to the processes that are measured
    options = parser.parse_args(arguments)
    if options.work:
        given = json.loads(options.work.read_text())
        print(json.dumps(WAYS[options.only[0]](Work(**{**given, "folder": Path(given["folder"])}))))
        return

    os.environ.pop("MLFLOW_TRACKING_URI", None)  # kerasweep's own store is part of what it does
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    _adopt_orphans()
    results: dict[str, list[Measured]] = {name: [] for name in options.only or WAYS}
    with tempfile.TemporaryDirectory(prefix="overhead-") as scratch:
        work = prepare(Path(scratch), options.trials, options.epochs, options.seed)
        for repeat in range(options.repeats):
            for name, repeats in results.items():
                repeats.append(measure(name, work))
                print(f"{repeat + 1}/{options.repeats} {name}: {repeats[-1].seconds:.1f} s", file=sys.stderr)
    print(table(results))
    if options.save:
        save(work, results)


if __name__ == "__main__":
    main()
