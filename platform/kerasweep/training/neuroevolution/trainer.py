"""Trains a cohort by neuroevolution: a population for each member, generation by generation."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from kerasweep.errors import ModelError
from kerasweep.models.base import ModelBuilder
from kerasweep.records import Decision, Metrics, Params, Status
from kerasweep.spec.families import EVOLUTION_PARAMETERS
from kerasweep.spec.methods import Neuroevolution
from kerasweep.training.base import (
    Array,
    Cohort,
    EpochReport,
    Member,
    Outcome,
    Report,
    Schedule,
    Snapshot,
    TrainingArrays,
)
from kerasweep.training.cohort.errors import Unstackable
from kerasweep.training.cohort.program import Rows, rows_of
from kerasweep.training.cohort.shapes import Programs
from kerasweep.training.failures import reason
from kerasweep.training.keeping import forget_worst
from kerasweep.training.neuroevolution.population import Population
from kerasweep.training.progress import MemberProgress
from kerasweep.training.snapshots import best_weights, named_best, under


@dataclass(frozen=True)
class Evolution:
    """How the networks of a study's trials evolve.

    Attributes:
        method: of all of them, as far as their hyperparameters say nothing else.
        parameters: hyperparameters that speak of it; a user's builder may take some of these names itself.
    """

    method: Neuroevolution = field(default_factory=Neuroevolution)
    parameters: tuple[str, ...] = tuple(EVOLUTION_PARAMETERS)

    def of(self, params: Params) -> Neuroevolution:
        """The method of a trial with these hyperparameters.

        Raises:
            ValueError: they do not go together.
        """
        return self.method.resolved({name: params[name] for name in self.parameters if name in params})


@dataclass(frozen=True)
class NeuroevolutionTrainer:
    """The ``Trainer`` that needs no gradients.

    An epoch is a generation of each member's population, judged as one program; members of one structure share it, and
    a member's numbers are the same whoever trains beside it. Networks are judged as they predict, so that dropout does
    nothing, and batch normalisation keeps the statistics that it began with. ``loss`` and metrics are those of the best
    individual of the generation, on the rows that the generation was judged on, and on the validation rows.

    Attributes:
        models: builds the networks.
        schedule: of the training.
        evolution: of the populations.
        threads: populations that evolve side by side.
    """

    models: ModelBuilder
    schedule: Schedule
    evolution: Evolution = field(default_factory=Evolution)
    threads: int = 1
    _programs: Programs = field(default_factory=Programs, repr=False, compare=False)

    def train(
        self, cohort: Cohort, data: TrainingArrays, report: Report, resume: Snapshot | None = None
    ) -> tuple[Outcome, ...]:
        """See ``Trainer``.

        Raises:
            ValueError: hyperparameters of a member are to change on the way.
        """
        for member in cohort.members:
            if member.changes:
                raise ValueError(
                    f"hyperparameters change in training by gradients only. Received: trial {member.number}, evolving"
                )
        with ThreadPoolExecutor(self.threads, thread_name_prefix="population") as pool:
            return _Training(self, cohort, data, pool).run(report, resume)

    def populated(self, member: Member, data: TrainingArrays) -> Population:
        """A member's first generation.

        Raises:
            ModelError: its networks cannot be judged together.
        """
        method = self.evolution.of(member.params)
        try:
            return Population(member, method, self.models, data, self._programs)
        except Unstackable as error:
            rule = "neuroevolution judges a population as one program, so a model must have a form for that"
            raise ModelError(f"{rule}. Received: {error}") from error

    def __reduce__(self) -> tuple[type[NeuroevolutionTrainer], tuple[ModelBuilder, Schedule, Evolution, int]]:
        return NeuroevolutionTrainer, (self.models, self.schedule, self.evolution, self.threads)  # without programs


class _Training:
    """A cohort on its way."""

    def __init__(
        self, trainer: NeuroevolutionTrainer, cohort: Cohort, data: TrainingArrays, pool: ThreadPoolExecutor
    ) -> None:
        self._trainer = trainer
        self._schedule = trainer.schedule
        self._data = data
        self._pool = pool
        self._members = {member.number: member for member in cohort.members}
        validated = data.validation is not None
        self._progress = {number: MemberProgress(self._schedule, validated) for number in self._members}
        self._populations: dict[int, Population] = {}
        self._best: dict[int, tuple[Array, ...]] = {}
        self._outcomes: dict[int, Outcome] = {}
        self._epoch = 0

    def run(self, report: Report, resume: Snapshot | None) -> tuple[Outcome, ...]:
        """Trains to the end."""
        rows = rows_of(self._data)
        if resume is not None:
            self._restore(resume)
        ended = self._populate({} if resume is None else resume.arrays)
        while self._living and self._epoch < self._schedule.epochs:
            metrics, failures = self._trained(rows)
            self._epoch += 1
            ended += self._taken(metrics, failures)
            last = self._epoch >= self._schedule.epochs or not self._living
            if self._epoch >= self._schedule.epochs:
                ended += [self._end(number, Status.FINISHED) for number in sorted(self._living)]
            if metrics:
                self._obey(report(EpochReport(self._epoch, metrics, self._snapshot, last, tuple(ended))))
                ended = []
        return tuple(self._outcomes[number] for number in self._members)

    @property
    def _living(self) -> set[int]:
        return self._members.keys() - self._outcomes.keys()

    def _populate(self, taken: Mapping[str, Array]) -> list[Outcome]:
        """First generations, or those of a snapshot; returns the outcomes of members that cannot have any."""
        ended = []
        for number in sorted(self._living):
            try:
                population = self._trainer.populated(self._members[number], self._data)
            except Exception as error:
                ended.append(self._end(number, Status.FAILED, reason(error)))
                continue
            if own := under(f"population_{number}_", taken):
                population.restore(own)
            self._populations[number] = population
        return ended

    def _trained(self, rows: Rows) -> tuple[dict[int, Metrics], dict[int, str]]:
        """One generation of everybody: metrics of those that came through, and why the others did not."""
        seed = self._schedule.order_seed
        running = {
            number: self._pool.submit(population.epoch, self._epoch, rows, seed)
            for number, population in sorted(self._populations.items())
        }
        metrics: dict[int, Metrics] = {}
        failures: dict[int, str] = {}
        for number, future in running.items():
            error = future.exception()
            if error is None:
                metrics[number] = future.result()
            elif isinstance(error, Exception):
                failures[number] = reason(error)
            else:
                raise error
        return metrics, failures

    def _taken(self, metrics: dict[int, Metrics], failures: dict[int, str]) -> list[Outcome]:
        """Notes an epoch; members that fail in it are taken out of its metrics.

        Returns:
            The outcomes of those that have ended.
        """
        for number in list(metrics):
            try:
                if self._progress[number].add(metrics[number]):
                    self._best[number] = self._populations[number].best()
            except (FloatingPointError, KeyError) as error:
                del metrics[number]
                failures[number] = reason(error)
        stopped = [number for number in metrics if self._progress[number].stopped_early]
        return [
            *(self._end(number, Status.FAILED, why) for number, why in sorted(failures.items())),
            *(self._end(number, Status.FINISHED) for number in stopped),
        ]

    def _obey(self, decision: Decision) -> None:
        if decision.copies:
            raise ValueError(f"populations are not copied. Received: copies into {sorted(decision.copies)}")
        for number in sorted(decision.stop & self._living):
            self._end(number, Status.STOPPED)

    def _end(self, number: int, status: Status, why: str = "") -> Outcome:
        """A member ends, and its population with it."""
        self._populations.pop(number, None)
        best = self._best.pop(number, ())
        outcome = self._progress[number].outcome(number, status, why, () if status is Status.FAILED else best)
        self._outcomes[number] = outcome
        if self._data.validation is not None:
            forget_worst(self._outcomes, self._schedule.objective)
        return outcome

    def _snapshot(self) -> Snapshot:
        arrays: dict[str, Array] = {}
        for number, population in self._populations.items():
            arrays |= {f"population_{number}_{name}": array for name, array in population.arrays().items()}
            arrays |= named_best(number, self._best[number])
        for number, outcome in self._outcomes.items():
            arrays |= named_best(number, outcome.weights)
        state = {
            "epoch": self._epoch,
            "progress": [[number, progress.to_state()] for number, progress in self._progress.items()],
            "ended": [[number, outcome.status, outcome.reason] for number, outcome in self._outcomes.items()],
        }
        return Snapshot(arrays, state)

    def _restore(self, snapshot: Snapshot) -> None:
        """Takes over what ``_snapshot`` gave, but for the populations, and obeys what was decided then."""
        self._epoch = int(snapshot.state["epoch"])
        for number, progress in snapshot.state["progress"]:
            self._progress[number].restore(progress)
        self._best = {number: best_weights(snapshot, number) for number in self._members}
        for number, status, why in snapshot.state["ended"]:
            self._end(number, Status(status), why)
        self._obey(snapshot.decision)
