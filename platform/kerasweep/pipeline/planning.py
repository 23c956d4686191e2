"""What a pipeline would do, worked out without doing any of it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from kerasweep.data import load_search
from kerasweep.dispatch import Allocation, allocate, alone, local_cpus, share
from kerasweep.errors import DataError, ResourceError, SpecError
from kerasweep.pipeline.advice import advice
from kerasweep.scheduling import asha_rungs, auto_rungs, expected_epochs, hyperband_brackets
from kerasweep.space import Space
from kerasweep.spec import LoadedPipeline
from kerasweep.spec.columns import known_columns
from kerasweep.spec.default_space import default_space, shows_images
from kerasweep.spec.families import AUTO, COLUMN_FAMILY, COLUMN_KEYS, EVOLUTION_PARAMETERS, SCHEDULE_PARAMETERS
from kerasweep.spec.methods import Neuroevolution
from kerasweep.spec.parameters import Choice, Find, Fixed, Parameter
from kerasweep.spec.pipeline import PipelineSpec
from kerasweep.spec.schedulers import (
    AshaScheduler,
    AutoScheduler,
    HyperbandScheduler,
    MedianScheduler,
    PopulationScheduler,
    SchedulerSpec,
)
from kerasweep.spec.searchers import SearcherSpec
from kerasweep.spec.vocabulary import DATASETS
from kerasweep.study.search import too_small
from kerasweep.tracking import redact, resolve_uri
from kerasweep.training import KEPT_MEMBERS
from kerasweep.training.inputs import inputs_of

Row = tuple[str, str]

_EPOCH_BYTES = 100  # of a trial in the journal: five numbers of up to 19 digits


@dataclass(frozen=True)
class Plan:
    """What would run.

    Attributes:
        sections: (title, rows of (label, value)), in reading order.
        warnings: what may not be meant.
        advice: where the space goes against what usually works.
    """

    sections: tuple[tuple[str, tuple[Row, ...]], ...]
    warnings: tuple[str, ...]
    advice: tuple[str, ...] = ()


def plan(loaded: LoadedPipeline) -> Plan:
    """Describes a pipeline's stages, space, rungs, trials and resources.

    It starts nothing, downloads nothing and runs nothing of the user's. Data in a file is read, as it says how many
    trials can train together.

    Raises:
        SpecError: the file says something of the data that is not so.
    """
    loaded = replace(loaded, spec=_with_space(loaded))
    spec = loaded.spec
    size = None if spec.space_ is None else Space(spec.space).size()
    trials = min(spec.search.trials, size or spec.search.trials)
    shared = _shared(loaded, trials)
    return Plan(
        sections=(
            ("Pipeline", tuple(_overview(loaded))),
            (_space_title(spec, size), tuple(_space(spec))),
            ("Search", tuple(_search(spec, trials, shared))),
            ("Resources on this machine", tuple(_resources(spec, trials, shared))),
            ("Stages", tuple(_stages(spec, trials))),
        ),
        warnings=tuple(_warnings(spec, size)),
        advice=tuple(advice(spec)),
    )


def _with_space(loaded: LoadedPipeline) -> PipelineSpec:
    """The pipeline with its family's default space, if it leaves its own out and the data say what they are."""
    spec = loaded.spec
    if spec.space_ is not None or spec.model.family != AUTO:
        return spec
    images = shows_images(spec.data)
    if images is None and spec.data.npz is not None:
        with suppress(DataError):
            images = inputs_of(spec, load_search(spec.data, loaded.directory)).images
    return spec if images is None else spec.with_space(default_space(images))


