"""What single values of a pipeline file may be."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, StrictFloat, StrictInt, StrictStr

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_DURATION = re.compile(r"(?:([0-9]{1,6})d)?(?:([0-9]{1,6})h)?(?:([0-9]{1,6})m)?(?:([0-9]{1,9})s)?")
_REFERENCE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)

_SOURCE = re.compile(r"models:/[^/@]+(@[^/@]+|/[0-9]{1,9})|[A-Za-z0-9][A-Za-z0-9._@-]*(/trials/[0-9]{1,9})?")
_AMBIGUOUS = ("", "yes", "no", "on", "off", "true", "false")


def _checked_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(
            "a name must start with a letter or digit and hold only letters, digits, '.', '_' and '-' "
            f"(at most 100). Received: {name!r}"
        )
    return name


Name = Annotated[str, BeforeValidator(lambda v: _checked_name(v) if isinstance(v, str) else v)]


def _seconds(value: object) -> object:
    """``90``, ``"90s"``, ``"30m"``, ``"1h30m"`` or ``"2d"`` as seconds."""
    if not isinstance(value, str):
        return value
    match = _DURATION.fullmatch(value.replace(" ", ""))
    if not value.strip() or match is None:
        raise ValueError(f"a duration must look like 90s, 30m, 1h30m or 2d. Received: {value!r}")
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)


def _checked_reference(reference: str, what: str = "function") -> str:
    if not _REFERENCE.fullmatch(reference):
        raise ValueError(f"a {what} must be named as module:{what}. Received: {reference!r}")
    return reference


def _checked_folder(folder: str) -> str:
    """A journal is appended to and locked, which buckets know nothing of."""
    if "://" in folder:
        raise ValueError(f"storage must be a folder, and a bucket be mounted as one. Received: {folder!r}")
    return folder


def checked_board(value: object) -> object:
    """``true`` stands for options as they are by default, a directory for the option of that name; ``false`` for none.

    A directory may not be called ``yes``, which is text in YAML 1.2, and not meant so.
    """
    ambiguous = isinstance(value, str) and value.strip().lower() in _AMBIGUOUS
    if ambiguous or not isinstance(value, bool | str | Path | Mapping | BaseModel | None):
        raise ValueError(f"tensorboard must be true, false, a directory or options. Received: {value!r}")
    if isinstance(value, bool):
        return {} if value else None
    return {"directory": value} if isinstance(value, str | Path) else value


def checked_source(source: str) -> str:
    """The name of a trained model."""
    if not _SOURCE.fullmatch(source):
        raise ValueError(
            "a trained model must be named as models:/NAME@ALIAS, models:/NAME/VERSION, STUDY or STUDY/trials/N. "
            f"Received: {source!r}"
        )
    return source


Seconds = Annotated[StrictFloat, BeforeValidator(_seconds), Field(gt=0)]
Seed = Annotated[StrictInt, Field(ge=0, le=2**32 - 1)]
Count = Annotated[StrictInt, Field(ge=1)]
Auto = Literal["auto"]
Weight = Annotated[StrictFloat, Field(ge=0)]
Fraction = Annotated[StrictFloat, Field(gt=0, lt=1)]
Column = StrictInt | StrictStr
Folder = Annotated[str, AfterValidator(_checked_folder)]
Reference = Annotated[str, AfterValidator(_checked_reference)]
ClassReference = Annotated[str, AfterValidator(lambda reference: _checked_reference(reference, "class"))]
