"""What runs inside a worker: its device settings, its arrays, and a cohort in training."""

from __future__ import annotations

import functools
import gc
import os
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib.abc import MetaPathFinder
from typing import TYPE_CHECKING

from kerasweep.dispatch.resources import card_memory
from kerasweep.dispatch.standings import STANDINGS, Standings
from kerasweep.errors import ResourceError
from kerasweep.records import Change, Decision, Params, Status
from kerasweep.training.base import (
    Cohort,
    EpochReport,
    Outcome,
    Snapshot,
    Trainer,
    TrainingArrays,
)
from kerasweep.training.stepwise import Stepwise

if TYPE_CHECKING:
    from kerasweep.data.base import SearchData


# Measured: a cohort's program then compiles a quarter faster and runs as fast, since its products are a library's; and
# several compile side by side, which pieces of one program compiled in parallel keep them from.
_XLA_FLAGS = "--xla_backend_optimization_level=1 --xla_cpu_parallel_codegen_split_count=1"


@functools.cache  # a process that is reused was configured already, and TensorFlow does not allow it twice
def configure_device(threads: int, gpus: float) -> None:
    """Limits this process to its share of the machine. To be called before TensorFlow computes anything.

    Args:
        threads: of the arithmetic of one operation, and of operations side by side, such as the stacks of a cohort.
        gpus: a share below one of a card is a limit on its memory, so that trials on one card do not take it whole;
            otherwise memory grows as it is needed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("XLA_FLAGS", _XLA_FLAGS)
    import tensorflow as tf

    # What TensorFlow's import made lives as long as the process; without it in the way, collections while a model is
    # traced cost a tenth less of a short trial.
    gc.collect()
    gc.freeze()
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    cards = tf.config.list_physical_devices("GPU")
    if not gpus:
        tf.config.set_visible_devices([], "GPU")
        return
    for card in cards:
        if gpus < 1:
            limit = tf.config.LogicalDeviceConfiguration(memory_limit=int(gpus * _card_mebibytes()))
            tf.config.set_logical_device_configuration(card, [limit])
        else:
            tf.config.experimental.set_memory_growth(card, True)


# What Keras imports if it is there, for scikit-learn wrappers and galleries of images: a third of its own import.
_NEEDLESS = frozenset({"matplotlib", "sklearn"})


def import_ahead() -> None:
    """Imports what training needs, in a thread of its own, and returns at once; who needs it first waits for it.

    In this process ``keras.wrappers`` and ``keras.visualization`` then find scikit-learn and Matplotlib missing;
    everything else, a user's model and callbacks among it, can import them as ever.
    """

    def load() -> None:
        sys.meta_path.insert(0, needless := _Needless())
        try:
            import tensorflow  # noqa: F401  # the import is the purpose
        finally:
            sys.meta_path.remove(needless)

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    threading.Thread(target=load, name="tensorflow", daemon=True).start()


class _Needless(MetaPathFinder):
    """Says in the thread that made it that what is needless there is not installed."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()

    def find_spec(self, name: str, path: object, target: object = None) -> None:
        if name in _NEEDLESS and threading.get_ident() == self._thread:
            raise ModuleNotFoundError(f"{name} is not imported with TensorFlow", name=name)


def _card_mebibytes() -> float:
    if (memory := card_memory()) is None:
        raise ResourceError("a share of a card needs nvidia-smi to tell the card's memory. Received: no answer")
    return memory / 2**20


def arrays_of(data: SearchData, *, merge: bool = False) -> TrainingArrays:
    """Features and targets for training.

    Args:
        data: raw rows.
        merge: train on the training and validation rows together, with nothing to validate on.
    """
    from kerasweep.data.preprocessing import transform
    from kerasweep.data.rows import concatenate
    from kerasweep.data.weights import merged_weights

    if data.folds and not merge:
        return _folded(data)
    parts = (data.train, data.validation)
    train, validation = (transform(data.preprocessing, split.x) for split in parts)
    if merge:
        y = concatenate(data.train.y, data.validation.y)
        return TrainingArrays(concatenate(train, validation), y, None, merged_weights(*parts))
    return TrainingArrays(train, data.train.y, (validation, data.validation.y), data.train.weights)