def _overview(loaded: LoadedPipeline) -> Iterator[Row]:
    spec = loaded.spec
    yield "name", spec.name
    yield "data", spec.data.source
    if spec.data.weights is not None:
        yield "row weights", f"column {spec.data.weights}"
    if spec.training.class_weight is not None:
        yield "class weights", _class_weights(spec.training.class_weight)
    yield "model", spec.model.family or str(spec.model.builder)
    if spec.model.family == COLUMN_FAMILY:
        yield from _columns(loaded)
    if (initial := spec.model.initial_weights) is not None:
        yield "starts from", f"the first {initial.layers} layers with weights of {initial.from_}"
        if initial.freeze:
            yield "frozen", "throughout" if initial.freeze == "all" else f"for the first {initial.freeze} epochs"
    yield "objective", f"{spec.objective.metric}, {spec.objective.direction}d"
    yield "tracking", redact(resolve_uri(spec.tracking.uri, Path.cwd()))
    yield "experiment", spec.experiment


def _columns(loaded: LoadedPipeline) -> Iterator[Row]:
    """Which columns go which way through a wide and deep network."""
    spec = loaded.spec
    known = known_columns(spec.data, loaded.directory)
    for key in COLUMN_KEYS:
        chosen = getattr(spec.model, key)
        if chosen is None:
            yield f"{key} columns", "all"
        else:
            yield f"{key} columns", ", ".join(str(each) if known is None else known.label(each) for each in chosen)


def _class_weights(given: str | Mapping[str, float]) -> str:
    if isinstance(given, str):
        return given
    return ", ".join(f"{name} {weight:g}" for name, weight in given.items()) + "; others 1"


def _space_title(spec: PipelineSpec, size: int | None) -> str:
    if spec.space_ is None:
        return "Space"
    if size == 1:
        return "Space (1 configuration)"
    return f"Space ({'infinitely many' if size is None else size} configurations)"


def _space(spec: PipelineSpec) -> Iterator[Row]:
    if spec.space_ is None:
        asked = "what the model asks an hp for, found by building it when the study starts"
        own = f"those of the family {AUTO}, for images or for tables as the data turn out to be"
        yield "parameters", own if spec.model.family == AUTO else asked
    else:
        yield from ((name, _parameter(parameter)) for name, parameter in spec.space.parameters.items())
    for name, value in spec.training.fixed.items():
        yield name, f"fixed at {value}"


def _parameter(parameter: Parameter) -> str:
    if isinstance(parameter, Fixed):
        text = f"fixed at {parameter.value}"
    elif isinstance(parameter, Choice):
        text = "one of " + ", ".join(map(str, parameter.values))
    elif isinstance(parameter, Find):
        text = f"found by every trial, in a range test from {parameter.min:g} to {parameter.max:g}"
    else:
        text = f"{parameter.type} from {parameter.min:g} to {parameter.max:g}"
        text += ", logarithmic" if parameter.log else ""
        text += f", in steps of {parameter.step:g}" if parameter.step is not None else ""
    when = [f"{other} is {' or '.join(map(str, values))}" for other, values in parameter.when.items()]
    return text + (f", when {' and '.join(when)}" if when else "")


def _shared(loaded: LoadedPipeline, trials: int) -> Allocation | ResourceError | None:
    """How the trials share this machine, or why they cannot; None if that shows when the study starts only."""
    spec = loaded.spec
    if spec.resources.gpus_per_trial:
        return None
    available = {"CPU": float(local_cpus())}
    try:
        if spec.alone:
            return alone(spec, trials, available)
        allocate(spec.resources, available, trials, together=True)  # what is impossible is so with any data
        if spec.data.python is not None or (spec.data.name and DATASETS[spec.data.name].images):
            return None  # the user's function, or what may have to be downloaded
        return share(
            spec, trials, load_search(spec.data, loaded.directory, folds=spec.search.folds), available, local=True
        )
    except ResourceError as error:
        return error
    except DataError:
        return None
    except SpecError as error:
        raise loaded.placed(error) from error


