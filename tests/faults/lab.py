"""What a study stands on, in real processes that can be killed: drivers, workers, Ray's nodes, MLflow, its database."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from mlflow_server import Server
from postgresql import PostgreSQL, Unavailable, postgresql

# Of a study that is small and has everything: several cohorts at a time, rungs, a searcher that learns, a retraining.
SPEC: dict[str, Any] = {
    "name": "tiny",
    "data": {"name": "wine"},
    "model": {"family": "mlp"},
    "space": {
        "parameters": {
            "n_hidden": {"type": "int", "min": 0, "max": 2},
            "n_neurons": {"type": "int", "min": 2, "max": 12},
            "learning_rate": {"type": "float", "min": 1e-4, "max": 1e-1, "log": True},
            "batch_size": {"type": "fixed", "value": 16},
        }
    },
    "search": {"searcher": "tpe", "scheduler": "hyperband", "trials": 24, "max_epochs": 27, "seed": 11},
    "resources": {"cpus": 2, "concurrency": 2, "cohort": 4},
    "retrain": {"seeds": 1},
    "export": {"formats": ["keras"]},
    "register": {},
}

# What Ray calls the processes that train: cohorts in a search, and the winner after it.
_WORKERS = ("ray::CohortTrainable", "ray::ResourceTrainable", "ray::train_cohort")


def children(pid: int) -> list[psutil.Process]:
    """All processes below one; none of one that has ended."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def kill(processes: list[psutil.Process]) -> None:
    """Kills processes at once."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def _insist(start: Callable[[], Any]) -> Any:
    """Starts what Ray gives up after half a minute, which on a busy machine may be too early."""
    for _ in range(4):
        before = children(os.getpid())
        try:
            return start()
        except Exception as error:
            failure = error
            kill([process for process in children(os.getpid()) if process not in before])
    raise failure


class Nodes:
    """A Ray cluster of a head that trains nothing and two nodes of one core each, which can be killed."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 0, "include_dashboard": False}
        # Not at exit: Ray would want signals, which only the main thread may handle.
        self._cluster = _insist(lambda: Cluster(True, shutdown_at_exit=False, head_node_args=head))
        self._nodes: list[Any] = []
        while len(self._nodes) < 2:
            self.replace()

    @property
    def address(self) -> str:
        return str(self._cluster.address)

    def kill(self, which: int) -> None:
        """Kills a node: its raylet, and with that its workers."""
        node = self._nodes.pop(which % len(self._nodes))
        self._cluster.remove_node(node, allow_graceful=False)

    def replace(self) -> None:
        """Starts a node in the place of the one that was killed."""
        self._nodes.append(_insist(lambda: self._cluster.add_node(num_cpus=1)))

    def close(self) -> None:
        self._cluster.shutdown()


class Outage:
    """Something that was killed, and is started again after a while."""

    def __init__(self, start: Callable[[], None], seconds: float) -> None:
        self._error: BaseException | None = None

        def restart() -> None:
            time.sleep(seconds)
            try:
                start()
            except BaseException as error:
                self._error = error

        self._thread = threading.Thread(target=restart)
        self._thread.start()

    @property
    def over(self) -> bool:
        if self._thread.is_alive():
            return False
        self.wait()
        return True

    def wait(self) -> None:
        self._thread.join()
        if self._error is not None:
            raise self._error


@dataclass
class Lab:
    """Where studies run and are killed.

    Attributes:
        folder: of everything.
        server: that keeps the studies.
        database: of the server; None for SQLite.
        nodes: that train; None where every driver has a Ray of its own.
        outages: what is away, by its kind.
        driver: the last one that was started.
    """

    folder: Path
    server: Server
    database: PostgreSQL | None
    nodes: Nodes | None
    outages: dict[str, Outage] = field(default_factory=dict)
    driver: Driver | None = None

    def away(self, kind: str) -> bool:
        """Whether something of a kind was killed and is not there again."""
        outage = self.outages.get(kind)
        if outage is not None and outage.over:
            del self.outages[kind]
        return kind in self.outages

    def recover(self) -> None:
        """Waits until everything is there."""
        while self.outages:
            self.outages.popitem()[1].wait()

    def close(self) -> None:
        """Ends the driver if it runs, and has everything there again to be ended."""
        if self.driver is not None and self.driver.code is None:
            kill(self.driver.kill())
        self.recover()

    def kill_server(self, seconds: float) -> None:
        kill([psutil.Process(self.server.process.pid), *children(self.server.process.pid)])
        self.server.process.wait()
        self.outages["server"] = Outage(self.server.start, seconds)

    def kill_database(self, seconds: float) -> None:
        if self.database is not None:
            self.database.stop()
            self.outages["database"] = Outage(self.database.start, seconds)

    def kill_node(self, which: int, seconds: float) -> None:
        if self.nodes is not None:
            self.nodes.kill(which)
            self.outages["node"] = Outage(self.nodes.replace, seconds)

    def workers(self, driver: Driver) -> list[psutil.Process]:
        """The processes that train a driver's cohorts."""
        found = children(os.getpid() if self.nodes is not None else driver.pid)
        workers = []
        for process in found:
            with suppress(psutil.NoSuchProcess):
                if " ".join(process.cmdline()).startswith(_WORKERS):
                    workers.append(process)
        return sorted(workers, key=lambda process: process.pid)


