"""The learning-rate range test of a pipeline file's model."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kerasweep.records import Params
from kerasweep.spec import LoadedPipeline

if TYPE_CHECKING:
    from kerasweep.training.rate_finder import RangeTest


@dataclass(frozen=True)
class FoundRate:
    """What came of a range test.

    Attributes:
        test: the curve, and what it says.
        params: of the model, its learning rate left out.
        batch_size: rows of a step.
        figure: where it was drawn, None for nowhere.
        seconds: that it took, imports and data included.
    """

    test: RangeTest
    params: Params
    batch_size: int
    figure: Path | None
    seconds: float

    def to_json(self) -> Mapping[str, Any]:
        """What ``lr-find --json`` prints."""
        return {
            "learning_rate": self.test.suggestion,
            "turning_point": self.test.turning,
            "reason": self.test.reason,
            "params": dict(self.params),
            "batch_size": self.batch_size,
            "rates": self.test.rates.tolist(),
            "losses": self.test.losses.tolist(),
            "smoothed": self.test.smoothed.tolist(),
            "figure": None if self.figure is None else str(self.figure),
            "seconds": round(self.seconds, 3),
        }


def find_rate(
    loaded: LoadedPipeline, *, low: float = 1e-5, high: float = 10.0, steps: int = 500, out: Path | None = None
) -> FoundRate:
    """Trains a pipeline's model at ever larger learning rates, on its training rows, and says which one to take.

    Its hyperparameters are those of ``training.fixed``, else their priors, else the middle of their range or the first
    of their values. The learning rate among them, and schedules of it, are left aside. Layers that start from trained
    weights do so here, too, and are frozen if they are at first. Nothing is recorded.

    Args:
        loaded: the pipeline file.
        low: the first learning rate.
        high: the last one.
        steps: from the first to the last.
        out: a PNG file to draw the curve into.

    Raises:
        SpecError: the rates or steps make no test.
        ModelError: the model cannot be built.
        KerasweepError: the trained weights that it starts from cannot be read.
    """
    begun = time.monotonic()
    from kerasweep.data import load_search
    from kerasweep.dispatch.worker import arrays_of
    from kerasweep.errors import ModelError, Problem, SpecError
    from kerasweep.models import import_tensorflow
    from kerasweep.seeds import derive
    from kerasweep.space import Space
    from kerasweep.study.initial import read_initial
    from kerasweep.study.origin import Origin, models_for
    from kerasweep.study.settled import settle
    from kerasweep.tracking import resolve_uri
    from kerasweep.training import Freeze, Member, Schedule
    from kerasweep.training.cohort.crew import batch_size
    from kerasweep.training.inputs import inputs_of
    from kerasweep.training.rate_finder import Sweep, range_tests

    sweep = Sweep(low, high, steps)
    if loaded.spec.training.method.name != "gradient":
        rule = "a range test of the learning rate needs training.method gradient"
        raise SpecError([Problem(f"{rule}. Received: {loaded.spec.training.method.name}", ("training", "method"))])
    origin = Origin(loaded.directory, loaded.text)
    data = load_search(loaded.spec.data, origin.directory)
    import_tensorflow()
    spec = settle(loaded.spec, origin.directory, None, images=inputs_of(loaded.spec, data).images).spec
    params = {**spec.training.fixed, **Space(spec.space).central()}
    seed = spec.search.seed
    member = Member(0, params, derive(seed, "lr-find"))
    order, freeze = derive(seed, "order"), Freeze.of(spec.model.initial_weights)
    initial = read_initial(spec, resolve_uri(spec.tracking.uri, Path.cwd()))
    models = models_for(spec, data, origin, None if initial is None else initial.weights)
    schedule = Schedule(spec.objective, 1, order_seed=order, freeze=freeze)
    test = range_tests(models, [member], arrays_of(data), schedule, sweep)[0]
    if test.reason and not len(test.losses):
        raise ModelError(f"a range test must be able to train. Received: {test.reason}")
    if out is not None:
        from kerasweep.report.rates import range_test_figure

        out.parent.mkdir(parents=True, exist_ok=True)
        range_test_figure(test, spec.name).savefig(out, dpi=150)
    shown = {name: value for name, value in params.items() if name != "learning_rate"}
    return FoundRate(test, shown, batch_size(member), out, time.monotonic() - begun)
