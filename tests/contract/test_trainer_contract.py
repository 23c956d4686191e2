"""What every trainer keeps, whatever it trains. A new trainer is one more line in TRAINERS, a new model in MODELS."""

from __future__ import annotations

import math
import pickle
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from kerasweep.models import FamilyBuilder, Inputs, ModelBuilder, UserBuilder
from kerasweep.records import Direction, Objective, Params, ParamValue, Status
from kerasweep.spec.pipeline import EarlyStopping
from kerasweep.spec.vocabulary import Task
from kerasweep.training import (
    Cohort,
    CohortTrainer,
    Decision,
    EpochReport,
    KerasTrainer,
    Member,
    Outcome,
    Schedule,
    Snapshot,
    Trainer,
    TrainingArrays,
    snapshots,
)
from kerasweep.training.order import epoch_order

TRAINERS: dict[str, Callable[[ModelBuilder, Schedule], Trainer]] = {"keras": KerasTrainer, "cohort": CohortTrainer}

INPUTS = Inputs((4,), Task.REGRESSION, 1)
LOSS = Objective("val_loss", Direction.MINIMIZE)
ROWS, BATCH = 50, 16  # three full batches and one of two rows
EPOCHS = 4


def arrays(validation: bool = True) -> TrainingArrays:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS + 20, 4)).astype("float32")
    y = (x @ np.array([[1.0], [-2.0], [0.5], [0.0]]) + rng.normal(0, 0.3, (ROWS + 20, 1))).astype("float32")
    return TrainingArrays(x[:ROWS], y[:ROWS], (x[ROWS:], y[ROWS:]) if validation else None)


