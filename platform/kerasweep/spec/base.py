"""The base of everything a user writes: frozen, and strict about unknown keys."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from kerasweep.errors import Problem


class Frozen(BaseModel):
    """A value that cannot change after it was validated; an unknown key is an error."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, str_strip_whitespace=True, validate_default=True
    )


class RuleError(ValueError):
    """Rules broken inside a value, each with its path from that value on.

    A validator that looks at several keys raises it, so that the message still points at the key to blame.

    Attributes:
        problems: at least one; their paths are relative, their places unknown.
    """

    def __init__(self, *problems: Problem) -> None:
        self.problems = problems
        super().__init__("\n".join(problem.message for problem in problems))


def broken(message: str, *path: str | int) -> RuleError:
    """One broken rule, at ``path`` from the value that is being validated."""
    return RuleError(Problem(message, path))


def named(value: object) -> object:
    """``tpe`` is short for ``{name: tpe}``."""
    return {"name": value} if isinstance(value, str) else value


def name_of(value: object) -> object:
    """The name in a section, checked or not."""
    return value.get("name") if isinstance(value, dict) else getattr(value, "name", None)
