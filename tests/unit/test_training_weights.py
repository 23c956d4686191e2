"""Weights of rows and classes give what Keras gives for them, in a cohort and alone."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from kerasweep.data import IN_MEMORY, load_search
from kerasweep.data.weights import weighted
from kerasweep.dispatch.worker import arrays_of
from kerasweep.models import FamilyBuilder, Inputs
from kerasweep.records import Decision, Direction, Objective
from kerasweep.spec.pipeline import DataSpec
from kerasweep.training import Cohort, CohortTrainer, KerasTrainer, Member, Schedule, Trainer, TrainingArrays
from kerasweep.training.order import epoch_order

EPOCHS, BATCH = 2, 16
SCHEDULE = Schedule(Objective("val_loss", Direction.MINIMIZE), EPOCHS, None, order_seed=3)
CLASS_WEIGHT = {"a": 3.0, "c": 0.25}


def weighted_arrays(merge: bool) -> tuple[TrainingArrays, Inputs]:
    rng = np.random.default_rng(5)
    x = rng.normal(size=(90, 4)).astype("float32")
    y = np.array(list("abc"), object)[np.argmax(x[:, :3] + rng.normal(0, 0.5, (90, 3)), axis=1)]
    given = (x, y, rng.uniform(0, 2, 90))
    data = load_search(DataSpec(python=IN_MEMORY), Path(), given)
    inputs = Inputs(data.preprocessing.feature_shape, data.facts.task, data.facts.outputs)
    return arrays_of(weighted(data, CLASS_WEIGHT), merge=merge), inputs


def plain_fit(builder: FamilyBuilder, member: Member, merge: bool) -> tuple[keras.Model, dict[str, list[float]]]:
    """The same with nothing but Keras: its own ``sample_weight``, computed from both kinds of weights by hand."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(90, 4)).astype("float32")
    y = np.array(list("abc"), object)[np.argmax(x[:, :3] + rng.normal(0, 0.5, (90, 3)), axis=1)]
    own = rng.uniform(0, 2, 90)
    arrays, _ = weighted_arrays(merge)
    data = load_search(DataSpec(python=IN_MEMORY), Path(), (x, y, own))
    parts = [data.train, data.validation] if merge else [data.train]
    rows = np.concatenate([part.x for part in parts])  # type: ignore[misc]
    place = {row.tobytes(): i for i, row in enumerate(x)}
    at = [place[row.tobytes()] for row in rows]
    weights = own[at] * np.array([CLASS_WEIGHT.get(each, 1.0) for each in y[at]])
    model = builder.build(member.params, member.seed)
    history: dict[str, list[float]] = {}
    for epoch in range(EPOCHS):
        order = epoch_order(SCHEDULE.order_seed, epoch, len(rows))
        done = model.fit(
            arrays.x[order], arrays.y[order], BATCH, sample_weight=weights[order], validation_data=arrays.validation,
            shuffle=False, verbose=0,
        )  # fmt: skip
        for name, values in done.history.items():
            history.setdefault(name, []).extend(values)
    return model, history


@pytest.mark.parametrize("merge", [False, True], ids=["search", "retraining"])
@pytest.mark.parametrize("kind", ["fit", "cohort"])
def test_the_numbers_are_those_of_keras_with_sample_weights(kind: str, merge: bool) -> None:
    arrays, inputs = weighted_arrays(merge)
    builder = FamilyBuilder("mlp", inputs)
    sizes = (5,) if kind == "fit" else (5, 8)
    members = tuple(
        Member(i, {"n_neurons": size, "learning_rate": 0.01, "batch_size": BATCH, "activation": "tanh"}, 10 + i)
        for i, size in enumerate(sizes)
    )
    trainer: Trainer = KerasTrainer(builder, SCHEDULE) if kind == "fit" else CohortTrainer(builder, SCHEDULE)
    outcomes = trainer.train(Cohort(members), arrays, lambda report: Decision())
    for member, outcome in zip(members, outcomes, strict=True):
        model, history = plain_fit(builder, member, merge)
        assert set(history) == set(outcome.history[0])
        for name, values in history.items():
            assert [metrics[name] for metrics in outcome.history] == pytest.approx(values, rel=1e-4), name
        if merge:  # the last epoch's weights
            for ours, theirs in zip(outcome.weights, model.get_weights(), strict=True):
                np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)