@keras.saving.register_keras_serializable("kerasweep_contract")
class Subclassed(keras.Model):
    """A model with state of its own beside its weights: the seeds of dropout and noise."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = keras.layers.Dense(6, "relu")
        self.drop = keras.layers.Dropout(0.4)
        self.noise = keras.layers.GaussianNoise(0.1)
        self.out = keras.layers.Dense(1)

    def call(self, x: Any, training: bool = False) -> Any:
        return self.out(self.drop(self.hidden(self.noise(x, training=training)), training=training))


def subclassed() -> keras.Model:
    return Subclassed()


def compiled(rate: float = 0.05) -> keras.Model:
    """Compiled by its builder, with a schedule of its learning rate, weight averaging, and a metric of its own."""
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(5, "tanh"), keras.layers.Dense(1)])
    schedule = keras.optimizers.schedules.ExponentialDecay(rate, decay_steps=3, decay_rate=0.8)
    optimizer = keras.optimizers.AdamW(schedule, use_ema=True, ema_momentum=0.9)
    model.compile(optimizer, "huber", metrics=[keras.metrics.MeanAbsoluteError(name="miss")])
    return model


def eager() -> keras.Model:
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", run_eagerly=True)
    return model


def by_user(function: Callable[..., keras.Model]) -> UserBuilder:
    return UserBuilder(function, Path(), INPUTS)


FAMILY = FamilyBuilder("mlp", INPUTS)
PLAIN: Params = {"learning_rate": 0.02, "n_neurons": 5}
MODELS: dict[str, tuple[ModelBuilder, Params]] = {
    "plain": (FAMILY, PLAIN),
    "momentum": (FAMILY, {"optimizer": "sgd", "momentum": 0.9, "nesterov": True, "learning_rate": 0.02, "l2": 0.01}),
    "dropout and batch normalisation": (FAMILY, {"dropout": 0.3, "batch_norm": True, "n_hidden": 2, "n_neurons": 6}),
    "subclassed": (by_user(subclassed), {"learning_rate": 0.02}),
    "compiled": (by_user(compiled), {"rate": 0.03}),
    "eager": (by_user(eager), {}),
}


def plan(epochs: int = EPOCHS, stopping: EarlyStopping | None = None, objective: Objective = LOSS) -> Schedule:
    return Schedule(objective, epochs, stopping, order_seed=11)


def cohort(params: Params) -> Cohort:
    return Cohort((Member(3, {"batch_size": BATCH, **params}, seed=5),))


class Book:
    """Notes every report and answers it."""

    def __init__(self, folder: Path | None = None, stop_at: int | None = None) -> None:
        self.epochs: list[int] = []
        self.last: list[bool] = []
        self.metrics: list[dict[str, float]] = []
        self.weights: list[list[np.ndarray]] = []
        self._folder, self._stop_at = folder, stop_at

    def __call__(self, report: EpochReport) -> Decision:
        assert set(report.metrics) == {3}
        self.epochs.append(report.epoch)
        self.last.append(report.last)
        self.metrics.append(dict(report.metrics[3]))
        snapshot = report.snapshot()
        self.weights.append([np.copy(weight) for weight in snapshots.best_weights(snapshot, 3)])
        if self._folder is not None:
            folder = self._folder / str(report.epoch)
            folder.mkdir()
            snapshots.save(snapshot, folder)
        return Decision(frozenset({3}) if report.epoch == self._stop_at else frozenset())

    def saved(self, epoch: int) -> Snapshot:
        assert self._folder is not None
        return snapshots.load(self._folder / str(epoch))


@pytest.fixture(params=TRAINERS)
def make(request: pytest.FixtureRequest) -> Callable[[ModelBuilder, Schedule], Trainer]:
    return TRAINERS[request.param]


def only(outcomes: tuple[Outcome, ...]) -> Outcome:
    (outcome,) = outcomes
    assert outcome.number == 3
    return outcome


def same(a: Outcome, b: Outcome) -> None:
    """Bit by bit."""
    assert (a.status, a.reason, a.history, a.epoch, a.value) == (b.status, b.reason, b.history, b.epoch, b.value)
    for one, two in zip(a.weights, b.weights, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("kind", MODELS)
def test_every_epoch_is_reported_once_and_a_resumed_cohort_goes_on_bit_by_bit(make, kind: str, tmp_path: Path) -> None:
    builder, params = MODELS[kind]
    trainer = make(builder, plan())
    book = Book(tmp_path)
    whole = only(trainer.train(cohort(params), arrays(), book))
    assert book.epochs == list(range(1, EPOCHS + 1))
    assert book.last == [False] * (EPOCHS - 1) + [True]
    assert whole.status is Status.FINISHED
    assert list(whole.history) == book.metrics

    same(only(trainer.train(cohort(params), arrays(), Book())), whole)  # the same cohort, the same numbers

    for epoch in range(1, EPOCHS + 1):
        rest = Book()
        same(only(trainer.train(cohort(params), arrays(), rest, book.saved(epoch))), whole)
        assert rest.epochs == book.epochs[epoch:]
        assert rest.metrics == book.metrics[epoch:]
        assert rest.last == book.last[epoch:]


@pytest.mark.parametrize("kind", MODELS)
def test_the_numbers_are_those_of_a_plain_loop(make, kind: str) -> None:
    builder, params = MODELS[kind]
    data, schedule = arrays(), plan(2)
    book = Book()
    outcome = only(make(builder, schedule).train(cohort(params), data, book))

    model = builder.build(cohort(params).members[0].params, 5)
    plain: list[dict[str, float]] = []
    best: list[np.ndarray] = []
    for epoch in range(2):
        order = epoch_order(schedule.order_seed, epoch, ROWS)
        assert sorted(order) == list(range(ROWS))
        means: dict[str, float] = defaultdict(float)
        for start in range(0, ROWS, BATCH):
            rows = order[start : start + BATCH]
            model.reset_metrics()
            for name, value in model.train_on_batch(data.x[rows], data.y[rows], return_dict=True).items():
                means[name] += (float(value) ** 2 if name == "rmse" else float(value)) * len(rows) / ROWS
        if "rmse" in means:
            means["rmse"] **= 0.5
        assert data.validation is not None
        checked = model.evaluate(*data.validation, batch_size=20, verbose=0, return_dict=True)
        plain.append({**means, **{f"val_{name}": value for name, value in checked.items()}})
        if epoch == 0 or plain[1]["val_loss"] < plain[0]["val_loss"]:
            best = model.get_weights()

    for ours, theirs in zip(outcome.history, plain, strict=True):
        assert dict(ours) == pytest.approx({name: float(value) for name, value in theirs.items()}, rel=1e-5, abs=1e-6)
    for ours, theirs in zip(outcome.weights, best, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", MODELS)
def test_the_weights_are_those_of_the_best_epoch(make, kind: str) -> None:
    builder, params = MODELS[kind]
    book = Book()
    outcome = only(make(builder, plan()).train(cohort(params), arrays(), book))
    losses = [metrics["val_loss"] for metrics in book.metrics]
    assert outcome.value == min(losses)
    assert outcome.epoch == losses.index(min(losses)) + 1
    for ours, then in zip(outcome.weights, book.weights[outcome.epoch - 1], strict=True):
        np.testing.assert_array_equal(ours, then)
    model = builder.build(cohort(params).members[0].params, 99)  # other initial weights
    model.set_weights(list(outcome.weights))
    validation = arrays().validation
    assert validation is not None
    assert model.evaluate(*validation, verbose=0, return_dict=True)["loss"] == pytest.approx(outcome.value, rel=1e-5)


def test_a_maximised_objective_keeps_the_highest(make) -> None:
    schedule = plan(objective=Objective("val_mae", Direction.MAXIMIZE))
    outcome = only(make(FAMILY, schedule).train(cohort(PLAIN), arrays(), Book()))
    curve = [metrics["val_mae"] for metrics in outcome.history]
    assert outcome.value == max(curve)
    assert outcome.epoch == curve.index(max(curve)) + 1


@pytest.mark.parametrize("stop_at", [1, 3, EPOCHS])
def test_a_decision_ends_a_member_at_its_epoch(make, stop_at: int) -> None:
    book = Book(stop_at=stop_at)
    outcome = only(make(FAMILY, plan()).train(cohort(PLAIN), arrays(), book))
    assert book.epochs == list(range(1, stop_at + 1))
    # At the last epoch there is nothing left to stop.
    assert outcome.status is (Status.FINISHED if stop_at == EPOCHS else Status.STOPPED)
    assert len(outcome.history) == stop_at
    assert outcome.weights


def test_early_stopping_ends_where_keras_would(make) -> None:
    params = {"learning_rate": 0.3, "n_neurons": 5}  # wild enough to get worse soon
    stopping = EarlyStopping(patience=2, min_delta=0.01)
    full = only(make(FAMILY, plan(30)).train(cohort(params), arrays(), Book()))
    book = Book()
    stopped = only(make(FAMILY, plan(30, stopping)).train(cohort(params), arrays(), book))
    callback = keras.callbacks.EarlyStopping("val_loss", 0.01, 2)
    callback.set_model(keras.Sequential())
    callback.model.stop_training = False
    callback.on_train_begin()
    for epoch, metrics in enumerate(full.history):
        callback.on_epoch_end(epoch, metrics)
        if callback.model.stop_training:
            break
    assert callback.model.stop_training
    assert len(stopped.history) == epoch + 1 < 30
    assert stopped.history == full.history[: epoch + 1]
    assert stopped.status is Status.FINISHED
    assert book.last == [False] * epoch + [True]


def test_without_validation_the_last_epoch_counts(make) -> None:
    book = Book()
    schedule = plan(4, EarlyStopping(patience=1))
    outcome = only(make(FAMILY, schedule).train(cohort({"learning_rate": 0.02}), arrays(False), book))
    assert (outcome.status, outcome.epoch, outcome.value) == (Status.FINISHED, 4, None)
    assert len(outcome.history) == 4
    assert not any(name.startswith("val_") for name in outcome.history[0])
    for ours, then in zip(outcome.weights, book.weights[-1], strict=True):
        np.testing.assert_array_equal(ours, then)


def test_epochs_and_studies_differ_in_their_order(make) -> None:
    def history(order_seed: int) -> tuple[Any, ...]:
        schedule = Schedule(LOSS, 2, None, order_seed)
        return only(make(FAMILY, schedule).train(cohort({"learning_rate": 0.02}), arrays(), Book())).history

    assert history(1) == history(1)
    assert history(1) != history(2)


def test_a_batch_may_be_larger_than_the_data(make) -> None:
    outcome = only(make(FAMILY, plan(2)).train(cohort({"batch_size": 4096}), arrays(), Book()))
    assert outcome.status is Status.FINISHED


def test_the_batch_size_left_out_is_that_of_the_vocabulary(make) -> None:
    members = [Cohort((Member(3, params, 5),)) for params in ({}, {"batch_size": 32})]
    same(*(only(make(FAMILY, plan(2)).train(each, arrays(), Book())) for each in members))


def explodes_late() -> keras.Model:
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    steps_of_two_epochs = 2 * math.ceil(ROWS / BATCH)
    rate = keras.optimizers.schedules.PiecewiseConstantDecay([steps_of_two_epochs], [0.01, 1e30])
    model.compile(keras.optimizers.SGD(rate), "mse")
    return model


def test_nan_fails_the_member_and_is_never_reported(make) -> None:
    book = Book()
    outcome = only(make(by_user(explodes_late), plan()).train(cohort({}), arrays(), book))
    assert book.epochs == [1, 2]
    assert book.last == [False, False]
    assert outcome.status is Status.FAILED
    assert outcome.reason.startswith("FloatingPointError: loss is ")
    assert outcome.reason.endswith(" at epoch 3")
    assert len(outcome.history) == 2
    assert outcome.weights == ()


def raises(kind: str) -> keras.Model:
    message = {"short": "no such\n  thing", "long": "x" * 5000, "empty": ""}[kind]
    raise RuntimeError(message)  # the line that the reason names


def test_an_exception_in_a_builder_fails_the_member_and_names_the_line(make) -> None:
    def reason(kind: str) -> str:
        book = Book()
        outcome = only(make(by_user(raises), plan()).train(cohort({"kind": kind}), arrays(), book))
        assert (outcome.status, book.epochs, outcome.weights) == (Status.FAILED, [], ())
        return outcome.reason

    line = next(n for n, text in enumerate(Path(__file__).read_text().splitlines(), 1) if text.endswith("names"))
    assert reason("short") == f"RuntimeError: no such thing ({Path(__file__).name}:{line})"
    assert reason("empty") == f"RuntimeError ({Path(__file__).name}:{line})"
    assert len(reason("long")) < 700
    assert "\n" not in reason("long")


@pytest.mark.parametrize(
    ("builder", "params", "reason"),
    [
        (lambda: keras.Sequential([keras.Input((9,)), keras.layers.Dense(1)]), {}, "ValueError: "),
        (lambda: None, {}, "ModelError: a builder must return a keras.Model. Received: NoneType"),
        (compiled, {"learning_rate": 0.1}, "ModelError: a builder that compiles its model must take learning_rate"),
    ],
)
def test_a_model_that_does_not_fit_fails_the_member(
    make, builder: Callable[..., Any], params: dict[str, ParamValue], reason: str
) -> None:
    outcome = only(make(by_user(builder), plan()).train(cohort(params), arrays(), Book()))
    assert outcome.status is Status.FAILED
    assert outcome.reason.startswith(reason)


def test_a_missing_objective_fails_the_member_and_lists_what_there_is(make) -> None:
    book = Book()
    schedule = plan(objective=Objective("val_f1", Direction.MAXIMIZE))
    outcome = only(make(by_user(compiled), schedule).train(cohort({}), arrays(), book))
    assert outcome.status is Status.FAILED
    assert book.epochs == []
    listed = "must be a metric of the model (loss, miss, val_loss, val_miss). Received: val_f1"
    assert listed in outcome.reason


def test_a_failure_leaves_nothing_behind_for_the_next_cohort(make) -> None:
    trainer = make(FAMILY, plan())
    before = only(trainer.train(cohort(PLAIN), arrays(), Book()))
    make(by_user(explodes_late), plan()).train(cohort({}), arrays(), Book())
    make(by_user(raises), plan()).train(cohort({"kind": "short"}), arrays(), Book())
    same(only(trainer.train(cohort(PLAIN), arrays(), Book())), before)


def test_what_a_report_raises_ends_the_cohort(make) -> None:
    class Ended(BaseException):
        pass

    def report(epoch: EpochReport) -> Decision:
        raise Ended

    with pytest.raises(Ended):
        make(FAMILY, plan()).train(cohort({}), arrays(), report)


def test_a_trainer_crosses_process_borders(make) -> None:
    trainer = make(FAMILY, plan(2))
    copy = pickle.loads(pickle.dumps(trainer))
    same(only(copy.train(cohort(PLAIN), arrays(), Book())), only(trainer.train(cohort(PLAIN), arrays(), Book())))


def test_fit_trains_one_member_at_a_time() -> None:
    members = tuple(Member(number, {}, 0) for number in range(2))
    with pytest.raises(ValueError, match=r"must have one member .*\. Received: 2"):
        KerasTrainer(FAMILY, plan()).train(Cohort(members), arrays(), Book())
