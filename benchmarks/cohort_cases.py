"""What `cohort_throughput.py` trains: networks, their data, and how much of it is measured."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kerasweep.models import Inputs, ModelBuilder
    from kerasweep.records import ParamValue
    from kerasweep.training import Cohort, TrainingArrays


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes:
        matrix: size of the product that the limit is.
        rounds: of every claim.
        epochs: of each training.
        housing: rows of California housing, None for all; likewise the next two.
        members: of the first claim.
        growth_members, widths, batches, shares: of the first claim's growth; shares are of its rows.
        fashion_members, conv_members: tried; the best counts.
    """

    matrix: int = 2048
    rounds: int = 2
    epochs: int = 3
    housing: int | None = None
    fashion: int | None = None
    images: int | None = 2000
    members: int = 64
    growth_members: tuple[int, ...] = (1, 4, 8, 16, 32, 64, 128, 256)
    widths: tuple[int, ...] = (16, 32, 64, 128, 256)
    batches: tuple[int, ...] = (16, 32, 64, 128, 256)
    shares: tuple[float, ...] = (0.125, 0.25, 0.5)
    fashion_members: tuple[int, ...] = (4, 8)
    conv_members: tuple[int, ...] = (16,)


QUICK = Sizes(
    matrix=1024,
    rounds=1,
    epochs=2,
    housing=1500,
    fashion=2000,
    images=512,
    members=16,
    growth_members=(1, 8),
    widths=(16, 64),
    batches=(32, 256),
    shares=(0.5,),
    fashion_members=(4,),
    conv_members=(4,),
)


@dataclass(frozen=True)
class Case:
    """Networks to train.

    Attributes:
        name: for the table.
        models: builds them.
        data: that they train on.
        params: of all of them; members differ in learning rate and seed.
        rates: lowest and highest learning rate.
        members: sizes of cohorts that are tried.
        claim: how many times faster the best of them is to be, None if nothing is claimed.
    """

    name: str
    models: ModelBuilder
    data: TrainingArrays
    params: Mapping[str, ParamValue]
    rates: tuple[float, float]
    members: tuple[int, ...]
    claim: float | None = None

    @property
    def batch(self) -> int:
        return int(self.params["batch_size"])

    def cohort(self, size: int) -> Cohort:
        """Members with learning rates evenly spaced on a logarithmic scale."""
        from kerasweep.training import Cohort, Member

        low, high = self.rates
        rates = [low * (high / low) ** (i / max(1, size - 1)) for i in range(size)]
        return Cohort(tuple(Member(i, {**self.params, "learning_rate": rate}, i) for i, rate in enumerate(rates)))


def operations_of(case: Case) -> float:
    """Floating-point operations of a model-epoch, validation included; the first layer's inputs need no gradient."""
    member = case.cohort(1).members[0]
    products: list[int] = [
        math.prod(layer.output.shape[1:-1]) * math.prod(layer.kernel.shape)
        for layer in case.models.build(member.params, member.seed).layers
        if hasattr(layer, "kernel")
    ]
    assert case.data.validation is not None
    first, rest = products[0], sum(products[1:])
    return len(case.data.x) * (4.0 * first + 6.0 * rest) + len(case.data.validation[0]) * 2.0 * (first + rest)


def convolutional(learning_rate: float, input_shape: tuple[int, ...], n_outputs: int) -> Any:
    """A small network as a user builds one."""
    import keras
    from keras import layers

    model = keras.Sequential(
        [
            keras.Input(input_shape),
            layers.Reshape((*input_shape, 1)),
            layers.Conv2D(16, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(n_outputs, activation="softmax"),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate), loss="sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    return model


def loaded(name: str) -> tuple[TrainingArrays, Inputs]:
    """A dataset of kerasweep's, as its trainers get it."""
    from kerasweep.data import load_search
    from kerasweep.dispatch.worker import arrays_of
    from kerasweep.models import Inputs
    from kerasweep.spec.pipeline import DataSpec

    data = load_search(DataSpec(name=name), Path.cwd())
    return arrays_of(data), Inputs(data.preprocessing.feature_shape, data.facts.task, data.facts.outputs)


def first(data: TrainingArrays, rows: int | None) -> TrainingArrays:
    """The first training rows, and the same share of the validation rows."""
    if rows is None or data.validation is None:
        return data
    held = math.ceil(len(data.validation[0]) * rows / len(data.x))
    x, y = data.validation
    return replace(data, x=data.x[:rows], y=data.y[:rows], validation=(x[:held], y[:held]))


def claims(sizes: Sizes, housing: Case) -> list[Case]:
    """What is claimed."""
    from kerasweep.models import FamilyBuilder, UserBuilder

    images, inputs = loaded("fashion_mnist")
    return [
        replace(housing, name="California 2 x 42, Adam", claim=100),
        replace(
            housing,
            name="California 2 x 42, SGD",
            params={**housing.params, "optimizer": "sgd"},
            rates=(3e-4, 1e-2),
            claim=100,
        ),
        Case(
            name="Fashion-MNIST 300-100",
            models=FamilyBuilder("mlp", inputs),
            data=first(images, sizes.fashion),
            params={"n_hidden": 2, "n_neurons_1": 300, "n_neurons_2": 100, "optimizer": "sgd", "batch_size": 32},
            rates=(3e-3, 3e-2),
            members=sizes.fashion_members,
            claim=8,
        ),
        Case(
            name="Fashion-MNIST convolutional",
            models=UserBuilder(convolutional, Path.cwd(), inputs),
            data=first(images, sizes.images),
            params={"batch_size": 32},
            rates=(3e-4, 3e-3),
            members=sizes.conv_members,
            claim=3,
        ),
    ]


def growth(sizes: Sizes, housing: Case) -> dict[str, list[Case]]:
    """The first claim, with one thing changed."""
    size = (sizes.members,)
    rows = len(housing.data.x)
    return {
        "members": [replace(housing, name="2 x 42", members=sizes.growth_members)],
        "width": [
            replace(housing, name=f"2 x {width}", params={**housing.params, "n_neurons": width}, members=size)
            for width in sizes.widths
        ],
        "batch size": [
            replace(housing, name=f"batch {batch}", params={**housing.params, "batch_size": batch}, members=size)
            for batch in sizes.batches
        ],
        "rows": [
            replace(housing, name=f"{len(fewer.x):,} rows", data=fewer, members=size)
            for fewer in [first(housing.data, round(rows * share)) for share in sizes.shares] + [housing.data]
        ],
    }
