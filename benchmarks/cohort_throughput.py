"""How fast cohorts train: model-epochs a second, against `Model.fit` as a user writes it.

Purpose: the same networks on the same rows, trained and validated after every epoch, by `model.fit(x, y, batch_size=…,
         epochs=…, validation_data=…, verbose=0)`, one after another, and by `CohortTrainer`, all as one program; in one
         process, in turn, each on all cores. Three claims: California housing with two hidden layers of 42, batch 32,
         64 members, at least 100 times faster; Fashion-MNIST with hidden layers of 300 and 100 at least 8 times; a
         builder's small convolutional network at least 3 times. Then how the first of these grows with members, width,
         batch size and rows.
Command: .venv/bin/python benchmarks/cohort_throughput.py [--quick] [--save]
Time:    about 4 minutes on two quiet cores; with `--quick`, whose figures say little, under 2
Result:  tables; `--save` also writes benchmarks/results/cohort_throughput.json

Seconds of a model-epoch are the median over all epochs but the first of each training; what the first one takes longer
is the start: building, and compiling once. "Over 10 epochs" counts both. The arithmetic that networks need (two
operations for a multiplication, forwards, back to the weights and back to the inputs) is compared with the rate of one
large product of matrices on all cores. `KerasTrainer` is what kerasweep trains with that cannot be stacked: `Model.fit`
with a whole epoch in one call; the first epoch's loss must be the same as in the cohort. The networks and how much of
them is measured stand in `cohort_cases.py`.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from cohort_cases import QUICK, Case, Sizes, claims, first, growth, loaded, operations_of
from measuring import RESULTS, keep_to, made_with, save

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

if TYPE_CHECKING:
    from kerasweep.training import Cohort, Outcome

PACKAGES = ("kerasweep", "tensorflow", "keras", "numpy")
SEED = 11
SEARCHED = 10  # epochs of a trial in "over 10 epochs"
SAME = 0.02  # relative: losses of the same member by two programs, whose sums differ in their order


@dataclass
class Clock:
    """When trainings began, and when each of their epochs ended, in seconds."""

    trainings: list[list[float]] = field(default_factory=list)

    def begin(self) -> None:
        self.trainings.append([time.perf_counter()])

    def tick(self) -> None:
        self.trainings[-1].append(time.perf_counter())

    @property
    def epoch(self) -> float:
        """Seconds of an epoch that is not the first."""
        return statistics.median(after - before for stamps in self.trainings for before, after in pairwise(stamps[1:]))

    @property
    def start(self) -> float:
        """What the first epoch of the first training takes longer, in seconds."""
        began, first = self.trainings[0][:2]
        return max(0.0, first - began - self.epoch)


@dataclass(frozen=True)
class Measured:
    """One size of cohort against ``Model.fit``.

    Attributes:
        case: its name.
        members: of the cohort.
        stacks: programs' sizes, copies that fill them up included.
        fit_epoch: seconds of an epoch of one model by ``Model.fit``; likewise the next two.
        alone_epoch: by ``KerasTrainer``; None if it was not measured.
        cohort_epoch: of all members by ``CohortTrainer``.
        fit_start: seconds that a model's first epoch takes longer; likewise the next.
        cohort_start: of the cohort's.
        gflop: of a model-epoch.
        claim: see ``Case``.
    """

    case: str
    members: int
    stacks: tuple[int, ...]
    fit_epoch: float
    alone_epoch: float | None
    cohort_epoch: float
    fit_start: float
    cohort_start: float
    gflop: float
    claim: float | None

    @property
    def model_epoch(self) -> float:
        return self.cohort_epoch / self.members

    @property
    def times(self) -> float:
        """How many times faster than ``Model.fit``."""
        return self.fit_epoch / self.model_epoch

    @property
    def searched_times(self) -> float:
        """The same over a short training, starts included."""
        fit = self.members * (self.fit_start + SEARCHED * self.fit_epoch)
        return fit / (self.cohort_start + SEARCHED * self.cohort_epoch)

    @property
    def rate(self) -> float:
        """GFlop/s that the networks needed."""
        return self.gflop / self.model_epoch


# --- one training of each kind ---------------------------------------------------------------------------------------


def fit(case: Case, epochs: int, clock: Clock) -> None:
    """As a user writes it."""
    import keras

    member = case.cohort(1).members[0]
    assert case.data.validation is not None
    clock.begin()
    model = case.models.build(member.params, member.seed)
    model.fit(
        case.data.x,
        case.data.y,
        batch_size=case.batch,
        epochs=epochs,
        validation_data=case.data.validation,
        callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: clock.tick())],
        verbose=0,
    )
    assert int(model.optimizer.iterations) == epochs * math.ceil(len(case.data.x) / case.batch)


def train(trainer: Any, cohort: Cohort, case: Case, epochs: int, clock: Clock) -> tuple[Outcome, ...]:
    """With one of kerasweep's trainers."""
    from kerasweep.training import Decision, EpochReport

    def report(told: EpochReport) -> Decision:
        clock.tick()
        assert not told.notes, told.notes  # everybody is in a stack
        return Decision()

    clock.begin()
    outcomes: tuple[Outcome, ...] = trainer.train(cohort, case.data, report)
    short = [(each.number, each.status, each.reason) for each in outcomes if len(each.history) != epochs]
    assert not short, short
    return outcomes


