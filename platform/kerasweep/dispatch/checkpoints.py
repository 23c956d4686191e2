"""Where the states of cohorts lie while a search runs, and are found again after it was cut off."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from kerasweep.dispatch.base import Past
from kerasweep.training import snapshots
from kerasweep.training.base import Snapshot


def label(numbers: Sequence[int]) -> str:
    """The name of a cohort and of its folder.

    Args:
        numbers: of its trials, ascending.
    """
    last = f"-{numbers[-1]:05d}" if len(numbers) > 1 else ""
    return f"trial-{numbers[0]:05d}{last}"


def session_name(number: int) -> str:
    """Of the folder of the ``number``-th driver of a study, counted from 1."""
    return f"session-{number:03d}"


def found(storage: Path, numbers: Sequence[int], since: int = 1) -> Iterator[Path]:
    """The folders that hold states of a cohort, the newest first. Any of them may have been cut off in the writing.

    Args:
        storage: of the study's checkpoints.
        numbers: of the cohort's trials.
        since: number of the first driver whose states count.
    """
    for session in sorted(storage.glob("session-*"), reverse=True):
        if session.name >= session_name(since):
            yield from sorted((session / label(numbers)).glob("checkpoint_*"), reverse=True)


def state_of(past: Past | None) -> Snapshot | None:
    """The state that a cohort goes on from; None for its beginning.

    Raises:
        ValueError: it is damaged.
    """
    if past is None or not past.snapshot:
        return None
    try:
        return snapshots.load(Path(past.snapshot))
    except FileNotFoundError:  # on another machine: it trains from its beginning, to the same numbers
        return None