def _search(spec: PipelineSpec, trials: int, shared: Allocation | ResourceError | None) -> Iterator[Row]:
    search = spec.search
    cohort = shared.cohort if isinstance(shared, Allocation) else _cohort(spec)
    yield "searcher", _options(search.searcher)
    yield "how it proposes", _what_it_is(search.searcher)
    yield "scheduler", _options(search.scheduler)
    yield "who goes on", _what_it_is(search.scheduler)
    yield from _rungs(spec, cohort)
    if search.points:
        yield "points first", str(len(search.points))
    if search.warm_start:
        yield "learns from", ", ".join(search.warm_start)
    yield "trials", str(trials)
    yield "epochs of a trial", f"at most {search.max_epochs}"
    low, high = expected_epochs(search.scheduler, trials, search.max_epochs, cohort)
    yield "epochs in all", f"{low:,.0f}" if low == high else f"{low:,.0f} to {high:,.0f}"
    if search.folds is not None:
        yield "folds", f"{search.folds}: every trial trains {search.folds} times, and its metrics are the means"
    if isinstance(spec.training.method, Neuroevolution):
        yield "training", _evolution(spec)
    else:
        yield "learning rate", _rate(spec)
    yield from _range_tests(spec, trials)
    stopping = spec.training.early_stopping
    yield "early stopping", f"after {stopping.patience} epochs without improvement" if stopping else "off"
    if spec.training.callbacks:
        yield "callbacks", ", ".join(callback.name for callback in spec.training.callbacks)
    yield "time limit", f"{search.time_limit:g} s" if search.time_limit is not None else "none"
    yield "seed", str(search.seed)


def _rate(spec: PipelineSpec) -> str:
    """How the learning rate goes up and down, as far as the file says."""
    parameters = {} if spec.space_ is None else spec.space_.parameters
    own = [name for name in SCHEDULE_PARAMETERS if name in parameters or name in spec.training.fixed]
    if "schedule" in own:
        return f"as the parameters say: {', '.join(own)}"
    said = {name: value for name, value in spec.training.schedule if name not in own}
    text = _options({name: value for name, value in said.items() if value or not name.startswith("warmup_")})
    return text + "".join(f", {name} as the parameter says" for name in own)


def _range_tests(spec: PipelineSpec, trials: int) -> Iterator[Row]:
    """What it costs that trials find their learning rates."""
    for find in () if spec.space_ is None else Space(spec.space).found.values():
        some = " of those trials that find their rate" if find.when else ""
        yield "range tests", f"at most {find.steps} steps before each{some or ' trial'}, {find.steps * trials:,} in all"


def _evolution(spec: PipelineSpec) -> str:
    """How networks evolve, as far as the file says."""
    parameters = {} if spec.space_ is None else spec.space_.parameters
    own = [name for name in EVOLUTION_PARAMETERS if name in parameters or name in spec.training.fixed]
    said = {name: "all rows" if value is None else value for name, value in spec.training.method if name not in own}
    text = _options(said)
    return text + "".join(f", {name} as the parameter says" for name in own)


def _cohort(spec: PipelineSpec) -> int:
    """Members of a cohort as far as the file tells; if it leaves that open, more than one."""
    cohort = spec.resources.cohort
    return 1 if spec.alone else cohort if isinstance(cohort, int) else 2


def _options(section: object) -> str:
    fields = dict(section)  # type: ignore[call-overload]  # a pydantic model iterates over its fields
    name = str(fields.pop("name"))
    return name + (f" ({', '.join(f'{key} {_listed(value)}' for key, value in fields.items())})" if fields else "")


def _what_it_is(section: SearcherSpec | SchedulerSpec) -> str:
    """The first sentence that its class says of itself, without the full stop."""
    return inspect.cleandoc(type(section).__doc__ or "").partition("\n")[0].removesuffix(".")