@contextmanager
def lab(*, cluster: bool) -> Iterator[Lab]:
    """A lab in a temporary folder; nothing of it stays.

    Args:
        cluster: whether drivers join a Ray cluster, else each of them has a Ray of its own.
    """
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"  # a dozen processes that a study has no use for
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="faults-")))
        try:
            database = stack.enter_context(postgresql())
        except Unavailable:
            database = None
        (folder / "server").mkdir()
        uri = f"sqlite:///{folder}/server/mlflow.db" if database is None else database.uri
        server = Server(uri, folder / "server")
        stack.callback(server.stop)
        nodes = Nodes() if cluster else None
        if nodes is not None:
            stack.callback(nodes.close)
        there = Lab(folder, server, database, nodes)
        stack.callback(there.close)
        yield there


class Study:
    """A study in a folder of its own, with one driver at a time.

    Args:
        lab: where it runs.
        number: 0 for the one that is not disturbed.

    Attributes:
        folder: with its pipeline file. Its path is short: below its folder for temporary files Ray has sockets, and the
            path of a socket has 107 bytes at most.
        experiment: that it is kept in.
        drivers: all that there were.
    """

    def __init__(self, lab: Lab, number: int) -> None:
        self.folder = lab.folder / f"{number:02d}"
        self.experiment = f"disturbed-{number:02d}" if number else "undisturbed"
        self.drivers: list[Driver] = []
        self._lab = lab
        (self.folder / "tmp").mkdir(parents=True)
        tracking = {"uri": lab.server.uri, "experiment": self.experiment}
        (self.folder / "pipeline.yaml").write_text(json.dumps({**SPEC, "tracking": tracking}))

    @property
    def journals(self) -> list[Path]:
        return sorted(self.folder.glob("mlruns/studies/*/journal.jsonl"))

    def written(self) -> int:
        """Bytes of its journal."""
        return sum(path.stat().st_size for path in self.journals)

    def events(self) -> str:
        return "".join(path.read_text(errors="replace") for path in self.journals)

    def states(self) -> set[Path]:
        """Files that hold the states of cohorts or weights, whole or not."""
        return {path for path in self.folder.glob("mlruns/studies/*/*/**/*") if not path.is_dir()}

    def start(self) -> Driver:
        """Starts a driver: the study begins, or is resumed."""
        begun = any(b"\n" in path.read_bytes() for path in self.journals)
        command = ["resume", SPEC["name"]] if begun else ["run", "pipeline.yaml"]
        if self._lab.nodes is not None:
            command += ["--ray-address", self._lab.nodes.address]
        driver = Driver(self.folder, [*command, "--json"], len(self.drivers))
        self.drivers.append(driver)
        self._lab.driver = driver
        return driver


class Driver:
    """A ``kerasweep`` process.

    Attributes:
        resumes: whether it goes on with a study.
    """

    def __init__(self, folder: Path, arguments: list[str], number: int) -> None:
        self.resumes = arguments[0] == "resume"
        self._out, self._err = folder / f"driver-{number:03d}.out", folder / f"driver-{number:03d}.err"
        with self._out.open("w") as out, self._err.open("w") as err:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "kerasweep", *arguments],
                cwd=folder,
                stdout=out,
                stderr=err,
                env={**os.environ, "TMPDIR": str(folder / "tmp")},
                start_new_session=True,
            )
        self.pid = self._process.pid

    @property
    def code(self) -> int | None:
        """Its exit code; None while it runs."""
        return self._process.poll()

    @property
    def output(self) -> str:
        return self._out.read_text()

    @property
    def messages(self) -> str:
        return self._err.read_text(errors="replace")

    def kill(self) -> list[psutil.Process]:
        """Kills it, and nothing else; returns what it had started."""
        family = children(self.pid)
        os.kill(self.pid, signal.SIGKILL)
        self._process.wait()
        return family
