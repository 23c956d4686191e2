"""What every trainer keeps, whatever it trains. A new trainer is one more line in TRAINERS, a new model in MODELS."""

from __future__ import annotations

import math
import pickle
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from kerasweep.data.rows import take
from kerasweep.models import FamilyBuilder, Head, Inputs, ModelBuilder, UserBuilder
from kerasweep.records import Direction, Objective, Params, ParamValue, Status
from kerasweep.spec.learning_rates import ConstantRate, CosineRate, RateSchedule
from kerasweep.spec.methods import Neuroevolution
from kerasweep.spec.pipeline import EarlyStopping
from kerasweep.spec.vocabulary import Task
from kerasweep.training import (
    Cohort,
    CohortTrainer,
    Decision,
    EpochReport,
    Evolution,
    KerasTrainer,
    Member,
    NeuroevolutionTrainer,
    Outcome,
    Schedule,
    Snapshot,
    Trainer,
    TrainingArrays,
    snapshots,
)
from kerasweep.training.learning_rates import Rates
from kerasweep.training.order import epoch_order


def evolving(models: ModelBuilder, schedule: Schedule) -> Trainer:
    return NeuroevolutionTrainer(models, schedule, Evolution(Neuroevolution(population=6, parents=2, batch=40)))


# By gradients, so with the same numbers; and all.
TRAINERS: dict[str, Callable[[ModelBuilder, Schedule], Trainer]] = {"keras": KerasTrainer, "cohort": CohortTrainer}
ALL = {**TRAINERS, "neuroevolution": evolving}

INPUTS = Inputs((4,), Task.REGRESSION, 1)
LOSS = Objective("val_loss", Direction.MINIMIZE)
ROWS, BATCH = 50, 16  # three full batches and one of two rows
EPOCHS = 4


def arrays(validation: bool = True) -> TrainingArrays:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS + 20, 4)).astype("float32")
    y = (x @ np.array([[1.0], [-2.0], [0.5], [0.0]]) + rng.normal(0, 0.3, (ROWS + 20, 1))).astype("float32")
    return TrainingArrays(x[:ROWS], y[:ROWS], (x[ROWS:], y[ROWS:]) if validation else None)