def _folded(data: SearchData) -> TrainingArrays:
    """What each fold trains and validates on, as its own preprocessing makes it."""
    from kerasweep.data.preprocessing import transform
    from kerasweep.data.rows import concatenate, take
    from kerasweep.data.weights import merged_weights

    rows, y = concatenate(data.train.x, data.validation.x), concatenate(data.train.y, data.validation.y)
    weights = merged_weights(data.train, data.validation)
    folds = []
    for fold in data.folds:
        x = transform(fold.preprocessing, rows)
        validation = take(x, fold.validation), take(y, fold.validation)
        own = None if weights is None else weights[fold.train]
        folds.append(TrainingArrays(take(x, fold.train), take(y, fold.train), validation, own))
    return TrainingArrays(take(x, slice(0)), take(y, slice(0)), None, folds=tuple(folds))


@dataclass(frozen=True)
class Step:
    """What one step of a cohort brought; all is by trial number.

    Attributes:
        report: of the epoch, None if none was finished.
        ended: the members that ended with it, and how.
        changes: of the members that go on from another one's state; see ``Reported``.
        over: whether nobody is left.
        found: hyperparameters that members found for themselves.
    """

    report: EpochReport | None
    ended: Mapping[int, tuple[Status, str]]
    changes: Mapping[int, tuple[Change, ...]]
    over: bool
    found: Mapping[int, Params] = field(default_factory=dict)


class CohortRun:
    """A cohort in training, one epoch at a time, and the scheduler that decides within it."""

    def __init__(
        self, trainer: Trainer, cohort: Cohort, data: TrainingArrays, standings: Standings, resume: Snapshot | None
    ) -> None:
        self._stepwise = Stepwise(trainer, cohort, data, resume)
        self._standings = standings
        self._resume = resume
        if resume is not None:
            standings.restore(resume.state[STANDINGS])
        self._snapshot: Callable[[], Snapshot] | None = None
        self._decision = Decision()

    def step(self) -> Step:
        """Trains one more epoch."""
        event = self._stepwise.step(self._decision)
        left = self._standings.living
        if not isinstance(event, EpochReport):
            found = {outcome.number: outcome.found for outcome in event if outcome.found}
            return Step(None, _ends(event, left), {}, True, found)
        self._decision = self._standings.decide(event)
        ended = _ends(event.ended, left) | dict.fromkeys(self._decision.stop, (Status.STOPPED, ""))
        changes = {number: self._standings.changes(number) for number in self._decision.copies}
        self._snapshot = functools.partial(self._with_decision, event.snapshot)
        if not event.last and self._standings.living:
            return Step(event, ended, changes, False, event.found)
        final = self._snapshot()
        self._snapshot = lambda: final
        outcomes = self._stepwise.step(self._decision)
        if isinstance(outcomes, EpochReport):
            raise RuntimeError(f"a trainer must end after its last report. Received: epoch {outcomes.epoch}")
        return Step(event, _ends(outcomes, left) | ended, changes, True, event.found)

    def snapshot(self) -> Snapshot | None:
        """The state after the last finished epoch, with what was decided then; None before the first."""
        return self._snapshot() if self._snapshot else self._resume

    def abandon(self) -> None:
        """Ends training without an outcome."""
        self._stepwise.abandon()

    def _with_decision(self, taken: Callable[[], Snapshot]) -> Snapshot:
        snapshot = taken()
        state = {**snapshot.state, STANDINGS: self._standings.to_state()}
        return Snapshot(snapshot.arrays, state, self._decision)


def _ends(outcomes: Iterable[Outcome], left: frozenset[int]) -> dict[int, tuple[Status, str]]:
    """How those ended who were left before."""
    return {outcome.number: (outcome.status, outcome.reason) for outcome in outcomes if outcome.number in left}
