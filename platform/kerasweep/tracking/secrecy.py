"""Keeps what an address of a tracking store must not show out of texts that others read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import unquote, unquote_plus

from kerasweep.tracking.base import StudyHeader
from kerasweep.tracking.uris import SECRET_QUERY, redact

_LONGEST = 500
_ADDRESS = re.compile(r"\S+://\S+")


def without_secrets(text: str, uri: str) -> str:
    """A foreign message, shortened to one line, in which an address shows no user, password or token."""
    text = text.replace(uri, redact(uri))
    for secret in sorted(_secrets(uri), key=len, reverse=True):
        text = text.replace(secret, "***")
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"


def without_address(header: StudyHeader) -> StudyHeader:
    """A study's header whose specification shows no user, password or token of its tracking store.

    A study that is read back has been found in that store: nobody needs its address from there. The file as written may
    name another store than the study's own, which was given beside it, and shows nothing of that one either.
    """
    uri = json.loads(header.spec).get("tracking", {}).get("uri", "")
    shown = redact(uri)
    source = _ADDRESS.sub(lambda address: redact(address[0]), header.source.replace(uri, shown))
    return replace(header, spec=header.spec.replace(uri, shown), source=source)


def _secrets(uri: str) -> Iterator[str]:
    """As they are written in the address, and as libraries show them."""
    if uri.startswith("sqlite"):
        return
    user, _, password = uri.partition("://")[2].rpartition("@")[0].partition(":")
    for secret in [password or user, *(match[2] for match in re.finditer(SECRET_QUERY, uri))]:
        if secret:
            yield from {secret, unquote(secret), unquote_plus(secret)}
