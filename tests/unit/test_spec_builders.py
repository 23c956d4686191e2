"""Signatures out of source that is never run."""

from __future__ import annotations

import inspect
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasweep.spec.builders import Signature, resolve


def write(directory: Path, name: str, source: str) -> None:
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(source), encoding="utf-8")


def test_signature_is_read_and_nothing_is_run(tmp_path: Path) -> None:
    write(tmp_path, "nets.py", "raise SystemExit\ndef build(a, /, b, c=1, *rest, d, e=2, **more): ...\n")
    assert resolve("nets:build", tmp_path) == Signature(("b", "c", "d", "e"), ("a", "b", "d"), True)
    assert "nets" not in sys.modules


def test_packages_are_walked_and_not_imported(tmp_path: Path) -> None:
    write(tmp_path, "zoo/__init__.py", "raise SystemExit\n")
    write(tmp_path, "zoo/nets/small.py", "def build(units=3): ...\n")
    assert resolve("zoo.nets.small:build", tmp_path) == Signature(("units",))


def test_the_directory_comes_first_then_the_working_one_then_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = [tmp_path / name for name in ("beside", "working", "installed")]
    places[1].mkdir()
    monkeypatch.chdir(places[1])
    monkeypatch.setattr(sys, "path", [str(places[2]), *sys.path])
    for number, place in reversed(list(enumerate(places))):
        write(place, "nets_of_mine.py", f"def build(argument_{number}): ...\n")
        assert resolve("nets_of_mine:build", places[0]) == Signature((f"argument_{number}",), (f"argument_{number}",))


@pytest.mark.parametrize(
    "source",
    [
        "class build: ...",
        "build = make()",
        "from other import build",
        "from other import *",
        "import other as build",
        "@decorate\ndef build(a): ...",
        "def build(a): ...\nbuild = wrap(build)",
        "try:\n    from other import build\nexcept ImportError:\n    def build(a): ...",
        "def __getattr__(name): ...",
    ],
)
def test_what_only_running_could_tell_is_left_open(tmp_path: Path, source: str) -> None:
    write(tmp_path, "nets.py", source)
    assert resolve("nets:build", tmp_path) is None


def test_compiled_and_built_in_modules_are_left_open(tmp_path: Path) -> None:
    assert resolve("math:sqrt", tmp_path) is None
    assert resolve("sys:exit", tmp_path) is None


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def build(: ...", "nets.py must be valid Python. Received: .* in line 1"),
        ("x = '\0'", "nets.py must be .*Python. Received: "),
        ("(" * 5000, "nets.py must be .*Python. Received: "),
        ("", "nets.py must define the function build. Received: no function at all"),
        ("def bild(): ...", "a function of nets.py must be one of bild. Did you mean 'bild'\\? Received: 'build'"),
        ("async def build(): ...", "a function to call must not be async. Received: 'nets:build'"),
        ("if True:\n    pass\ndef other():\n    def build(): ...", "must be one of other. Received: 'build'"),
    ],
)
def test_broken_modules(tmp_path: Path, source: str, message: str) -> None:
    write(tmp_path, "nets.py", source)
    with pytest.raises(ValueError, match=message):
        resolve("nets:build", tmp_path)


def test_missing_module_names_its_neighbour(tmp_path: Path) -> None:
    write(tmp_path, "networks.py", "")
    with pytest.raises(ValueError, match=r"must be found in .* Did you mean 'networks'\? Received: 'netwroks'"):
        resolve("netwroks:build", tmp_path)
    with pytest.raises(ValueError, match="must be found in"):
        resolve("networks.below:build", tmp_path)
    with pytest.raises(ValueError, match="must be found in"):
        resolve("__main__:build", tmp_path)


KINDS = st.sampled_from(
    [inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY]
)


@settings(deadline=None)
@given(st.lists(st.tuples(KINDS, st.booleans()), max_size=6), st.booleans(), st.booleans())
def test_source_and_function_agree(
    tmp_path_factory: pytest.TempPathFactory,
    arguments: list[tuple[inspect._ParameterKind, bool]],
    variadic: bool,
    keywords: bool,
) -> None:
    ordered = sorted(arguments, key=lambda each: (each[0], each[1] and each[0] != inspect.Parameter.KEYWORD_ONLY))
    optional = False
    parameters = []
    for position, (kind, default) in enumerate(ordered):
        optional = default if kind == inspect.Parameter.KEYWORD_ONLY else optional or default
        parameters.append(inspect.Parameter(f"a{position}", kind, default=1 if optional else inspect.Parameter.empty))
    first_keyword = next((i for i, p in enumerate(parameters) if p.kind == p.KEYWORD_ONLY), len(parameters))
    if variadic:
        parameters.insert(first_keyword, inspect.Parameter("rest", inspect.Parameter.VAR_POSITIONAL))
    if keywords:
        parameters.append(inspect.Parameter("more", inspect.Parameter.VAR_KEYWORD))
    source = f"def build{inspect.Signature(parameters)}: ...\n"
    directory = tmp_path_factory.mktemp("agree")
    write(directory, "nets.py", source)
    namespace: dict[str, object] = {}
    exec(source, namespace)
    assert resolve("nets:build", directory) == Signature.of(namespace["build"])  # type: ignore[arg-type]
