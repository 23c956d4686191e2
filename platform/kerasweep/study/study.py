"""A study made in Python."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from kerasweep.data import IN_MEMORY
from kerasweep.errors import StudyError
from kerasweep.records import Trial
from kerasweep.space import Space
from kerasweep.spec import pipeline_from_mapping
from kerasweep.spec.builders import is_hypermodel
from kerasweep.spec.parameters import Parameter
from kerasweep.spec.pipeline import RegisterSpec, RetrainSpec
from kerasweep.study.events import Observer, Silent
from kerasweep.study.folder import find, storage_root
from kerasweep.study.origin import Destination, Origin
from kerasweep.study.recording import Recording
from kerasweep.study.run import StudyRun

if TYPE_CHECKING:
    import keras
    import pandas as pd
    from keras_tuner import HyperModel

    from kerasweep.data.base import Array, Rows
    from kerasweep.data.rows import Features
    from kerasweep.study.winner import Evaluation, Registration, Winner


class Study:
    """One search for the best hyperparameters of a Keras model, and what becomes of the winner.

    Example:
        >>> study = Study("wine", data="wine", model=build_model, space={"n_hidden": Int(min=0, max=3)})
        >>> study.run().params  # doctest: +SKIP
        {'n_hidden': 2}

    A study holds Ray and a writer to the tracking store open from ``run`` on; ``close`` (or the end of a ``with``
    block, or of Python) ends them.

    Args:
        name: of the study, of its experiment and of its registered model.
        data: a bundled dataset's name; features and targets as a pair ``(x, y)``, or with the rows' weights in training
            as ``(x, y, weights)``, where ``x`` and ``y`` may be dicts of arrays by the names of the model's inputs and
            outputs; or the ``data`` section of a pipeline file as a mapping, in which
            ``"arrays": (x, y)`` may stand for the source.
        model: a function that takes parameters by name and returns a Keras model; KerasTuner's function of ``hp`` or
            ``HyperModel``; the name of a family; or the ``model`` section as a mapping.
        space: parameters by name, or a Space; None takes what a KerasTuner model asks for, or the default space of the
            family ``auto``.
        directory: relative paths and modules are looked for there; the working directory by default.
        sections: the other sections of a pipeline file as mappings, e.g. ``search={"trials": 20}``. Among
            ``training``'s ``callbacks`` a class may stand for its name.

    Raises:
        SpecError: anything is wrong; all of it at once.
    """

    def __init__(
        self,
        name: str,
        *,
        data: str | tuple[Rows, Features] | tuple[Rows, Features, Array] | Mapping[str, Any],
        model: str | Callable[..., Any] | HyperModel | Mapping[str, Any],
        space: Space | Mapping[str, Parameter] | None = None,
        directory: Path | str = ".",
        **sections: Mapping[str, Any] | None,
    ) -> None:
        place = Path(directory).absolute()
        section = {"arrays": data} if isinstance(data, tuple) else data
        memory = section.get("arrays") if isinstance(section, Mapping) else None
        builder = model if callable(model) or is_hypermodel(model) else None
        sections, callbacks = _callbacks_named(sections)
        mapping = {
            "name": name,
            "data": _data_section(section),
            "model": model_section(model, builder),
            "space": space_section(space),
            **sections,
        }
        at_hand: dict[str, object] = {IN_MEMORY: None, **callbacks}
        if builder is not None:
            at_hand[reference(builder)] = builder
        self.spec = pipeline_from_mapping(mapping, place, functions=at_hand).spec
        self._origin = Origin(place, memory=memory, builder=builder, callbacks=callbacks)
        self._run: StudyRun | None = None
        self._winner: Winner | None = None

    def run(
        self,
        *,
        observer: Observer | None = None,
        ray_address: str | None = None,
        tracking_uri: str | None = None,
        resume: str | None = None,
    ) -> Trial:
        """Searches the space.

        Args:
            observer: told how it goes.
            ray_address: of a cluster; a Ray of its own on this machine by default.
            tracking_uri: of the MLflow server or database; ``tracking.uri`` by default.
            resume: id or name of a study that was cut off and goes on; it must have had the same data, model and space,
                while ``search``'s budget may be another one. None begins a new study.

        Returns:
            The winner.

        Raises:
            StudyError: no trial succeeded.
            StudyNotFound: there is no study to go on with.
            StorageError: another process drives it, or its journal is damaged.
            SpecError: it is another study than this one; old and new are named.
        """
        self.close()
        self._winner = None
        root, recording = storage_root(self.spec.resources.storage), None
        if resume is not None:
            recording = Recording(find(root, resume), begins=False)
        destination = Destination(ray_address, tracking_uri, observer or Silent())
        self._run = StudyRun(self.spec, self._origin, destination, recording)
        return self._run.search()

    @property
    def id(self) -> str:
        """``name@xxxxxxxx``, under which the tracking store keeps the study."""
        return self._searched.id

    @property
    def best(self) -> Trial:
        """The winner."""
        return self._searched.best

    @property
    def trials(self) -> pd.DataFrame:
        """One row a trial: number, status, value, epoch, epochs, seconds, reason, and one column a parameter."""
        from kerasweep.report import to_frame

        searched = self._searched.searched
        return to_frame(searched.trials if searched else ())

    def retrain(self, seeds: int = 1, data: str = "train+validation") -> keras.Model:
        """Trains the winner anew for its best number of epochs.

        Args:
            seeds: independent retrainings; of several the median one on the test split is delivered.
            data: ``train+validation`` or ``train``.

        Returns:
            The model, from raw rows to predictions.
        """
        self._delivery.retrain(RetrainSpec.model_validate({"seeds": seeds, "data": data}))
        return self.model

    @property
    def model(self) -> keras.Model:
        """The winner's model, from raw rows to predictions: retrained if ``retrain`` was called."""
        return self._delivery.model

    def evaluate(self) -> Evaluation:
        """The model's scores on the test split, beside a linear model's and a dummy's."""
        return self._delivery.evaluate()

    def export(self, folder: Path | str, formats: Sequence[str] = ("keras",)) -> Mapping[str, Path]:
        """Writes the model; each format is read back and compared before it counts.

        Returns:
            format -> path.
        """
        return self._delivery.export(formats, Path(folder))

    def register(self, name: str | None = None, alias: str = "champion") -> Registration:
        """Registers the model in MLflow; the alias moves only if no better model holds it."""
        return self._delivery.register(RegisterSpec(name=name, alias=alias))

    def close(self) -> None:
        """Ends Ray, and waits until everything is in the tracking store."""
        if self._run is not None:
            self._run.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _searched(self) -> StudyRun:
        if self._run is None:
            raise StudyError("a study must run before its results are asked for. Received: no run yet")
        return self._run

    @property
    def _delivery(self) -> Winner:
        if self._winner is None:
            from kerasweep.study.winner import Winner

            self._winner = Winner(self._searched)
        return self._winner