def measure(case: Case, cores: int, epochs: int, rounds: int, *, alone: bool) -> list[Measured]:
    """All its sizes, in turn with ``Model.fit``, and with ``KerasTrainer`` if asked for."""
    from kerasweep.records import Direction, Objective
    from kerasweep.training import CohortTrainer, KerasTrainer, Schedule

    schedule = Schedule(Objective("val_loss", Direction.MINIMIZE), epochs, None, SEED)
    trainers = {size: CohortTrainer(case.models, schedule, cores) for size in case.members}
    plain, by_itself = Clock(), Clock()
    clocks = {size: Clock() for size in case.members}
    for number in range(rounds):
        fit(case, epochs, plain)
        last = {size: train(trainers[size], case.cohort(size), case, epochs, clocks[size]) for size in case.members}
        if alone:
            size = case.members[0]
            one = replace(case.cohort(size), members=case.cohort(size).members[:1])
            (outcome,) = train(KerasTrainer(case.models, schedule), one, case, epochs, by_itself)
            same, other = (each.history[0]["loss"] for each in (outcome, last[size][0]))
            assert math.isclose(same, other, rel_tol=SAME), f"{case.name}: {same} alone, {other} in the cohort"
        print(f"{case.name}: {number + 1}/{rounds}", file=sys.stderr)
    operations = operations_of(case)
    return [
        Measured(
            case=case.name,
            members=size,
            stacks=stacks(case, size, epochs),
            fit_epoch=plain.epoch,
            alone_epoch=by_itself.epoch if alone else None,
            cohort_epoch=clocks[size].epoch,
            fit_start=plain.start,
            cohort_start=clocks[size].start,
            gflop=operations / 1e9,
            claim=case.claim,
        )
        for size in case.members
    ]


def stacks(case: Case, size: int, epochs: int) -> tuple[int, ...]:
    """How a cohort is taken apart."""
    from kerasweep.records import Direction, Objective
    from kerasweep.training import Schedule
    from kerasweep.training.cohort.crew import muster
    from kerasweep.training.cohort.stack import Programs

    schedule = Schedule(Objective("val_loss", Direction.MINIMIZE), epochs)
    crew = muster(case.models, case.cohort(size).members, case.data, schedule, Programs())
    return tuple(stack.size for squad in crew.squads for stack in squad.stacks)


def matrix_rate(size: int) -> float:
    """GFlop/s of the product of two ``(size, size)`` float32 matrices: the best of several."""
    from keras import ops

    a = ops.ones((size, size))
    seconds = []
    for _ in range(6):
        began = time.perf_counter()
        ops.convert_to_numpy(ops.matmul(a, a)[0, 0])
        seconds.append(time.perf_counter() - began)
    return 2.0 * size**3 / min(seconds) / 1e9


# --- what is shown ---------------------------------------------------------------------------------------------------


