"""A YAML file as a tree that knows where everything stands.

Only what a specification needs is read: one document of mappings, lists and scalars, typed by the core schema of
YAML 1.2. Anchors, aliases and tags are refused, so a small file cannot unfold into a large one or name a class.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    DocumentStartEvent,
    Event,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceStartEvent,
)
from ruamel.yaml.reader import ReaderError

from kerasweep.errors import Problem, SpecError

Scalar = None | bool | int | float | str

MAX_BYTES = 256 * 1024
MAX_DEPTH = 20

_NULL = re.compile(r"(null|Null|NULL|~)?")
_BOOL = re.compile(r"(true|True|TRUE)|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_LINE_END = re.compile(r"\r\n|\r|\n")
_MAX_DIGITS = 40  # longer than any 64-bit number in any base, and quick to convert


@dataclass(frozen=True)
class Place:
    """Where something stands: 1-based line and column, as far as they are known."""

    file: str | None = None
    line: int | None = None
    column: int | None = None

    def problem(self, message: str, path: tuple[str | int, ...] = ()) -> Problem:
        return Problem(message, path, self.file, self.line, self.column)


@dataclass(frozen=True)
class Node:
    """A value with its place, and the place of its key if it is a value of a mapping."""

    value: Scalar | Mapping[str, Node] | Sequence[Node]
    place: Place
    key: Place | None = None

    def child(self, part: str | int) -> Node | None:
        if isinstance(self.value, Mapping):
            return self.value.get(str(part))
        if isinstance(self.value, list) and isinstance(part, int) and 0 <= part < len(self.value):
            found: Node = self.value[part]
            return found
        return None

    def plain(self) -> Any:
        """The value without places."""
        if isinstance(self.value, Mapping):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def place_of(self, path: Sequence[str | int], at_key: bool = False) -> Place:
        """Where the value at ``path`` stands, or what is nearest to it if nothing is there.

        A collection is pointed at by its key, a scalar by itself unless ``at_key``.
        """
        node: Node = self
        for part in path:
            following = node.child(part)
            if following is None:
                at_key = True
                break
            node = following
        collection = isinstance(node.value, Mapping | list)
        return node.key if node.key is not None and (at_key or collection) else node.place

    def replaced(self, path: Sequence[str | int], new: Node) -> Node:
        """A tree with ``new`` at ``path``; all but the last part of the path must exist already."""
        if not path:
            return new
        head, *rest = path
        old = self.child(head)
        changed = new if old is None else replace(old.replaced(rest, new), key=new.key if not rest else old.key)
        if isinstance(self.value, list) and isinstance(head, int):
            return replace(self, value=[*self.value[:head], changed, *self.value[head + 1 :]])
        if isinstance(self.value, Mapping):
            return replace(self, value={**self.value, str(head): changed})
        raise TypeError(f"only a mapping or a list has something at {head!r}. Received: {self.value!r}")


def read_text(path: Path, shown: str, what: str) -> str:
    """The text of a file.

    Args:
        path: of the file.
        shown: its name in messages.
        what: e.g. ``"a pipeline file"``, for messages.

    Raises:
        SpecError: there is no such file, it cannot be read, it is too large, or it is not UTF-8.
    """
    nowhere = Place(shown)
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise SpecError([nowhere.problem(f"{what} must exist. Received: {shown}")]) from None
    except IsADirectoryError:
        raise SpecError([nowhere.problem(f"{what} must be a file. Received: the directory {shown}")]) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise SpecError([nowhere.problem(f"{what} must be readable. Received: {reason.lower()}")]) from None
    if len(raw) > MAX_BYTES:
        message = f"{what} must have at most {MAX_BYTES // 1024} KiB. Received: {os.path.getsize(path)} bytes"
        raise SpecError([nowhere.problem(message)])
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place = _end_of(error.object[: error.start].decode("utf-8", "replace"), shown)
        message = f"{what} must be UTF-8 text. Received: byte 0x{error.object[error.start]:02x}"
        raise SpecError([place.problem(message)]) from None


def _end_of(text: str, file: str | None) -> Place:
    """The place after a text from a file's beginning, with the line ends that the parser counts."""
    lines = _LINE_END.split(text)
    return Place(file, len(lines), len(lines[-1]) + 1)


