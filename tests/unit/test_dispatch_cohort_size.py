"""How many trials train together, and the sentence that says why."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasweep.data import load_search
from kerasweep.dispatch import Allocation, share
from kerasweep.dispatch.cohort_size import Networks, Room, cohort_size, networks
from kerasweep.models import FamilyBuilder, Inputs
from kerasweep.spec import pipeline_from_mapping
from kerasweep.spec.pipeline import PipelineSpec
from kerasweep.spec.vocabulary import Task

SMALL = Networks(parameters=2300, bytes=160e3, flop=1e6)
ROOM = Room(workers=1, memory=12 * 2.0**30)


def spec(
    searcher: object = "random", scheduler: object = "none", cohort: object = "auto", **sections: Any
) -> PipelineSpec:
    mapping = {
        "name": "tiny",
        "data": {"name": "wine"},
        "model": {"family": "mlp"},
        "space": {"parameters": {"learning_rate": {"type": "float", "min": 0.001, "max": 0.1, "log": True}}},
        "resources": {"cohort": cohort},
        **sections,
    }
    search = {"searcher": searcher, "scheduler": scheduler, "max_epochs": 27, "trials": 2}
    return pipeline_from_mapping({**mapping, "search": search}, Path.cwd()).spec


@pytest.mark.parametrize(
    ("searcher", "scheduler", "trials", "found", "room", "expected"),
    [
        # A searcher that learns nothing: as many as there are for each worker, up to a limit.
        ("random", "none", 100, SMALL, ROOM, "100: random search of 100 trials on 1 worker"),
        ("grid", "none", 101, SMALL, Room(2, 1e12), "51: grid search of 101 trials on 2 workers"),
        ("random", "none", 5000, SMALL, ROOM, "512: more than 512 gain nothing"),
        ("random", "asha", 1024, SMALL, Room(4, 1e12), "256: random search of 1,024 trials on 4 workers"),
        ("random", "none", 1, SMALL, ROOM, "1: random search of 1 trials on 1 worker"),
        # One that learns: a sixth of the trials, but not too few.
        ("tpe", "none", 120, SMALL, ROOM, "20: tpe learns 6 times or more in 120 trials on 1 worker"),
        ("tpe", "median", 120, SMALL, Room(2, 1e12), "10: tpe learns 6 times or more in 120 trials on 2 workers"),
        ("tpe", "none", 20, SMALL, ROOM, "8: tpe learns 6 times or more in 20 trials on 1 worker"),
        # Brackets and populations are generations by themselves.
        ("tpe", "hyperband", 500, SMALL, ROOM, "27: the largest bracket of hyperband"),
        ("tpe", "hyperband", 20, SMALL, ROOM, "20: tpe search of 20 trials on 1 worker"),
        ("tpe", "pbt", 40, SMALL, ROOM, "40: tpe search of 40 trials on 1 worker"),
        ("tpe", "pb2", 40, SMALL, ROOM, "40: tpe search of 40 trials on 1 worker"),
        ("random", "pbt", 4, SMALL, Room(4, 1e12), "2: random search of 4 trials on 4 workers"),
        # What members need.
        ("random", "none", 100, Networks(10**6, 2.0**28, 1e6), Room(1, 2.0**33), "16: the memory holds no more"),
        ("random", "none", 100, Networks(10**6, 2.0**28, 1e6), Room(1, 2.0**33, data=2.0**31), "8: the memory holds"),
        ("random", "none", 100, Networks(10**9, 2.0**40, 1e6), ROOM, "1: the memory holds no more"),
        ("random", "pbt", 100, Networks(10**9, 2.0**40, 1e6), ROOM, "2: the memory holds no more"),
        ("random", "none", 100, Networks(10**6, 2.0**28, 3.5e8), ROOM, "1: the median network's 350 MFLOP a step keep"),
        ("random", "none", 9, Networks(10**6, 2.0**28, 3.5e8), Room(1, 2.0**36, card=True), "9: random search"),
        ("random", "none", 9, Networks(10**6, 2.0**28, 3.5e10), Room(1, 2.0**36, card=True), "1: the median network's"),
        # Nothing is known of a user's networks.
        ("random", "none", 100, None, ROOM, "16: a builder's own networks are not known before they are built"),
        ("random", "none", 10, None, ROOM, "10: random search of 10 trials on 1 worker"),
        ("tpe", "none", 60, None, ROOM, "10: tpe learns 6 times or more"),
    ],
)
def test_sizes(searcher: str, scheduler: str, trials: int, found: Networks | None, room: Room, expected: str) -> None:
    size, reason = cohort_size(spec(searcher, scheduler), trials, found, room)
    assert reason.startswith(expected)
    assert size == int(reason.partition(":")[0])


def test_the_reason_tells_what_it_needs() -> None:
    assert cohort_size(spec(), 256, SMALL, ROOM)[1] == (
        "256: random search of 256 trials on 1 worker; 2.3 k parameters at most, 39 MiB of 12 GiB"
    )


def test_a_number_in_the_file_is_obeyed() -> None:
    assert cohort_size(spec(cohort=64), 100, None, ROOM) == (64, "64: 100 trials on 1 worker, with resources.cohort 64")
    assert cohort_size(spec(cohort=64), 10, SMALL, ROOM)[0] == 10


@given(
    trials=st.integers(1, 5000),
    workers=st.integers(1, 16),
    memory=st.floats(0, 1e12),
    size=st.floats(1e3, 1e11),
    searcher=st.sampled_from(["random", "tpe"]),
    scheduler=st.sampled_from(["none", "hyperband", "asha"]),
)
def test_members_fit_into_the_memory_and_keep_all_workers_busy(
    trials: int, workers: int, memory: float, size: float, searcher: str, scheduler: str
) -> None:
    members, _ = cohort_size(spec(searcher, scheduler), trials, Networks(10, size, 1.0), Room(workers, memory))
    assert 1 <= members <= min(512, trials)
    assert members == 1 or members * size <= memory
    assert (members - 1) * workers < trials


SPACE = {
    "n_hidden": {"type": "int", "min": 0, "max": 3},
    "n_neurons_1": {"type": "int", "min": 1, "max": 50, "when": {"n_hidden": [1, 2, 3]}},
    "n_neurons_2": {"type": "int", "min": 1, "max": 70, "when": {"n_hidden": [2, 3]}},
    "n_neurons_3": {"type": "choice", "values": [20, 30], "when": {"n_hidden": [3]}},
    "batch_norm": {"type": "choice", "values": [False, True]},
    "batch_size": {"type": "choice", "values": [16, 64]},
}


def test_the_largest_network_is_counted_as_keras_counts_it() -> None:
    inputs = Inputs((4, 3), Task.MULTICLASS, 5)
    found = networks(spec(space={"parameters": SPACE}), inputs)
    assert found is not None
    builder = FamilyBuilder("mlp", inputs)
    widths = {"n_neurons_1": 50, "n_neurons_2": 70, "n_neurons_3": 30}
    largest = {"n_hidden": 3, **widths, "batch_norm": True, "batch_size": 64}
    assert found.parameters == builder.build(largest, 0).count_params()
    # 24 bytes a parameter, 12 an activation: three layers and their normalisations, the output, the features.
    assert found.bytes == 24 * found.parameters + 12 * 64 * (2 * (50 + 70 + 30) + 5 + 12)
    assert 0 < found.flop < 6 * 64 * found.parameters
    assert networks(spec(space={"parameters": SPACE}), inputs) == found


def test_a_wide_and_deep_network_counts_the_columns_that_it_is_fed() -> None:
    space = {"n_neurons": {"type": "int", "min": 5, "max": 30}, "aux_weight": {"type": "float", "min": 0.0, "max": 0.2}}
    inputs = Inputs((12,), Task.MULTICLASS, 5, wide=(0, 1, 2), deep=(2, 3, 4, 5))
    model = {"family": "wide_deep", "wide": [0, 1, 2], "deep": [2, 3, 4, 5]}
    found = networks(spec(model=model, space={"parameters": space}), inputs)
    assert found is not None
    largest = FamilyBuilder("wide_deep", inputs).build({"n_neurons": 30, "aux_weight": 0.2}, 0)
    assert found.parameters == largest.count_params()


def test_of_several_architectures_the_largest_counts() -> None:
    space = {
        "architecture": {"type": "choice", "values": ["linear", "residual", "cnn"]},
        "n_neurons": {"type": "int", "min": 5, "max": 30, "when": {"architecture": ["residual", "cnn"]}},
        "n_conv": {"type": "int", "min": 1, "max": 3, "when": {"architecture": ["cnn"]}},
        "filters": {"type": "choice", "values": [2, 8], "when": {"architecture": ["cnn"]}},
    }
    pipeline = spec(data={"name": "mnist"}, model={"family": "auto"}, space={"parameters": space})
    for shape, largest in (
        (
            (28, 28),
            {"architecture": "cnn", "n_conv": 1, "filters": 8},
        ),  # the less it takes the maximum, the more is left
        ((4, 4, 2), {"architecture": "residual"}),
    ):
        inputs = Inputs(shape, Task.MULTICLASS, 5)
        found = networks(pipeline, inputs)
        assert found is not None
        model = FamilyBuilder("auto", inputs).build({"n_neurons": 30, **largest}, 0)
        assert found.parameters == model.count_params()
    assert found.flop > 6 * 32 * (32 * 5 + 5)  # of more than a linear network, as most of them are


def test_what_is_fixed_counts_and_the_median_is_that_of_the_space() -> None:
    space = {"parameters": {"learning_rate": {"type": "float", "min": 0.1, "max": 0.2}}}
    fixed = {"n_hidden": 2, "n_neurons": 10, "batch_size": 8}
    found = networks(spec(space=space, training={"fixed": fixed}), Inputs((3,), Task.REGRESSION, 1))
    assert found is not None
    assert found.parameters == 4 * 10 + 11 * 10 + 11
    assert found.flop == 6 * found.parameters * 8


def test_a_study_without_cohorts_is_shared_out_as_trials() -> None:
    pipeline = spec(cohort="off")
    data = load_search(pipeline.data, Path.cwd())
    assert share(pipeline, 50, data, {"CPU": 2.0}, local=True) == Allocation(2, 1.0, 1)
    together = share(spec(), 50, data, {"CPU": 2.0}, local=True)
    assert (together.concurrency, together.threads, together.cohort) == (1, 2, 50)
    assert re.fullmatch(r"50: random search of 50 trials on 1 worker; .* of .*", together.reason)
    # One cohort needs one worker, whatever is there.
    assert share(spec(cohort=50), 50, data, {"CPU": 32.0}, local=True).concurrency == 1


def test_a_cluster_says_itself_what_memory_it_has() -> None:
    pipeline = spec()
    data = load_search(pipeline.data, Path.cwd())
    alone = share(pipeline, 50, data, {"CPU": 2.0, "memory": 1000.0}, local=False)
    assert (alone.cohort, alone.concurrency) == (1, 2)
    assert alone.reason.startswith("1: the memory holds no more")
    assert share(pipeline, 50, data, {"CPU": 2.0, "memory": 1e10}, local=False).cohort == 50


def test_a_population_takes_the_room_of_all_its_networks() -> None:
    inputs = Inputs((3,), Task.REGRESSION, 1)
    space = {"parameters": {"population": {"type": "int", "min": 30, "max": 50}}}
    evolving = networks(spec(space=space, training={"method": "neuroevolution"}), inputs)
    one = networks(spec(space={"parameters": {"l2": {"type": "fixed", "value": 0.1}}}), inputs)
    assert evolving is not None
    assert one is not None
    assert evolving.bytes == 50 * one.bytes
    assert (evolving.parameters, evolving.flop) == (one.parameters, 0.0)