def data_of(kind: str) -> TrainingArrays:
    """The arrays, shared out where a model has several inputs and outputs."""
    data = arrays()
    if kind != "several inputs and outputs" or data.validation is None:
        return data

    def parts(x: Any, y: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        return {"wide": x[:, :3], "deep": x[:, 1:]}, {"main": y, "aux": (y > 0).astype("float32")}

    return TrainingArrays(*parts(data.x, data.y), parts(*data.validation))


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


def several(input_shape: Any, weight: float = 0.3) -> keras.Model:
    """A network of two inputs and two outputs of different tasks, as the Functional API has it."""
    wide, deep = (keras.Input(shape, name=name) for name, shape in input_shape.items())
    hidden = keras.layers.Dropout(0.2)(keras.layers.Dense(6, "relu")(deep))
    main = keras.layers.Dense(1, name="main", kernel_regularizer="l2")(keras.layers.Concatenate()([wide, hidden]))
    aux = keras.layers.Dense(1, "sigmoid", name="aux")(hidden)
    model = keras.Model([wide, deep], [main, aux])
    losses = {"main": "mse", "aux": "binary_crossentropy"}
    weights = {"main": 1 - weight, "aux": weight}
    model.compile(keras.optimizers.Adam(0.02), losses, weights, {"main": ["mae"], "aux": ["accuracy"]})
    return model


def by_user(function: Callable[..., keras.Model], inputs: Inputs = INPUTS) -> UserBuilder:
    return UserBuilder(function, Path(), inputs)


SEVERAL = Inputs(
    (4,),
    Task.REGRESSION,
    1,
    shapes={"wide": (3,), "deep": (3,)},
    heads={"main": Head(Task.REGRESSION, 1), "aux": Head(Task.BINARY, 1)},
)


FAMILY = FamilyBuilder("mlp", INPUTS)
PLAIN: Params = {"learning_rate": 0.02, "n_neurons": 5}
MODELS: dict[str, tuple[ModelBuilder, Params]] = {
    "plain": (FAMILY, PLAIN),
    "momentum": (FAMILY, {"optimizer": "sgd", "momentum": 0.9, "nesterov": True, "learning_rate": 0.02, "l2": 0.01}),
    "dropout and batch normalisation": (FAMILY, {"dropout": 0.3, "batch_norm": True, "n_hidden": 2, "n_neurons": 6}),
    "linear": (FamilyBuilder("linear", INPUTS), {"learning_rate": 0.02, "l1": 0.01, "l2": 0.02}),
    "wide and deep": (
        FamilyBuilder("wide_deep", Inputs((4,), Task.REGRESSION, 1, wide=(0, 1), deep=(1, 2, 3))),
        {"learning_rate": 0.02, "n_neurons": 5, "aux_weight": 0.2, "dropout": 0.2, "l2": 0.01},
    ),
    "residual": (
        FamilyBuilder("auto", INPUTS),
        {"architecture": "residual", "n_neurons": 3, "dropout": 0.2, "batch_norm": True, "l2": 0.01},
    ),
    "subclassed": (by_user(subclassed), {"learning_rate": 0.02}),
    "compiled": (by_user(compiled), {"rate": 0.03}),
    "eager": (by_user(eager), {}),
    "several inputs and outputs": (by_user(several, SEVERAL), {"weight": 0.4}),
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


@pytest.fixture(params=ALL)
def any_of(request: pytest.FixtureRequest) -> Callable[[ModelBuilder, Schedule], Trainer]:
    return ALL[request.param]


def only(outcomes: tuple[Outcome, ...]) -> Outcome:
    (outcome,) = outcomes
    assert outcome.number == 3
    return outcome


def same(a: Outcome, b: Outcome) -> None:
    """Bit by bit."""
    assert (a.status, a.reason, a.history, a.epoch, a.value) == (b.status, b.reason, b.history, b.epoch, b.value)
    for one, two in zip(a.weights, b.weights, strict=True):
        np.testing.assert_array_equal(one, two)


EVOLVING = (
    "plain",
    "wide and deep",
    "compiled",
    "several inputs and outputs",
)  # others have no form for populations, or add nothing


@pytest.mark.parametrize(
    ("name", "kind"),
    [*((name, kind) for name in TRAINERS for kind in MODELS), *(("neuroevolution", k) for k in EVOLVING)],
)
def test_every_epoch_is_reported_once_and_a_resumed_cohort_goes_on_bit_by_bit(
    name: str, kind: str, tmp_path: Path
) -> None:
    builder, params = MODELS[kind]
    trainer = ALL[name](builder, plan())
    book = Book(tmp_path)
    data = data_of(kind)
    whole = only(trainer.train(cohort(params), data, book))
    assert book.epochs == list(range(1, EPOCHS + 1))
    assert book.last == [False] * (EPOCHS - 1) + [True]
    assert whole.status is Status.FINISHED
    assert list(whole.history) == book.metrics

    same(only(trainer.train(cohort(params), data, Book())), whole)  # the same cohort, the same numbers

    for epoch in range(1, EPOCHS + 1):
        rest = Book()
        same(only(trainer.train(cohort(params), data, rest, book.saved(epoch))), whole)
        assert rest.epochs == book.epochs[epoch:]
        assert rest.metrics == book.metrics[epoch:]
        assert rest.last == book.last[epoch:]


@pytest.mark.parametrize("kind", MODELS)
def test_the_numbers_are_those_of_a_plain_loop(make, kind: str) -> None:
    builder, params = MODELS[kind]
    data, schedule = data_of(kind), plan(2)
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
            batch = (take(data.x, rows), take(data.y, rows))
            for name, value in model.train_on_batch(*batch, return_dict=True).items():
                # Keras means the loss of each of several outputs over batches, all else over rows.
                share = 1 / math.ceil(ROWS / BATCH) if name.endswith("_loss") else len(rows) / ROWS
                means[name] += (float(value) ** 2 if name == "rmse" else float(value)) * share
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


def plain_rate(learning_rate: float = 0.03) -> keras.Model:
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(5, "tanh"), keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(learning_rate), "mse")
    return model


STEPS = math.ceil(ROWS / BATCH)
HORIZON = 6  # epochs; so many are not trained here
decays = keras.optimizers.schedules

# Schedule -> its options, and what the rate 1 is to become, said by Keras or by hand.
SCHEDULES: dict[str, tuple[Params, Callable[[int], float]]] = {
    "constant": ({"warmup_epochs": 1.5}, lambda step: min(1, (step + 1) / (1.5 * STEPS))),
    "exponential": (
        {"decay_rate": 0.3, "decay_epochs": 2},
        decays.ExponentialDecay(1.0, decay_steps=2 * STEPS, decay_rate=0.3),
    ),
    "piecewise": ({}, lambda step: 1.0 if step < 3 * STEPS else 0.1),
    "one_cycle": (
        {"final_share": 0.2},
        lambda step: np.interp(step, [0, 2.4 * STEPS, 4.8 * STEPS, 6 * STEPS], [0.1, 1, 0.1, 0.01]),
    ),
    "cosine": ({"final_factor": 0.2}, decays.CosineDecay(1.0, HORIZON * STEPS, alpha=0.2)),
}


@pytest.mark.parametrize(
    ("name", "builder"),
    [*((name, FAMILY) for name in SCHEDULES), ("cosine", by_user(plain_rate))],
    ids=[*SCHEDULES, "cosine of a builder's model"],
)
def test_the_learning_rate_follows_its_schedule_from_any_epoch_and_however_many_there_are(
    make, name: str, builder: ModelBuilder, tmp_path: Path
) -> None:
    options, factor = SCHEDULES[name]
    members = cohort({"learning_rate": 0.03, "schedule": name, **options})
    schedule = replace(plan(), rates=Rates(horizon=HORIZON))
    data, book = arrays(), Book(tmp_path)
    whole = only(make(builder, schedule).train(members, data, book))

    model = builder.build({"learning_rate": 0.03}, 5)
    for epoch in range(EPOCHS):
        order = epoch_order(schedule.order_seed, epoch, ROWS)
        for batch in range(STEPS):
            rows = order[batch * BATCH : (batch + 1) * BATCH]
            model.optimizer.learning_rate = 0.03 * float(factor(epoch * STEPS + batch))
            model.train_on_batch(data.x[rows], data.y[rows])
        assert data.validation is not None
        loss = model.evaluate(*data.validation, verbose=0, return_dict=True)["loss"]
        assert whole.history[epoch]["val_loss"] == pytest.approx(loss, rel=1e-4)

    same(only(make(builder, schedule).train(members, data, Book(), book.saved(3))), whole)
    shorter = only(make(builder, replace(schedule, epochs=2)).train(members, data, Book()))
    assert shorter.history == whole.history[:2]


def test_a_study_s_schedule_holds_where_a_trial_says_no_other(make) -> None:
    def history(schedule: RateSchedule, params: Params, **of: Any) -> tuple[Any, ...]:
        rates = Rates(schedule, **of)
        return only(make(FAMILY, replace(plan(2), rates=rates)).train(cohort(PLAIN | params), arrays(), Book())).history

    cosine = history(CosineRate(final_factor=0.5), {})
    assert cosine == history(ConstantRate(), {"schedule": "cosine", "final_factor": 0.5})
    assert cosine == history(CosineRate(), {"final_factor": 0.5})
    assert cosine != history(CosineRate(), {})
    assert history(ConstantRate(), {}) == history(ConstantRate(), {"schedule": "cosine"}, parameters=())


def test_a_model_with_a_schedule_of_its_own_fails_under_another_one(make) -> None:
    constant = only(make(by_user(compiled), plan(1)).train(cohort({}), arrays(), Book()))
    assert constant.status is Status.FINISHED
    for builder in (compiled, explodes_late):  # the second one has a form for training together
        schedule = replace(plan(1), rates=Rates(CosineRate()))
        outcome = only(make(by_user(builder), schedule).train(cohort({}), arrays(), Book()))
        assert outcome.status is Status.FAILED
        assert outcome.reason.startswith(
            "ModelError: a model whose optimizer has a schedule of its own must train with the schedule constant."
        )


def test_an_option_that_the_schedule_does_not_have_fails_the_member(make) -> None:
    outcome = only(make(FAMILY, plan(1)).train(cohort({"decay_rate": 0.5}), arrays(), Book()))
    assert outcome.status is Status.FAILED
    assert outcome.reason.endswith("must have the options set for it. Received: decay_rate with constant")


@pytest.mark.parametrize("kind", MODELS)
def test_the_weights_are_those_of_the_best_epoch(make, kind: str) -> None:
    builder, params = MODELS[kind]
    book = Book()
    outcome = only(make(builder, plan()).train(cohort(params), data_of(kind), book))
    losses = [metrics["val_loss"] for metrics in book.metrics]
    assert outcome.value == min(losses)
    assert outcome.epoch == losses.index(min(losses)) + 1
    for ours, then in zip(outcome.weights, book.weights[outcome.epoch - 1], strict=True):
        np.testing.assert_array_equal(ours, then)
    model = builder.build(cohort(params).members[0].params, 99)  # other initial weights
    model.set_weights(list(outcome.weights))
    validation = data_of(kind).validation
    assert validation is not None
    assert model.evaluate(*validation, verbose=0, return_dict=True)["loss"] == pytest.approx(outcome.value, rel=1e-5)


def test_a_maximised_objective_keeps_the_highest(any_of) -> None:
    schedule = plan(objective=Objective("val_mae", Direction.MAXIMIZE))
    outcome = only(any_of(FAMILY, schedule).train(cohort(PLAIN), arrays(), Book()))
    curve = [metrics["val_mae"] for metrics in outcome.history]
    assert outcome.value == max(curve)
    assert outcome.epoch == curve.index(max(curve)) + 1


@pytest.mark.parametrize("stop_at", [1, 3, EPOCHS])
def test_a_decision_ends_a_member_at_its_epoch(any_of, stop_at: int) -> None:
    book = Book(stop_at=stop_at)
    outcome = only(any_of(FAMILY, plan()).train(cohort(PLAIN), arrays(), book))
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


def test_without_validation_the_last_epoch_counts(any_of) -> None:
    book = Book()
    schedule = plan(4, EarlyStopping(patience=1))
    outcome = only(any_of(FAMILY, schedule).train(cohort({"learning_rate": 0.02}), arrays(False), book))
    assert (outcome.status, outcome.epoch, outcome.value) == (Status.FINISHED, 4, None)
    assert len(outcome.history) == 4
    assert not any(name.startswith("val_") for name in outcome.history[0])
    for ours, then in zip(outcome.weights, book.weights[-1], strict=True):
        np.testing.assert_array_equal(ours, then)


def test_epochs_and_studies_differ_in_their_order(any_of) -> None:
    def history(order_seed: int) -> tuple[Any, ...]:
        schedule = Schedule(LOSS, 2, None, order_seed)
        return only(any_of(FAMILY, schedule).train(cohort({"learning_rate": 0.02}), arrays(), Book())).history

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


def test_an_exception_in_a_builder_fails_the_member_and_names_the_line(any_of) -> None:
    def reason(kind: str) -> str:
        book = Book()
        outcome = only(any_of(by_user(raises), plan()).train(cohort({"kind": kind}), arrays(), book))
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


def test_a_missing_objective_fails_the_member_and_lists_what_there_is(any_of) -> None:
    book = Book()
    schedule = plan(objective=Objective("val_f1", Direction.MAXIMIZE))
    outcome = only(any_of(by_user(compiled), schedule).train(cohort({}), arrays(), book))
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


def test_what_a_report_raises_ends_the_cohort(any_of) -> None:
    class Ended(BaseException):
        pass

    def report(epoch: EpochReport) -> Decision:
        raise Ended

    with pytest.raises(Ended):
        any_of(FAMILY, plan()).train(cohort({}), arrays(), report)


def test_a_trainer_crosses_process_borders(any_of) -> None:
    trainer = any_of(FAMILY, plan(2))
    copy = pickle.loads(pickle.dumps(trainer))
    same(only(copy.train(cohort(PLAIN), arrays(), Book())), only(trainer.train(cohort(PLAIN), arrays(), Book())))


def test_fit_trains_one_member_at_a_time() -> None:
    members = tuple(Member(number, {}, 0) for number in range(2))
    with pytest.raises(ValueError, match=r"must have one member .*\. Received: 2"):
        KerasTrainer(FAMILY, plan()).train(Cohort(members), arrays(), Book())