@dataclass(frozen=True)
class Document:
    """A YAML text that could be read.

    Attributes:
        root: its tree.
        problems: rules it breaks that do not keep the rest from being understood, such as a repeated key.
    """

    root: Node
    problems: tuple[Problem, ...] = ()


def parse(text: str, file: str | None, what: str) -> Document:
    """The tree of a YAML text.

    Args:
        text: one YAML document.
        file: its name in messages.
        what: e.g. ``"a pipeline file"``, for messages.

    Raises:
        SpecError: the text is not YAML, or uses what is not allowed; with everything that was found until then.
    """
    builder = _TreeBuilder(file, what)
    try:
        for event in _events(text, file, what):
            builder.take(event)
    except SpecError as error:
        raise SpecError([*builder.problems, *error.problems]) from None
    if builder.root is None:
        raise SpecError([Place(file, 1, 1).problem(f"{what} must not be empty. Received: nothing")])
    return Document(builder.root, tuple(builder.problems))


def _events(text: str, file: str | None, what: str) -> Iterator[Event]:
    """The parser's events; whatever the parser raises becomes a SpecError."""
    reached = Place(file, 1, 1)
    try:
        for event in YAML(typ="safe", pure=True).parse(text):
            reached = Place(file, event.end_mark.line + 1, event.end_mark.column + 1)
            yield event
    except ReaderError as error:
        position = int(error.position)
        place = _end_of(text[:position], file)
        message = f"{what} must hold printable characters only. Received: {text[position]!r}"
        raise SpecError([place.problem(message)]) from None
    except MarkedYAMLError as error:
        raise SpecError([_syntax_problem(error, file, what)]) from None
    except Exception as error:  # malformed escapes and directives make the parser fail in ways of its own
        received = f"{type(error).__name__} after this place"
        raise SpecError([reached.problem(f"{what} must be valid YAML. Received: {received}")]) from error


