"""What takes several sections of a pipeline, or the files and functions it names, to check.

Nothing heavy is imported and none of the user's code runs. A section that breaks rules of its own is left out
(None), so that the others are still checked and every problem is reported at once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from kerasweep.errors import Problem, one_of
from kerasweep.spec.builders import Signature, resolve
from kerasweep.spec.families import explorable, mutable_parameters
from kerasweep.spec.files import check_files
from kerasweep.spec.parameter_checks import Settings, check_builder, check_family, check_settings
from kerasweep.spec.parameters import Parameter
from kerasweep.spec.pipeline import DataSpec, ModelSpec, PipelineSpec, ResourcesSpec, SearchSpec, TrainingSpec
from kerasweep.spec.schedulers import PopulationScheduler
from kerasweep.spec.search_checks import check_combination, check_points, check_searchable
from kerasweep.spec.vocabulary import DATASETS, Task, objective_metrics

# What a specification names as module:function, by that name, or its signature; None for what cannot be checked.
Functions = Mapping[str, object]

# Said of a builder that is known not to be KerasTuner's.
NO_SPACE = "space is required: only a KerasTuner model, which takes an hp, has a space of its own. Received: nothing"


@dataclass(frozen=True)
class Sections:
    """The sections of a pipeline that are right by themselves.

    Attributes:
        data: None, like the others, when it breaks a rule of its own.
        model: likewise.
        search: likewise.
        training: likewise.
        resources: likewise.
        parameters: those parameters of the space that are right by themselves; None when it cannot be read.
        invalid: names of the space's other parameters.
        spaceless: whether the space is left out, as a KerasTuner model's may be.
    """

    data: DataSpec | None
    model: ModelSpec | None
    search: SearchSpec | None
    training: TrainingSpec | None
    resources: ResourcesSpec | None
    parameters: Mapping[str, Parameter] | None
    invalid: Collection[str] = ()
    spaceless: bool = False

    @classmethod
    def of(cls, spec: PipelineSpec) -> Sections:
        parameters = {} if spec.space_ is None else spec.space_.parameters
        sections = (spec.data, spec.model, spec.search, spec.training, spec.resources)
        return cls(*sections, parameters, spaceless=spec.space_ is None)

    @property
    def settings(self) -> Settings | None:
        """All hyperparameters, as far as they are right; None when the space cannot be read."""
        if self.parameters is None:
            return None
        return Settings(self.parameters, {} if self.training is None else self.training.fixed, self.invalid)


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
    if sections.data is not None:
        problems += check_files(sections.data, directory)
        problems += _check_loader(sections.data, directory, functions)
    signature: Signature | None = None
    if sections.model is not None and sections.model.builder is not None:
        try:
            signature = _signature(sections.model.builder, directory, functions)
        except ValueError as error:
            problems.append(Problem(str(error), ("model", "builder")))
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
    if model is not None and model.family is not None:
        yield from check_family(model.family, settings)
    elif model is not None and model.builder is not None and signature is not None and not signature.takes_hp:
        name = model.builder.partition(":")[2]
        yield from check_builder(name, signature, settings, complete=sections.training is not None)


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
    if search.trials < 2:
        yield Problem(f"{scheduler.name} needs at least 2 trials. Received: {search.trials}", ("search", "trials"))
    if scheduler.interval >= search.max_epochs:
        received = f"interval={scheduler.interval}, max_epochs={search.max_epochs}"
        yield Problem(f"interval < max_epochs must hold. Received: {received}", ("search", "scheduler", "interval"))
    settings, model = sections.settings, sections.model
    if settings is None or model is None:
        return
    mutable = mutable_parameters(model.family, () if signature is None else signature.names)
    if not explorable(settings.parameters, mutable) and not set(mutable).intersection(settings.invalid):
        message = (
            f"{scheduler.name} needs a range of what may change while a trial trains, and that no condition names, "
            f"in the space: {', '.join(mutable)}. Received: none"
        )
        yield Problem(message, ("search", "scheduler", "name"))


def _task_of(data: DataSpec) -> Task | None:
    """The task as far as it is known before the data is read."""
    if data.task != "auto":
        return Task(data.task)
    return DATASETS[data.name].task if data.name is not None else None
