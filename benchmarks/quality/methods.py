"""The rows of the table: every method by its name, and how it is made."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

import kerasweep
from kerasweep.errors import one_of
from kerasweep.spec.schedulers import SchedulerSpec
from kerasweep.spec.searchers import SearcherSpec
from quality.benchmark import Benchmark
from quality.simulation import Method

OURS = "kerasweep:"
BASELINE = f"{OURS}random"

Make = Callable[[Benchmark, int, int, int], Method]  # benchmark, workers, budget, seed

# SEARCHER, or SEARCHER+SCHEDULER, options in brackets, and the size of a cohort: tpe(startup=5)+asha(grace=2)@27
_PART = r"([a-z0-9_]+)(?:\((.*?)\))?"
_OURS = re.compile(rf"{_PART}(?:\+{_PART})?(?:@(\d+))?")


@dataclass(frozen=True)
class Way:
    """A method that can be run.

    Attributes:
        name: in the table.
        make: makes it for one run.
        module: of this package, which it comes from.
        package: whose version its results depend on.
        slow: whether a run takes so long that there are fewer seeds, and one worker only.
    """

    name: str
    make: Make
    module: str
    package: str
    slow: bool = False

    def fingerprint(self) -> str:
        """Changes whenever the method's results might."""
        here = Path(__file__).resolve().parent
        files = [here / f"{name}.py" for name in ("asking", "benchmark", "lcbench", "simulation", "synthetic")]
        files.append(here / f"{self.module}.py")
        if self.package == "kerasweep":
            files += sorted(_own_sources())
        digest = hashlib.blake2b(metadata.version(self.package).encode(), digest_size=8)
        for file in files:
            digest.update(file.read_bytes())
        return digest.hexdigest()


def _own_sources() -> Iterator[Path]:
    package = Path(kerasweep.__file__).resolve().parent
    yield from (package / name for name in ("records.py", "seeds.py"))
    for room in ("scheduling", "search", "space", "spec", "study"):
        yield from (package / room).glob("*.py")


def _optuna(pruner: str, sampler: str = "tpe") -> Make:
    def make(benchmark: Benchmark, workers: int, budget: int, seed: int) -> Method:
        from quality.optuna_peer import OptunaPeer

        return OptunaPeer(benchmark, seed, pruner, sampler)

    return make


def _ray(grace: int, eta: float) -> Make:
    def make(benchmark: Benchmark, workers: int, budget: int, seed: int) -> Method:
        from quality.ray_peer import RayAsha

        return RayAsha(benchmark, seed, grace, eta)

    return make


def _keras_tuner(oracle: Any) -> Make:
    def make(benchmark: Benchmark, workers: int, budget: int, seed: int) -> Method:
        from quality.keras_tuner_peer import KerasTunerPeer

        return KerasTunerPeer(benchmark, seed, oracle, budget)

    return make


def _smac(benchmark: Benchmark, workers: int, budget: int, seed: int) -> Method:
    from quality.smac_peer import SmacPeer

    return SmacPeer(benchmark, seed, budget)


def _skopt(estimator: str) -> Make:
    def make(benchmark: Benchmark, workers: int, budget: int, seed: int) -> Method:
        from quality.skopt_peer import SkoptPeer

        return SkoptPeer(benchmark, seed, estimator)

    return make


def _hyperopt(algorithm: str) -> Make:
    def make(benchmark: Benchmark, workers: int, budget: int, seed: int) -> Method:
        import hyperopt

        from quality.hyperopt_peer import HyperoptPeer

        return HyperoptPeer(benchmark, seed, getattr(hyperopt, algorithm).suggest)

    return make


def _deap(benchmark: Benchmark, workers: int, budget: int, seed: int) -> Method:
    from quality.deap_peer import DeapPeer

    return DeapPeer(benchmark, seed)


