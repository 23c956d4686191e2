"""KerasTuner's models, unchanged: built from parameters, their space found, and their way through the checks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np
import pytest

from kerasweep import Study
from kerasweep.errors import ModelError, SpecError
from kerasweep.models import Inputs, UserBuilder, hypermodel_space
from kerasweep.models.hypermodel import HypermodelBuilder, parameter_name
from kerasweep.models.hypermodel_space import Found, find_space
from kerasweep.pipeline import plan
from kerasweep.records import Params
from kerasweep.spec import LoadedPipeline, pipeline_from_mapping
from kerasweep.spec.builders import Signature, resolve
from kerasweep.spec.parameters import Choice, Fixed, Float, Int, Parameter
from kerasweep.spec.vocabulary import Task
from kerasweep.study.settled import Settled, settle

INPUTS = Inputs((4,), Task.MULTICLASS, 3)

Build = Callable[[Any], Any]


def network(*hidden: int) -> keras.Model:
    layers = [keras.layers.Dense(units) for units in hidden]
    return keras.Sequential([keras.Input((4,)), *layers, keras.layers.Dense(3, "softmax")])


def deep(hp: Any) -> keras.Model:
    """As KerasTuner's guides write it."""
    model = keras.Sequential([keras.Input((4,))])
    for i in range(hp.Int("num_layers", 1, 3)):
        model.add(keras.layers.Dense(hp.Int(f"units_{i}", min_value=8, max_value=32, step=8), activation="relu"))
    if hp.Boolean("dropout"):
        model.add(keras.layers.Dropout(hp.Float("rate", 0.1, 0.5, step=0.1)))
    model.add(keras.layers.Dense(3, activation="softmax"))
    optimizer = hp.Choice("optimizer", ["sgd", "adam"])
    rate = hp.Float("lr", 1e-4, 1e-2, sampling="log", default=1e-3)
    with hp.conditional_scope("optimizer", ["sgd"]):
        momentum = hp.Float("momentum", 0.0, 0.9)
    made = keras.optimizers.SGD(rate, momentum) if optimizer == "sgd" else keras.optimizers.Adam(rate)
    model.compile(made, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


class Wide(keras_tuner.HyperModel):
    """An uncompiled model with a name scope."""

    def __init__(self, activation: str = "relu", **options: Any) -> None:
        super().__init__(**options)
        self.activation = activation

    def build(self, hp: Any) -> keras.Model:
        with hp.name_scope("dense"):
            units = hp.Int("units", 4, 64, sampling="log", default=16)
        layers = [keras.layers.Dense(units, self.activation), keras.layers.Dense(3, "softmax")]
        return keras.Sequential([keras.Input((4,)), *layers])


class Trained(Wide):
    def fit(self, hp: Any, model: keras.Model, *args: Any, **kwargs: Any) -> object:
        raise RuntimeError("must not run")


class Needy(Wide):
    def __init__(self, activation: str) -> None:
        super().__init__(activation)


def built(function: Any, params: Params, seed: int = 3) -> keras.Model:
    return UserBuilder(function, Path(), INPUTS).build(params, seed)


class TestBuilding:
    def test_parameters_are_the_values_of_hyperparameters(self) -> None:
        params = {"num_layers": 2, "units_0": 8, "units_1": 24, "units_2": 32, "dropout": True, "rate": 0.2}
        model = built(deep, {**params, "optimizer": "sgd", "lr": 0.005, "momentum": 0.5, "batch_size": 8})
        assert [layer.units for layer in model.layers if hasattr(layer, "units")] == [8, 24, 3]
        assert model.layers[2].rate == 0.2
        assert model.optimizer.get_config()["momentum"] == 0.5
        assert float(model.optimizer.learning_rate) == pytest.approx(0.005)

    def test_the_same_seed_gives_the_same_weights(self) -> None:
        params = {"num_layers": 1, "units_0": 8, "dropout": False, "optimizer": "adam", "lr": 0.005}
        first, second, other = (built(deep, params, seed).get_weights()[0] for seed in (1, 1, 2))
        np.testing.assert_array_equal(first, second)
        assert not np.array_equal(first, other)

    def test_what_the_model_asks_for_must_be_there(self) -> None:
        message = r"must be in the space or in training\.fixed\. Received: none for dropout, lr$"
        with pytest.raises(ModelError, match=message):
            built(deep, {"num_layers": 1, "units_0": 8, "optimizer": "adam"})

    def test_what_is_out_of_its_condition_is_not_missed(self) -> None:
        asked = []

        def build(hp: Any) -> keras.Model:
            hp.Choice("kind", ["a", "b"])
            with hp.conditional_scope("kind", ["b"]):
                asked.append(hp.Int("units", 1, 9))
            return network()

        built(build, {"kind": "a"})
        built(build, {"kind": "b", "units": 5})
        assert asked == [None, 5]

    def test_a_fixed_hyperparameter_says_its_value_itself(self) -> None:
        asked = []

        def build(hp: Any) -> keras.Model:
            asked.append(hp.Fixed("units", 7))
            return network()

        built(build, {})
        built(build, {"units": 5})
        assert asked == [7, 5]

    def test_a_model_that_is_not_compiled_is_compiled_with_the_rest(self) -> None:
        model = built(Wide, {"dense_units": 5, "optimizer": "sgd", "learning_rate": 0.25, "momentum": 0.5})
        assert model.layers[0].units == 5
        assert model.loss == "sparse_categorical_crossentropy"
        assert model.optimizer.get_config()["momentum"] == 0.5

    def test_hypermodels_of_every_kind(self, tmp_path: Path) -> None:
        source = "import keras, keras_tuner\n" + "\n".join(
            [
                "def build(hp):",
                "    units = hp.Int('units', 1, 9)",
                "    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(units), keras.layers.Dense(3)])",
                "class Mine(keras_tuner.HyperModel):",
                "    def __init__(self, offset=0):",
                "        super().__init__()",
                "        self.offset = offset",
                "    def build(self, hp):",
                "        hp = {'units': hp.Int('units', 1, 9) + self.offset}",
                "        layers = [keras.layers.Dense(hp['units']), keras.layers.Dense(3)]",
                "        return keras.Sequential([keras.Input((4,)), *layers])",
                "instance = Mine(10)",
            ]
        )
        (tmp_path / "kerasweep_test_tuned.py").write_text(source)
        for name, units in (("build", 4), ("Mine", 4), ("instance", 14)):
            model = UserBuilder(f"kerasweep_test_tuned:{name}", tmp_path, INPUTS).build({"units": 4}, 0)
            assert model.layers[0].units == units
        assert built(Wide("tanh"), {"dense_units": 5}).layers[0].activation is keras.activations.tanh

    def test_fit_of_a_hypermodel_is_refused(self) -> None:
        with pytest.raises(ModelError, match=r"must leave training to kerasweep.* Received: Trained\.fit"):
            built(Trained(), {"dense_units": 5})

    def test_a_class_that_needs_arguments_is_refused(self) -> None:
        with pytest.raises(ModelError, match=r"must need no arguments \(name an instance.*'activation'"):
            built(Needy, {"dense_units": 5})

    def test_no_model_is_an_error(self) -> None:
        with pytest.raises(ModelError, match=r"must return a keras\.Model\. Received: NoneType"):
            HypermodelBuilder(lambda hp: None, INPUTS).build({}, 0)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("units_0", "units_0"),
        ("dense/units", "dense_units"),
        ("dense 1/units-a", "dense_1_units_a"),
        ("2nd", "_2nd"),
        ("lambda", "_lambda"),
        ("λ", "λ"),
        ("", "_"),
    ],
)
def test_names_become_identifiers(name: str, expected: str) -> None:
    assert parameter_name(name) == expected
    assert expected.isidentifier()


