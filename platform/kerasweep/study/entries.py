"""What a study's journal says: the events of a search as JSON values, and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from kerasweep.dispatch import Allocation, Ended, Reported
from kerasweep.records import Candidate, Change, Direction, Metrics, Objective, Status, Trial
from kerasweep.study.journal import VERSION, Event
from kerasweep.tracking.base import StudyHeader

# The kinds of events, in the order in which a study has them for the first time.
STUDY = "study"
EARLIER = "earlier"
SESSION = "session"
GENERATION = "generation"
BEGAN = "began"
EPOCH = "epoch"
ENDED = "ended"
RESTARTED = "restarted"
SEPARATED = "separated"
STOPPED = "stopped"
SEARCHED = "searched"
SUMMARY = "summary"
OVER = "over"


def study(header: StudyHeader) -> Event:
    """The first event of a journal."""
    return {"event": STUDY, "version": VERSION, **asdict(header)}


def header(event: Event) -> StudyHeader:
    """What ``study`` was given."""
    fields = {name: value for name, value in event.items() if name not in ("event", "version", "check")}
    objective = fields["objective"]
    return StudyHeader(**{**fields, "objective": Objective(objective["metric"], Direction(objective["direction"]))})


def earlier(trials: Sequence[Trial]) -> Event:
    """The trials of other studies that the searcher learns from."""
    return {"event": EARLIER, "trials": [asdict(trial) for trial in trials]}


def earlier_trials(event: Event) -> tuple[Trial, ...]:
    """What ``earlier`` was given."""
    return tuple(_trial(fields) for fields in event["trials"])


def session(at: float, driver: str, allocation: Allocation, spec: str) -> Event:
    """A driver begins.

    Args:
        at: seconds since the Unix epoch, as in all events.
        driver: which process it is.
        allocation: what it may use.
        spec: the normalised pipeline file, as JSON text, if it is another one than before; else empty.
    """
    return {"event": SESSION, "at": at, "driver": driver, "allocation": asdict(allocation), "spec": spec}


def allocation(event: Event) -> Allocation:
    """Of a driver, from its ``session``."""
    return Allocation(**event["allocation"])


def generation(at: float, candidates: Sequence[Candidate], cohorts: Sequence[Sequence[int]]) -> Event:
    """The searcher proposed trials."""
    return {
        "event": GENERATION,
        "at": at,
        "cohorts": [list(numbers) for numbers in cohorts],
        "trials": [[each.number, dict(each.params), list(each.pace.items())] for each in candidates],
    }


def candidates(event: Event) -> list[Candidate]:
    """Those of a ``generation``."""
    return [Candidate(number, params, dict(pace)) for number, params, pace in event["trials"]]


def began(at: float, numbers: Sequence[int]) -> Event:
    """Trials began."""
    return {"event": BEGAN, "at": at, "trials": list(numbers)}


def reported(at: float, report: Reported) -> Event:
    """A cohort finished an epoch, or ended before it did."""
    names = tuple(dict.fromkeys(name for metrics in report.metrics.values() for name in metrics))
    return {
        "event": EPOCH,
        "at": at,
        "epoch": report.epoch,
        "names": list(names),
        "rows": [[number, *map(metrics.get, names)] for number, metrics in report.metrics.items()],
        "changes": [
            [number, [[change.epoch, dict(change.params)] for change in changes]]
            for number, changes in report.changes.items()
        ],
        "found": [[number, dict(params)] for number, params in report.found.items()],
        "ended": _ends(report.ended),
        "seconds": report.seconds,
    }


def report(event: Event) -> Reported:
    """What ``reported`` was given, but for its notes."""
    metrics: dict[int, Metrics] = {}
    for number, *values in event["rows"]:
        pairs = zip(event["names"], values, strict=True)
        metrics[number] = {name: value for name, value in pairs if value is not None}
    return Reported(
        epoch=event["epoch"],
        metrics=metrics,
        changes={number: tuple(Change(*change) for change in changes) for number, changes in event["changes"]},
        ended=ends(event),
        found=dict(event["found"]),
        seconds=event["seconds"],
    )


def ended(at: float, trials: Sequence[Ended]) -> Event:
    """Trials ended without a report that says so."""
    return {"event": ENDED, "at": at, "ended": _ends(trials)}


def ends(event: Event) -> tuple[Ended, ...]:
    """Those of an event."""
    return tuple(Ended(number, Status(status), reason) for number, status, reason in event["ended"])


def again(kind: str, at: float, numbers: Sequence[int], reason: str) -> Event:
    """A cohort's worker died: ``RESTARTED`` or ``SEPARATED``."""
    return {"event": kind, "at": at, "trials": list(numbers), "reason": reason}


def stopped(at: float, reason: str) -> Event:
    """The search is to end before its budget is spent."""
    return {"event": STOPPED, "at": at, "reason": reason}


def searched(at: float) -> Event:
    """The search is over, and the best trials' weights are kept."""
    return {"event": SEARCHED, "at": at}


def summary(at: float, entries: Mapping[str, object]) -> Event:
    """Something was added to the study's summary."""
    return {"event": SUMMARY, "at": at, "summary": dict(entries)}


def over(at: float, status: str) -> Event:
    """The study is over."""
    return {"event": OVER, "at": at, "status": status}


def _ends(trials: Iterable[Ended]) -> list[list[Any]]:
    return [[end.number, end.status.value, end.reason] for end in trials]


def _trial(fields: Mapping[str, Any]) -> Trial:
    changes = tuple(Change(change["epoch"], change["params"]) for change in fields["changes"])
    history = tuple(fields["history"])
    return Trial(**{**fields, "status": Status(fields["status"]), "history": history, "changes": changes})
