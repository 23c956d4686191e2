"""Ray Tune's side of a search: the searcher, the scheduler, the callback and the one call of ``Tuner.fit``."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.progress_reporter import TrialProgressCallback

from kerasweep.dispatch.base import Allocation, Feed, Next, SearchJob
from kerasweep.dispatch.results import OBJECTIVE, Decoder
from kerasweep.dispatch.schedulers import ray_scheduler
from kerasweep.dispatch.trainable import COHORT, CohortTrainable, pack
from kerasweep.records import Direction, Status
from kerasweep.training.base import Cohort

# A cohort whose worker dies starts again from its checkpoint this often. Then its members start again each by itself,
# and one that was by itself counts as failed.
MAX_RESTARTS = 2


def search(job: SearchJob, feed: Feed, allocation: Allocation) -> Mapping[int, Path]:
    """Runs a search to its end.

    Returns:
        The folder of the last snapshot of every trial that has one; the members of a cohort share theirs.
    """
    here = _Here(feed)
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
            scheduler=ray_scheduler(job.across, job.epochs, lambda: here.feed.should_stop()),
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
    # A member that started again by itself comes after the cohort that it was in.
    return {
        member.number: Path(result.checkpoint.path)
        for result in results
        if result.checkpoint is not None and Path(result.checkpoint.path).is_dir()
        for member in result.config[COHORT].members
    }


def _label(trial: Any) -> str:
    numbers = _numbers(trial)
    last = f"-{numbers[-1]:05d}" if len(numbers) > 1 else ""
    return f"trial-{numbers[0]:05d}{last}"


def _numbers(trial: Any) -> tuple[int, ...]:
    """Of the members of a Ray Tune trial's cohort."""
    cohort: Cohort = trial.config[COHORT]
    return tuple(member.number for member in cohort.members)


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
        self._decoders: dict[str, Decoder] = {}
        self._kept: dict[str, tuple[frozenset[int], str]] = {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._here.feed.started(self._decoder(trial).left)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        self._here.feed.reported(self._decoder(trial).decode(result))

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._here.feed.restarted(self._decoder(trial).left, _cause(trial))

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        decoder = self._decoder(trial)
        self._here.feed.ended([decoder.end(number, Status.STOPPED, "") for number in decoder.left])
        self._close(trial)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        decoder = self._decoder(trial)
        reason = f"its worker died {MAX_RESTARTS + 1} times: {_cause(trial)}"
        if len(_numbers(trial)) > 1:
            self._here.feed.separated(decoder.left, reason)
        else:
            self._here.feed.ended([decoder.end(number, Status.FAILED, reason) for number in decoder.left])
        self._close(trial)

    def _decoder(self, trial: Any) -> Decoder:
        return self._decoders.setdefault(trial.trial_id, Decoder(_numbers(trial)))

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
    latest = str(trial.get_error() or "").rpartition("Failure # ")[2]
    lines = [line for line in latest.splitlines()[1:] if line.strip() and not line[0].isspace()]
    return lines[-1][:300] if lines else "no reason known"


def available() -> Mapping[str, float]:
    """CPUs and GPUs of the cluster that this process is connected to."""
    return dict(ray.cluster_resources())
