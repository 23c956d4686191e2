"""The user's own callbacks: made anew for each trial, obeyed, recorded, and blamed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from kerasweep.errors import SpecError
from kerasweep.models import FamilyBuilder, Inputs
from kerasweep.pipeline import plan
from kerasweep.records import Decision, Direction, Objective, Status
from kerasweep.spec import pipeline_from_mapping
from kerasweep.spec.builders import Signature, resolve_class
from kerasweep.spec.vocabulary import Task
from kerasweep.study.study import Study
from kerasweep.training import Cohort, EpochReport, KerasTrainer, Member, Outcome, Schedule, UserCallbacks
from kerasweep.training.base import TrainingArrays

LOSS = Objective("val_loss", Direction.MINIMIZE)
FAMILY = FamilyBuilder("mlp", Inputs((3,), Task.REGRESSION, 1))
INSTANCES: list[Watching] = []


class Watching(keras.callbacks.Callback):
    """Remembers the epochs, adds a metric, and stops after some."""

    def __init__(self, stop_after: int = 99, name: str = "own") -> None:
        super().__init__()
        self.epochs: list[int] = []
        self.stop_after, self.metric = stop_after, name
        INSTANCES.append(self)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.epochs.append(epoch)
        if logs is not None:
            logs[self.metric] = 10.0 * epoch
        if len(self.epochs) >= self.stop_after:
            self.model.stop_training = True


class Counting(keras.callbacks.Callback):
    batches = 0

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        Counting.batches += 1


class Broken(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if epoch == 1:
            raise RuntimeError("the disk is full")


class NoCallback:
    pass


def data() -> TrainingArrays:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(96, 3)).astype("float32")
    y = x.sum(axis=1, keepdims=True)
    return TrainingArrays(x[:64], y[:64], (x[64:], y[64:]))


def trained(*classes: tuple[object, dict[str, object]], number: int = 0) -> tuple[Outcome, list[EpochReport]]:
    reports: list[EpochReport] = []

    def report(each: EpochReport) -> Decision:
        reports.append(each)
        return Decision()

    trainer = KerasTrainer(FAMILY, Schedule(LOSS, epochs=4, order_seed=1), UserCallbacks(classes))
    member = Member(number, {"n_hidden": 1, "n_neurons": 4, "batch_size": 16}, 7)
    (outcome,) = trainer.train(Cohort((member,)), data(), report)
    return outcome, reports


def test_they_are_made_anew_for_every_trial_and_what_they_log_is_recorded() -> None:
    INSTANCES.clear()
    plain, _ = trained()
    outcomes = [trained((Watching, {"name": "mine"}), number=number)[0] for number in range(2)]
    assert [callback.epochs for callback in INSTANCES] == [[0, 1, 2, 3]] * 2
    assert len({id(callback) for callback in INSTANCES}) == 2
    for outcome in outcomes:
        assert [metrics["mine"] for metrics in outcome.history] == [0.0, 10.0, 20.0, 30.0]
        assert [metrics["val_loss"] for metrics in outcome.history] == [each["val_loss"] for each in plain.history]


def test_a_trial_that_they_stop_has_finished() -> None:
    outcome, reports = trained((Watching, {"stop_after": 2}))
    assert (outcome.status, len(outcome.history), outcome.reason) == (Status.FINISHED, 2, "")
    assert outcome.weights
    assert [each.last for each in reports] == [False, True]
    assert reports[-1].ended[0].status is Status.FINISHED
    assert reports[-1].snapshot().state["stopped"] is True


def test_a_trial_that_was_stopped_stays_so_when_taken_up_again() -> None:
    trainer = KerasTrainer(FAMILY, Schedule(LOSS, epochs=4), UserCallbacks(((Watching, {"stop_after": 2}),)))
    cohort = Cohort((Member(0, {"n_hidden": 0}, 7),))
    snapshots = []

    def report(each: EpochReport) -> Decision:
        snapshots.append(each.snapshot())
        return Decision()

    trainer.train(cohort, data(), report)
    (outcome,) = trainer.train(cohort, data(), report, snapshots[-1])
    assert (outcome.status, len(outcome.history)) == (Status.FINISHED, 2)


def test_those_that_follow_batches_see_each_of_them_and_the_numbers_stay() -> None:
    Counting.batches = 0
    plain, _ = trained()
    outcome, _ = trained((Counting, {}))
    assert Counting.batches == 4 * 4
    for own, other in zip(outcome.history, plain.history, strict=True):
        assert own == pytest.approx(other, rel=1e-5)


def test_one_that_raises_fails_the_trial_with_the_reason() -> None:
    outcome, _ = trained((Broken, {}))
    assert outcome.status is Status.FAILED
    assert outcome.reason.startswith("RuntimeError: the disk is full (test_training_callbacks.py:")
    assert len(outcome.history) == 1


@pytest.mark.parametrize(
    ("given", "arguments", "reason"),
    [
        (NoCallback, {}, "a callback must be a subclass of keras.callbacks.Callback"),
        ("no_such_module_at_all:Class", {}, "the module must be importable"),
        (Watching, {"unknown": 1}, "unexpected keyword argument 'unknown'"),
    ],
)
def test_one_that_cannot_be_made_fails_the_trial(given: object, arguments: dict[str, object], reason: str) -> None:
    outcome, _ = trained((given, arguments))
    assert outcome.status is Status.FAILED
    assert reason in outcome.reason


def test_keras_s_own_by_name() -> None:
    outcome, _ = trained(("keras.callbacks:EarlyStopping", {"monitor": "loss", "min_delta": 1e9, "patience": 1}))
    assert (outcome.status, len(outcome.history)) == (Status.FINISHED, 2)


def spec(**more: object) -> dict[str, object]:
    space = {"parameters": {"learning_rate": {"type": "float", "min": 0.001, "max": 0.1}}}
    return {"name": "case", "data": {"name": "iris"}, "model": {"family": "mlp"}, "space": space, **more}


def test_a_study_with_callbacks_has_no_cohorts_and_says_what_that_costs() -> None:
    training = {"callbacks": ["keras.callbacks:TerminateOnNaN"]}
    planned = plan(pipeline_from_mapping(spec(training=training), Path.cwd()))
    rows = dict(row for _, section in planned.sections for row in section)
    assert rows["callbacks"] == "keras.callbacks:TerminateOnNaN"
    assert rows["members of a cohort"].startswith("1: a callback sees one model only, so with training.callbacks ")
    assert "a hundred times as long" in rows["members of a cohort"]


def test_from_python_the_classes_themselves_are_given() -> None:
    class Local(Watching):
        pass

    callbacks = [Watching, {"name": Local, "args": {"stop_after": 3}}]
    study = Study("case", data="iris", model="mlp", space=_space(), training={"callbacks": callbacks})
    named = [(callback.name.rpartition(":")[2], callback.args) for callback in study.spec.training.callbacks]
    assert named == [("Watching", {}), ("Local", {"stop_after": 3})]
    with pytest.raises(SpecError) as caught:
        Study(
            "case",
            data="iris",
            model="mlp",
            space=_space(),
            training={"callbacks": [{"name": Watching, "args": {"stop_afer": 3}}]},
        )
    assert str(caught.value) == (
        "training.callbacks.0.args.stop_afer: an argument of Watching must be one of stop_after, name. "
        "Did you mean 'stop_after'? Received: 'stop_afer'"
    )


def _space() -> dict[str, Any]:
    from kerasweep import Float

    return {"learning_rate": Float(min=0.001, max=0.1)}


def test_what_a_class_takes_is_read_from_its_source(tmp_path: Path) -> None:
    (tmp_path / "own_callbacks.py").write_text(
        "import keras\nfrom keras.callbacks import Callback\n"
        "raise RuntimeError('never run')\n"
        "class A(Callback):\n    pass\n"
        "class B(keras.callbacks.Callback):\n    def __init__(self, a, b=1, *, c, d=2): ...\n"
        "class C(B):\n    pass\n"
        "@decorated\nclass D(Callback):\n    pass\n"
        "E = B\n"
    )
    assert resolve_class("own_callbacks:A", tmp_path) == Signature(())
    assert resolve_class("own_callbacks:B", tmp_path) == Signature(("a", "b", "c", "d"), ("a", "c"))
    assert [resolve_class(f"own_callbacks:{name}", tmp_path) for name in "CDE"] == [None, None, None]


@pytest.mark.slow
def test_a_whole_study(project: Path) -> None:
    """Trials end after two epochs of five; the metric is in the table, and in the store."""
    import kerasweep
    from kerasweep.tracking import open_store

    (project / "own_callbacks.py").write_text(
        "import keras\n"
        "class Two(keras.callbacks.Callback):\n"
        "    def __init__(self, after):\n"
        "        super().__init__()\n"
        "        self.after = after\n"
        "    def on_epoch_end(self, epoch, logs=None):\n"
        "        logs['double'] = 2.0 * epoch\n"
        "        self.model.stop_training = epoch + 1 >= self.after\n"
    )
    given = spec(
        training={"callbacks": [{"name": "own_callbacks:Two", "args": {"after": 2}}]},
        search={"trials": 2, "max_epochs": 5, "searcher": "random", "scheduler": "none"},
        export={"formats": []},
        register=None,
    )
    result = kerasweep.run(pipeline_from_mapping(given, project))
    record = open_store("auto").load(result.study)
    assert [trial.status for trial in record.trials] == [Status.FINISHED] * 2
    assert [trial.curve("double") for trial in record.trials] == [(0.0, 2.0)] * 2
