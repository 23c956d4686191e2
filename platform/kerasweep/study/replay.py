"""A search told again from its journal, up to where its driver died."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from kerasweep.dispatch import Allocation
from kerasweep.errors import StorageError
from kerasweep.records import Status, Trial
from kerasweep.spec.pipeline import PipelineSpec
from kerasweep.study import entries
from kerasweep.study.bookkeeping import new_ledger
from kerasweep.study.budget import budget_of, sizes
from kerasweep.study.environment import versions
from kerasweep.study.events import Silent
from kerasweep.study.folder import StudyFolder
from kerasweep.study.journal import Contents, Event, whole
from kerasweep.study.ledger import Ledger, Watchers
from kerasweep.study.memory import Memory, Reciting, reciting, remembered
from kerasweep.tracking.base import StudyHeader
from kerasweep.tracking.untracked import Untracked

NOBODY = Watchers(Untracked(), Silent())


@dataclass
class Retold:
    """A search as its journal tells it.

    Attributes:
        header: of the study.
        spec: as its last driver had it.
        allocation: likewise; None if no driver came so far.
        ledger: as it stood after the last event, with nobody listening; None likewise.
        handed: the cohorts that were begun since ``max_epochs`` is what it is and trials train together, or alone, as
            they do; in that order.
        earlier: those before, each with its trials that had ended when it changed.
        planned: the ``max_epochs`` that trials had which ended before it changed.
        sessions: how many drivers there were.
        since: number of the first driver since then.
        spent: seconds of the drivers, from their start to their last event.
        stopped: why the last driver ended the search early; empty otherwise.
        searched: whether the search is over, and its best trials' weights are kept.
        summary: of the study, as far as it came.
        status: of a study that is over; empty otherwise.
    """

    header: StudyHeader
    spec: PipelineSpec
    allocation: Allocation | None = None
    ledger: Ledger | None = None
    handed: list[tuple[int, ...]] = field(default_factory=list)
    earlier: list[tuple[tuple[int, ...], frozenset[int]]] = field(default_factory=list)
    planned: dict[int, int] = field(default_factory=dict)
    sessions: int = 0
    since: int = 1
    spent: float = 0.0
    stopped: str = ""
    searched: bool = False
    summary: dict[str, Any] = field(default_factory=dict)
    status: str = ""

    @property
    def trials(self) -> tuple[Trial, ...]:
        """Those that have begun, by number."""
        return self.ledger.trials if self.ledger is not None else ()


def outline(events: Sequence[Event]) -> tuple[PipelineSpec, str]:
    """A study's specification as its last driver had it, and its status if it is over, without the search."""
    specs = [event["spec"] for event in events if event["event"] == entries.SESSION and event["spec"]]
    text = specs[-1] if specs else entries.header(events[0]).spec
    last = events[-1]
    return PipelineSpec.model_validate(json.loads(text)), last["status"] if last["event"] == entries.OVER else ""


def reread(folder: StudyFolder) -> tuple[Retold, Contents]:
    """Tells the search of a study again from what its folder holds, and what its journal does.

    Raises:
        StorageError: the journal is damaged, or as in ``retell``.
    """
    contents = whole(folder.journal)
    return retell(contents.events, remembered(folder.searcher, versions(), contents.checks)), contents


def retell(events: Sequence[Event], memory: Memory | None = None) -> Retold:
    """Tells a search again.

    The searcher is asked and told once more, in the same order; that it proposes what it proposed then is checked, for
    what it proposes next depends on it.

    Args:
        events: of a journal; the first is the study's.
        memory: the searcher after some of them; it need not be asked again for what came before.

    Raises:
        StorageError: they are not a search's, or another version of a library proposes other trials.
    """
    header = entries.header(events[0])
    teller = _Teller(Retold(header, PipelineSpec.model_validate(json.loads(header.spec))), memory)
    for number, event in enumerate(events[1:], 2):
        try:
            teller.tell(event)
        except (KeyError, ValueError, TypeError, IndexError) as error:
            raise StorageError(
                f"line {number} of the journal of {header.id} must fit to those before it. "
                f"Received: {event.get('event')}: {error!r}"
            ) from error
    return teller.retold