def found(declare: Callable[[Any], object]) -> Found:
    """The space of a model that asks for this."""

    def build(hp: Any) -> keras.Model:
        declare(hp)
        return network()

    return find_space(build)


def parameters(declare: Callable[[Any], object]) -> dict[str, Parameter]:
    return dict(found(declare).space.parameters)


class TestSpace:
    @pytest.mark.parametrize(
        ("declare", "expected"),
        [
            (lambda hp: hp.Int("p", 1, 9), Int(min=1, max=9)),
            (lambda hp: hp.Int("p", 2, 9, step=3), Int(min=2, max=8, step=3)),
            (lambda hp: hp.Int("p", 1, 9, sampling="log", default=4), Int(min=1, max=9, log=True, prior=4)),
            (lambda hp: hp.Int("p", 2, 40, step=2, sampling="log"), Choice(values=[2, 4, 8, 16, 32])),
            (lambda hp: hp.Int("p", 3, 3), Int(min=3, max=3)),
            (lambda hp: hp.Int("p", 1, 9, default=1), Int(min=1, max=9)),
            (lambda hp: hp.Int("p", 1, 9, default=12), Int(min=1, max=9)),
            (lambda hp: hp.Float("p", 0, 1), Float(min=0.0, max=1.0)),
            (lambda hp: hp.Float("p", 0.1, 0.75, step=0.2, default=0.3), Float(min=0.1, max=0.7, step=0.2, prior=0.3)),
            (lambda hp: hp.Float("p", 0.0, 1.0, step=0.1), Float(min=0.0, max=1.0, step=0.1)),
            (lambda hp: hp.Float("p", 0.5, 0.6, step=0.2), Float(min=0.5, max=0.5)),
            (lambda hp: hp.Float("p", 1e-4, 1e-1, sampling="log"), Float(min=1e-4, max=1e-1, log=True)),
            (lambda hp: hp.Float("p", 1, 3, step=2, sampling="log", default=2), Choice(values=[1.0, 2.0], prior=2.0)),
            (lambda hp: hp.Choice("p", ["a", "b"]), Choice(values=["a", "b"])),
            (lambda hp: hp.Choice("p", [16, 32, 16], default=32), Choice(values=[16, 32], prior=32)),
            (lambda hp: hp.Choice("p", list(np.array([0.1, 0.2]))), Choice(values=[0.1, 0.2])),
            (lambda hp: hp.Boolean("p"), Choice(values=[False, True])),
            (lambda hp: hp.Boolean("p", default=True), Choice(values=[False, True], prior=True)),
            (lambda hp: hp.Fixed("p", "sgd"), Fixed(value="sgd")),
        ],
    )  # fmt: skip
    def test_each_kind(self, declare: Callable[[Any], object], expected: Parameter) -> None:
        assert parameters(declare) == {"p": expected}

    def test_what_has_no_counterpart_is_noted(self) -> None:
        told = found(lambda hp: hp.Float("p", 0.1, 1.0, sampling="reverse_log"))
        assert told.space.parameters == {"p": Float(min=0.1, max=1.0)}
        assert told.notes[1:] == ("p is drawn on a linear scale: there is no reverse_log",)

    def test_a_whole_model(self) -> None:
        told = find_space(deep)
        assert told.space.parameters == {
            "num_layers": Int(min=1, max=3),
            "units_0": Int(min=8, max=32, step=8),
            "dropout": Choice(values=[False, True]),
            "optimizer": Choice(values=["sgd", "adam"]),
            "lr": Float(min=1e-4, max=1e-2, log=True, prior=1e-3),
            "momentum": Float(min=0.0, max=0.9, when={"optimizer": ["sgd"]}),
            "units_1": Int(min=8, max=32, step=8),  # behind a longer loop
            "units_2": Int(min=8, max=32, step=8),
            "rate": Float(min=0.1, max=0.5, step=0.1),  # behind an if
        }
        assert told.compiled
        assert told.defaults["lr"] == 1e-3
        assert told.notes[0].endswith(f"builds of the model found the space: {', '.join(told.space.parameters)}")
        for seed in range(5):
            params = _sampled(told, seed)
            assert built(deep, params).built

    def test_a_hypermodel(self) -> None:
        told = find_space(Wide("tanh"))
        assert told.space.parameters == {"dense_units": Int(min=4, max=64, log=True, prior=16)}
        assert not told.compiled

    def test_conditions_within_conditions(self) -> None:
        def declare(hp: Any) -> None:
            if hp.Choice("kind", ["mlp", "cnn", "none"]) == "none":
                hp.Int("under_an_if", 1, 2)
            with hp.conditional_scope("kind", ["mlp", "cnn"]):
                norm = hp.Boolean("norm")
                with hp.conditional_scope("norm", [True]):
                    if norm:
                        hp.Float("epsilon_of_norm", 1e-5, 1e-2, sampling="log")
                hp.Int("bias", 0, 1, parent_name="norm", parent_values=[False])

        space = parameters(declare)
        assert {name: parameter.when for name, parameter in space.items()} == {
            "kind": {},
            "norm": {"kind": ["mlp", "cnn"]},
            "epsilon_of_norm": {"kind": ["mlp", "cnn"], "norm": [True]},
            "bias": {"kind": ["mlp", "cnn"], "norm": [False]},
            "under_an_if": {},
        }

    def test_a_condition_has_the_values_of_its_parameter(self) -> None:
        def declare(hp: Any) -> None:
            hp.Choice("flag", [True, False])  # to KerasTuner these are 1 and 0
            hp.Int("depth", 1, 3)
            with hp.conditional_scope("flag", [True]):
                hp.Int("a", 1, 2)
            with hp.conditional_scope("depth", [2, 3, 4]):
                hp.Int("b", 1, 2)
            with hp.conditional_scope("depth", [7]):
                hp.Int("never", 1, 2)

        space = parameters(declare)
        assert space["a"].when == {"flag": [1]}
        assert space["b"].when == {"depth": [2, 3]}
        assert "never" not in space

    def test_one_name_under_several_conditions_is_one_parameter(self) -> None:
        def declare(hp: Any, most: int = 9) -> None:
            hp.Choice("kind", ["a", "b", "c"])
            for kind, high in (("a", 9), ("b", most)):
                with hp.conditional_scope("kind", [kind]):
                    hp.Int("units", 1, high)

        assert parameters(declare)["units"] == Int(min=1, max=9, when={"kind": ["a", "b"]})
        with pytest.raises(ModelError, match="of one name must be of one kind and range"):
            found(lambda hp: declare(hp, 5))

    def test_one_name_within_and_without_a_condition_is_always_active(self) -> None:
        def declare(hp: Any) -> None:
            hp.Choice("kind", ["a", "b"])
            with hp.conditional_scope("kind", ["a"]):
                hp.Int("units", 1, 9)
            hp.Int("units", 1, 9)

        assert parameters(declare)["units"] == Int(min=1, max=9)

    def test_conditions_that_differ_in_more_than_one_are_refused(self) -> None:
        def declare(hp: Any) -> None:
            for name in ("one", "two"):
                hp.Choice(name, ["a", "b"])
                with hp.conditional_scope(name, ["a"]):
                    hp.Int("units", 1, 9)

        with pytest.raises(ModelError, match="must differ in the values of one hyperparameter only"):
            found(declare)

    def test_names_that_become_the_same_are_refused(self) -> None:
        def declare(hp: Any) -> None:
            hp.Int("dense/units", 1, 9)
            hp.Int("dense_units", 1, 9)

        with pytest.raises(
            ModelError, match=r"must differ as identifiers, too\. Received: 'dense/units' and 'dense_units'"
        ):
            found(declare)

    def test_builds_that_fail_are_noted_and_what_they_asked_for_counts(self) -> None:
        def build(hp: Any) -> keras.Model:
            kernel = hp.Int("kernel", 1, 9)
            hp.Int("units", 1, 9)
            if kernel > 7:
                raise ValueError("the kernel is larger than the image")
            return network()

        told = find_space(build)
        assert list(told.space.parameters) == ["kernel", "units"]
        assert (
            "builds failed while the space was looked for, the first with ValueError: the kernel is larger"
            in told.notes[1]
        )

    def test_a_model_that_never_builds_is_an_error(self) -> None:
        def build(hp: Any) -> keras.Model:
            hp.Int("units", 1, 9)
            raise ValueError("no such\nlayer")

        with pytest.raises(
            ModelError, match=r"must build with some values .*Received: ValueError: no such layer first"
        ):
            find_space(build)

    def test_a_model_without_hyperparameters_is_an_error(self) -> None:
        with pytest.raises(ModelError, match=r"must ask for a hyperparameter to be searched\. Received: none"):
            find_space(lambda hp: network())

    def test_hyperparameters_without_end_are_noted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(hypermodel_space, "_BUILDS", 12)
        made = iter(range(1000))
        told = found(lambda hp: hp.Int(f"x{next(made)}", 1, 9))
        assert told.notes[1].startswith("12 builds did not come to an end of the space")

    def test_an_untunable_hypermodel_keeps_its_defaults(self) -> None:
        def build(hp: Any) -> keras.Model:
            hp.Int("depth", 1, 2)
            return Wide(tunable=False).build(hp)

        assert list(find_space(build).space.parameters) == ["depth"]

    def test_hyperparameters_that_are_declared_beforehand_count(self) -> None:
        class Declaring(Wide):
            def declare_hyperparameters(self, hp: Any) -> None:
                hp.Choice("dense/units", [4, 8])

        assert find_space(Declaring()).space.parameters == {"dense_units": Choice(values=[4, 8])}


