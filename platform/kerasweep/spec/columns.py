"""Columns that a specification chooses, by name or by position: which ones are meant, and which there can be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kerasweep.errors import Problem, one_of
from kerasweep.spec.families import COLUMN_KEYS
from kerasweep.spec.files import header_of, leaves_project, located
from kerasweep.spec.pipeline import DataSpec, ModelSpec
from kerasweep.spec.vocabulary import DATASETS


@dataclass(frozen=True)
class Columns:
    """The raw feature columns of some data.

    Attributes:
        source: of the data, for messages.
        count: of the columns; of an array's rows, the numbers in one.
        names: in their order; empty where they have none.
    """

    source: str
    count: int
    names: tuple[str, ...] = ()

    def position(self, chosen: int | str) -> int:
        """Where a column stands among all, counted from 0.

        Raises:
            ValueError: there is no such column; the message is a rule and what was received.
        """
        if isinstance(chosen, int):
            if not 0 <= chosen < self.count:
                raise ValueError(
                    f"a column's position in {self.source} must be from 0 to {self.count - 1}. Received: {chosen}"
                )
            return chosen
        if not self.names:
            raise ValueError(f"the columns of {self.source} have positions only, no names. Received: {chosen!r}")
        if chosen not in self.names:
            raise ValueError(one_of(f"a column of {self.source}", chosen, self.names))
        return self.names.index(chosen)

    def label(self, chosen: int | str) -> str:
        """A column's name, or its position where it has none."""
        position = self.position(chosen)
        return self.names[position] if self.names else str(position)


def known_columns(data: DataSpec, directory: Path) -> Columns | None:
    """The columns of data that is not read yet; None if they show only when it is, or are wrong by themselves."""
    if data.name is not None:
        facts = DATASETS[data.name]
        return Columns(data.name, facts.features, facts.columns)
    if data.csv is None or leaves_project(data.csv, directory):
        return None
    path = located(data.csv, directory)
    try:
        header = header_of(path)
    except ValueError:
        return None
    others = {*data.targets, data.weights}
    names = [name for name in header if name not in others] if data.features is None else data.features
    if len(set(names)) < len(names) or not set(names) <= set(header):
        return None
    return Columns(path.name, len(names), tuple(names))


def column_problems(model: ModelSpec, columns: Columns) -> Iterator[Problem]:
    """What is wrong with the columns that a model's parts choose; the problems' paths begin with ``model``."""
    for key in COLUMN_KEYS:
        yield from chosen_problems(key, getattr(model, key) or (), columns, ("model", key))


def input_problems(inputs: Mapping[str, Sequence[int | str]], columns: Columns) -> Iterator[Problem]:
    """What is wrong with the columns that inputs choose; the problems' paths begin with ``data``."""
    for name, chosen in inputs.items():
        yield from chosen_problems(name, chosen, columns, ("data", "inputs", name))


def chosen_problems(
    key: str, chosen: Sequence[int | str], columns: Columns, path: tuple[str | int, ...]
) -> Iterator[Problem]:
    """What is wrong with columns that are chosen together; ``path`` is that of the choice."""
    first: dict[int, int | str] = {}
    for place, each in enumerate(chosen):
        try:
            position = columns.position(each)
        except ValueError as error:
            yield Problem(str(error), (*path, place))
            continue
        if position in first:
            message = f"{key} must name each column once. Received: {first[position]!r} and {each!r}"
            yield Problem(message, (*path, place))
        first.setdefault(position, each)
