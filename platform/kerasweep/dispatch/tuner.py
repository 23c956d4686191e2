"""Ray Tune's side of a search: the searcher, the scheduler, the callback and the one call of ``Tuner.fit``."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.progress_reporter import TrialProgressCallback

from kerasweep.dispatch.base import Allocation, Feed, Next, Past, SearchJob
from kerasweep.dispatch.checkpoints import label
from kerasweep.dispatch.hanging import Watchdog
from kerasweep.dispatch.results import OBJECTIVE, Decoder
from kerasweep.dispatch.schedulers import ray_scheduler
from kerasweep.dispatch.trainable import COHORT, PAST, CohortTrainable, pack
from kerasweep.errors import StorageError
from kerasweep.records import Direction, Status
from kerasweep.training import snapshots
from kerasweep.training.base import Cohort

# A cohort whose worker dies starts again from its checkpoint this often. Then its members start again each by itself,
# and one that was by itself counts as failed.
MAX_RESTARTS = 2

# What the system says of a disk that takes no more.
_NO_ROOM = re.compile(r"No space left on device|Disk quota exceeded|Read-only file system|File too large")


def search(job: SearchJob, feed: Feed, allocation: Allocation) -> Mapping[int, Path]:
    """Runs a search to its end.

    Returns:
        The folder of the last snapshot of every trial that has one; the members of a cohort share theirs.
    """
    here = _Here(feed, job.storage)
    watchdog = Watchdog(job.patience)
    direction = job.objective.direction
    trainable = tune.with_parameters(
        CohortTrainable,
        packed=pack(job.work),
        data=job.work.data,
        allocation=allocation,
        objective=job.objective.metric,
        within=job.within,
    )
    resources = {"cpu": allocation.cpus, "gpu": allocation.gpus}
    tuner = tune.Tuner(
        tune.with_resources(trainable, {kind: amount for kind, amount in resources.items() if amount}),
        tune_config=tune.TuneConfig(
            metric=OBJECTIVE,
            mode="min" if direction is Direction.MINIMIZE else "max",
            search_alg=_FeedSearcher(here),
            scheduler=ray_scheduler(job.across, job.epochs, lambda: here.feed.should_stop(), watchdog),
            num_samples=-1,
            reuse_actors=True,
            trial_name_creator=_label,
            trial_dirname_creator=_label,
        ),
        run_config=tune.RunConfig(
            name=job.name,
            storage_path=job.storage,
            callbacks=[_Watcher(here, watchdog), _Mute()],
            stop=_FeedStopper(here),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=MAX_RESTARTS),
            checkpoint_config=tune.CheckpointConfig(num_to_keep=1, checkpoint_at_end=True),
        ),
    )
    try:
        results = tuner.fit()
    except Exception:
        if here.failure is not None:  # Ray Tune passes on nothing but its text
            raise here.failure from None
        raise
    # A member that started again by itself comes after the cohort that it was in.
    return {
        member.number: Path(result.checkpoint.path)
        for result in results
        if result.checkpoint is not None and snapshots.there(Path(result.checkpoint.path))
        for member in result.config[COHORT].members
    }


def _label(trial: Any) -> str:
    return label(_numbers(trial))


def _numbers(trial: Any) -> tuple[int, ...]:
    """Of the members of a Ray Tune trial's cohort."""
    cohort: Cohort = trial.config[COHORT]
    return tuple(member.number for member in cohort.members)


class _Here:
    """A study's feed. It stays in this process: Ray pickles what it was given, for a way of restoring that a study
    does not use."""

    def __init__(self, feed: Feed | None, storage: str = "") -> None:
        self._feed = feed
        self._storage = storage
        self.failure: Exception | None = None

    @property
    def feed(self) -> Feed:
        if self._feed is None:
            raise RuntimeError("a feed lives in the process that made it. Received: a pickled copy")
        return self._feed

    @contextmanager
    def told(self) -> Iterator[Feed]:
        """The feed, in a callback of Ray Tune's, which must not hide what goes wrong in it.

        Where Ray catches it, to try the trial again, the next call raises it once more.
        """
        if self.failure is not None:
            raise self.failure
        try:
            yield self.feed
        except Exception as failure:
            self.failure = failure
            raise

    def check_room(self, cause: str) -> None:
        """A disk that is full is no fault of a trial's, and the next one would not fare better.

        Raises:
            StorageError: this was the cause of a worker's failure.
        """
        if _NO_ROOM.search(cause):
            raise StorageError(
                f"the states of cohorts must be written to {self._storage}. Received: {cause}. Nothing that has ended "
                "is lost; once there is room, kerasweep resume carries on"
            )

    def __reduce__(self) -> tuple[type[_Here], tuple[None]]:
        return _Here, (None,)