def _sampled(told: Found, seed: int) -> Params:
    from kerasweep.space import Space

    return Space(told.space).sample(np.random.default_rng(seed))


SOURCE = """
raise SystemExit("must not run")

def build(hp): ...

def classic(units): ...

class Mine(HyperModel):
    def build(self, hp): ...

class Own(keras_tuner.HyperModel):
    def build(self, hp): ...
    def fit(self, hp, model, **kwargs): ...

class Needy(kt.HyperModel):
    def __init__(self, classes, scale=1): ...

unclear = make()
"""


def loaded(folder: Path, builder: str, **sections: Any) -> LoadedPipeline:
    (folder / "nets.py").write_text(SOURCE)
    mapping = {"name": "case", "data": {"name": "iris"}, "model": {"builder": f"nets:{builder}"}}
    return pipeline_from_mapping({**mapping, **sections}, folder)


class TestPipeline:
    def test_signatures_are_read_without_running_anything(self, tmp_path: Path) -> None:
        (tmp_path / "nets.py").write_text(SOURCE)
        for name in ("build", "Mine"):
            assert resolve(f"nets:{name}", tmp_path) == Signature(("hp",), ("hp",))
        with pytest.raises(ValueError, match=r"which never runs a fit of its own\. Received: Own\.fit"):
            resolve("nets:Own", tmp_path)
        with pytest.raises(ValueError, match=r"must need no arguments .*Received: Needy\(classes\)"):
            resolve("nets:Needy", tmp_path)

    def test_signatures_of_what_is_at_hand(self) -> None:
        assert Signature.of(deep) == Signature.of(Wide) == Signature.of(Wide()) == Signature(("hp",), ("hp",))
        assert Signature.of(object()) is None

    @pytest.mark.parametrize("builder", ["build", "Mine", "unclear"])
    @pytest.mark.parametrize("sections", [{}, {"space": None}])
    def test_the_space_may_be_left_out(self, tmp_path: Path, builder: str, sections: dict[str, Any]) -> None:
        spec = loaded(tmp_path, builder, **sections, training={"fixed": {"batch_size": 8}}).spec
        assert spec.space_ is None
        with pytest.raises(ValueError, match="found when its study begins"):
            spec.space  # noqa: B018  # reading it is what is tested
        rows = dict(dict(plan(loaded(tmp_path, builder)).sections)["Space"])
        assert rows == {"parameters": "what the model asks an hp for, found by building it when the study starts"}

    def test_other_models_need_one(self, tmp_path: Path) -> None:
        with pytest.raises(SpecError, match="space: space is required: only a KerasTuner model, which takes an hp"):
            loaded(tmp_path, "classic")
        with pytest.raises(SpecError, match=r"space: space is required\. Received: nothing"):
            loaded(tmp_path, "build", model={"family": "mlp"})

    def test_population_based_training_has_nothing_to_change(self, tmp_path: Path) -> None:
        with pytest.raises(SpecError, match=r"pbt needs a range of what may change .*Received: none"):
            loaded(tmp_path, "build", search={"scheduler": "pbt"})

    def test_a_study_takes_a_hypermodel_without_a_space(self) -> None:
        for model in (deep, Wide, Wide("tanh")):
            assert Study("case", data="iris", model=model).spec.space_ is None
        with pytest.raises(SpecError, match="space is required"):
            Study("case", data="iris", model="mlp")


