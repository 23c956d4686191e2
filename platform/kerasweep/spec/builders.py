"""What a user's function takes, found in its source without running any of it.

Importing a user's module would import TensorFlow, and run whatever else stands there, before the specification is
known to be right. So the source is found and read; what only running it could tell is left open (None).
"""

from __future__ import annotations

import ast
import difflib
import importlib.machinery
import importlib.util
import inspect
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kerasweep.errors import one_of


@dataclass(frozen=True)
class Signature:
    """What a function can be called with, by name.

    Attributes:
        names: of the arguments that can be passed by name.
        required: the arguments without a default.
        has_kwargs: whether it takes ``**kwargs``.
    """

    names: tuple[str, ...]
    required: tuple[str, ...] = ()
    has_kwargs: bool = False

    @property
    def takes_hp(self) -> bool:
        """Whether it is KerasTuner's: all it needs is an ``hp``, which it asks for its hyperparameters."""
        return self.required == ("hp",)

    def bound(self) -> Signature:
        """The same without its first argument, as of a method of an object."""
        names = tuple(name for name in self.names if name not in self.required[:1])
        return Signature(names, self.required[1:], self.has_kwargs)

    @classmethod
    def of(cls, function: object) -> Signature | None:
        """The signature of a function at hand (of a ``HyperModel``, its ``build``), None if Python cannot tell it."""
        if is_hypermodel(function):
            return _OF_HYPERMODEL
        if not callable(function):
            return None
        try:
            arguments = inspect.signature(function).parameters.values()
        except (TypeError, ValueError):
            return None
        variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        single = [each for each in arguments if each.kind not in variadic]
        return cls(
            tuple(each.name for each in single if each.kind is not inspect.Parameter.POSITIONAL_ONLY),
            tuple(each.name for each in single if each.default is inspect.Parameter.empty),
            any(each.kind is inspect.Parameter.VAR_KEYWORD for each in arguments),
        )


_OF_HYPERMODEL = Signature(("hp",), ("hp",))


def is_hypermodel(thing: object) -> bool:
    """Whether something is a ``HyperModel`` of KerasTuner, or a subclass of it."""
    kind = thing if isinstance(thing, type) else type(thing)
    return any(base.__name__ == "HyperModel" and base.__module__.startswith("keras_tuner.") for base in kind.__mro__)


def resolve(reference: str, directory: Path) -> Signature | None:
    """The signature of ``module:function``.

    The module is looked for in ``directory``, in the working directory and on ``sys.path``, in this order.

    Args:
        reference: e.g. ``"my_models:build"`` or ``"package.models:build"``.
        directory: that of the pipeline file.

    Returns:
        the signature; of a class that names KerasTuner's ``HyperModel`` as its base, that of its ``build``. None when
        it is there but cannot be told from the source (another class, an assigned or imported name, a decorated
        function, a compiled module).

    Raises:
        ValueError: no such module or function, the module is not valid Python, or a ``HyperModel`` trains in its own
            way or cannot be made without arguments. The message is a rule and what was received.
    """
    source = _source(reference, directory, "function")
    if source.suffix != ".py":
        return None
    body = _parsed(source)
    function = reference.partition(":")[2]
    binding = _last_binding(body, function)
    if isinstance(binding, ast.FunctionDef):
        return None if binding.decorator_list else _signature(binding.args)
    if isinstance(binding, ast.AsyncFunctionDef):
        raise ValueError(f"a function to call must not be async. Received: {reference!r}")
    if isinstance(binding, ast.ClassDef) and not binding.decorator_list and _names_base(binding, "HyperModel"):
        return _hypermodel(binding)
    if binding is None and _last_binding(body, "__getattr__") is None:  # a module's own can answer for any name
        names = [node.name for node in body if isinstance(node, ast.FunctionDef)]
        raise ValueError(_missing(source, "function", function, names))
    return None


def resolve_class(reference: str, directory: Path) -> Signature | None:
    """What the class that ``module:Class`` names can be called with; the module is looked for as by ``resolve``.

    Returns:
        the signature; None when it is there but cannot be told from the source (a class that inherits how it is made,
        an assigned or imported name, a decorated class, a compiled module).

    Raises:
        ValueError: no such module or class, the module is not valid Python, or it is a function. The message is a rule
            and what was received.
    """
    source = _source(reference, directory, "class")
    if source.suffix != ".py":
        return None
    body = _parsed(source)
    name = reference.partition(":")[2]
    binding = _last_binding(body, name)
    if isinstance(binding, ast.FunctionDef | ast.AsyncFunctionDef):
        raise ValueError(f"a callback must be a class. Received: the function {reference!r}")
    if binding is None and _last_binding(body, "__getattr__") is None:
        names = [node.name for node in body if isinstance(node, ast.ClassDef)]
        raise ValueError(_missing(source, "class", name, names))
    if not isinstance(binding, ast.ClassDef) or binding.decorator_list:
        return None
    made = [node for node in binding.body if isinstance(node, ast.FunctionDef) and node.name in ("__init__", "__new__")]
    if made:
        return None if made[-1].decorator_list else _signature(made[-1].args).bound()
    return Signature(()) if _names_base(binding, "Callback") and len(binding.bases) == 1 else None


