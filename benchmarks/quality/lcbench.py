"""The surrogate of LCBench: learning curves of MLPs on tabular data sets.

Sources: Zimmer, Lindauer, Hutter: Auto-PyTorch Tabular, TPAMI 2021 (LCBench); Pfisterer et al.: YAHPO Gym, AutoML 2022
(the surrogate, a network fitted to the curves of 2,000 configurations on each of 34 data sets).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np

from kerasweep.data.named import DATA_VARIABLE
from kerasweep.records import Params
from kerasweep.space import Space
from kerasweep.spec.parameters import Float, Int
from quality.benchmark import Array, Facts

# What methods may be developed on; all others are for judging them.
DEVELOPMENT_TASKS = ("3945", "126026", "167168", "189873", "189906", "146212", "168868", "7593")

SPACE = Space.of(
    batch_size=Int(min=16, max=512, log=True),
    learning_rate=Float(min=1e-4, max=1e-1, log=True),
    momentum=Float(min=0.1, max=0.99),
    weight_decay=Float(min=1e-5, max=1e-1),
    num_layers=Int(min=1, max=5),
    max_units=Int(min=64, max=1024, log=True),
    max_dropout=Float(min=0.0, max=1.0),
)
MAX_EPOCHS = 52

FACTS = Path(__file__).resolve().parent.parent / "results" / "lcbench_facts.json"

# The search for a task's best value: random configurations, then the neighbourhood of the best of them.
_RANDOM = 30_000
_PARENTS = 20
_CHILDREN = 50  # of each parent and round
_ROUNDS = 20
_SPREAD = 0.1  # of the first round's steps in the unit cube; it shrinks from round to round
_SHRINK = 0.85


def data_folder() -> Path:
    """Where the surrogate lies: ``lcbench`` under ``KERASWEEP_DATA``, or beside the repository under ``shared/data``.

    Raises:
        FileNotFoundError: it does not.
    """
    beside = Path(__file__).resolve().parents[3] / "shared" / "data"
    folder = Path(os.environ.get(DATA_VARIABLE, beside)) / "lcbench"
    if not (folder / "model.onnx").is_file():
        raise FileNotFoundError(f"{DATA_VARIABLE} must name a folder that holds lcbench/model.onnx. Received: {folder}")
    return folder


class LCBench:
    """One task of the surrogate; the objective is the validation accuracy, per cent.

    Args:
        task: its number at OpenML, one of ``LCBench.tasks()``.
        folder: holds ``model.onnx`` and ``encoding.json``.
    """

    space = SPACE
    max_epochs = MAX_EPOCHS

    def __init__(self, task: str, folder: Path | None = None) -> None:
        self.task = task
        self.folder = folder or data_folder()
        if task not in self._codes:
            raise ValueError(f"a task must be one of {', '.join(LCBench.tasks(self.folder))}. Received: {task}")

    def __reduce__(self) -> tuple[type[LCBench], tuple[str, Path]]:
        return LCBench, (self.task, self.folder)

    @staticmethod
    def tasks(folder: Path | None = None) -> tuple[str, ...]:
        """All tasks."""
        codes = json.loads(((folder or data_folder()) / "encoding.json").read_text())["OpenML_task_id"]
        return tuple(name for name in codes if name.isdigit())

    @property
    def name(self) -> str:
        return f"lcbench-{self.task}"

    @cached_property
    def facts(self) -> Facts:
        """Of a large fixed sample, refined by local search; kept in ``results/lcbench_facts.json``."""
        kept = json.loads(FACTS.read_text()) if FACTS.is_file() else {}
        if self.task not in kept:
            found = self._searched()
            kept[self.task] = {"best": round(found.best, 4), "seconds": round(found.seconds, 4)}
            FACTS.parent.mkdir(exist_ok=True)
            FACTS.write_text(json.dumps(dict(sorted(kept.items())), indent=1) + "\n")
        return Facts(**kept[self.task])

    def evaluate(self, params: Params, epochs: Sequence[int]) -> tuple[Array, Array]:
        rows = np.empty((len(epochs), len(SPACE.names)), np.float32)
        rows[:] = [float(params[name]) for name in SPACE.names]
        return self._outputs(rows, epochs)

    def _outputs(self, rows: Any, epochs: Sequence[int] | Any) -> tuple[Array, Array]:
        """Accuracies and seconds.

        Args:
            rows: configurations in natural units, ``(n, 7)`` float32.
            epochs: of each, ``(n,)``.
        """
        numbers = np.concatenate([np.asarray(epochs, np.float32)[:, None], rows], axis=1)
        task = np.full((len(rows), 1), self._codes[self.task], np.int32)
        (outputs,) = self._session.run(None, {"x_cat": task, "x_cont": numbers})
        return outputs[:, 1].astype(np.float64), outputs[:, 0].astype(np.float64)

    def _searched(self) -> Facts:
        rng = np.random.default_rng(0)
        cube = rng.random((_RANDOM, len(SPACE.dimensions)))
        values, seconds = self._finals(cube)
        mean = float(seconds.mean())
        spread = _SPREAD
        for _ in range(_ROUNDS):
            top = np.argsort(-values)[:_PARENTS]
            steps = rng.normal(0, spread, (_PARENTS, _CHILDREN, cube.shape[1])) * (rng.random(cube.shape[1]) < 0.7)
            children = np.clip((cube[top, None] + steps).reshape(-1, cube.shape[1]), 0, 1)
            cube = np.concatenate([cube[top], children])
            values = np.concatenate([values[top], self._finals(children)[0]])
            spread *= _SHRINK
        return Facts(float(values.max()), mean)

    def _finals(self, cube: Array) -> tuple[Array, Array]:
        """After the last epoch, of points in the unit cube, ``(n, 7)``."""
        rows = np.array([[float(value) for value in SPACE.from_unit(point).values()] for point in cube], np.float32)
        parts = [self._outputs(part, np.full(len(part), MAX_EPOCHS)) for part in _parts(rows, 500)]
        return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])

    @cached_property
    def _codes(self) -> dict[str, int]:
        codes: dict[str, int] = json.loads((self.folder / "encoding.json").read_text())["OpenML_task_id"]
        return codes

    @property
    def _session(self) -> Any:
        return _session(self.folder / "model.onnx")


@cache
def _session(model: Path) -> Any:
    """The model, loaded once a process, on one core."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def _parts(rows: Any, size: int) -> Iterable[Any]:
    return (rows[start : start + size] for start in range(0, len(rows), size))
