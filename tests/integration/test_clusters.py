"""Ray clusters that change while a study runs: the head is killed and comes back from Redis, a machine joins."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kerasweep.records import Status
from kerasweep.tracking import open_store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

REDIS = ("127.0.0.1", 6379)

# Each trial says in its second epoch that it waits, and does so until there is a file.
WAITING = """
import os
import time
from pathlib import Path
import keras

class Wait(keras.callbacks.Callback):
    def __init__(self, file):
        super().__init__()
        self.file = Path(file)

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            self.file.with_name(f"waits-{os.getpid()}").touch()
            while not self.file.exists():
                time.sleep(0.1)
"""

Made = Callable[..., Any]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Made]:
    """Makes a cluster of one machine, which asks for no token; takes its number of cores."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    made = []

    def make(cpus: int) -> Any:
        made.append(
            Cluster(True, shutdown_at_exit=False, head_node_args={"num_cpus": cpus, "include_dashboard": False})
        )
        return made[-1]

    yield make
    for each in made:
        each.shutdown()


class Driver:
    """Of a study of two trials, each of which waits for ``go``."""

    def __init__(self, folder: Path, address: str) -> None:
        self._folder, self._go = folder, folder / "go"
        (folder / "waiting.py").write_text(WAITING)
        pipeline = {
            "name": "tiny",
            "data": {"name": "wine"},
            "model": {"family": "mlp"},
            "space": {"parameters": {"n_neurons": {"type": "int", "min": 2, "max": 12}}},
            "search": {"searcher": "random", "scheduler": "none", "trials": 2, "max_epochs": 3, "seed": 1},
            "training": {"callbacks": [{"name": "waiting:Wait", "args": {"file": str(self._go)}}]},
            "retrain": None,
            "export": {"formats": []},
            "register": None,
        }
        (folder / "pipeline.yaml").write_text(json.dumps(pipeline))
        command = [sys.executable, "-m", "kerasweep", "run", "pipeline.yaml", "--ray-address", address]
        with (folder / "said").open("w") as said:
            self._process = subprocess.Popen(command, cwd=folder, stderr=said)

    @property
    def said(self) -> str:
        return (self._folder / "said").read_text()

    @property
    def waiting(self) -> int:
        """Processes in which a trial waited, or waits."""
        return len([*self._folder.glob("waits-*")])

    def wait_for(self, happened: Callable[[], bool]) -> None:
        until = time.monotonic() + 150
        while not happened():
            assert self._process.poll() is None, self.said
            assert time.monotonic() < until, self.said
            time.sleep(0.1)

    def finish(self) -> None:
        """Lets the trials go on, and sees that they end as they should."""
        self._go.touch()
        assert self._process.wait(150) == 0, self.said
        trials = open_store(f"sqlite:///{self._folder}/mlruns/mlflow.db").load("tiny").trials
        assert [(trial.status, len(trial.history)) for trial in trials] == [(Status.FINISHED, 3)] * 2

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture
def drive(tmp_path: Path) -> Iterator[Callable[[str], Driver]]:
    """Starts a driver; takes the address of its cluster."""
    drivers = []

    def start(address: str) -> Driver:
        drivers.append(Driver(tmp_path, address))
        return drivers[-1]

    yield start
    for driver in drivers:
        driver.close()


def test_a_head_that_comes_back_costs_a_study_nothing(
    cluster: Made, drive: Callable[[str], Driver], monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        socket.create_connection(REDIS, 2).close()
    except OSError:
        pytest.skip(f"a head's state needs a Redis at {REDIS[0]}:{REDIS[1]}, and none answers")
    monkeypatch.setenv("RAY_REDIS_ADDRESS", ":".join(map(str, REDIS)))
    monkeypatch.setenv("RAY_external_storage_namespace", f"kerasweep-{uuid.uuid4().hex}")
    there = cluster(1)
    driver = drive(there.address)
    driver.wait_for(lambda: driver.waiting == 1)
    there.head_node.kill_gcs_server()
    driver.wait_for(lambda: "does not answer" in driver.said)
    there.head_node.start_gcs_server()
    driver.wait_for(lambda: "answers again" in driver.said)
    driver.finish()  # the second trial needs a worker of the head that came back


def test_a_machine_that_joins_takes_the_place_of_one_that_was_lost(
    cluster: Made, drive: Callable[[str], Driver]
) -> None:
    there = cluster(1)
    second = there.add_node(num_cpus=1)
    driver = drive(there.address)
    driver.wait_for(lambda: driver.waiting == 2)
    there.remove_node(second, allow_graceful=False)
    driver.wait_for(lambda: "its worker died and it starts again" in driver.said)
    time.sleep(2)
    assert driver.waiting == 2  # there is no place for it
    there.add_node(num_cpus=1)
    driver.wait_for(lambda: driver.waiting == 3)
    driver.finish()
