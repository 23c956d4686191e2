"""What training together costs in quality: hyperband in cohorts, and the same trials each by itself.

Purpose: over ten seeds, one band of hyperband (R = 9, eta = 3: 17 random trials of the book's California space), each
         bracket once as a cohort, and once trial by trial with `Model.fit` and the same rule of halving, decided on
         its own values. The claim: the best validation loss is at least as good, in as many model-epochs.
Command: .venv/bin/python benchmarks/cohort_quality.py [--seeds 10] [--quick] [--save]
Time:    about 5 minutes on two quiet cores; with `--quick`, 1
Result:  a table; `--save` also writes benchmarks/results/cohort_quality.json

A seed draws the configurations, the initial weights and the order of the rows. The claim holds if the mean difference
is at most two of its standard errors above zero, or at most a thousandth of the loss.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from measuring import RESULTS, keep_to, made_with, save
from peers import BATCH_SIZE, declared

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

if TYPE_CHECKING:
    from kerasweep.models import FamilyBuilder
    from kerasweep.records import Standing
    from kerasweep.scheduling import Bracket, Scheduler
    from kerasweep.spec.pipeline import PipelineSpec
    from kerasweep.training import CohortTrainer, KerasTrainer, Member, TrainingArrays

PACKAGES = ("kerasweep", "tensorflow", "keras", "numpy")
MAX_EPOCHS = 9  # the paper's R
ETA = 3
ROWS = 3000
NEGLIGIBLE = 1e-3  # of the loss


@dataclass(frozen=True)
class Found:
    """What one way found.

    Attributes:
        best: validation loss.
        epochs: that its trials trained, by trial number.
        seconds: of wall time.
    """

    best: float
    epochs: dict[int, int]
    seconds: float

    @property
    def model_epochs(self) -> int:
        return sum(self.epochs.values())


@dataclass(frozen=True)
class Pair:
    """Both ways on one seed."""

    seed: int
    together: Found
    alone: Found

    @property
    def difference(self) -> float:
        """Above zero if the cohorts are worse."""
        return self.together.best - self.alone.best


Curves = dict[int, list[float]]


def standings(members: Sequence[Member], curves: Curves) -> dict[int, Standing]:
    """As a scheduler wants them."""
    from kerasweep.records import Standing

    return {each.number: Standing(tuple(curves[each.number]), each.params) for each in members}


def together(trainer: CohortTrainer, scheduler: Scheduler, data: TrainingArrays, members: Sequence[Member]) -> Curves:
    """One bracket as a cohort; the validation losses of each member."""
    from kerasweep.training import Cohort, Decision, EpochReport

    curves: Curves = {member.number: [] for member in members}
    living = set(curves)

    def report(told: EpochReport) -> Decision:
        assert not told.notes, told.notes  # everybody is in a stack
        for number, metrics in told.metrics.items():
            curves[number].append(metrics["val_loss"])
        living.difference_update(outcome.number for outcome in told.ended)
        decision = scheduler.decide(told.epoch, standings(members, curves), frozenset(living))
        living.difference_update(decision.stop)
        return decision

    trainer.train(Cohort(tuple(members)), data, report)
    return curves


def alone(trainer: KerasTrainer, scheduler: Scheduler, data: TrainingArrays, members: Sequence[Member]) -> Curves:
    """The same, each by itself: one after another trains to the next epoch, and then the scheduler is asked."""
    from kerasweep.training import Cohort, Decision, EpochReport
    from kerasweep.training.stepwise import Stepwise

    curves: Curves = {member.number: [] for member in members}
    running = {member.number: Stepwise(trainer, Cohort((member,)), data, None) for member in members}
    epoch = 0
    while running:
        epoch += 1
        for number, stepwise in list(running.items()):
            event = stepwise.step(Decision())
            if isinstance(event, EpochReport) and number in event.metrics:
                curves[number].append(event.metrics[number]["val_loss"])
            if not isinstance(event, EpochReport) or event.last:
                running.pop(number).abandon()
        for number in scheduler.decide(epoch, standings(members, curves), frozenset(running)).stop:
            running.pop(number).abandon()
    return curves


def compare(seed: int, spec: PipelineSpec, models: FamilyBuilder, data: TrainingArrays, cores: int) -> Pair:
    """One band of one seed, both ways."""
    from kerasweep.scheduling import make_scheduler, paper_brackets
    from kerasweep.training import CohortTrainer, KerasTrainer, Schedule

    brackets = paper_brackets(MAX_EPOCHS, ETA)
    scheduler = make_scheduler(spec.search.scheduler, MAX_EPOCHS, spec.objective, seed)
    schedule = Schedule(spec.objective, MAX_EPOCHS, None, seed)
    generations = drawn(seed, spec, brackets)
    ways: list[Callable[[Sequence[Member]], Curves]] = [
        partial(together, CohortTrainer(models, schedule, cores), scheduler, data),
        partial(alone, KerasTrainer(models, schedule), scheduler, data),
    ]
    found = []
    for train in ways:
        began = time.perf_counter()
        curves: Curves = {}
        for members in generations:
            curves |= train(members)
        seconds = time.perf_counter() - began
        finite = [value for curve in curves.values() for value in curve if math.isfinite(value)]
        found.append(Found(min(finite), {number: len(curve) for number, curve in curves.items()}, seconds))
    pair = Pair(seed, *found)
    assert pair.together.model_epochs == pair.alone.model_epochs, pair
    return pair


def drawn(seed: int, spec: PipelineSpec, brackets: Sequence[Bracket]) -> list[list[Member]]:
    """The members of each bracket."""
    from kerasweep.search import make_searcher
    from kerasweep.seeds import derive
    from kerasweep.space import Space
    from kerasweep.training import Member

    searcher = make_searcher(spec.search.searcher, Space(spec.space), spec.objective, derive(seed, "searcher"))
    candidates = iter(searcher.ask(sum(bracket.trials for bracket in brackets)))
    return [
        [
            Member(each.number, {**spec.training.fixed, **each.params}, derive(seed, "trial", each.number))
            for each in islice(candidates, bracket.trials)
        ]
        for bracket in brackets
    ]


def table(pairs: Sequence[Pair]) -> str:
    """A line for each seed."""
    lines = [
        f"{'seed':>5} {'best val_loss':>21} {'difference':>11} {'model-epochs':>18} {'seconds':>17} {'same':>9}",
        f"{'':>5} {'cohorts':>10} {'alone':>10} {'':>11} {'cohorts':>9} {'alone':>8} {'cohorts':>9} {'alone':>7} "
        f"{'halvings':>9}",
    ]
    for pair in pairs:
        one, other = pair.together, pair.alone
        lines.append(
            f"{pair.seed:>5} {one.best:>10.5f} {other.best:>10.5f} {pair.difference:>11.1e} {one.model_epochs:>9} "
            f"{other.model_epochs:>8} {one.seconds:>9.1f} {other.seconds:>7.1f} "
            f"{'yes' if one.epochs == other.epochs else 'no':>9}"
        )
    return "\n".join(lines)


def verdict(pairs: Sequence[Pair]) -> str:
    """The claim and what was measured."""
    differences = [pair.difference for pair in pairs]
    mean = statistics.mean(differences)
    spread = statistics.stdev(differences) if len(pairs) > 1 else 0.0
    error = spread / math.sqrt(len(pairs))
    loss = statistics.mean(pair.alone.best for pair in pairs)
    holds = mean <= max(2 * error, NEGLIGIBLE * loss)
    seconds = [sum(getattr(pair, way).seconds for pair in pairs) for way in ("together", "alone")]
    return (
        f"difference over {len(pairs)} seeds: mean {mean:.1e}, standard deviation {spread:.1e}, standard error "
        f"{error:.1e}, of a mean loss of {loss:.4f}\n"
        f"at least as good in as many model-epochs {'holds' if holds else 'does not hold'}; "
        f"{seconds[1] / seconds[0]:.1f} times faster, compiling included"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--quick", action="store_true", help="two seeds, a tenth of the rows")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--save", action="store_true", help=f"write {RESULTS.name}/cohort_quality.json")
    options = parser.parse_args(arguments)
    keep_to(options.cores)

    from kerasweep.data import load_search
    from kerasweep.dispatch.worker import arrays_of
    from kerasweep.models import FamilyBuilder, Inputs, import_tensorflow
    from kerasweep.spec.pipeline import PipelineSpec

    import_tensorflow()
    import keras
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(options.cores)
    tf.config.threading.set_inter_op_parallelism_threads(options.cores)
    tf.get_logger().setLevel("ERROR")  # many programs are compiled here, of which it warns

    seeds, rows = (min(2, options.seeds), ROWS // 10) if options.quick else (options.seeds, ROWS)
    declaration = declared("cohort-quality", 1, MAX_EPOCHS, 0)
    declaration["search"]["scheduler"] = {"name": "hyperband", "eta": ETA}
    spec = PipelineSpec.model_validate(declaration)
    loaded = load_search(spec.data, Path.cwd())
    models = FamilyBuilder("mlp", Inputs(loaded.preprocessing.feature_shape, loaded.facts.task, loaded.facts.outputs))
    everything = arrays_of(loaded)
    assert everything.validation is not None
    x, y = everything.validation
    data = replace(
        everything, x=everything.x[:rows], y=everything.y[:rows], validation=(x[: rows // 3], y[: rows // 3])
    )
    pairs = []
    for seed in range(seeds):
        pairs.append(compare(seed, spec, models, data, options.cores))
        print(f"{seed + 1}/{seeds}", file=sys.stderr)
    print(f"Keras on {keras.backend.backend()}, {options.cores} cores, {rows:,} rows\n")
    print(f"{table(pairs)}\n\n{verdict(pairs)}")
    if options.save:
        document = {
            **made_with(PACKAGES, options.cores),
            "backend": keras.backend.backend(),
            "rows": rows,
            "max_epochs": MAX_EPOCHS,
            "eta": ETA,
            "batch_size": BATCH_SIZE,
            "measured": [asdict(pair) for pair in pairs],
        }
        save("cohort_quality", document)


if __name__ == "__main__":
    main()
