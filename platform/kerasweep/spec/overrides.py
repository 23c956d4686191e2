"""``--set path.to.key=value``: changes to a specification's tree before it is validated."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kerasweep.errors import Problem, SpecError, one_of
from kerasweep.spec.document import Node, Place, parse

# Where a bare name is short for {name: ...}.
_NAMED = (("search", "searcher"), ("search", "scheduler"))

Include = Callable[[Node], Node]


def apply(root: Node, overrides: Sequence[str], include: Include) -> Node:
    """The tree with every override applied, in their order.

    Args:
        root: a pipeline's tree.
        overrides: each ``path.to.key=value``; the value is YAML, nothing means null, a number in the path counts
            the items of a list from 0.
        include: replaces a space that is a path by the tree of that file.

    Raises:
        SpecError: an override that has no such form, or leads through something that holds no keys. Whether the
            key means anything is for the validation to say, at the place ``--set …``.
    """
    problems: list[Problem] = []
    for override in overrides:
        try:
            root = _apply_one(root, override, include)
        except SpecError as error:
            problems.extend(error.problems)
    if problems:
        raise SpecError(problems)
    return root


def _apply_one(root: Node, override: str, include: Include) -> Node:
    place = Place(f"--set {override}")
    dotted, equals, text = override.partition("=")
    path = tuple(part.strip() for part in dotted.split("."))
    if not equals or not all(path):
        raise SpecError([place.problem(f"an override must look like path.to.key=value. Received: {override!r}")])
    new = _value(text, place)
    walked: list[str | int] = []
    for part in path[:-1]:
        root, step = _step(root, walked, part, place, include)
        if walked == ["space", "parameters"] and _at(root, walked).child(step) is None:
            known = list(_at(root, walked).plain())
            raise SpecError([place.problem(one_of("a parameter of the space", part, known))])
        walked.append(step)
    root, last = _step(root, walked, path[-1], place, include)
    return root.replaced((*walked, last), new)


def _step(root: Node, walked: Sequence[str | int], part: str, place: Place, include: Include) -> tuple[Node, str | int]:
    """Makes sure that ``part`` can be looked up at ``walked``; returns the tree and the part as it is looked up."""
    holder = _at(root, walked)
    if tuple(walked) == ("space",) and isinstance(holder.value, str):
        root = root.replaced(walked, include(holder))
    elif tuple(walked) in _NAMED and isinstance(holder.value, str):
        root = root.replaced(walked, Node({"name": Node(holder.value, holder.place)}, holder.place, holder.key))
    elif holder.value is None:
        root = root.replaced(walked, Node({}, place, place))
    holder = _at(root, walked)
    if isinstance(holder.value, list):
        if part.isdecimal() and len(part) < 10 and int(part) < len(holder.value):
            return root, int(part)
        message = f"a list's item must be a number from 0 to {len(holder.value) - 1}. Received: {part!r}"
        raise SpecError([place.problem(message, tuple(walked))])
    if not isinstance(holder.value, dict):
        message = f"only a mapping has keys to set. Received: {part!r} in {holder.value!r}"
        raise SpecError([place.problem(message, tuple(walked))])
    return root, part


def _at(root: Node, path: Sequence[str | int]) -> Node:
    """The node at a path, or null where there is none yet."""
    node: Node | None = root
    for part in path:
        node = None if node is None else node.child(part)
    return Node(None, Place()) if node is None else node


def _value(text: str, place: Place) -> Node:
    if not text.strip():
        return Node(None, place, place)
    try:
        document = parse(text, None, "the value")
        if document.problems:
            raise SpecError(document.problems)
    except SpecError as error:
        raise SpecError([place.problem(problem.message) for problem in error.problems]) from None
    return _moved(document.root, place)


def _moved(node: Node, place: Place) -> Node:
    """The same values, all said to stand at ``place``."""
    if isinstance(node.value, dict):
        return Node({key: _moved(item, place) for key, item in node.value.items()}, place, place)
    if isinstance(node.value, list):
        return Node([_moved(item, place) for item in node.value], place, place)
    return Node(node.value, place, place)
