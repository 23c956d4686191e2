"""What is done with a study's winner: retrain, evaluate, export, register."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from kerasweep.data import SearchData, Split
from kerasweep.data.rows import head, to_frame
from kerasweep.delivery import (
    assemble,
    baselines,
    choose,
    decide,
    evaluate,
    export,
    headline_metric,
    lost_cohort,
    merged,
    retrain_cohort,
    spread,
)
from kerasweep.errors import DeliveryError
from kerasweep.models import ModelBuilder, import_tensorflow
from kerasweep.records import Direction, Metrics, Status, Trial
from kerasweep.spec.pipeline import PipelineSpec, RegisterSpec, RetrainSpec
from kerasweep.spec.schedulers import PopulationScheduler
from kerasweep.study.run import StudyRun
from kerasweep.training import Outcome

if TYPE_CHECKING:
    import keras

    from kerasweep.training.base import Array

# Rows on which an exported model is compared with the original.
PARITY_ROWS = 256
_EXAMPLE_ROWS = 5


@dataclass(frozen=True)
class Evaluation:
    """The delivered model on the test split.

    Attributes:
        test: metric -> value.
        spread: metric -> (lowest, median, highest) over the retrained seeds.
        baselines: baseline -> metric -> value on the same rows.
    """

    test: Metrics
    spread: Mapping[str, tuple[float, float, float]]
    baselines: Mapping[str, Metrics]


@dataclass(frozen=True)
class Registration:
    """A new version in the registry, and whether the alias moved to it."""

    name: str
    version: int
    alias: str
    moved: bool
    reason: str


class Winner:
    """The winner of a study that has been searched."""

    def __init__(self, run: StudyRun) -> None:
        import_tensorflow()
        self._run = run
        self.trial = run.best
        self._trained: list[Outcome] = []
        self._merged = False
        self._evaluation: Evaluation | None = None

    def retrain(self, spec: RetrainSpec) -> None:
        """Trains the winner's configuration anew, from ``spec.seeds`` different initial weights.

        Raises:
            DeliveryError: a retraining failed.
        """
        run = self._run
        if run.data.folds and spec.data != "train+validation":
            rule = "the winner of a cross-validation is retrained on train+validation"
            raise DeliveryError(f"{rule}. Received: {spec.data}")
        cohort, schedule = retrain_cohort(
            self.trial, run.spec.training.fixed, spec.seeds, run.spec.search.seed, run.schedule_of(self.trial)
        )
        self._merged = spec.data == "train+validation"
        self._trained = run.train(cohort, schedule, merge=self._merged)
        if all(outcome.status is Status.FAILED for outcome in self._outcomes):
            raise DeliveryError(f"the winner must train again. Received: {self._outcomes[0].reason}")
        for outcome in self._outcomes:
            if outcome.status is Status.FAILED:
                run.observer.note(f"one of {spec.seeds} retrainings failed: {outcome.reason}")
        self._evaluation = None

    def recover(self) -> None:
        """Makes sure of the weights that the search found: if they were lost with a worker, the trial trains again.

        Raises:
            DeliveryError: it failed to, or it was one of a population, whose states it had taken over.
            StudyError: it was cross-validated, so that there are no weights of its own.
        """
        run, trial = self._run, self.trial
        weights = run.weights(trial.number)
        if weights is None:
            lost = f"the weights of trial {trial.number} were lost with its worker"
            if isinstance(run.spec.search.scheduler, PopulationScheduler):
                raise DeliveryError(
                    f"a population's trial must be retrained, or resumed with time for its cohort. Received: {lost}"
                )
            run.observer.note(f"{lost}, and it trains again")
            lost_one = lost_cohort(trial, run.spec.training.fixed, run.schedule_of(trial))
            (outcome,) = run.train(*lost_one, merge=False)
            if outcome.status is Status.FAILED:
                raise DeliveryError(f"trial {trial.number} must train again. Received: {outcome.reason}")
            weights = outcome.weights
            run.keep(trial, weights)
        self._trained = [Outcome(trial.number, Status.FINISHED, weights=weights)]

    def evaluate(self) -> Evaluation:
        """Scores every retrained model once on the test split, beside the baselines; the median one is delivered."""
        if self._evaluation is None:
            run, test = self._run, self._run.test
            scores = [
                evaluate(self._assembled(outcome), test, run.data.facts) if outcome.weights else {}
                for outcome in self._outcomes
            ]
            chosen = choose(self._outcomes, scores, *self.headline)
            self._trained = [self._outcomes[chosen]]
            self._evaluation = Evaluation(
                test=scores[chosen],
                spread=spread(scores) if len(scores) > 1 else {},
                baselines=baselines(self._rows(), test, run.data.preprocessing, run.data.facts),
            )
        return self._evaluation

    @property
    def _outcomes(self) -> list[Outcome]:
        """The retrained models, or the one that the search found."""
        if not self._trained:
            self.recover()
        return self._trained

    @property
    def headline(self) -> tuple[str, Direction]:
        """The test metric that speaks for the objective, and which way is better."""
        return headline_metric(self._run.spec.objective, self._run.data.facts)

    @cached_property
    def model(self) -> keras.Model:
        """Raw rows -> predictions: of several retrained models, the median one on the test split."""
        if len(self._outcomes) > 1:
            self.evaluate()
        return self._assembled(self._outcomes[0])

    def export(self, formats: Sequence[str], folder: Path) -> Mapping[str, Path]:
        """Writes the model in each format, read back and compared on real rows before it counts."""
        rows = head(self._run.data.validation.x, PARITY_ROWS)
        return export(self.model, formats, folder, rows, self._run.data.facts)

    def register(self, spec: RegisterSpec) -> Registration:
        """Registers the model; the alias moves only if no better one holds it."""
        from kerasweep.tracking.model_folder import Delivered
        from kerasweep.tracking.registry import Registry

        run = self._run
        name = spec.name or run.spec.name
        scores = self.evaluate().test
        metric, direction = self.headline
        registry = Registry(run.tracking_uri)  # known to be one; if its server is away, MLflow tries for half a minute
        held = registry.champion(name, spec.alias)
        rows = head(run.data.train.x, _EXAMPLE_ROWS)
        delivered = Delivered(
            study=run.id,
            network=self.export(["keras"], run.scratch / "registered")["keras"],
            example=to_frame(rows, run.data.facts) if run.data.facts.columns else rows,
            classes=run.data.facts.classes,
            metrics=scores,
            outputs={name: head.classes for name, head in run.data.facts.heads.items()},
        )
        run.tracker.flush(trials=False)
        # A driver that died may have come as far as this.
        version = None
        if run.resumed:
            registry.discard(run.id)
            version = registry.version_of(name, delivered)
        if version is None:
            version = registry.register(name, delivered)
        elif held is not None and held.version == version:
            return Registration(name, version, spec.alias, moved=True, reason="")
        moved, reason = decide(scores, held.metrics if held else None, metric, direction)
        if moved:
            registry.move_alias(name, spec.alias, version)
        return Registration(name, version, spec.alias, moved, reason)

    def _rows(self) -> Split:
        """What the delivered model was trained on."""
        return merged(self._run.data) if self._merged else self._run.data.train

    def _assembled(self, outcome: Outcome) -> keras.Model:
        return assembled(self._run.spec, self.trial, outcome.weights, self._run.models, self._run.data)


def assembled(
    spec: PipelineSpec, trial: Trial, weights: Sequence[Array], models: ModelBuilder, data: SearchData
) -> keras.Model:
    """A trial's model with these weights, from raw rows to predictions."""
    from kerasweep.models.supervised import delivered

    params = {**spec.training.fixed, **trial.params}
    body = models.build(params, trial.seed)
    body.set_weights(weights)
    # Training is over: without this, files would hold an optimiser whose state nobody kept, and warn when loaded.
    body.compiled, body.optimizer = False, None
    return assemble(data.preprocessing, delivered(body), data.facts.heads)
