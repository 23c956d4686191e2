"""What a pipeline file says, section by section, with its defaults.

These classes check each section by itself. What takes several sections, files or the user's code to check is in
``spec.checks``; where in a file a rule was broken is ``spec.loading``'s affair.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    field_validator,
    model_validator,
)

from kerasweep.errors import Problem, one_of
from kerasweep.records import Direction, Objective
from kerasweep.spec.base import Frozen, RuleError, broken, named
from kerasweep.spec.families import COLUMN_FAMILY, COLUMN_KEYS
from kerasweep.spec.learning_rates import ConstantRate, RateSchedule
from kerasweep.spec.methods import Gradient, TrainingMethod
from kerasweep.spec.parameters import SpaceSpec, Value, pinned
from kerasweep.spec.schedulers import AutoScheduler, SchedulerSpec
from kerasweep.spec.searchers import AutoSearch, SearcherSpec
from kerasweep.spec.several import own_problems
from kerasweep.spec.values import (
    Auto,
    ClassReference,
    Column,
    Count,
    Folder,
    Fraction,
    Name,
    Reference,
    Seconds,
    Seed,
    Weight,
    checked_board,
    checked_source,
)
from kerasweep.spec.vocabulary import DATASETS, EXPORT_FORMATS, Task, known_direction, objective_metrics


class DataSpec(Frozen):
    """Where the data comes from and how it is split; exactly one source."""

    name: str | None = Field(None, description="A bundled or well-known dataset.")
    csv: Path | None = Field(None, description="A CSV file with a header line.")
    npz: Path | None = Field(None, description="A NumPy archive with the arrays x (or X) and y, and w for weights.")
    python: Reference | None = Field(None, description="module:function that returns (x, y) or (x, y, weights).")
    target: str | list[str] | None = Field(None, description="The target column or columns of a CSV file.")
    features: list[str] | None = Field(
        None, description="The columns of a CSV file to use; all but the target and the weights if left out."
    )
    categorical: list[str] = Field([], description="Numeric columns of a CSV file to treat as categories.")
    weights: str | None = Field(
        None, description="The column of a CSV file that says how much each row weighs in the training loss."
    )
    inputs: dict[str, list[Column]] | None = Field(
        None, description="Builders only: the columns, by name or position, that each input of the model takes."
    )
    outputs: dict[str, str | list[str]] | list[str] | None = Field(
        None,
        description="Builders only: the model's outputs, which all learn the target; or a CSV file's target of each.",
    )
    task: Task | Auto | dict[str, Task] = Field(
        "auto", description="What the target is, or that of each output; asked for when it cannot be told."
    )
    preprocess: Literal["auto", "none"] = Field(
        "auto",
        description="auto: standardise, encode and fill in inside the model; none: the model gets the raw arrays.",
    )
    test: Fraction | Auto = Field("auto", description="Share of all rows kept for the test split.")
    validation: Fraction | Auto = Field("auto", description="Share of the remaining rows kept for validation.")
    seed: Seed = Field(42, description="Of the split.")

    @field_validator("name")
    @classmethod
    def _known(cls, name: str | None) -> str | None:
        if name is not None and name not in DATASETS:
            raise ValueError(one_of("a dataset's name", name, DATASETS))
        return name

    @model_validator(mode="after")
    def _one_source(self) -> DataSpec:
        given = [key for key in ("name", "csv", "npz", "python") if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError(
                f"data needs exactly one of name, csv, npz, python. Received: {', '.join(given) or 'none'}"
            )
        if self.csv is None:
            strays = [key for key in ("target", "features", "categorical", "weights") if getattr(self, key)]
            if strays:
                rule = "target, features, categorical and weights belong to csv data only"
                message = f"{rule}. Received: {given[0]} data"
                raise RuleError(*(Problem(message, (key,)) for key in strays))
        elif not self.targets:
            raise ValueError("csv data needs a target column. Received: none")
        if problems := list(own_problems(self)):
            raise RuleError(*problems)
        return self

    @property
    def targets(self) -> list[str]:
        """The columns of a CSV file that are to be predicted, each once."""
        given = self.outputs.values() if isinstance(self.outputs, Mapping) else [self.target or []]
        return list(dict.fromkeys(name for each in given for name in ([each] if isinstance(each, str) else each)))

    @property
    def source(self) -> str:
        """A short label: the dataset's name, the file's name, or the function."""
        return self.name or self.python or (self.csv or self.npz or Path("?")).name


class InitialWeightsSpec(Frozen):
    """Transfer learning: the first layers start from the weights of a model that was trained before."""

    from_: Annotated[str, AfterValidator(checked_source)] = Field(
        alias="from",
        description="models:/NAME@ALIAS or models:/NAME/VERSION of the registry; STUDY, its winner; STUDY/trials/N.",
    )
    layers: Count = Field(description="How many layers with weights, from the input on.")
    freeze: Annotated[StrictInt, Field(ge=0)] | Literal["all"] = Field(
        0, description="Epochs in which these layers stay as they are before they train with the others; or all."
    )


class ModelSpec(Frozen):
    """A built-in family, or the user's own builder; exactly one."""

    family: Literal["linear", "mlp", "wide_deep", "auto"] | None = Field(None, description="A built-in model family.")
    builder: Reference | None = Field(
        None, description="module:function that returns a Keras model, or KerasTuner's function of hp or HyperModel."
    )
    wide: list[Column] | None = Field(
        None, description="wide_deep only: columns, by name or position, that go straight to the output; null: all."
    )
    deep: list[Column] | None = Field(
        None, description="wide_deep only: columns that go through the hidden layers; null: all."
    )

    initial_weights: InitialWeightsSpec | None = Field(
        None, description="Transfer learning: the first layers start from a trained model's weights."
    )

    @model_validator(mode="after")
    def _one_kind(self) -> ModelSpec:
        given = [key for key in ("family", "builder") if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError(f"model needs exactly one of family, builder. Received: {' and '.join(given) or 'none'}")
        chosen = [key for key in COLUMN_KEYS if getattr(self, key) is not None]
        if self.family != COLUMN_FAMILY and chosen:
            message = f"{' and '.join(COLUMN_KEYS)} belong to the family {COLUMN_FAMILY} only. Received: "
            raise RuleError(*(Problem(message + (self.family or "a builder"), (key,)) for key in chosen))
        empty = [key for key in chosen if not getattr(self, key)]
        if empty:
            raise RuleError(
                *(Problem(f"{key} must choose a column, or be null for all. Received: none", (key,)) for key in empty)
            )
        return self


class ObjectiveSpec(Frozen):
    """What the study optimises, measured on the validation split."""

    metric: str = Field("val_loss", description="val_… of a metric that the model reports.")
    direction: Direction | Auto = Field("auto", description="Need not be said of well-known metrics.")

    @model_validator(mode="after")
    def _agree(self) -> ObjectiveSpec:
        if not self.metric.startswith("val_"):
            message = f"the objective must be measured on validation data (val_…). Received: {self.metric!r}"
            raise broken(message, "metric")
        known = known_direction(self.metric)
        if self.direction == "auto" and known is None:
            near = difflib.get_close_matches(self.metric, objective_metrics(None), n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise broken(f"direction must be given for a metric of your own.{hint} Received: {self.metric!r}", "metric")
        if self.direction != "auto" and known is not None and self.direction != known:
            raise broken(f"{self.metric} must be {known}d. Received: '{self.direction}'", "direction")
        return self

    def resolved(self) -> Objective:
        """The objective with its direction filled in."""
        direction = known_direction(self.metric) if self.direction == "auto" else Direction(self.direction)
        if direction is None:
            raise ValueError(f"direction must be given for a metric of your own. Received: {self.metric!r}")
        return Objective(self.metric, direction)


class SearchSpec(Frozen):
    """How the space is searched, and for how long."""

    objective: ObjectiveSpec = Field(ObjectiveSpec(), description="What is optimised.")
    searcher: SearcherSpec = Field(AutoSearch(), description="Proposes configurations; a name, or a name with options.")
    scheduler: SchedulerSpec = Field(
        AutoScheduler(), description="Ends weak trials early; a name, or a name with options."
    )
    points: list[dict[str, Value]] = Field([], description="Configurations to try first; what one leaves out is drawn.")
    warm_start: list[str] = Field([], description="Earlier studies of the store to learn from, by name or id.")
    folds: StrictInt | None = Field(
        None, ge=2, description="Every trial is cross-validated with so many folds; null: one validation split."
    )
    trials: StrictInt = Field(50, ge=1, le=100_000, description="How many configurations are tried at most.")
    max_epochs: StrictInt = Field(30, ge=1, description="How long one trial trains at most.")
    time_limit: Seconds | None = Field(None, description="Of the search, e.g. 30m; running trials are ended and count.")
    seed: Seed = Field(42, description="Of initial weights, shuffling, dropout and the searcher.")


class EarlyStopping(Frozen):
    """A trial ends when its objective has not improved by more than ``min_delta`` for ``patience`` epochs."""

    patience: StrictInt = Field(10, ge=1, description="Epochs without improvement.")
    min_delta: StrictFloat = Field(0.0, ge=0, description="The least change of the objective that is an improvement.")


class CallbackSpec(Frozen):
    """A Keras callback of the user's own; ``module:Class`` is short for one without arguments."""

    name: ClassReference = Field(description="module:Class of a subclass of keras.callbacks.Callback.")
    args: dict[str, Value | list[Value] | None] = Field({}, description="What its class is called with, by name.")


class TrainingSpec(Frozen):
    """What is the same for every trial. The best weights are always kept."""

    class_weight: Literal["balanced"] | dict[str, Weight] | None = Field(
        None,
        description="How much rows of each class weigh in the training loss; balanced: all classes the same in sum.",
    )
    method: TrainingMethod = Field(
        Gradient(), description="How networks are trained: gradient or neuroevolution; a name, or a name with options."
    )
    early_stopping: EarlyStopping | None = Field(EarlyStopping(), description="null turns it off.")
    schedule: RateSchedule = Field(
        ConstantRate(), description="Of the learning rate over max_epochs; a name, or a name with options."
    )
    fixed: dict[str, Value] = Field(
        {}, description="Hyperparameters that do not vary; one that the space has is held at this value."
    )
    callbacks: list[Annotated[CallbackSpec, BeforeValidator(named)]] = Field(
        [], description="Keras callbacks of your own, made anew for every trial; each trial then trains alone."
    )

    @field_validator("class_weight")
    @classmethod
    def _some(cls, weights: object) -> object:
        if weights == {}:
            raise ValueError("class_weight must name a class. Received: {}")
        return weights


class ResourcesSpec(Frozen):
    """What a trial may use."""

    cpus: Count | Auto = Field("auto", description="CPU cores of the whole study.")
    gpus_per_trial: StrictFloat = Field(0, ge=0, description="May be a fraction: trials then share a card.")
    concurrency: Count | Auto = Field("auto", description="Trials at a time.")
    cohort: Count | Literal["auto", "off"] = Field(
        "auto", description="Trials trained together as one program; off: each alone."
    )
    storage: Folder = Field("auto", description="Where studies lie; on a cluster, a path that every node reaches.")
    epoch_timeout: Seconds | None = Field(None, description="Without an epoch for so long, a worker hangs.")

    @field_validator("gpus_per_trial")
    @classmethod
    def _whole_above_one(cls, gpus: float) -> float:
        if gpus > 1 and gpus != int(gpus):
            raise ValueError(f"gpus_per_trial above 1 must be whole. Received: {gpus}")
        return gpus


class TensorBoardSpec(Frozen):
    """Event files for TensorBoard: learning curves and hyperparameters of every trial, and what is wanted beside."""

    directory: Path | None = Field(None, description="Where they go; null: ./mlruns/tensorboard.")
    histograms: StrictBool = Field(False, description="Of the weights of the five best trials, at their best epochs.")
    graph: StrictBool = Field(False, description="Of the operations of the best trial's network.")


class TrackingSpec(Frozen):
    """Where MLflow keeps the study, and whether TensorBoard can show it too."""

    uri: str = Field("auto", description="auto: $MLFLOW_TRACKING_URI, else SQLite under ./mlruns.")
    experiment: Name | None = Field(None, description="The pipeline's name if left out.")
    tensorboard: Annotated[TensorBoardSpec | None, BeforeValidator(checked_board)] = Field(
        None, description="true: event files for TensorBoard under ./mlruns/tensorboard; a directory; or options."
    )


class RetrainSpec(Frozen):
    """The winner, trained again for its best number of epochs."""

    data: Literal["train+validation", "train"] = Field("train+validation", description="The splits to train on.")
    seeds: StrictInt = Field(
        1, ge=1, description="Independent retrainings; the spread is reported, the median one kept."
    )


class ExportSpec(Frozen):
    """The formats the winner is written in; each is read back and compared before it counts."""

    formats: list[str] = Field(["keras"], description="keras, saved_model, onnx, litert.")

    @field_validator("formats")
    @classmethod
    def _known(cls, formats: list[str]) -> list[str]:
        problems = [
            Problem(one_of("an export format", name, EXPORT_FORMATS), (position,))
            for position, name in enumerate(formats)
            if name not in EXPORT_FORMATS
        ]
        if problems:
            raise RuleError(*problems)
        return list(dict.fromkeys(formats))


class RegisterSpec(Frozen):
    """The MLflow registry's name for the winner, and the alias that moves to it if it is at least as good."""

    name: Name | None = Field(None, description="The pipeline's name if left out.")
    alias: Name = Field("champion", description="Moves to the new model if that is at least as good.")


class PipelineSpec(Frozen):
    """A whole pipeline file."""

    name: Name = Field(description="Of the study; studies may share it.")
    data: DataSpec = Field(description="Where the data comes from and how it is split.")
    model: ModelSpec = Field(description="A built-in family or a builder of your own.")
    space_: SpaceSpec | None = Field(
        None,
        alias="space",
        description="The hyperparameters to search; left out, the family auto's, or a KerasTuner model's own.",
    )
    search: SearchSpec = Field(SearchSpec(), description="How the space is searched, and for how long.")
    training: TrainingSpec = Field(TrainingSpec(), description="What is the same for every trial.")
    resources: ResourcesSpec = Field(ResourcesSpec(), description="What trials may use.")
    tracking: TrackingSpec = Field(TrackingSpec(), description="Where MLflow keeps the study.")
    retrain: RetrainSpec | None = Field(RetrainSpec(), description="The winner, trained again; null leaves it out.")
    export: ExportSpec = Field(ExportSpec(), description="The formats the winner is written in.")
    register_: RegisterSpec | None = Field(
        RegisterSpec(), alias="register", description="The winner's place in the model registry; null leaves it out."
    )

    @property
    def objective(self) -> Objective:
        return self.search.objective.resolved()

    @property
    def space(self) -> SpaceSpec:
        """The hyperparameters to search.

        Raises:
            ValueError: they are the model's own, and the study has not begun yet.
        """
        if self.space_ is None:
            raise ValueError("a model's own space is found when its study begins. Received: none so far")
        return self.space_

    def with_space(self, space: SpaceSpec) -> PipelineSpec:
        """The same pipeline with this space, ``pinned``."""
        return self.model_copy(update={"space_": space}).pinned()

    def with_fixed(self, values: Mapping[str, Value]) -> PipelineSpec:
        """The same pipeline with more hyperparameters that do not vary."""
        training = self.training.model_copy(update={"fixed": {**self.training.fixed, **values}})
        return self.model_copy(update={"training": training})

    def pinned(self) -> PipelineSpec:
        """The same pipeline, with the parameters that ``training.fixed`` shares with the space fixed in the space."""
        if self.space_ is None:
            return self
        space = self.space.parameters
        rest = {name: value for name, value in self.training.fixed.items() if name not in space}
        return self.model_copy(
            update={
                "space_": SpaceSpec(parameters=pinned(space, self.training.fixed)),
                "training": self.training.model_copy(update={"fixed": rest}),
            }
        )

    @property
    def alone(self) -> bool:
        """Whether every trial trains by itself, with ``Model.fit``: a callback can see one model only."""
        return self.resources.cohort in ("off", 1) or bool(self.training.callbacks)

    @property
    def experiment(self) -> str:
        return self.tracking.experiment or self.name
