"""Writes single runs into MLflow: only what they are to hold and the store does not, in as few calls as it takes.

MLflow takes no point of a curve and no parameter back. So a trial's run that holds what the trial does not (it was
trained again from an earlier epoch and came out differently, or its end was told before it was known) is deleted, which
MLflow can undo, and written anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kerasweep.tracking import layout
from kerasweep.tracking.patience import Patience
from kerasweep.tracking.runs import Ending, Kept, find_run

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

# https://mlflow.org/docs/latest/api_reference/rest-api.html#request-limits
_BATCH_ENTITIES = 1000
_BATCH_PARAMS = 100
_BATCH_TAGS = 100
_PARAM_CHARACTERS = 6000  # MLflow cuts off what is longer
_RUNNING = "RUNNING"


@dataclass
class Held:
    """What the store holds of a run.

    Attributes:
        tags: all of them.
        params: likewise.
        points: of its curves, by step and metric.
        doubled: whether a metric has several values at one step.
        status: MLflow's.
    """

    tags: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    points: dict[int, Mapping[str, float]] = field(default_factory=dict)
    doubled: bool = False
    status: str = _RUNNING


@dataclass
class Draft:
    """A run as it is to be, and what the store holds of it.

    Attributes:
        name: shown in the UI.
        started: milliseconds since the Unix epoch.
        tags: all that it is to have of ours, as MLflow takes them.
        due: when what waits is to be sent; on the monotonic clock.
        number: of the trial, None for the study.
        params: as text.
        points: of its curves, by step and metric; a step is a 1-based epoch, and 0 for what is known at the end.
        times: of these steps, in milliseconds since the Unix epoch.
        waiting: the steps that have something to be sent, in that order.
        end: MLflow's status and the time in milliseconds; None while it goes on.
        ending: how its trial ended; None for a trial that goes on, or that nobody ended.
        id: empty until it was created.
        kept: what an earlier process left of it, until that was looked at.
        held: what the store holds, as far as is known.
    """

    name: str
    started: int
    tags: dict[str, str]
    due: float
    number: int | None = None
    params: dict[str, str] = field(default_factory=dict)
    points: dict[int, Mapping[str, float]] = field(default_factory=dict)
    times: dict[int, int] = field(default_factory=dict)
    waiting: dict[int, None] = field(default_factory=dict)
    end: tuple[str, int] | None = None
    ending: Ending | None = None
    id: str = ""
    kept: Kept | None = None
    held: Held = field(default_factory=Held)

    def tell(self, step: int, values: Mapping[str, float], at: int) -> None:
        """Note the values of a step; they replace what was there."""
        known = self.points.get(step)
        if known is None or known.keys() != values.keys() or not _agree(known, values):
            self.points[step], self.times[step] = values, at
            self.waiting[step] = None

    @property
    def new_tags(self) -> dict[str, str]:
        """The tags that the store does not hold."""
        return {key: text for key, text in self.tags.items() if self.held.tags.get(key) != text}

    @property
    def new_params(self) -> dict[str, str]:
        """The parameters that the store does not hold."""
        return {name: text for name, text in self.params.items() if name not in self.held.params}

    @property
    def waits(self) -> bool:
        """Whether there is something to be sent, apart from the end."""
        return bool(not self.id or self.kept or self.waiting or self.new_tags or self.new_params)

    @property
    def contradicted(self) -> bool:
        """Whether the store holds of a trial what cannot be made right by adding to it."""
        if self.number is None:
            return False
        over, held = self.end is not None, self.held
        steps = [step for step in (held.points if over else self.waiting) if step in held.points]
        return (
            held.doubled
            or not all(_agree(held.points[step], self.points.get(step, {})) for step in steps)
            or any(
                text != self.params[name][:_PARAM_CHARACTERS] if name in self.params else over
                for name, text in held.params.items()
            )
        )


class RunWriter:
    """Brings runs to what their drafts say.

    Args:
        client: of the store.
        experiment: its id.
        patience: how to call the store.
    """

    def __init__(self, client: MlflowClient, experiment: str, patience: Patience) -> None:
        self._client = client
        self._experiment = experiment
        self._patience = patience

    def create(self, draft: Draft) -> None:
        """Create the run with its tags if it is not there."""
        if draft.id:
            return
        asked = False

        def attempt() -> str:
            nonlocal asked
            # The answer to an attempt may have been lost, not the attempt.
            found = find_run(self._client, self._experiment, draft.tags) if asked else None
            asked = True
            created = found or self._client.create_run(self._experiment, draft.started, draft.tags, draft.name)
            return str(created.info.run_id)

        draft.id = self._patience.call(attempt)
        draft.held = Held(tags=dict(draft.tags))

    def send(self, draft: Draft) -> None:
        """Send all that waits, and the end. What was tried in vain is not tried again, except a creation."""
        if draft.kept is not None:
            self._look(draft, draft.kept)
        if draft.contradicted:
            self._patience.call(self._client.delete_run, draft.id)
            draft.id, draft.held, draft.waiting = "", Held(), dict.fromkeys(draft.points)
        self.create(draft)
        self._send_batches(draft)
        for tag in [tag for tag in draft.held.tags if tag not in draft.tags and _is_stale(tag, draft)]:
            del draft.held.tags[tag]
            self._patience.call(self._without, draft.id, tag)
        if draft.end is not None:
            self._patience.call(self._client.set_terminated, draft.id, *draft.end)
            draft.held.status = draft.end[0]
        elif draft.held.status != _RUNNING:
            self._patience.call(self._client.update_run, draft.id, _RUNNING)
            draft.held.status = _RUNNING

    def _without(self, run: str, tag: str) -> None:
        """Delete a tag that may be gone: an attempt whose answer was lost has done it."""
        from mlflow.exceptions import MlflowException

        try:
            self._client.delete_tag(run, tag)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise

    def _look(self, draft: Draft, kept: Kept) -> None:
        """Learn what the store holds: one call a curve, since values that have no curve came with the run."""
        run: Run = kept.run or self._patience.call(self._client.get_run, kept.id)
        metrics = {key: layout.decode_metric(value) for key, value in run.data.metrics.items()}
        curves = metrics.keys() & {layout.BEST_VALUE} if draft.number is None else metrics.keys() - layout.OWN_METRICS
        points: dict[int, dict[str, float]] = {}
        if alone := {key: value for key, value in metrics.items() if key not in curves}:
            points[0] = alone
        doubled = False
        for key in curves:
            for metric in self._patience.call(self._client.get_metric_history, kept.id, key):
                values = points.setdefault(metric.step, {})
                doubled |= key in values
                values[key] = layout.decode_metric(metric.value)
                if metric.step in draft.times:
                    draft.times[metric.step] = metric.timestamp
        draft.held = Held(dict(run.data.tags), dict(run.data.params), dict(points), doubled, run.info.status)
        draft.kept = None

    def _send_batches(self, draft: Draft) -> None:
        from mlflow.entities import Metric, Param, RunTag

        metrics = []
        for step in draft.waiting:
            there, values = draft.held.points.get(step, {}), draft.points[step]
            new = {key: value for key, value in values.items() if key not in there or not _equal(there[key], value)}
            metrics += [Metric(key, value, draft.times[step], step) for key, value in new.items()]
            draft.held.points[step] = values if there.keys() <= values.keys() else {**there, **values}
        params = [Param(key, value) for key, value in draft.new_params.items()]
        tags = [RunTag(key, value) for key, value in draft.new_tags.items()]
        draft.waiting = {}
        draft.held.params.update(draft.params)
        draft.held.tags.update(draft.tags)
        while metrics or params or tags:
            room = _BATCH_ENTITIES - len(params[:_BATCH_PARAMS]) - len(tags[:_BATCH_TAGS])
            self._patience.call(
                self._client.log_batch, draft.id, metrics[:room], params[:_BATCH_PARAMS], tags[:_BATCH_TAGS]
            )
            metrics, params, tags = metrics[room:], params[_BATCH_PARAMS:], tags[_BATCH_TAGS:]


def _is_stale(tag: str, draft: Draft) -> bool:
    """Whether a tag that a run is not to have is ours to delete."""
    whole = layout.whole_tag(tag)
    return whole in (layout.REASON, layout.CHANGES) or (whole.startswith(layout.SUMMARY) and whole in draft.tags)


def _agree(a: Mapping[str, float], b: Mapping[str, float]) -> bool:
    """Whether all that ``a`` holds is in ``b``, too."""
    return a is b or all(key in b and _equal(value, b[key]) for key, value in a.items())


def _equal(a: float, b: float) -> bool:
    return a == b or (a != a and b != b)
