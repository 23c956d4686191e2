"""What a pipeline would do, worked out without doing any of it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kerasweep.data import load_search
from kerasweep.dispatch import Allocation, allocate, local_cpus, share
from kerasweep.errors import DataError, ResourceError
from kerasweep.scheduling import asha_rungs, auto_rungs, expected_epochs, hyperband_brackets
from kerasweep.space import Space
from kerasweep.spec import LoadedPipeline
from kerasweep.spec.parameters import Choice, Fixed, Parameter
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
from kerasweep.tracking import redact, resolve_uri

Row = tuple[str, str]


@dataclass(frozen=True)
class Plan:
    """What would run.

    Attributes:
        sections: (title, rows of (label, value)), in reading order.
        warnings: what may not be meant.
    """

    sections: tuple[tuple[str, tuple[Row, ...]], ...]
    warnings: tuple[str, ...]


def plan(loaded: LoadedPipeline) -> Plan:
    """Describes a pipeline's stages, space, rungs, trials and resources.

    It starts nothing, downloads nothing and runs nothing of the user's. Data in a file is read, as it says how many
    trials can train together.
    """
    spec = loaded.spec
    size = None if spec.space_ is None else Space(spec.space).size()
    trials = min(spec.search.trials, size or spec.search.trials)
    shared = _shared(loaded, trials)
    return Plan(
        sections=(
            ("Pipeline", tuple(_overview(spec))),
            (_space_title(spec, size), tuple(_space(spec))),
            ("Search", tuple(_search(spec, trials, shared))),
            ("Resources on this machine", tuple(_resources(spec, shared))),
            ("Stages", tuple(_stages(spec))),
        ),
        warnings=tuple(_warnings(spec, size)),
    )


def _overview(spec: PipelineSpec) -> Iterator[Row]:
    yield "name", spec.name
    yield "data", spec.data.source
    yield "model", spec.model.family or str(spec.model.builder)
    yield "objective", f"{spec.objective.metric}, {spec.objective.direction}d"
    yield "tracking", redact(resolve_uri(spec.tracking.uri, Path.cwd()))
    yield "experiment", spec.experiment


def _space_title(spec: PipelineSpec, size: int | None) -> str:
    if spec.space_ is None:
        return "Space"
    return f"Space ({'infinitely many' if size is None else size} configurations)"


def _space(spec: PipelineSpec) -> Iterator[Row]:
    if spec.space_ is None:
        yield "parameters", "what the model asks an hp for, found by building it when the study starts"
    else:
        yield from ((name, _parameter(parameter)) for name, parameter in spec.space.parameters.items())
    for name, value in spec.training.fixed.items():
        yield name, f"fixed at {value}"


def _parameter(parameter: Parameter) -> str:
    if isinstance(parameter, Fixed):
        text = f"fixed at {parameter.value}"
    elif isinstance(parameter, Choice):
        text = "one of " + ", ".join(map(str, parameter.values))
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
        if spec.resources.cohort in ("off", 1):
            return allocate(spec.resources, available, trials)
        allocate(spec.resources, available, trials, together=True)  # what is impossible is so with any data
        if spec.data.python is not None or (spec.data.name and DATASETS[spec.data.name].images):
            return None  # the user's function, or what may have to be downloaded
        return share(spec, trials, load_search(spec.data, loaded.directory), available, local=True)
    except ResourceError as error:
        return error
    except DataError:
        return None


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
    stopping = spec.training.early_stopping
    yield "early stopping", f"after {stopping.patience} epochs without improvement" if stopping else "off"
    yield "time limit", f"{search.time_limit:g} s" if search.time_limit is not None else "none"
    yield "seed", str(search.seed)


def _cohort(spec: PipelineSpec) -> int:
    """Members of a cohort as far as the file tells; if it leaves that open, more than one."""
    cohort = spec.resources.cohort
    return cohort if isinstance(cohort, int) else 1 if cohort == "off" else 2


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


def _resources(spec: PipelineSpec, shared: Allocation | ResourceError | None) -> Iterator[Row]:
    yield "CPUs", str(local_cpus())
    if spec.resources.gpus_per_trial:
        yield "GPUs per worker", f"{spec.resources.gpus_per_trial:g} (checked when the study starts)"
    if isinstance(shared, ResourceError):
        yield "impossible", str(shared)
        return
    if shared is None:
        given = isinstance(spec.resources.cohort, int)
        yield "members of a cohort", str(spec.resources.cohort) if given else "chosen when the study starts"
        return
    if spec.resources.cohort != "off":
        yield "members of a cohort", shared.reason or str(shared.cohort)
    yield "workers at a time", str(shared.concurrency)
    yield "threads per worker", str(shared.threads)


def _stages(spec: PipelineSpec) -> Iterator[Row]:
    yield "1 search", f"{spec.search.trials} trials"
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
        yield f"the space has {size} configurations only: {size} trials instead of {spec.search.trials}"
    stopping = spec.training.early_stopping
    asked_for = "early_stopping" in spec.training.model_fields_set
    if asked_for and stopping and stopping.patience >= spec.search.max_epochs:
        yield f"early stopping never acts: patience {stopping.patience} with at most {spec.search.max_epochs} epochs"
