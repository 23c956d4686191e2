"""A connection to Ray, from its start to its end."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kerasweep.dispatch.base import Allocation, Feed, SearchJob, Work
from kerasweep.dispatch.cohort_size import share
from kerasweep.dispatch.head import watch_head
from kerasweep.dispatch.resources import local_cpus
from kerasweep.dispatch.training import cards_hidden, train_cohort, train_here
from kerasweep.errors import ResourceError
from kerasweep.spec.pipeline import PipelineSpec, ResourcesSpec

if TYPE_CHECKING:
    from kerasweep.data.base import SearchData
    from kerasweep.training.base import Cohort, Outcome

# Ray's own output and files that a study does not need. Set before Ray is imported, since it reads some of them then.
_ENVIRONMENT = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # A trial that failed has no objective to report; that must not end the study.
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    # The study handles the interrupt: it ends the trials and keeps what they reached.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # Ray's snapshots of the experiment are not what a study relies on.
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Ray's workers yield to every other process by default; training is what the machine is to do.
    "RAY_worker_niceness": "0",
}


class RaySession:
    """A ``Session`` that starts Ray in the background, or joins a cluster; ``close`` ends what it started.

    Construction returns at once. Whatever went wrong while starting is raised by the first method that needs Ray.

    Ray's own processes are set to die with the thread that started them (Linux ties that to the thread, not to the
    process), so one thread starts Ray, watches over it until ``close``, and ends it.
    """

    def __init__(self, resources: ResourcesSpec, address: str | None = None) -> None:
        self._resources = resources
        self._address = address
        self._failure: BaseException | None = None
        self._ready = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ray", daemon=True)
        self._thread.start()

    def allocation(self, spec: PipelineSpec, trials: int, data: SearchData) -> Allocation:
        """See ``Session``."""
        self._wait()
        from kerasweep.dispatch.tuner import available

        return share(spec, trials, data, available(), local=self._address is None)

    def search(self, job: SearchJob, feed: Feed, allocation: Allocation) -> Mapping[int, Path]:
        """See ``Session``."""
        self._wait()
        from kerasweep.dispatch.reach import check_reach
        from kerasweep.dispatch.tuner import search

        check_reach(Path(job.storage))
        return search(job, feed, allocation)

    def train(self, work: Work, cohorts: tuple[Cohort, ...], allocation: Allocation, *, merge: bool) -> list[Outcome]:
        """See ``Session``; as many cohorts at a time as workers were.

        A single one is trained in this process where it may be: a worker would first have to import TensorFlow.
        """
        if len(cohorts) == 1 and self._address is None and not allocation.gpus and cards_hidden(self._cpus):
            return list(train_here(work, cohorts[0], merge=merge))
        self._wait()
        import ray

        from kerasweep.dispatch.trainable import pack

        task = ray.remote(max_retries=2)(train_cohort).options(num_cpus=allocation.cpus, num_gpus=allocation.gpus)
        packed, data = pack(work), ray.put(work.data)
        running = [task.remote(packed, data, cohort, allocation, merge) for cohort in cohorts]
        return [outcome for outcomes in ray.get(running) for outcome in outcomes]

    def release(self) -> None:
        """Begins to leave the cluster, or to end the local Ray, without waiting for that."""
        self._closing.set()

    def close(self) -> None:
        """Leaves the cluster, or ends the local Ray."""
        self.release()
        self._thread.join()

    def _wait(self) -> None:
        self._ready.wait()
        if self._failure is not None:
            hint = ""
            if self._address not in (None, "auto") and "RAY_AUTH_MODE" not in os.environ:
                hint = " If the cluster asks for a token, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN."
            raise ResourceError(f"Ray must start or be reached. Received: {self._failure}.{hint}") from self._failure

    def _run(self) -> None:
        try:
            self._start()
        except BaseException as failure:  # raised again by whoever waits for Ray
            self._failure = failure
            return
        finally:
            self._ready.set()
        import ray

        watch_head(ray.get_runtime_context().gcs_address, self._closing)
        ray.shutdown()

    def _start(self) -> None:
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        import ray

        logging.getLogger("ray").setLevel(logging.ERROR)
        # It complains when a search ends while a snapshot of it, which no study relies on, is being copied.
        logging.getLogger("ray.tune.execution.experiment_state").setLevel(logging.CRITICAL)
        tune = threading.Thread(target=_import_tune, name="ray.tune")
        tune.start()
        try:
            ray.init(**self._arguments())  # waits for Ray's processes most of the time
        finally:
            tune.join()

    def _arguments(self) -> dict[str, Any]:
        quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
        if self._address is not None:
            return {"address": self._address, **quiet}
        return {"address": "local", "num_cpus": self._cpus, "include_dashboard": False, **quiet}

    @property
    def _cpus(self) -> int:
        """Of this machine, as far as the study may use them."""
        return local_cpus() if self._resources.cpus == "auto" else min(local_cpus(), self._resources.cpus)


def _import_tune() -> None:
    """What ``Tuner.fit`` needs. It imports MLflow's integration to count callbacks, whether that is used or not."""
    import ray.air.integrations.mlflow
    import ray.tune  # noqa: F401  # the import is the purpose