def _missing(source: Path, what: str, name: str, names: Sequence[str]) -> str:
    if not names:
        return f"{source.name} must define the {what} {name}. Received: no {what} at all"
    return one_of(f"a {what} of {source.name}", name, names)


def _source(reference: str, directory: Path, what: str) -> Path:
    """The file of the module that a reference names."""
    module = reference.partition(":")[0]
    roots = list(dict.fromkeys([directory.absolute(), Path.cwd()]))
    source = _find(module.split("."), roots)
    if source is None:
        near = difflib.get_close_matches(module, [path.stem for root in roots for path in root.glob("*.py")], n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        places = f"in {roots[0]}, in the working directory or on sys.path"
        raise ValueError(f"the module of a {what} must be found {places}.{hint} Received: {module!r}")
    return source


def _find(parts: Sequence[str], roots: Iterable[Path]) -> Path | None:
    for root in roots:
        if found := _below(root, parts):
            return found
    for folder in sys.path:
        if found := _below(Path(folder), parts):
            return found
    return _installed(parts)


def _below(root: Path, parts: Sequence[str]) -> Path | None:
    """The file of a module under a root: its source, else whatever Python could load it from."""
    base = root.joinpath(*parts)
    candidates = [base / "__init__.py", base.with_name(f"{base.name}.py")]
    candidates += [base.with_name(base.name + suffix) for suffix in importlib.machinery.EXTENSION_SUFFIXES]
    return next((path for path in candidates if os.path.isfile(path)), None)


def _installed(parts: Sequence[str]) -> Path | None:
    """A module that only an import hook finds (an editable install) or that is built in."""
    top, *rest = parts
    if top == "__main__":
        return None
    try:
        spec = importlib.util.find_spec(top)  # of a top-level name: looks it up and imports nothing
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if not rest:
        return Path(spec.origin or top)
    for folder in spec.submodule_search_locations or ():
        if found := _below(Path(folder), rest):
            return found
    return None


def _parsed(source: Path) -> list[ast.stmt]:
    try:
        return ast.parse(source.read_bytes()).body
    except SyntaxError as error:
        place = f"line {error.lineno}" if error.lineno else "an unknown line"
        raise ValueError(f"{source.name} must be valid Python. Received: {error.msg} in {place}") from None
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"{source.name} must be readable Python. Received: {error}") from None


def _last_binding(body: Sequence[ast.stmt], name: str) -> ast.stmt | None:
    """The last top-level statement that may give a name its value; None if nothing does."""
    for statement in reversed(body):
        if _binds(statement, name):
            return statement
    return None


def _binds(statement: ast.stmt, name: str) -> bool:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return statement.name == name
    for node in ast.walk(statement):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.name == name:
            return True
        if isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Store):
            return True
        if isinstance(node, ast.alias) and (node.asname or node.name.partition(".")[0]) in (name, "*"):
            return True
    return False


def _names_base(definition: ast.ClassDef, name: str) -> bool:
    """Whether a class names one of its bases so."""
    bases = [base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "") for base in definition.bases]
    return name in bases


def _hypermodel(definition: ast.ClassDef) -> Signature:
    """The signature of a ``HyperModel``'s ``build``; ``models.hypermodel`` has the same rules for those at hand."""
    methods = {node.name: node for node in definition.body if isinstance(node, ast.FunctionDef)}
    if "fit" in methods:
        rule = "a HyperModel must leave training to kerasweep, which never runs a fit of its own"
        raise ValueError(f"{rule}. Received: {definition.name}.fit")
    if "__init__" in methods and len(needed := _signature(methods["__init__"].args).required) > 1:
        rule = "a HyperModel's class must need no arguments (name an instance of it instead)"
        raise ValueError(f"{rule}. Received: {definition.name}({', '.join(needed[1:])})")
    return _OF_HYPERMODEL


def _signature(arguments: ast.arguments) -> Signature:
    positional = [*arguments.posonlyargs, *arguments.args]
    without_default = positional[: len(positional) - len(arguments.defaults)]
    keyword = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    return Signature(
        names=tuple(each.arg for each in [*arguments.args, *arguments.kwonlyargs]),
        required=(
            *(each.arg for each in without_default),
            *(each.arg for each, default in keyword if default is None),
        ),
        has_kwargs=arguments.kwarg is not None,
    )
