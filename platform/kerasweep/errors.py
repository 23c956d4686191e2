"""Every error kerasweep raises on purpose.

    KerasweepError
    ├── SpecError (ValueError)          the user's input breaks a rule; holds every Problem found
    ├── DataError (ValueError)          the data cannot be found, read or understood
    ├── ModelError (ValueError)         a model cannot be built from these parameters
    ├── ResourceError (RuntimeError)    the machine or cluster lacks what was asked for
    ├── TrackingError (RuntimeError)    the tracking store cannot be opened, read or written
    ├── StorageError (RuntimeError)     what a study keeps on disk cannot be read or written, or is another's
    ├── StudyError (RuntimeError)       a study ended without a winner
    │   └── StudyNotFound (LookupError) no study of that name is in the store
    ├── DeliveryError (RuntimeError)    a model could not be retrained, exported or registered
    └── MissingExtra (ImportError)      an optional package is needed; the message says how to install it

Messages give the rule first, then what was received. Foreign exceptions are translated once, where they enter.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_LONGEST = 1000  # characters of a message, or of a path in a document; twice the longest that lists all valid names


class KerasweepError(Exception):
    """Base of all errors raised on purpose."""


@dataclass(frozen=True)
class Problem:
    """One broken rule in a user's input.

    Attributes:
        message: the rule, then ``Received: …``.
        path: where in the document, e.g. ``("space", "parameters", "momentum", "min")``.
        file: the file it stands in, when there is one.
        line: 1-based line, when known.
        column: 1-based column, when known.
    """

    message: str
    path: tuple[str | int, ...] = ()
    file: str | None = None
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)
        where = ".".join(str(part) for part in self.path)
        return ": ".join(_readable(part) for part in (place, where, self.message) if part)


def _readable(text: str) -> str:
    """A text without its middle, where it is too long to read: what was received may be as long as the file."""
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 200]} … {text[-200:]}"


class SpecError(KerasweepError, ValueError):
    """The user's input breaks one or more rules; ``problems`` lists all of them."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        if not problems:
            raise ValueError("a SpecError holds at least one problem. Received: none")
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in problems))

    def __reduce__(self) -> tuple[type[SpecError], tuple[tuple[Problem, ...]]]:
        return (SpecError, (self.problems,))


class DataError(KerasweepError, ValueError):
    """The data cannot be found, read or understood."""


class ModelError(KerasweepError, ValueError):
    """A model cannot be built from these parameters."""


class ResourceError(KerasweepError, RuntimeError):
    """The machine or cluster lacks what was asked for."""


class TrackingError(KerasweepError, RuntimeError):
    """The tracking store cannot be opened, read or written."""


class StorageError(KerasweepError, RuntimeError):
    """What a study keeps on disk cannot be read or written, or is in use."""


class StudyError(KerasweepError, RuntimeError):
    """A study ended without a winner."""


class StudyNotFound(StudyError, LookupError):
    """No study of that name is in the store."""


class DeliveryError(KerasweepError, RuntimeError):
    """A model could not be retrained, exported or registered."""


class MissingExtra(KerasweepError, ImportError):
    """An optional package is needed for what was asked."""

    def __init__(self, feature: str, extra: str) -> None:
        self.feature, self.extra = feature, extra
        super().__init__(f"{feature} needs an optional package: pip install 'kerasweep[{extra}]'")

    def __reduce__(self) -> tuple[type[MissingExtra], tuple[str, str]]:
        return (MissingExtra, (self.feature, self.extra))


def one_of(what: str, received: object, valid: Iterable[str]) -> str:
    """The message for a name that is not among the valid ones, with the nearest one if any is near."""
    names = list(valid)
    near = difflib.get_close_matches(str(received), names, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"{what} must be one of {', '.join(names)}.{hint} Received: {received!r}"