def settled(builder: Any, **sections: Any) -> Settled:
    study = Study("case", data="iris", model=builder, **sections)
    return settle(study.spec, Path(), builder, images=False)


class TestSettling:
    def test_a_space_that_is_left_out_is_found(self) -> None:
        done = settled(deep, training={"fixed": {"lr": 0.001, "batch_size": 8}})
        assert done.spec.space.parameters["lr"] == Fixed(value=0.001)
        assert done.spec.training.fixed == {"batch_size": 8}
        assert done.signature is not None
        assert set(done.signature.names) == set(done.spec.space.parameters)
        assert done.spec.model_validate_json(done.spec.model_dump_json(by_alias=True)) == done.spec

    def test_what_a_declared_space_leaves_out_is_fixed_and_noted(self) -> None:
        done = settled(deep, space={"num_layers": Int(min=1, max=2), "units_0": Int(min=4, max=6)})
        assert list(done.spec.space.parameters) == ["num_layers", "units_0"]
        assert done.spec.training.fixed == {
            "dropout": False, "optimizer": "sgd", "lr": 1e-3, "momentum": 0.0, "units_1": 8, "units_2": 8, "rate": 0.1
        }  # fmt: skip
        assert done.notes[-1].startswith(
            "not in the space, and so at their defaults: dropout at False, optimizer at sgd"
        )

    @pytest.mark.parametrize(
        ("space", "message"),
        [
            ({"unit_0": Int(min=4, max=6)}, "must be one of num_layers, .*Did you mean 'units_0'"),
            ({"learning_rate": Float(min=0.1, max=0.2)}, "compiles itself must ask for learning_rate"),
            ({"batch_size": Choice(values=[0, 1])}, "batch_size must be >= 1"),
        ],
    )
    def test_what_no_build_asks_for_is_refused(self, space: dict[str, Parameter], message: str) -> None:
        with pytest.raises(SpecError, match=message):
            settled(deep, space=space)

    def test_parameters_of_the_optimiser_are_for_models_that_are_not_compiled(self) -> None:
        done = settled(Wide(), space={"learning_rate": Float(min=0.1, max=0.2)})
        assert done.spec.training.fixed == {"dense_units": 16}

    def test_any_other_study_stays_as_it_is(self) -> None:
        def build(units: int) -> keras.Model:
            return network(units)

        study = Study("case", data="iris", model=build, space={"units": Int(min=1, max=9)})
        done = settle(study.spec, Path(), build, images=False)
        assert (done.spec, done.notes) == (study.spec, ())
        assert done.signature == Signature(("units",), ("units",))

    def test_what_turns_out_to_be_no_model_of_kerastuners_needs_a_space(self, tmp_path: Path) -> None:
        (tmp_path / "kerasweep_test_unclear.py").write_text("make = lambda: (lambda units: None)\nbuild = make()\n")
        mapping = {"name": "case", "data": {"name": "iris"}, "model": {"builder": "kerasweep_test_unclear:build"}}
        spec = pipeline_from_mapping(mapping, tmp_path).spec
        with pytest.raises(SpecError, match="space: space is required: only a KerasTuner model"):
            settle(spec, tmp_path, None, images=False)

    def test_a_module_that_cannot_be_imported_is_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "kerasweep_test_broken.py").write_text("def build(hp): ...\n1 / 0\n")
        mapping = {"name": "case", "data": {"name": "iris"}, "model": {"builder": "kerasweep_test_broken:build"}}
        spec = pipeline_from_mapping(mapping, tmp_path).spec
        with pytest.raises(ModelError, match="ZeroDivisionError"):
            settle(spec, tmp_path, None, images=False)
