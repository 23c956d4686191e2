"""How a command ends: its exit code, and errors in the words of the user's input instead of a traceback."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from contextlib import contextmanager
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand

from kerasweep.cli.output import write
from kerasweep.cli.quantities import counted
from kerasweep.errors import DataError, KerasweepError, Problem, SpecError, StudyNotFound

if TYPE_CHECKING:
    from collections.abc import Iterator

_UNEXPECTED = (
    "This error is not one that kerasweep foresees: it is either in your own code (see the last lines above) "
    "or a fault of kerasweep's that is worth a report. Finished trials are kept: see `kerasweep list`."
)


class ExitCode(IntEnum):
    """What a command returns to the shell."""

    DONE = 0
    FAILED = 1
    WRONG_INPUT = 2
    INTERRUPTED = 130


# PipelineResult.status -> exit code
OF_STATUS = {"finished": ExitCode.DONE, "failed": ExitCode.FAILED, "interrupted": ExitCode.INTERRUPTED}


def complain(problems: Sequence[Problem], files: int = 1) -> None:
    """Writes every problem on its own line of standard error, then their count.

    Args:
        problems: at least one.
        files: over how many files the problems are spread; told when there are several.
    """
    spread = f" in {counted(files, 'file')}" if files > 1 else ""
    lines = [*map(str, problems), counted(len(problems), "problem") + spread]
    write("\n".join(lines) + "\n", sys.stderr)


class Command(TyperCommand):
    """A command that ends with an ``ExitCode`` whatever happens in it."""

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]  # its base is private to typer
        with _told():
            return super().invoke(ctx)


@contextmanager
def _told() -> Iterator[None]:
    """Turns what a command raises into a message on standard error and an exit code."""
    try:
        yield
    except (typer.Exit, typer.Abort):
        raise
    except SpecError as error:
        complain(error.problems)
        raise typer.Exit(ExitCode.WRONG_INPUT) from None
    except KerasweepError as error:
        write(f"error: {error}\n", sys.stderr)
        wrong = isinstance(error, DataError | StudyNotFound)
        raise typer.Exit(ExitCode.WRONG_INPUT if wrong else ExitCode.FAILED) from None
    except KeyboardInterrupt:
        write("interrupted\n", sys.stderr)
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    except Exception:
        write(f"{traceback.format_exc()}{_UNEXPECTED}\n", sys.stderr)
        raise typer.Exit(ExitCode.FAILED) from None
