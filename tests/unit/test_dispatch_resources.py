"""How trials share a machine: who gets how many cores and cards, and what is refused."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasweep.dispatch import Allocation, allocate, local_cpus
from kerasweep.dispatch.resources import host_memory
from kerasweep.errors import ResourceError
from kerasweep.spec.pipeline import ResourcesSpec


@pytest.mark.parametrize(
    ("spec", "cpus", "gpus", "trials", "expected"),
    [
        # A core each, as many as there are.
        ({}, 8, 0, 50, Allocation(8, 1.0, 1)),
        ({}, 2, 0, 50, Allocation(2, 1.0, 1)),
        ({}, 1, 0, 1, Allocation(1, 1.0, 1)),
        # Fewer trials than cores: the cores are shared out.
        ({}, 8, 0, 3, Allocation(3, 2.666, 2)),
        ({}, 8, 0, 1, Allocation(1, 8.0, 8)),
        ({"concurrency": 2}, 8, 0, 50, Allocation(2, 4.0, 4)),
        ({"concurrency": 3}, 8, 0, 50, Allocation(3, 2.666, 2)),
        ({"concurrency": 4}, 8, 0, 2, Allocation(2, 4.0, 4)),
        ({"cpus": 4}, 8, 0, 50, Allocation(4, 1.0, 1)),
        ({"cpus": 4, "concurrency": 2}, 8, 0, 50, Allocation(2, 2.0, 2)),
        # A fractional container limit.
        ({}, 3.5, 0, 50, Allocation(3, 1.166, 1)),
        # A card each, then shares of cards; cores limit as well.
        ({"gpus_per_trial": 1}, 8, 2, 50, Allocation(2, 4.0, 4, 1.0)),
        ({"gpus_per_trial": 0.5}, 8, 1, 50, Allocation(2, 4.0, 4, 0.5)),
        ({"gpus_per_trial": 0.25}, 8, 2, 50, Allocation(8, 1.0, 1, 0.25)),
        ({"gpus_per_trial": 0.25}, 2, 2, 50, Allocation(2, 1.0, 1, 0.25)),
        # Only two shares of 0.4 fit on a card, so two cards hold four and not five.
        ({"gpus_per_trial": 0.4}, 16, 2, 50, Allocation(4, 4.0, 4, 0.4)),
        # 0.1 ten times is one card, whatever the rounding of floats.
        ({"gpus_per_trial": 0.1}, 32, 1, 50, Allocation(10, 3.2, 3, 0.1)),
        ({"gpus_per_trial": 1 / 3}, 6, 1, 50, Allocation(3, 2.0, 2, 1 / 3)),
        ({"gpus_per_trial": 2}, 8, 5, 50, Allocation(2, 4.0, 4, 2.0)),
        ({"gpus_per_trial": 1, "concurrency": 1}, 8, 4, 50, Allocation(1, 8.0, 8, 1.0)),
        # Cards that nobody asked for do not matter.
        ({}, 2, 8, 50, Allocation(2, 1.0, 1)),
    ],
)
def test_allocations(spec: dict, cpus: float, gpus: float, trials: int, expected: Allocation) -> None:
    assert allocate(ResourcesSpec.model_validate(spec), {"CPU": cpus, "GPU": gpus}, trials) == expected


@pytest.mark.parametrize(
    ("spec", "cpus", "gpus", "trials", "expected"),
    [
        # One process for up to eight cores, with all of their threads.
        ({}, 2, 0, 50, Allocation(1, 2.0, 2)),
        ({}, 8, 0, 50, Allocation(1, 8.0, 8)),
        ({}, 9, 0, 50, Allocation(2, 4.5, 4)),
        ({}, 64, 0, 50, Allocation(8, 8.0, 8)),
        ({}, 64, 0, 3, Allocation(3, 21.333, 21)),
        ({"cpus": 4}, 64, 0, 50, Allocation(1, 4.0, 4)),
        ({"concurrency": 4}, 8, 0, 50, Allocation(4, 2.0, 2)),
        # A worker for each card, or for each share of one.
        ({"gpus_per_trial": 1}, 16, 2, 50, Allocation(2, 8.0, 8, 1.0)),
        ({"gpus_per_trial": 0.5}, 16, 2, 50, Allocation(4, 4.0, 4, 0.5)),
    ],
)
def test_workers_of_trials_that_train_together(
    spec: dict, cpus: float, gpus: int, trials: int, expected: Allocation
) -> None:
    available = {"CPU": float(cpus), "GPU": float(gpus)}
    assert allocate(ResourcesSpec.model_validate(spec), available, trials, together=True) == expected


def test_memory_is_what_is_there() -> None:
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 2**26 < host_memory() <= physical


@pytest.mark.parametrize(
    ("spec", "available", "message"),
    [
        ({"cpus": 9}, {"CPU": 8.0}, r"cpus must be at most what is there \(8\)\. Received: 9"),
        ({}, {}, r"a study needs at least one CPU\. Received: 0"),
        ({}, {"CPU": 0.5}, r"a study needs at least one CPU\. Received: 0.5"),
        ({"concurrency": 9}, {"CPU": 8.0}, r"concurrency must be at most 8 with these CPUs\. Received: 9"),
        ({"cpus": 2, "concurrency": 3}, {"CPU": 8.0}, r"concurrency must be at most 2 with these CPUs\. Received: 3"),
        ({"gpus_per_trial": 1}, {"CPU": 8.0}, r"gpus_per_trial must be at most what is there \(0\)\. Received: 1"),
        ({"gpus_per_trial": 0.5}, {"CPU": 8.0}, r"Received: 0\.5\. Check that the driver"),
        ({"gpus_per_trial": 3}, {"CPU": 8.0, "GPU": 2.0}, r"at most what is there \(2\)\. Received: 3"),
        (
            {"gpus_per_trial": 0.5, "concurrency": 3},
            {"CPU": 8.0, "GPU": 1.0},
            r"concurrency must be at most 2 with these GPUs\. Received: 3",
        ),
        (
            {"gpus_per_trial": 0.5, "concurrency": 5},
            {"CPU": 4.0, "GPU": 8.0},
            r"concurrency must be at most 4 with these CPUs\. Received: 5",
        ),
    ],
)
def test_refusals(spec: dict, available: dict[str, float], message: str) -> None:
    with pytest.raises(ResourceError, match=message):
        allocate(ResourcesSpec.model_validate(spec), available, 50)


@given(
    cpus=st.floats(1, 128),
    gpus=st.integers(0, 8),
    share=st.sampled_from([0.0, 0.1, 0.2, 0.25, 0.3, 1 / 3, 0.5, 0.7, 1.0, 2.0]),
    trials=st.integers(1, 300),
)
def test_what_all_trials_together_get_is_never_more_than_there_is(
    cpus: float, gpus: int, share: float, trials: int
) -> None:
    spec = ResourcesSpec(gpus_per_trial=share)
    if share > gpus:
        with pytest.raises(ResourceError):
            allocate(spec, {"CPU": cpus, "GPU": gpus}, trials)
        return
    given_out = allocate(spec, {"CPU": cpus, "GPU": gpus}, trials)
    assert 1 <= given_out.concurrency <= trials
    assert given_out.concurrency * given_out.cpus <= cpus
    assert given_out.concurrency * given_out.threads <= cpus
    assert given_out.concurrency * share <= gpus + 1e-6
    assert given_out.threads >= 1


def test_local_cpus_are_those_this_process_may_use() -> None:
    assert local_cpus() == len(os.sched_getaffinity(0))