def _syntax_problem(error: MarkedYAMLError, file: str | None, what: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    place = Place(file) if mark is None else Place(file, mark.line + 1, mark.column + 1)
    received = " ".join(str(error.problem or error.context).split())
    for end in ("'\\x00'", "'<stream end>'"):
        received = received.replace(end, "the end of the file")
    if "'\\t'" in received:
        return place.problem(f"{what} must use spaces, not tabs. Received: a tab")
    if error.context and error.context_mark is not None:
        received += f", {error.context} that begins in line {error.context_mark.line + 1}"
    return place.problem(f"{what} must be valid YAML. Received: {received}")


class _TreeBuilder:
    """Builds the tree from the parser's events, without recursion."""

    def __init__(self, file: str | None, what: str) -> None:
        self.root: Node | None = None
        self.problems: list[Problem] = []
        self._file, self._what = file, what
        self._open: list[_Open] = []
        self._documents = 0

    def take(self, event: Event) -> None:
        if isinstance(event, CollectionEndEvent):
            closed = self._open.pop()
            value: dict[str, Node] | list[Node] = closed.entries if closed.is_mapping else closed.items
            self._add(Node(value, closed.place))
        elif isinstance(event, DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                self._abandon(event, f"{self._what} must hold one document. Received: a second one")
        elif isinstance(event, NodeEvent):
            self._refuse_indirection(event)
            if isinstance(event, MappingStartEvent | SequenceStartEvent):
                self._begin(event)
            elif isinstance(event, ScalarEvent):
                self._scalar(event)

    def _place(self, event: Event) -> Place:
        mark = event.start_mark
        return Place(self._file, mark.line + 1, mark.column + 1)

    def _abandon(self, event: Event, message: str) -> None:
        raise SpecError([self._place(event).problem(message)])

    def _refuse_indirection(self, event: NodeEvent) -> None:
        if isinstance(event, AliasEvent):
            self._abandon(event, f"anchors and aliases are not allowed. Received: *{event.anchor}")
        if event.anchor is not None:
            self._abandon(event, f"anchors and aliases are not allowed. Received: &{event.anchor}")
        tag = getattr(event, "tag", None)  # an alias has none
        if tag is not None:
            self._abandon(event, f"tags are not allowed. Received: {tag}")

    def _begin(self, event: MappingStartEvent | SequenceStartEvent) -> None:
        if self._open and self._open[-1].is_mapping and self._open[-1].key is None:
            kind = "a mapping" if isinstance(event, MappingStartEvent) else "a list"
            self._abandon(event, f"a key must be text. Received: {kind}")
        if len(self._open) >= MAX_DEPTH:
            self._abandon(event, f"{self._what} must be nested at most {MAX_DEPTH} levels deep. Received: more")
        self._open.append(_Open(isinstance(event, MappingStartEvent), self._place(event)))

    def _scalar(self, event: ScalarEvent) -> None:
        place = self._place(event)
        text = str(event.value)
        if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
            self._abandon(event, "text must not hold half a surrogate pair. Received: one")
        parent = self._open[-1] if self._open else None
        if parent is not None and parent.is_mapping and parent.key is None:
            parent.key, parent.key_place = text, place
            if event.style is None and not _is_text(text):
                parent.skips = True
                self.problems.append(
                    place.problem(f"a key must be text (in quotes it is). Received: {_cut(text) or 'nothing'}")
                )
            elif text in parent.entries:
                parent.skips = True
                first = parent.entries[text].key
                since = f" again, after line {first.line}" if first is not None else ""
                self.problems.append(place.problem(f"a key must appear once. Received: {_cut(text)!r}{since}"))
            return
        if event.style is None and not text and parent is not None and parent.key_place is not None:
            place = parent.key_place  # an empty value stands nowhere; the parser's mark is on a later line
        try:
            self._add(Node(_typed(text) if event.style is None else text, place))
        except OverflowError:
            self.problems.append(place.problem(f"a whole number must fit into 64 bits. Received: {_cut(text)}"))
            self._add(Node(-(2**63) if text.startswith("-") else 2**63 - 1, place))

    def _add(self, node: Node) -> None:
        if not self._open:
            self.root = node
            return
        parent = self._open[-1]
        if not parent.is_mapping:
            parent.items.append(node)
        elif parent.key is not None:
            if not parent.skips:
                parent.entries[parent.key] = replace(node, key=parent.key_place)
            parent.key, parent.key_place, parent.skips = None, None, False


class _Open:
    """A mapping or list whose end has not come yet."""

    def __init__(self, is_mapping: bool, place: Place) -> None:
        self.is_mapping, self.place = is_mapping, place
        self.entries: dict[str, Node] = {}
        self.items: list[Node] = []
        self.key: str | None = None
        self.key_place: Place | None = None
        self.skips = False  # the value to come, as its key is of no use


def _cut(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."


def _is_text(plain: str) -> bool:
    """Whether a plain scalar is text, and not a number, a truth value or null."""
    return not any(each.fullmatch(plain) for each in (_NULL, _BOOL, _INT, _FLOAT, _INFINITE))


def _typed(text: str) -> Scalar:
    """A plain scalar by the core schema of YAML 1.2 (section 10.3.2).

    Raises:
        OverflowError: a whole number of more than 64 bits.
    """
    if _NULL.fullmatch(text):
        return None
    if match := _BOOL.fullmatch(text):
        return match.group(1) is not None
    if _INT.fullmatch(text):
        if len(text) > _MAX_DIGITS:
            raise OverflowError
        base = 8 if text.startswith("0o") else 16 if text.startswith("0x") else 10
        number = int(text, base)
        if not -(2**63) <= number < 2**63:
            raise OverflowError
        return number
    if _FLOAT.fullmatch(text):
        return float(text)
    if _INFINITE.fullmatch(text):
        return float(text.replace(".", "", 1))
    return text


def from_python(value: object, depth: int = 0) -> Node:
    """The tree of a Python value, without places.

    Raises:
        SpecError: a key is no text, or the value is nested too deeply.
    """
    nowhere = Place()
    if depth > MAX_DEPTH:
        message = f"a specification must be nested at most {MAX_DEPTH} levels deep. Received: more"
        raise SpecError([nowhere.problem(message)])
    if isinstance(value, Mapping):
        return Node(dict(_text_keyed(value, depth)), nowhere)
    if isinstance(value, list | tuple):
        return Node([from_python(item, depth + 1) for item in value], nowhere)
    if isinstance(value, Path):
        return Node(str(value), nowhere)
    if isinstance(value, Enum):
        return from_python(value.value, depth)
    return Node(value, nowhere)  # type: ignore[arg-type]  # whatever else it is, validation refuses it


def _text_keyed(value: Mapping[Any, object], depth: int) -> Iterator[tuple[str, Node]]:
    for key, item in value.items():
        if not isinstance(key, str):
            raise SpecError([Problem(f"a key must be text. Received: {key!r}")])
        yield key, from_python(item, depth + 1)
