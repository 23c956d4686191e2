"""Finds runs in MLflow, page by page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kerasweep.records import Status, Trial
from kerasweep.tracking import layout

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

PAGE = 1000
# What MLflow calls the ways in which a trial ends.
ENDED: Mapping[str, str] = {Status.FINISHED: "FINISHED", Status.STOPPED: "KILLED", Status.FAILED: "FAILED"}

# How a trial ended: status, reason, epochs and best value.
Ending = tuple[str, str, int, float | None]


@dataclass(frozen=True)
class Kept:
    """A trial's run that the store holds already.

    Attributes:
        id: of the run.
        ending: of the trial, None if the run holds no trial that has ended.
        run: as it was found; None if it must be asked for.
    """

    id: str
    ending: Ending | None = None
    run: Run | None = None


def pages(ask: Callable[[str | None], Any]) -> Iterator[Any]:
    """What MLflow gives page by page, asked with the token of the page before."""
    token: str | None = None
    while True:
        page = ask(token)
        yield from page
        token = page.token
        if not token:
            return


def search(client: MlflowClient, experiments: list[str], where: str, order: str) -> Iterator[Run]:
    """The runs of some experiments that are not deleted, filtered and ordered as MLflow spells it."""
    return pages(
        lambda token: client.search_runs(experiments, where, max_results=PAGE, order_by=[order], page_token=token)
    )


def trial_runs(client: MlflowClient, experiment: str, study: str, also: str = "") -> Iterator[Run]:
    """The runs of a study's trials, oldest first; the study by the id of its run."""
    where = f"tags.`{layout.PARENT}` = '{study}' and tags.`{layout.KIND}` = 'trial'{also}"
    return search(client, [experiment], where, "attributes.start_time ASC")


def find_run(client: MlflowClient, experiment: str, tags: Mapping[str, str]) -> Run | None:
    """The run of the study or of the trial that has these tags, if there is one."""
    keys = [key for key in (layout.STUDY, layout.KIND, layout.PARENT, layout.TRIAL) if key in tags]
    where = " and ".join(f"tags.`{key}` = '{tags[key]}'" for key in keys)
    return next(search(client, [experiment], where, "attributes.start_time ASC"), None)


def kept_trials(client: MlflowClient, experiment: str, study: str) -> dict[int, Kept]:
    """What the store holds of a study's trials, by their numbers; the study by the id of its run."""
    runs = {int(run.data.tags[layout.TRIAL]): run for run in trial_runs(client, experiment, study)}
    return {number: Kept(run.info.run_id, _ending_of(run), run) for number, run in runs.items()}


def ending(trial: Trial) -> Ending:
    """How a trial ended, as a store gives it back."""
    return str(trial.status), layout.clean(trial.reason), len(trial.history), trial.value


def _ending_of(run: Run) -> Ending | None:
    status, epochs = run.data.tags.get(layout.STATUS, ""), run.data.metrics.get(layout.EPOCHS)
    if epochs is None or ENDED.get(status) != run.info.status:
        return None
    value = run.data.metrics.get(layout.BEST_VALUE)
    reason = run.data.tags.get(layout.REASON, "")
    return status, reason, int(epochs), None if value is None else layout.decode_metric(value)