def _data_section(given: str | Mapping[str, Any]) -> dict[str, Any]:
    """The ``data`` section; arrays, which only Python can hold, are replaced by a name for them."""
    if isinstance(given, str):
        return {"name": given}
    section = dict(given)
    return section | {"python": IN_MEMORY} if section.pop("arrays", None) is not None else section


def model_section(given: object, builder: object) -> object:
    """The ``model`` section; a function or a HyperModel is replaced by a name for it."""
    if builder is not None:
        return {"builder": reference(builder)}
    return {"family": given} if isinstance(given, str) else given


def _callbacks_named(
    sections: Mapping[str, Mapping[str, Any] | None],
) -> tuple[dict[str, Mapping[str, Any] | None], dict[str, type]]:
    """The sections with the classes among ``training.callbacks`` replaced by names, and these classes by name."""
    training = sections.get("training")
    given = training.get("callbacks") if isinstance(training, Mapping) else None
    if training is None or not isinstance(given, list | tuple):
        return dict(sections), {}
    classes: dict[str, type] = {}

    def named(thing: Any) -> Any:
        if not isinstance(thing, type):
            return thing
        plain = name = reference(thing)
        count = 1
        while classes.get(name, thing) is not thing:  # another class of the same name
            count += 1
            name = f"{plain}_{count}"
        classes[name] = thing
        return name

    callbacks = [
        {**each, "name": named(each["name"])} if isinstance(each, Mapping) and "name" in each else named(each)
        for each in given
    ]
    return {**sections, "training": {**training, "callbacks": callbacks}}, classes


def space_section(space: Space | Mapping[str, Parameter] | None) -> object:
    """The ``space`` section."""
    if space is None:
        return None
    if isinstance(space, Space):
        return space.spec.model_dump()
    return {"parameters": {name: parameter.model_dump() for name, parameter in space.items()}}


def reference(builder: object) -> str:
    """``module:function`` for the record; a function without a plain name is called ``builder``."""
    name = getattr(builder, "__name__", "")
    module = getattr(builder, "__module__", "") or "__main__"
    return f"{module}:{name}" if re.fullmatch(r"[A-Za-z_]\w*", name) else f"{module}:builder"
