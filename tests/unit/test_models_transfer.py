"""Networks that start from trained weights: which layers, in every way of building, and what does not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from kerasweep.errors import DeliveryError, ModelError
from kerasweep.models import FamilyBuilder, InitialWeights, Inputs, UserBuilder
from kerasweep.records import Decision, Direction, Objective, Params, Status
from kerasweep.spec import pipeline_from_mapping
from kerasweep.spec.vocabulary import Task
from kerasweep.study.initial import check_initial, read_initial
from kerasweep.training import Cohort, CohortTrainer, KerasTrainer, Schedule, TrainingArrays
from kerasweep.training.base import EpochReport, Member, Outcome

INPUTS = Inputs((6,), Task.MULTICLASS, 3)
SCHEDULE = Schedule(Objective("val_loss", Direction.MINIMIZE), 3, None, order_seed=11)


def trained(**params: Any) -> keras.Model:
    """A network of the family with weights that no initialiser gives."""
    model = FamilyBuilder("mlp", INPUTS).build({"n_hidden": 2, "n_neurons": 5, **params}, 1)
    rng = np.random.default_rng(5)
    model.set_weights([rng.uniform(0.1, 0.5, each.shape) for each in model.get_weights()])
    return model


def arrays() -> TrainingArrays:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(75, 6)).astype("float32"), rng.integers(0, 3, 75)
    return TrainingArrays(x[:53], y[:53], (x[53:], y[53:]))


@pytest.mark.parametrize("norm", [False, True])
def test_the_first_layers_start_from_it_and_the_others_do_not(norm: bool) -> None:
    source = trained(batch_norm=norm)
    initial = InitialWeights.of(source, 4 if norm else 2)
    params = {"n_hidden": 3, "n_neurons": 5, "batch_norm": norm}
    given = FamilyBuilder("mlp", INPUTS, initial).build(params, 3)
    own = FamilyBuilder("mlp", INPUTS).build(params, 3)
    taken = 10 if norm else 4  # of a layer: kernel and bias, or kernel, and four of its normalisation
    for i, weight in enumerate(given.get_weights()):
        expected = source.get_weights()[i] if i < taken else own.get_weights()[i]
        np.testing.assert_array_equal(weight, expected)


def test_a_builders_nested_layers_count_from_the_input_on() -> None:
    def build(units: int) -> keras.Model:
        inner = keras.Sequential([keras.layers.Dense(units, name="a"), keras.layers.Dense(4, name="b")], name="inner")
        inputs = keras.Input((6,))
        return keras.Model(inputs, keras.layers.Dense(3, "softmax", name="c")(inner(inputs)))

    source = build(5)
    source.set_weights([np.full(each.shape, i + 1.0) for i, each in enumerate(source.get_weights())])
    initial = InitialWeights.of(source, 2)
    assert [layer.name for layer in initial.layers] == ["a", "b"]
    model = UserBuilder(build, Path(), INPUTS, initial).build({"units": 5}, 1)
    assert [float(weight.mean()) for weight in model.get_weights()[:4]] == [1, 2, 3, 4]
    assert float(model.get_weights()[4].mean()) != 5


def test_what_does_not_fit_is_told_with_layer_and_shapes() -> None:
    initial = InitialWeights.of(trained(), 2)
    with pytest.raises(ModelError) as caught:
        FamilyBuilder("mlp", INPUTS, initial).build({"n_hidden": 2, "n_neurons_1": 5, "n_neurons_2": 7}, 1)
    assert str(caught.value) == (
        "weights that start from trained ones must have their shapes: layer 'hidden_2' has (5, 7) and (7,). "
        "Received: (5, 5) and (5,), of the source's layer 'hidden_2'"
    )
    with pytest.raises(ModelError, match=r"Received: 4, where it has 3: hidden_1, hidden_2, output"):
        InitialWeights.of(trained(), 4)
    with pytest.raises(ModelError, match=r"must have the 2 layers with weights.*Received: 1: output"):
        FamilyBuilder("mlp", INPUTS, InitialWeights.of(trained(), 2)).build({"n_hidden": 0}, 1)


def test_the_fingerprint_is_that_of_the_values() -> None:
    one, other = InitialWeights.of(trained(), 2), InitialWeights.of(trained(), 2)
    assert one.fingerprint == other.fingerprint
    other.layers[1].trainable[0][0, 0] += 1
    assert one.fingerprint != other.fingerprint
    assert InitialWeights.of(trained(), 1).fingerprint != one.fingerprint


def outcomes(trainer: Any, members: tuple[Member, ...]) -> dict[int, Outcome]:
    def report(each: EpochReport) -> Decision:
        return Decision()

    return {outcome.number: outcome for outcome in trainer.train(Cohort(members), arrays(), report)}


@pytest.mark.parametrize("norm", [False, True])
def test_members_of_a_padded_cohort_get_the_numbers_of_their_own_fit(norm: bool) -> None:
    models = FamilyBuilder("mlp", INPUTS, InitialWeights.of(trained(batch_norm=norm), 2 if norm else 1))
    optimizer = {"optimizer": "sgd", "batch_norm": norm}  # Adam makes much of what is rounded where gradients vanish
    configurations: list[Params] = [
        {"n_hidden": 1, "n_neurons_1": 5, "learning_rate": 0.01, **optimizer},
        {"n_hidden": 3, "n_neurons_1": 5, "n_neurons": 9, "learning_rate": 0.02, **optimizer},
        {"n_hidden": 2, "n_neurons_1": 5, "n_neurons": 3, "learning_rate": 0.03, **optimizer},
        {"n_hidden": 2, "n_neurons_1": 6, "n_neurons": 3, **optimizer},
    ]
    members = tuple(Member(number, params, 50 + number) for number, params in enumerate(configurations))
    together = outcomes(CohortTrainer(models, SCHEDULE), members)
    assert together[3].status is Status.FAILED
    assert "must have their shapes" in together[3].reason
    for number in range(3):
        alone = outcomes(KerasTrainer(models, SCHEDULE), (members[number],))[number]
        assert together[number].status is Status.FINISHED, together[number].reason
        for one, other in zip(together[number].weights, alone.weights, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
        for mine, fit in zip(together[number].history, alone.history, strict=True):
            assert mine == pytest.approx(fit, rel=1e-4)


class TestBeforeTraining:
    @pytest.mark.parametrize("widths", [{"min": 4, "max": 5}, {"min": 5, "max": 6}])
    def test_a_space_that_does_not_fit_is_told(self, widths: dict[str, int]) -> None:
        space = {"parameters": {"n_neurons_1": {"type": "int", **widths}}}
        fixed = {"n_hidden": 1}
        mapping = {"name": "a", "data": {"name": "wine"}, "model": {"family": "mlp"}, "space": space}
        spec = pipeline_from_mapping({**mapping, "training": {"fixed": fixed}}, Path()).spec
        with pytest.raises(ModelError, match=r"layer 'hidden_1' has \(6, (4|6)\)"):
            check_initial(spec, FamilyBuilder("mlp", INPUTS, InitialWeights.of(trained(), 1)))

    def test_a_model_that_is_not_registered_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(DeliveryError, match=r"models:/a@champion must be registered\. Received: no store"):
            read_initial(_spec("models:/a@champion"), f"sqlite:///{tmp_path}/mlflow.db")


def _spec(source: str) -> Any:
    space = {"parameters": {"learning_rate": {"type": "float", "min": 0.1, "max": 0.2}}}
    model = {"family": "mlp", "initial_weights": {"from": source, "layers": 1}}
    return pipeline_from_mapping({"name": "a", "data": {"name": "wine"}, "model": model, "space": space}, Path()).spec
