"""Early stopping and the best epoch, beside Keras's own callback on the same curves."""

from __future__ import annotations

import json
import math

import keras
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasweep.records import Direction, Objective
from kerasweep.spec.pipeline import EarlyStopping
from kerasweep.training import Schedule
from kerasweep.training.progress import MemberProgress

LOSS = Objective("val_loss", Direction.MINIMIZE)

# Eighths add and subtract without rounding, so that both sides of a comparison are exact.
EIGHTHS = st.integers(-40, 40).map(lambda whole: whole / 8)
CURVES = st.lists(EIGHTHS, min_size=1, max_size=25)
STOPPINGS = st.builds(
    EarlyStopping, patience=st.integers(1, 6), min_delta=st.integers(0, 12).map(lambda whole: whole / 8)
)


def schedule(direction: Direction = Direction.MINIMIZE, stopping: EarlyStopping | None = None) -> Schedule:
    return Schedule(Objective("val_x", direction), epochs=100, early_stopping=stopping)


def followed(curve: list[float], plan: Schedule) -> MemberProgress:
    """Progress along a curve until it stops early."""
    progress = MemberProgress(plan, validated=True)
    for value in curve:
        progress.add({"loss": 1.0, "val_x": value})
        if progress.stopped_early:
            break
    return progress


def stopped_by_keras(curve: list[float], direction: Direction, stopping: EarlyStopping) -> int:
    """The number of epochs that Keras's callback lets train."""
    callback = keras.callbacks.EarlyStopping(
        "val_x", stopping.min_delta, stopping.patience, mode="min" if direction is Direction.MINIMIZE else "max"
    )
    model = keras.Sequential()
    model.stop_training = False
    callback.set_model(model)
    callback.on_train_begin()
    for epoch, value in enumerate(curve):
        callback.on_epoch_end(epoch, {"val_x": value})
        if model.stop_training:
            return epoch + 1
    return len(curve)


@settings(deadline=None)
@given(CURVES, st.sampled_from(Direction), STOPPINGS)
def test_it_stops_where_keras_stops(curve: list[float], direction: Direction, stopping: EarlyStopping) -> None:
    progress = followed(curve, schedule(direction, stopping))
    assert len(progress.history) == stopped_by_keras(curve, direction, stopping)


@given(CURVES, st.sampled_from(Direction), STOPPINGS)
def test_the_best_epoch_is_the_first_of_the_best_values(
    curve: list[float], direction: Direction, stopping: EarlyStopping
) -> None:
    progress = followed(curve, schedule(direction, stopping))
    trained = curve[: len(progress.history)]
    best = min(trained) if direction is Direction.MINIMIZE else max(trained)
    assert progress.best_value == best
    assert progress.best_epoch == trained.index(best) + 1


@given(CURVES, STOPPINGS, st.integers(0, 24))
def test_state_goes_through_json_and_on_as_if_nothing_had_happened(
    curve: list[float], stopping: EarlyStopping, cut: int
) -> None:
    plan = schedule(Direction.MAXIMIZE, stopping)
    whole = followed(curve, plan)
    first = followed(curve[:cut], plan)
    second = MemberProgress(plan, validated=True)
    second.restore(json.loads(json.dumps(first.to_state())))
    for value in curve[cut:]:
        if second.stopped_early:
            break
        second.add({"loss": 1.0, "val_x": value})
    assert second.to_state() == whole.to_state()


def test_add_tells_whether_an_epoch_is_the_best_so_far() -> None:
    progress = MemberProgress(schedule(), validated=True)
    assert [progress.add({"val_x": value}) for value in (3.0, 3.0, 2.0, 2.5, 1.0)] == [True, False, True, False, True]


def test_without_early_stopping_it_never_stops() -> None:
    assert len(followed([1.0] * 60, schedule()).history) == 60


def test_without_validation_the_last_epoch_is_the_best_and_nothing_stops_it() -> None:
    progress = MemberProgress(schedule(stopping=EarlyStopping(patience=1)), validated=False)
    for epoch, loss in enumerate((1.0, 2.0, 3.0), 1):
        assert progress.add({"loss": loss})
        assert progress.best_epoch == epoch
    assert not progress.stopped_early
    assert progress.best_value is None


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["loss", "val_loss", "val_x"])
def test_a_value_that_is_not_finite_is_an_error_and_leaves_no_trace(name: str, value: float) -> None:
    progress = MemberProgress(schedule(), validated=True)
    good = {"loss": 1.0, "val_loss": 1.0, "val_x": 1.0}
    progress.add(good)
    before = progress.to_state()
    with pytest.raises(FloatingPointError, match=f"^{name} is {value} at epoch 2$"):
        progress.add({**good, name: value})
    assert progress.to_state() == before


def test_another_metric_may_be_nan() -> None:
    progress = MemberProgress(Schedule(LOSS, epochs=3), validated=True)
    assert progress.add({"loss": 1.0, "val_loss": 1.0, "auc": math.nan})


def test_a_missing_objective_names_the_metrics_there_are() -> None:
    with pytest.raises(KeyError, match=r"must be a metric of the model \(loss, val_loss\)\. Received: val_x"):
        MemberProgress(schedule(), validated=True).add({"loss": 1.0, "val_loss": 1.0})