PEERS = {
    way.name: way
    for way in (
        Way("optuna", _optuna("default"), "optuna_peer", "optuna"),
        Way("optuna:tpe", _optuna("none"), "optuna_peer", "optuna"),
        Way("optuna:tpe+median", _optuna("median"), "optuna_peer", "optuna"),
        Way("optuna:tpe+hyperband", _optuna("hyperband"), "optuna_peer", "optuna"),
        Way("ray:asha", _ray(1, 4), "ray_peer", "ray"),
        Way("ray:asha(grace=2,eta=3)", _ray(2, 3), "ray_peer", "ray"),
        Way("keras_tuner:hyperband", _keras_tuner("hyperband"), "keras_tuner_peer", "keras-tuner"),
        Way("keras_tuner:bayesian", _keras_tuner("bayesian"), "keras_tuner_peer", "keras-tuner", slow=True),
        Way("smac:multi_fidelity", _smac, "smac_peer", "smac", slow=True),
        Way("skopt:gp", _skopt("GP"), "skopt_peer", "scikit-optimize", slow=True),
        Way("optuna:cmaes", _optuna("none", "cmaes"), "optuna_peer", "optuna"),
        Way("skopt:extra_trees", _skopt("ET"), "skopt_peer", "scikit-optimize", slow=True),
        Way("skopt:random_forest", _skopt("RF"), "skopt_peer", "scikit-optimize", slow=True),
        Way("hyperopt:tpe", _hyperopt("tpe"), "hyperopt_peer", "hyperopt"),
        Way("hyperopt:anneal", _hyperopt("anneal"), "hyperopt_peer", "hyperopt"),
        Way("deap:simple", _deap, "deap_peer", "deap"),
    )
}

# Random search, what a study of kerasweep may be set to, and the peers.
DEFAULT = (
    BASELINE,
    f"{OURS}random+hyperband",
    f"{OURS}tpe",
    f"{OURS}tpe+hyperband",
    f"{OURS}auto+auto",
    "optuna",
    "optuna:tpe",
    "optuna:tpe+median",
    "optuna:tpe+hyperband",
    "ray:asha(grace=2,eta=3)",
    "keras_tuner:hyperband",
    "keras_tuner:bayesian",
    "smac:multi_fidelity",
    "skopt:gp",
)


@cache
def way(name: str) -> Way:
    """The method of a name: a peer's, or ``kerasweep:SEARCHER+SCHEDULER`` as ``_OURS`` says.

    Raises:
        ValueError: there is none.
    """
    if name in PEERS:
        return PEERS[name]
    if not name.startswith(OURS):
        raise ValueError(one_of("a method", name, DEFAULT))
    return Way(name, _ours(name), "ours", "kerasweep")


def _ours(name: str) -> Make:
    found = _OURS.fullmatch(name.removeprefix(OURS))
    if found is None:
        raise ValueError(f"a method of kerasweep must be {OURS}SEARCHER(OPTIONS)+SCHEDULER(OPTIONS). Received: {name}")
    searcher, its, scheduler, others, cohort = found.groups()
    searching = TypeAdapter[Any](SearcherSpec).validate_python({"name": searcher, **_options(its)})
    scheduling = TypeAdapter[Any](SchedulerSpec).validate_python({"name": scheduler or "none", **_options(others)})

    def make(benchmark: Benchmark, workers: int, budget: int, seed: int) -> Method:
        from quality.ours import Ours, Setting

        setting = Setting(searching, scheduling, int(cohort) if cohort else None)
        return Ours(setting, benchmark, workers, budget, seed)

    return make


def _options(text: str | None) -> dict[str, Any]:
    """``grace=2,oracle="bayesian"`` as a mapping; values are JSON, and words need no quotes."""
    options = {}
    for part in (text or "").split(",") if text else ():
        key, _, value = part.partition("=")
        try:
            options[key.strip()] = json.loads(value)
        except json.JSONDecodeError:
            options[key.strip()] = value.strip()
    return options
