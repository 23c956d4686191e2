"""What takes several sections of a pipeline, or the files and functions it names, to check.

Nothing heavy is imported and none of the user's code runs. A section that breaks rules of its own is left out
(None), so that the others are still checked and every problem is reported at once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from kerasweep.errors import Problem, one_of
from kerasweep.spec.builders import Signature, resolve
from kerasweep.spec.callback_checks import check_callbacks
from kerasweep.spec.columns import column_problems, input_problems, known_columns
from kerasweep.spec.default_space import default_space, shows_images
from kerasweep.spec.families import AUTO, COLUMN_FAMILY, IMAGES_ONLY, explorable, mutable_parameters
from kerasweep.spec.files import check_files
from kerasweep.spec.method_checks import check_frozen, check_method
from kerasweep.spec.parameter_checks import (
    Settings,
    check_builder,
    check_family,
    check_settings,
    possible_architectures,
)
from kerasweep.spec.parameters import Find, Parameter, pinned
from kerasweep.spec.pipeline import (
    DataSpec,
    ModelSpec,
    PipelineSpec,
    ResourcesSpec,
    RetrainSpec,
    SearchSpec,
    TrainingSpec,
)
from kerasweep.spec.schedule_checks import check_schedule
from kerasweep.spec.schedulers import PopulationScheduler
from kerasweep.spec.search_checks import check_combination, check_points, check_searchable
from kerasweep.spec.several import check_several
from kerasweep.spec.vocabulary import DATASETS, Task, objective_metrics

# What a specification names as module:function, by that name, or its signature; None for what cannot be checked.
Functions = Mapping[str, object]

# Said of a builder that is known not to be KerasTuner's.
NO_SPACE = "space is required: only a KerasTuner model, which takes an hp, has a space of its own. Received: nothing"

# Said of data without images, where an architecture is for images.
NO_IMAGES = f"the architecture {IMAGES_ONLY} needs rows that are images, of 2 or 3 axes"

# Said of class weights for a task that has none, or several.
NO_CLASSES = "class_weight needs one class a row: a binary or multiclass task"


@dataclass(frozen=True)
class Sections:
    """The sections of a pipeline that are right by themselves.

    Attributes:
        data: None, like the others, when it breaks a rule of its own.
        model: likewise.
        search: likewise.
        training: likewise.
        resources: likewise.
        retrain: likewise.
        delivers_trials: whether the winner's own weights are delivered: ``retrain: null``.
        parameters: those parameters of the space that are right by themselves; None when it cannot be read.
        invalid: names of the space's other parameters.
        spaceless: whether the space is left out, as a KerasTuner model's and that of the family ``auto`` may be.
    """

    data: DataSpec | None
    model: ModelSpec | None
    search: SearchSpec | None
    training: TrainingSpec | None
    resources: ResourcesSpec | None
    retrain: RetrainSpec | None
    delivers_trials: bool
    parameters: Mapping[str, Parameter] | None
    invalid: Collection[str] = ()
    spaceless: bool = False

    @classmethod
    def of(cls, spec: PipelineSpec) -> Sections:
        parameters = {} if spec.space_ is None else spec.space_.parameters
        sections = (spec.data, spec.model, spec.search, spec.training, spec.resources, spec.retrain)
        return cls(*sections, spec.retrain is None, parameters, spaceless=spec.space_ is None)

    @property
    def settings(self) -> Settings | None:
        """All hyperparameters, as far as they are right; None when the space cannot be read."""
        if self.parameters is None:
            return None
        return Settings(self.parameters, {} if self.training is None else self.training.fixed, self.invalid)

    def filled(self) -> Sections:
        """With the default space where it is left out; the larger one where only the data can tell which it is."""
        if not self.spaceless or self.model is None or self.model.family != AUTO:
            return self
        space = default_space(self.data is None or shows_images(self.data) is not False)
        fixed = {} if self.training is None else self.training.fixed
        return replace(self, parameters=pinned(space.parameters, fixed), spaceless=False)


def check(sections: Sections, directory: Path, functions: Functions) -> list[Problem]:
    """Every rule broken across the sections of a pipeline.

    Args:
        sections: of the pipeline.
        directory: from which its relative paths count, and where its Python modules are looked for first.
        functions: those at hand among the functions that the sections name; the source of others is looked for.

    Returns:
        problems with their paths in the document; their places in a file are not known here.
    """
    problems: list[Problem] = []
    sections = sections.filled()
    if sections.data is not None:
        problems += check_files(sections.data, directory)
        problems += _check_loader(sections.data, directory, functions)
        problems += check_several(sections.data, sections.model, sections.training)
    signature: Signature | None = None
    if sections.model is not None and sections.model.builder is not None:
        try:
            signature = _signature(sections.model.builder, directory, functions)
        except ValueError as error:
            problems.append(Problem(str(error), ("model", "builder")))
    problems += _check_columns(sections, directory)
    problems += _check_class_weight(sections)
    if sections.training is not None:
        problems += check_callbacks(sections.training, sections.resources, directory, functions)
        if sections.model is not None:
            problems += check_frozen(sections.training, sections.model)
    problems += _check_space(sections, signature)
    problems += _check_model(sections, signature)
    if sections.search is not None:
        problems += check_combination(sections.search)
        problems += _check_objective(sections.search, sections.model, sections.data)
        if sections.parameters is not None and not sections.spaceless:
            problems += check_points(sections.search, sections.parameters, sections.invalid)
            problems += check_searchable(sections.search, sections.parameters)
        if isinstance(sections.search.scheduler, PopulationScheduler):
            problems += _check_population(sections.search.scheduler, sections.search, sections, signature)
        if sections.search.folds is not None:
            problems += _check_folds(sections)
    return problems


def _signature(reference: str, directory: Path, functions: Functions) -> Signature | None:
    if reference in functions:
        function = functions[reference]
        return function if isinstance(function, Signature) else Signature.of(function)
    return resolve(reference, directory)


def _check_loader(data: DataSpec, directory: Path, functions: Functions) -> Iterator[Problem]:
    if data.python is None:
        return
    try:
        signature = _signature(data.python, directory, functions)
    except ValueError as error:
        yield Problem(str(error), ("data", "python"))
        return
    if signature is not None and signature.required:
        needed = ", ".join(signature.required)
        message = f"a function that loads data must need no arguments. Received: {data.python}({needed})"
        yield Problem(message, ("data", "python"))


def _check_columns(sections: Sections, directory: Path) -> Iterator[Problem]:
    """The columns that parts of a model choose, where those of the data are known."""
    model, data = sections.model, sections.data
    by_family = model is not None and model.family == COLUMN_FAMILY
    if data is None or not (by_family or data.inputs) or (columns := known_columns(data, directory)) is None:
        return
    if by_family and model is not None:
        yield from column_problems(model, columns)
    yield from input_problems(data.inputs or {}, columns)


def _check_class_weight(sections: Sections) -> Iterator[Problem]:
    if sections.training is None or sections.training.class_weight is None or sections.data is None:
        return
    task = _task_of(sections.data)
    if task in (Task.REGRESSION, Task.MULTILABEL):
        yield Problem(f"{NO_CLASSES}. Received: {task}", ("training", "class_weight"))


def _check_space(sections: Sections, signature: Signature | None) -> Iterator[Problem]:
    if not sections.spaceless:
        return
    if sections.model is None or sections.model.builder is None:
        yield Problem("space is required. Received: nothing", ("space",))
    elif signature is not None and not signature.takes_hp:
        yield Problem(NO_SPACE, ("space",))


def _check_model(sections: Sections, signature: Signature | None) -> Iterator[Problem]:
    settings, model = sections.settings, sections.model
    if settings is None:
        return
    yield from check_settings(settings)
    taken: Collection[str] = ()
    if model is not None and model.family is not None:
        yield from check_family(model.family, settings)
        if model.family == AUTO and sections.data is not None and shows_images(sections.data) is False:
            yield from image_problems(settings, sections.data.source)
    elif model is not None and model.builder is not None and signature is not None and not signature.takes_hp:
        name = model.builder.partition(":")[2]
        yield from check_builder(name, signature, settings, complete=sections.training is not None)
        taken = signature.names
    else:
        return  # what the model takes itself is not known
    if sections.training is not None:
        epochs = None if sections.search is None else sections.search.max_epochs
        yield from check_schedule(sections.training.schedule, settings, epochs, taken)
        yield from check_method(sections.training, sections.search, settings, taken)


def image_problems(settings: Settings, source: str) -> Iterator[Problem]:
    """What is wrong with architectures for images where rows are none."""
    if IMAGES_ONLY in possible_architectures(settings):
        yield Problem(f"{NO_IMAGES}. Received: {IMAGES_ONLY} for {source}", settings.path("architecture"))


def _check_objective(search: SearchSpec, model: ModelSpec | None, data: DataSpec | None) -> Iterator[Problem]:
    if model is not None and model.family is not None:
        task = None if data is None else _task_of(data)
        valid = objective_metrics(task)
        if search.objective.metric not in valid:
            what = "a built-in family's objective" + (f" for {task}" if task else "")
            yield Problem(one_of(what, search.objective.metric, valid), ("search", "objective", "metric"))


def _check_population(
    scheduler: PopulationScheduler, search: SearchSpec, sections: Sections, signature: Signature | None
) -> Iterator[Problem]:
    """What population-based training needs: members side by side, time to act, and something to change."""
    cohort = None if sections.resources is None else sections.resources.cohort
    if cohort in ("off", 1):
        rule = f"{scheduler.name} needs trials that train together: auto, or a number of at least 2"
        message = f"{rule}. Received: {cohort}"
        yield Problem(message, ("resources", "cohort"))
    if sections.training is not None and sections.training.callbacks:
        message = f"{scheduler.name} needs trials that train together, and callbacks need each alone. Received: both"
        yield Problem(message, ("training", "callbacks"))
    if search.trials < 2:
        yield Problem(f"{scheduler.name} needs at least 2 trials. Received: {search.trials}", ("search", "trials"))
    if scheduler.interval >= search.max_epochs:
        received = f"interval={scheduler.interval}, max_epochs={search.max_epochs}"
        yield Problem(f"interval < max_epochs must hold. Received: {received}", ("search", "scheduler", "interval"))
    settings, model = sections.settings, sections.model
    if settings is None or model is None:
        return
    found = [name for name, parameter in settings.parameters.items() if isinstance(parameter, Find)]
    for name in found:
        message = f"{scheduler.name} changes {name} while a trial trains: it needs a range. Received: type find"
        yield Problem(message, settings.path(name, "type"))
    mutable = mutable_parameters(model.family, () if signature is None else signature.names)
    if not explorable(settings.parameters, mutable) and not set(mutable).intersection({*settings.invalid, *found}):
        message = (
            f"{scheduler.name} needs a range of what may change while a trial trains, and that no condition names, "
            f"in the space: {', '.join(mutable)}. Received: none"
        )
        yield Problem(message, ("search", "scheduler", "name"))


def _check_folds(sections: Sections) -> Iterator[Problem]:
    """What has no meaning beside a cross-validation."""
    data, retrain = sections.data, sections.retrain
    if data is not None and data.validation != "auto":
        message = f"search.folds validates on every row in turn: leave validation out. Received: {data.validation}"
        yield Problem(message, ("data", "validation"))
    if sections.training is not None and sections.training.callbacks:
        rule = "with search.folds a trial has a model for each fold, of which a callback would see one"
        yield Problem(f"{rule}: use one of the two. Received: both", ("training", "callbacks"))
    rule = "with search.folds a trial has a model for each fold, so its winner must be retrained"
    if sections.delivers_trials:
        yield Problem(f"{rule}. Received: null", ("retrain",))
    elif retrain is not None and retrain.data != "train+validation":
        yield Problem(f"{rule} on train+validation. Received: {retrain.data}", ("retrain", "data"))


def _task_of(data: DataSpec) -> Task | None:
    """The task as far as it is known before the data is read; None also if outputs have one each."""
    if isinstance(data.task, Mapping):
        return None
    if data.task != "auto":
        return Task(data.task)
    return DATASETS[data.name].task if data.name is not None else None