def table(title: str, measured: Sequence[Measured], limit: float) -> str:
    """A line for each size; see the module's docstring."""
    lines = [
        f"{title:<28} {'members':>7} {'stacks':>12} {'model-epochs/s':>17} {'times':>7} {'over 10':>8} "
        f"{'start, s':>13} {'GFlop/s':>8} {'of the':>6}",
        f"{'':<28} {'':>7} {'':>12} {'fit':>8} {'cohort':>8} {'':>7} {'epochs':>8} {'fit':>6} {'cohort':>6} "
        f"{'':>8} {'limit':>6}",
    ]
    for each in measured:
        lines.append(
            f"{each.case:<28} {each.members:>7} {_runs(each.stacks):>12} {1 / each.fit_epoch:>8.2f} "
            f"{1 / each.model_epoch:>8.1f} {each.times:>7.1f} {each.searched_times:>8.1f} {each.fit_start:>6.2f} "
            f"{each.cohort_start:>6.2f} {each.rate:>8.2f} {each.rate / limit:>6.1%}"
        )
    return "\n".join(lines)


def _runs(sizes: Sequence[int]) -> str:
    """``3x64, 12``."""
    return ", ".join(f"{sizes.count(n)}x{n}" if sizes.count(n) > 1 else str(n) for n in dict.fromkeys(sizes))


def verdicts(measured: Sequence[Measured]) -> str:
    """Each claim and what was measured."""
    lines = []
    for case in dict.fromkeys(each.case for each in measured):
        best = max((each for each in measured if each.case == case), key=lambda each: each.times)
        assert best.claim is not None
        holds = "holds" if best.times >= best.claim else "does not hold"
        alone = "" if best.alone_epoch is None else f"; {best.alone_epoch / best.model_epoch:.1f} times KerasTrainer"
        lines.append(
            f"{case}: at least {best.claim:g} times {holds}: {best.times:.1f} with {best.members} members{alone}"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small sizes: whether it runs, not how fast")
    parser.add_argument("--only", choices=("claims", "growth"), help="measure these alone")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--save", action="store_true", help=f"write {RESULTS.name}/cohort_throughput.json")
    options = parser.parse_args(arguments)
    keep_to(options.cores)
    sizes = QUICK if options.quick else Sizes()

    from kerasweep.models import FamilyBuilder, import_tensorflow

    import_tensorflow()
    import keras
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(options.cores)
    tf.config.threading.set_inter_op_parallelism_threads(options.cores)
    tf.get_logger().setLevel("ERROR")  # many programs are compiled here, of which it warns

    began = time.perf_counter()
    limit = matrix_rate(sizes.matrix)
    print(f"Keras on {keras.backend.backend()}, {options.cores} cores{'; quick: sizes are small' * options.quick}\n")
    data, inputs = loaded("california_housing")
    housing = Case(
        name="California",
        models=FamilyBuilder("mlp", inputs),
        data=first(data, sizes.housing),
        params={"n_hidden": 2, "n_neurons": 42, "optimizer": "adam", "batch_size": 32},
        rates=(3e-4, 3e-3),
        members=(sizes.members,),
    )
    groups: dict[str, list[Case]] = {}
    if options.only != "growth":
        groups["claims"] = claims(sizes, housing)
    if options.only != "claims":
        groups |= growth(sizes, housing)
    results: dict[str, list[Measured]] = {}
    for name, cases in groups.items():
        claimed = name == "claims"
        rounds = sizes.rounds if claimed else 1
        results[name] = []
        for case in cases:
            results[name] += measure(case, options.cores, sizes.epochs, rounds, alone=claimed)
            limit = max(limit, matrix_rate(sizes.matrix))  # whatever else the machine does only makes it smaller
        print(table(name, results[name], limit))
        print(f"\n{verdicts(results[name])}\n" if claimed else "", flush=True)
    print(f"The limit is a large product of matrices: {limit:.1f} GFlop/s. {time.perf_counter() - began:.0f} s in all.")
    if options.save:
        document = {
            **made_with(PACKAGES, options.cores),
            "backend": keras.backend.backend(),
            "quick": options.quick,
            "matrix_gflops": limit,
            "measured": {
                name: [asdict(each) | {"times": each.times, "gflops": each.rate} for each in rows]
                for name, rows in results.items()
            },
        }
        save("cohort_throughput", document)


if __name__ == "__main__":
    main()
