"""Ray Tune's side of a search: the searcher, the scheduler, the callback and the one call of ``Tuner.fit``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.progress_reporter import TrialProgressCallback

from kerasweep.dispatch.base import Allocation, Ended, Feed, Next, SearchJob
from kerasweep.dispatch.schedulers import ray_scheduler
from kerasweep.dispatch.trainable import COHORT, ENDED, EPOCH, METRICS, OBJECTIVE, SECONDS, CohortTrainable, pack
from kerasweep.records import Direction, Status
from kerasweep.training.base import Cohort

# A trial whose worker dies starts again from its checkpoint this often, then counts as failed.
MAX_RESTARTS = 2


def search(job: SearchJob, feed: Feed, allocation: Allocation) -> Mapping[int, Path]:
    """Runs a search to its end.

    Returns:
        The folder of the last snapshot of every trial that has one.
    """
    here = _Here(feed)
    direction = job.schedule.objective.direction
    trainable = tune.with_parameters(
        CohortTrainable,
        packed=pack(job.work),
        data=job.work.data,
        allocation=allocation,
        objective=job.schedule.objective.metric,
    )
    resources = {"cpu": allocation.cpus_per_trial, "gpu": allocation.gpus_per_trial}
    tuner = tune.Tuner(
        tune.with_resources(trainable, {kind: amount for kind, amount in resources.items() if amount}),
        tune_config=tune.TuneConfig(
            metric=OBJECTIVE,
            mode="min" if direction is Direction.MINIMIZE else "max",
            search_alg=_FeedSearcher(here),
            scheduler=ray_scheduler(job.scheduler, job.schedule.epochs, lambda: here.feed.should_stop()),
            num_samples=-1,
            reuse_actors=True,
            trial_name_creator=_label,
            trial_dirname_creator=_label,
        ),
        run_config=tune.RunConfig(
            name=job.name,
            storage_path=job.storage,
            callbacks=[_Watcher(here), _Mute()],
            stop=_FeedStopper(here),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=MAX_RESTARTS),
            checkpoint_config=tune.CheckpointConfig(num_to_keep=1, checkpoint_at_end=True),
        ),
    )
    results = tuner.fit()
    return {
        member.number: Path(result.checkpoint.path)
        for result in results
        if result.checkpoint is not None
        for member in result.config[COHORT].members
    }


def _label(trial: Any) -> str:
    cohort: Cohort = trial.config[COHORT]
    return f"trial-{cohort.members[0].number:05d}"


class _Here:
    """A study's feed. It stays in this process: Ray pickles what it was given, for a way of restoring that a study
    does not use."""

    def __init__(self, feed: Feed | None) -> None:
        self._feed = feed

    @property
    def feed(self) -> Feed:
        if self._feed is None:
            raise RuntimeError("a feed lives in the process that made it. Received: a pickled copy")
        return self._feed

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
        cohort = self._here.feed.next_cohort()
        if cohort is Next.FINISHED:
            return str(tune.search.Searcher.FINISHED)
        if isinstance(cohort, Next):
            return None
        return {COHORT: cohort}

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

    def __init__(self, here: _Here) -> None:
        self._here = here
        self._seconds: dict[str, float] = defaultdict(float)

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        for member in trial.config[COHORT].members:
            self._here.feed.started(member.number)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        self._seconds[trial.trial_id] += result[SECONDS]
        for number, metrics in result[METRICS].items():
            self._here.feed.reported(int(number), result[EPOCH], metrics)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        for member in trial.config[COHORT].members:
            self._here.feed.restarted(member.number, _cause(trial))

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        ended = (trial.last_result or {}).get(ENDED, {})
        seconds = self._seconds.pop(trial.trial_id, 0.0)
        for member in trial.config[COHORT].members:
            status, reason = ended.get(str(member.number), (Status.STOPPED, ""))
            self._here.feed.ended(Ended(member.number, Status(status), reason, seconds))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        seconds = self._seconds.pop(trial.trial_id, 0.0)
        reason = f"its worker died {MAX_RESTARTS + 1} times: {_cause(trial)}"
        for member in trial.config[COHORT].members:
            self._here.feed.ended(Ended(member.number, Status.FAILED, reason, seconds))


class _Mute(TrialProgressCallback):  # type: ignore[misc]  # Ray's class has no types
    """Ray's own progress, without the lines that it prints at any verbosity."""

    def _print(self, msg: str) -> None:
        pass


def _cause(trial: Any) -> str:
    """The last line of Ray's account of a failure that is not indented: the exception, or how the process ended."""
    latest = str(trial.get_error() or "").rpartition("Failure # ")[2]
    lines = [line for line in latest.splitlines()[1:] if line.strip() and not line[0].isspace()]
    return lines[-1][:300] if lines else "no reason known"


def available() -> Mapping[str, float]:
    """CPUs and GPUs of the cluster that this process is connected to."""
    return dict(ray.cluster_resources())