class _FeedSearcher(tune.search.Searcher):  # type: ignore[misc]  # Ray's class has no types
    """Hands a study's cohorts to Ray Tune, one a trial.

    Learning from results is the study's affair, in the order that it decides; here nothing is learnt.
    """

    def __init__(self, here: _Here) -> None:
        super().__init__()
        self._here = here

    def set_search_properties(self, metric: str | None, mode: str | None, config: Any, **spec: Any) -> bool:
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        with self._here.told() as feed:
            cohort = feed.next_cohort()
            if cohort is Next.FINISHED:
                return str(tune.search.Searcher.FINISHED)
            if isinstance(cohort, Next):
                return None
            return {COHORT: cohort, PAST: feed.past([member.number for member in cohort.members])}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        pass

    def save(self, checkpoint_path: str) -> None:
        Path(checkpoint_path).touch()  # Ray expects a file, and the study keeps its own state

    def restore(self, checkpoint_path: str) -> None:
        pass


class _FeedStopper(tune.Stopper):  # type: ignore[misc]  # Ray's class has no types
    """Ends trials at their next epoch when the study says so; ``schedulers`` ends those that wait."""

    def __init__(self, here: _Here) -> None:
        self._here = here

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return self._here.feed.should_stop()

    def stop_all(self) -> bool:
        return False


class _Watcher(tune.Callback):  # type: ignore[misc]  # Ray's class has no types
    """Tells the study what happens to its trials."""

    def __init__(self, here: _Here, watchdog: Watchdog) -> None:
        self._here = here
        self._watchdog = watchdog
        self._decoders: dict[str, Decoder] = {}
        self._kept: dict[str, tuple[frozenset[int], str]] = {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        with self._here.told() as feed:
            feed.started(self._decoder(trial).left)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        with self._here.told() as feed:
            feed.reported(self._decoder(trial).decode(result))

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        with self._here.told() as feed:
            cause = self._cause(trial)
            self._here.check_room(cause)
            feed.restarted(self._decoder(trial).left, cause)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        decoder = self._decoder(trial)
        with self._here.told() as feed:
            feed.ended([decoder.end(number, Status.STOPPED, "") for number in decoder.left])
        self._close(trial)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        decoder = self._decoder(trial)
        cause = self._cause(trial)
        reason = f"its worker died {MAX_RESTARTS + 1} times: {cause}"
        with self._here.told() as feed:
            self._here.check_room(cause)
            if len(_numbers(trial)) > 1:
                feed.separated(decoder.left, reason)
            else:
                feed.ended([decoder.end(number, Status.FAILED, reason) for number in decoder.left])
        self._close(trial)

    def _cause(self, trial: Any) -> str:
        return self._watchdog.reason(trial) or _cause(trial)

    def _decoder(self, trial: Any) -> Decoder:
        if trial.trial_id not in self._decoders:
            past: Past | None = trial.config[PAST]
            left = _numbers(trial) if past is None else [n for n in _numbers(trial) if n in past.left]
            self._decoders[trial.trial_id] = Decoder(left)
        return self._decoders[trial.trial_id]

    def _close(self, trial: Any) -> None:
        """Forgets a cohort that ended, and deletes the snapshots that are of no interest any more."""
        del self._decoders[trial.trial_id]
        if trial.checkpoint is not None:
            self._kept[trial.trial_id] = frozenset(_numbers(trial)), trial.checkpoint.path
        wanted = self._here.feed.wanted()
        for name, (numbers, path) in list(self._kept.items()):
            if numbers.isdisjoint(wanted):
                shutil.rmtree(path, ignore_errors=True)
                del self._kept[name]


class _Mute(TrialProgressCallback):  # type: ignore[misc]  # Ray's class has no types
    """Ray's own progress, without the lines that it prints at any verbosity."""

    def _print(self, msg: str) -> None:
        pass


def _cause(trial: Any) -> str:
    """The last line of Ray's account of a failure that is not indented: the exception, or how the process ended."""
    account = ""
    if (
        trial.error_file is not None
    ):  # on this machine; Ray's own reader wants the copy in the storage, which may be full
        with suppress(OSError):
            account = Path(trial.error_file).read_text()
    latest = account.rpartition("Failure # ")[2]
    lines = [line for line in latest.splitlines()[1:] if line.strip() and not line[0].isspace()]
    return lines[-1][:300] if lines else "no reason known"


def available() -> Mapping[str, float]:
    """CPUs and GPUs of the cluster that this process is connected to."""
    return dict(ray.cluster_resources())