class _Teller:
    """Tells one event after the other.

    Args:
        retold: that it tells to.
        memory: as in ``retell``.
    """

    def __init__(self, retold: Retold, memory: Memory | None) -> None:
        self.retold = retold
        self._memory = memory
        self._earlier: tuple[Trial, ...] = ()
        self._at = 0.0
        self._stopped = False  # the rest of a session: what its driver ends goes on in the next one

    def tell(self, event: Event) -> None:
        kind = event["event"]
        if kind == entries.EARLIER:
            self._earlier = entries.earlier_trials(event)
            return
        at = float(event["at"])
        if kind == entries.SESSION:
            self._begin(event)
        elif kind == entries.SEARCHED:
            self.retold.searched = True
        elif kind == entries.SUMMARY:
            self.retold.summary |= event["summary"]
        elif kind == entries.OVER:
            self.retold.status = str(event["status"])
        elif kind == entries.STOPPED:
            self.retold.stopped, self._stopped = str(event["reason"]), True
        elif not self._stopped or kind in (entries.BEGAN, entries.EPOCH):
            self.retold.spent += max(at - self._at, 0.0)
            self._at = at
            self._search(kind, event)
            return
        self._at = at

    def _begin(self, event: Event) -> None:
        """Another driver."""
        retold = self.retold
        before = retold.spec, retold.allocation
        if event["spec"]:
            retold.spec = PipelineSpec.model_validate(json.loads(event["spec"]))
        retold.allocation = entries.allocation(event)
        retold.sessions += 1
        retold.searched, retold.status, retold.stopped, self._stopped = False, "", "", False
        if retold.ledger is None:
            retold.ledger = new_ledger(retold.spec, retold.allocation, NOBODY, self._earlier)
            retold.ledger.listen(NOBODY, lambda: self._at)
            if self._memory is not None:
                retold.ledger.searcher = reciting(retold.ledger.searcher)
        elif before != (retold.spec, retold.allocation):
            change_budget(retold, before[0], before[1])

    def _search(self, kind: str, event: Event) -> None:
        ledger = self.retold.ledger
        if ledger is None:
            raise ValueError("a driver must begin before a search does")
        if kind == entries.GENERATION:
            recorded = entries.candidates(event)
            if isinstance(ledger.searcher, Reciting):
                ledger.searcher.next = recorded
            if list(ledger.ask(event["cohorts"])) != recorded:
                raise StorageError(
                    f"the searcher of {self.retold.header.id} must propose what it proposed before, and another "
                    f"version of a library does not. Received: other values for trial {recorded[0].number} or one of "
                    f"the {len(recorded)} from there on. The study had {_versions(self.retold.header)}"
                )
            if self._memory is not None and len(ledger.generations) == self._memory.generations:
                ledger.searcher, ledger.searcher_notes = self._memory.searcher, list(self._memory.notes)
        elif kind == entries.BEGAN:
            self._hand(event["trials"])
            ledger.started(event["trials"])
        elif kind == entries.EPOCH:
            self._hand([number for number, *_ in (*event["rows"], *event["ended"])])
            ledger.reported(entries.report(event))
        elif kind == entries.ENDED:
            self._hand([number for number, *_ in event["ended"]])
            ledger.ended(entries.ends(event))
        elif kind == entries.SEPARATED:
            self._hand(event["trials"])
            apart = set(event["trials"])
            self.retold.handed = [numbers for numbers in self.retold.handed if apart.isdisjoint(numbers)]
            ledger.separated(event["trials"], event["reason"])
        elif kind != entries.RESTARTED:
            raise ValueError("an event must be of a kind that is known")

    def _hand(self, numbers: Sequence[int]) -> None:
        """Takes note that the cohort of these trials has a worker."""
        ledger = self.retold.ledger
        if ledger is not None and numbers and (taken := ledger.take(numbers[0])):
            self.retold.handed.append(tuple(taken))


def change_budget(retold: Retold, spec: PipelineSpec, allocation: Allocation | None) -> None:
    """Gives a ledger the budget that its study has now.

    If ``max_epochs`` changed, trials that have not ended begin anew: learning rates and rungs may depend on it. So they
    do if they trained together and are to train alone now, or the other way round: their states are of another kind.

    Args:
        retold: with the budget that it has now.
        spec: as it was.
        allocation: likewise.
    """
    ledger = retold.ledger
    if ledger is None or retold.allocation is None or allocation is None:
        raise ValueError("a budget can be changed once there is one")
    asked = sum(map(len, ledger.generations))
    now, then = (budget_of(*each) for each in ((retold.spec, retold.allocation), (spec, allocation)))
    same = replace(now, seconds=then.seconds) == then and retold.allocation.concurrency == allocation.concurrency
    ledger.spend(now, None if same else sizes(retold.spec, retold.allocation, asked))
    if now.epochs != then.epochs or (now.cohort == 1) != (then.cohort == 1):
        running = {trial.number for trial in retold.trials if trial.status is Status.RUNNING}
        retold.planned |= {
            trial.number: then.epochs
            for trial in retold.trials
            if trial.number not in running and trial.number not in retold.planned
        }
        unfinished = [[n for n in numbers if n in running] for numbers in retold.handed]
        ledger.reissue([part for part in unfinished if part], anew=True)
        retold.earlier += [(numbers, frozenset(numbers) - running) for numbers in retold.handed]
        retold.handed, retold.since = [], retold.sessions


def _versions(header: StudyHeader) -> str:
    return ", ".join(f"{package} {version}" for package, version in header.versions.items())