def _listed(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(_listed, value))
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "auto"}[value]
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def _rungs(spec: PipelineSpec, cohort: int) -> Iterator[Row]:
    scheduler, epochs = spec.search.scheduler, spec.search.max_epochs
    if isinstance(scheduler, HyperbandScheduler):
        for number, bracket in enumerate(hyperband_brackets(epochs, scheduler.eta, cohort)):
            steps = " → ".join(
                f"{trials} to epoch {rung}" for trials, rung in zip(bracket.survivors, bracket.rungs, strict=True)
            )
            yield f"bracket {number}", steps
    elif isinstance(scheduler, AshaScheduler):
        for number, rungs in enumerate(asha_rungs(scheduler.grace, scheduler.eta, epochs, scheduler.brackets)):
            yield f"bracket {number}", "rungs at epoch " + ", ".join(map(str, rungs))
    elif isinstance(scheduler, AutoScheduler):
        yield "rungs", _auto_rungs(epochs, scheduler.eta)
    elif isinstance(scheduler, MedianScheduler):
        yield "rungs", f"every epoch from {scheduler.grace} on"
    elif isinstance(scheduler, PopulationScheduler):
        yield "rungs", f"copies at every epoch that {scheduler.interval} divides"


def _auto_rungs(epochs: int, eta: float) -> str:
    rungs = auto_rungs(epochs, eta)
    if not rungs:
        return "none: one epoch is all there is"
    listed = ", ".join(map(str, rungs))
    return f"at epoch {listed}: the best 1/{eta:g} of a cohort go on, unless they are behind their pace"


def _resources(spec: PipelineSpec, trials: int, shared: Allocation | ResourceError | None) -> Iterator[Row]:
    yield "CPUs", str(local_cpus())
    if spec.resources.gpus_per_trial:
        yield "GPUs per worker", f"{spec.resources.gpus_per_trial:g} (checked when the study starts)"
    if isinstance(shared, ResourceError):
        yield "impossible", str(shared)
        return
    if shared is None:
        given = str(spec.resources.cohort) if isinstance(spec.resources.cohort, int) else "chosen when the study starts"
        yield "members of a cohort", "1" if spec.alone else given
        return
    if spec.resources.cohort != "off":
        yield "members of a cohort", shared.reason or str(shared.cohort)
    yield "workers at a time", str(shared.concurrency)
    yield "threads per worker", str(shared.threads)
    yield "on disk", _on_disk(spec, trials, shared)


def _on_disk(spec: PipelineSpec, trials: int, shared: Allocation) -> str:
    """How much a study's folder holds at most, as far as that can be known before a model is built."""
    kilobytes = trials * (1 + spec.search.max_epochs * _EPOCH_BYTES / 1000)
    size = f"{kilobytes / 1000:.1f} MB" if kilobytes >= 1000 else f"{kilobytes:.0f} kB"
    states = shared.concurrency + KEPT_MEMBERS
    if shared.cohort == 1 and isinstance(spec.search.scheduler, HyperbandScheduler):
        brackets = hyperband_brackets(spec.search.max_epochs, spec.search.scheduler.eta)
        states += max(bracket.trials for bracket in brackets)  # those that wait at a rung
    folder = "mlruns/studies" if spec.resources.storage == "auto" else spec.resources.storage
    then = f"then {KEPT_MEMBERS} trials' weights"
    return f"at most {size} of journal and the states of {states} cohorts, in {folder}; {then}"


def _stages(spec: PipelineSpec, trials: int) -> Iterator[Row]:
    yield "1 search", f"{trials} trial{'s' if trials > 1 else ''}"
    if spec.retrain:
        yield "2 retrain", f"the winner, on {spec.retrain.data}, with {spec.retrain.seeds} seed(s)"
    else:
        yield "2 retrain", "skipped: the winner's own weights are delivered"
    yield "3 evaluate", "once on the test split, beside a linear model and a dummy"
    yield "4 export", ", ".join(spec.export.formats) or "skipped"
    if spec.register_:
        yield "5 register", f"as {spec.register_.name or spec.name}, alias {spec.register_.alias} if at least as good"
    else:
        yield "5 register", "skipped"


def _warnings(spec: PipelineSpec, size: int | None) -> Iterator[str]:
    if size is not None and size < spec.search.trials:
        yield too_small(size, spec.search.trials)
    stopping = spec.training.early_stopping
    asked_for = "early_stopping" in spec.training.model_fields_set
    if asked_for and stopping and stopping.patience >= spec.search.max_epochs:
        yield f"early stopping never acts: patience {stopping.patience} with at most {spec.search.max_epochs} epochs"
