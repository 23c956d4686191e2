"""What of a study may change while it goes on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kerasweep.errors import Problem, SpecError
from kerasweep.spec.pipeline import PipelineSpec

# The budget, and what does not touch a trial.
FREE = (
    ("search", "trials"),
    ("search", "max_epochs"),
    ("search", "time_limit"),
    ("resources",),
    ("tracking",),
    ("retrain",),
    ("export",),
    ("register",),
)


def check_changes(before: PipelineSpec, now: PipelineSpec) -> None:
    """Compares a study that goes on with what it was.

    Raises:
        SpecError: more than its budget changed; one problem for each value, with the old and the new one.
    """
    then, new = (spec.model_dump(mode="json", by_alias=True) for spec in (before, now))
    problems = [
        Problem(
            "a study that goes on may change " + ", ".join(".".join(path) for path in FREE) + " and nothing else; "
            f"it had {_shown(old)}. Received: {_shown(value)}",
            path,
        )
        for path, old, value in _differences(then, new, ())
        if not any(path[: len(free)] == free for free in FREE)
    ]
    if problems:
        raise SpecError(problems)


def check_data(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Compares the data of a study that goes on with what it was.

    Args:
        before: ``StudyHeader.dataset`` of then.
        now: the same of now.

    Raises:
        SpecError: it is other data.
    """
    problems = [
        Problem(f"a study that goes on must have the same data; its {name} was {old}. Received: {value}", ("data",))
        for (name,), old, value in _differences(before, now, ())
    ]
    if problems:
        raise SpecError(problems)


def _differences(before: Any, now: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """Where two trees of JSON values differ, as near to the leaves as it can be said."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in dict.fromkeys([*before, *now]):
            yield from _differences(before.get(key), now.get(key), (*path, str(key)))
    elif before != now:
        yield path, before, now


def _shown(value: Any) -> str:
    return "nothing" if value is None else str(value)
