"""Specification files, bent and broken in thousands of ways: whatever a file holds, the answer is a pipeline or a list
of problems, in time, each with its place.

The suite tries the same files every time, in under a minute. Two variables of the environment let it search on:
``KERASWEEP_FUZZ_EXAMPLES``, how many files the first test tries (700 if left out; the other tests go with it), and
``KERASWEEP_FUZZ_SEED``, a whole number, for other files than the suite's:

    KERASWEEP_FUZZ_EXAMPLES=20000 KERASWEEP_FUZZ_SEED=7 pytest --timeout 0 tests/faults/test_spec_fuzz.py
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML, YAMLError
from typer.testing import CliRunner

from kerasweep.cli.commands import app
from kerasweep.errors import KerasweepError, Problem, SpecError
from kerasweep.pipeline import plan
from kerasweep.spec import load_pipeline, load_space
from kerasweep.spec.document import MAX_BYTES

ROOT = Path(__file__).parents[2]
FOLDERS = ("pipelines", "search_spaces", "tests/spec_cases/good", "tests/spec_cases/bad")
SECONDS = 20.0  # of this process's own time, for one file; the parser takes six for the longest that is allowed

# What no author means and a broken tool, a bad merge or an attacker writes: each stands for a value or a key as it is.
HOSTILE = (
    "null", "~", "", "''", "true", "yes", "No", "on", "0", "-1", "-0", "1e400", "-1.0e+308", ".inf", "-.inf", ".nan",
    ".NaN", "5e-324", "1e-400", "0o17", "017", "0x7fffffffffffffff", "9223372036854775807", "9223372036854775808",
    "-9223372036854775808", "1_000", "12:30:45", "2024-02-30", "2024-01-01T00:00:00Z", "9" * 400, "1e5", "1.", ".5",
    "+1", "[]", "{}", "[[]]", "[{}]", "[null]", "{'': ''}", "{null: null}", "{? [a] : b}", "{? {a: b} : c}",
    "[" * 30 + "]" * 30, "{a: " * 30 + "x" + "}" * 30, "[" * 3000, "&a [*a]", "&anchor x", "*anchor", "<<",
    "{<<: {a: 1}}", "{<<: *x}", "!!python/object/apply:os.system ['true']", "!!python/name:os.system", "!!binary aGk=",
    "!!set {a, b}", "!!float 1", "!!timestamp 2001-01-01", "!local x", "! x", "!<tag:example.com,2000:x> y", "'\\0'",
    '"\\0"', '"\\ud800"', '"\\x07"', '"\\u2028"', '"\\xZZ"', "'unclosed", '"unclosed', "|\n  block", ">-\n  folded",
    "|9\n x", "%YAML 1.1", "---", "...", "- a", "? a", ": b", "@at", "`tick", "a: b: c", "#comment", "\t", "\tx",
    "x" * 5000, "é", "名前", "\u202e\u200b", "\U0001f600", "'../../../../etc/passwd'", "/etc/passwd", "/dev/zero",
    "/dev/stdin", "/", ".", "..", "~root", "nowhere.yaml", "search_spaces", "../search_spaces", "'a\\0b'", "C:\\x",
    "CON", "file:///etc/passwd", "os:system", "a.b:c", "__main__:x", "os:", ":os", "a:b:c", "models:/x@y",
    "models:/x/1", "study/trials/9999999999999999999999", "sqlite:///:memory:", "http://user:word@127.0.0.1:9",
    "postgresql://", "30m", "1d2h3m4s", "999999d", "inf", "nan", "0.0", "1.0", "1000000000", "1e18", "0.999999999999",
    "1e-12",
)  # fmt: skip
BYTES = (
    b"\0", b"\xff\xfe", b"\xc3", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\r", b"\r\n", b"\n", b"\t", b"\x85",
    b"\xe2\x80\xa8", b"\x1b[31m", b"\x7f", b" ", b"  ", b":", b": ", b"- ", b"#", b"'", b'"', b"{", b"}", b"[", b"]",
    b",", b"&a ", b"*a", b"!!x ", b"%", b"---\n", b"\n---\n", b"\n...\n", b"|", b">", b"?", b"@", b"`", b"\\",
    b"<<: *a\n",
)  # fmt: skip


# --- a file as a tree -------------------------------------------------------------------------------------------------


@dataclass
class Knot:
    """A value of a file: a scalar as it is written, or entries. Nothing keeps keys apart or in the right place.

    Attributes:
        text: of a scalar.
        entries: of a mapping, (key, value); of a list, with None for keys.
    """

    text: str | None = None
    entries: list[tuple[str | None, Knot]] = field(default_factory=list)
    is_list: bool = False

    def copy(self) -> Knot:
        return Knot(self.text, [(key, value.copy()) for key, value in self.entries], self.is_list)

    def holders(self) -> Iterator[Knot]:
        """This and all below that have entries."""
        if self.entries:
            yield self
        for _, value in self.entries:
            yield from value.holders()

    def written(self) -> str:
        """In YAML's flow style, in which every value may stand everywhere, on lines of their own."""
        if self.text is not None:
            return self.text
        inside = ",\n".join(
            value.written() if key is None else f"{key}: {value.written()}" for key, value in self.entries
        )
        return f"[{inside}]" if self.is_list else f"{{{inside}}}"

    def block(self, depth: int = 0) -> str:
        """In block style."""
        if self.text is not None or not self.entries:
            return f" {self.written()}\n"
        lines = []
        for key, value in self.entries:
            lines.append("  " * depth + ("-" if self.is_list else f"{key}:") + value.block(depth + 1))
        return "\n" + "".join(lines)


def tree(source: str) -> Knot:
    return _knot(YAML(typ="safe", pure=True).compose(source))


def _knot(node: Any) -> Knot:
    if node.id == "scalar":
        plain = node.style is None
        return Knot(node.value if plain else json.dumps(node.value, ensure_ascii=False))
    if node.id == "sequence":
        return Knot(None, [(None, _knot(each)) for each in node.value], True)
    return Knot(None, [(_knot(key).text, _knot(value)) for key, value in node.value])


def _tree_of(raw: bytes) -> Knot | None:
    """The tree of a file; None if it has none, as some that are wrong from the start."""
    try:
        return tree(raw.decode())
    except (YAMLError, UnicodeDecodeError, AttributeError):
        return None


def sources(*folders: str) -> list[Path]:
    found = sorted(path for folder in folders for path in (ROOT / folder).rglob("*.yaml"))
    assert found
    return found


GOOD = ROOT / "tests/spec_cases/good"
SEEDS = sources("pipelines", "tests/spec_cases/good")
SPACES = sources("search_spaces", "tests/spec_cases/good/spaces")
WRONG = sources("tests/spec_cases/bad")
TREES = [tree(path.read_text(encoding="utf-8")) for path in [*SEEDS, *SPACES]]
KEYS = sorted({str(key) for each in TREES for knot in each.holders() for key, _ in knot.entries if key is not None})
WORDS = sorted({value.text for each in TREES for knot in each.holders() for _, value in knot.entries if value.text})
NAMES = sorted(
    {
        str(word)
        for name in ("pipeline.schema.json", "space.schema.json")
        for line in (ROOT / "platform/kerasweep/spec" / name).read_text().splitlines()
        for word in line.split('"')[1::2]
        if word.isidentifier()
    }
)
PARTS = [knot for each in TREES for knot in each.holders()]


def bend(root: Knot, chance: random.Random) -> None:
    """One change of the structure, in place."""
    holder = chance.choice(list(root.holders()) or [root])
    if not holder.entries:
        holder.entries.append(("name", Knot("x")))
        return
    at = chance.randrange(len(holder.entries))
    key, value = holder.entries[at]
    entries = holder.entries
    kind = chance.randrange(16)
    if kind == 0:
        del entries[at]
    elif kind == 1:
        entries.insert(chance.randrange(len(entries) + 1), (key, value.copy()))
    elif kind == 2:
        entries[at] = (None if key is None else chance.choice(KEYS + NAMES), value)
    elif kind == 3:
        entries[at] = (None if key is None else _misspelt(key, chance), value)
    elif kind == 4:
        entries[at] = (None if key is None else chance.choice(HOSTILE), value)
    elif kind in (5, 6):
        entries[at] = (key, Knot(chance.choice(HOSTILE)))
    elif kind in (7, 8):
        entries[at] = (key, Knot(chance.choice(WORDS + NAMES)))
    elif kind == 9:
        entries[at] = (key, chance.choice(PARTS).copy())
    elif kind == 10:
        entries[at] = (key, Knot(None, [(None, value)] * chance.choice((1, 2, 40)), True))
    elif kind == 11:
        entries[at] = (key, Knot(None, [(chance.choice(KEYS + NAMES), value)]))
    elif kind == 12:
        entries.append((None if holder.is_list else chance.choice(KEYS + NAMES), Knot(chance.choice(WORDS + NAMES))))
    elif kind in (13, 14):
        entries[at] = (key, Knot(_number(chance)))
    else:
        holder.is_list = not holder.is_list


def _number(chance: random.Random) -> str:
    """Of any size, mostly one that stands in some file."""
    if chance.random() < 0.6:
        return chance.choice(("0", "1", "2", "3", "7", "10", "100", "0.1", "0.5", "1.0", "1.0e-3", "2.5", "-1", "-0.5"))
    size = 10.0 ** chance.uniform(-20, 19)
    return chance.choice((f"{size:.0f}", f"{size:.3e}", f"-{size:.3e}", str(int(size) % 2**63), repr(size)))


def _misspelt(key: str, chance: random.Random) -> str:
    at = chance.randrange(len(key) + 1)
    return chance.choice((key[:at] + key[at + 1 :], key[:at] + "e" + key[at:], key.upper(), f"{key}s", f"' {key}'"))


def scratch(raw: bytes, chance: random.Random) -> bytes:
    """One change of the bytes."""
    at, to = sorted(chance.randrange(len(raw) + 1) for _ in range(2))
    lines = raw.splitlines(keepends=True)
    kind = chance.randrange(12)
    if kind <= 2:
        return raw[:at] + chance.choice(BYTES) + raw[at:]
    if kind == 3:
        return raw[:at] + chance.choice(HOSTILE).encode() + raw[at:]
    if kind == 4:
        return raw[:at]
    if kind == 5:
        return raw[:at] + raw[min(to, at + 40) :]
    if kind == 6:
        return raw.replace(b"\n", chance.choice((b"\r\n", b"\r", b"\n\n", b" \n", b"\n\t")))
    if kind == 7:
        return chance.choice((b"\xef\xbb\xbf", b"\xff\xfe", b"%YAML 1.2\n---\n", b"---\n", b"\t")) + raw
    if kind == 8:
        return raw.decode("utf-8", "replace").encode(chance.choice(("utf-16", "utf-32", "latin-1")), "replace")
    if kind == 9 and lines:
        line = chance.randrange(len(lines))
        return b"".join([*lines[:line], lines[line] * chance.choice((2, 3, 200)), *lines[line + 1 :]])
    if kind == 10 and len(lines) > 1:
        one, other = chance.randrange(len(lines)), chance.randrange(len(lines))
        lines[one], lines[other] = lines[other], lines[one]
        return b"".join(lines)
    return chance.choice((raw + raw, raw + b"\n---\n" + raw, raw * 60, _laughs() + raw, b""))


def _laughs() -> bytes:
    """Nine aliases of nine aliases of …: a few hundred bytes that stand for a billion."""
    levels = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    levels += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]" for level in range(1, 10)]
    return ("\n".join(levels) + "\n").encode()


def bent(path: Path, chance: random.Random) -> bytes:
    """A file made of another one: changed as a tree, as bytes, or both."""
    raw = path.read_bytes()
    if chance.random() < 0.75 and (root := _tree_of(raw)) is not None:
        for _ in range(chance.choice((1, 1, 1, 2, 3, 6))):
            bend(root, chance)
        written = root.block().lstrip("\n") if chance.random() < 0.5 else root.written()
        raw = written.encode("utf-8", "surrogatepass")
        if chance.random() < 0.8:
            return raw
    for _ in range(chance.choice((1, 1, 2, 4))):
        raw = scratch(raw, chance)
    return raw


# --- what must be true ------------------------------------------------------------------------------------------------


@contextmanager
def bounded(what: str) -> Iterator[None]:
    """Fails when this process works on it for too long; a busy machine does not count."""

    def stop(number: int, frame: object) -> None:
        raise TimeoutError(f"longer than {SECONDS:g} seconds: {what}")

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def check_places(problems: tuple[Problem, ...]) -> None:
    """Every problem stands in a file, on a line and in a column that it has, and says what was received."""
    for problem in problems:
        assert problem.file is not None, problem
        assert "Received: " in problem.message, problem
        assert len(str(problem)) < 4000, problem
        if problem.line is None:  # a file that could not be read at all
            assert " must be readable." in problem.message or " must have at most " in problem.message, problem
            continue
        assert problem.column is not None, problem
        text = Path(problem.file).read_bytes().decode("utf-8-sig", "replace")
        lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        assert 1 <= problem.line <= len(lines), problem
        assert 1 <= problem.column <= len(lines[problem.line - 1]) + 1, problem


def examine_pipeline(path: Path) -> None:
    """A pipeline file is loaded and planned, or refused with places."""
    with bounded(str(path)):
        try:
            loaded = load_pipeline(path)
        except SpecError as error:
            check_places(error.problems)
            return
        try:
            plan(loaded)
        except SpecError as error:
            check_places(error.problems)
        except KerasweepError:
            pass  # the machine or the data is of another opinion


# --- the tests --------------------------------------------------------------------------------------------------------


def fuzzed(share: float) -> Callable[[Any], Any]:
    """Many examples, the same ones each time unless the environment asks for others.

    Args:
        share: of this test in the number of examples.
    """
    own = os.environ.get("KERASWEEP_FUZZ_SEED")
    count = max(1, int(int(os.environ.get("KERASWEEP_FUZZ_EXAMPLES", "700")) * share))
    chosen = settings(
        max_examples=count,
        deadline=None,
        derandomize=own is None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    return lambda test: chosen(test if own is None else seed(int(own))(test))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of everything that the files name, so that they are right before they are bent; nothing writes into it."""
    root = tmp_path_factory.mktemp("fuzzed")
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "mlruns").mkdir()
    before = set(root.rglob("*"))
    yield root
    assert {path.name for path in set(root.rglob("*")) - before} <= {"bent.yaml", "naming.yaml"}


def put(files: Path, original: Path, raw: bytes) -> Path:
    """The bent file, beside where the original stands in the copy."""
    path = files / original.relative_to(ROOT).parent / "bent.yaml"
    path.write_bytes(raw)
    return path


randoms = st.integers(0, 2**63 - 1).map(random.Random)


@fuzzed(1.0)
@given(path=st.sampled_from(SEEDS), chance=randoms)
def test_a_bent_pipeline_file_is_planned_or_refused_with_places(files: Path, path: Path, chance: random.Random) -> None:
    examine_pipeline(put(files, path, bent(path, chance)))


@fuzzed(0.3)
@given(path=st.sampled_from(WRONG), chance=randoms)
def test_a_wrong_file_that_is_bent_too_is_refused_with_places(files: Path, path: Path, chance: random.Random) -> None:
    examine_pipeline(put(files, path, bent(path, chance)))


@fuzzed(0.2)
@given(path=st.sampled_from(SPACES), chance=randoms)
def test_a_bent_space_file_is_read_or_refused_with_places(files: Path, path: Path, chance: random.Random) -> None:
    """By itself, and by a pipeline that names it."""
    space = put(files, path, bent(path, chance))
    with bounded(str(space)):
        try:
            load_space(space)
        except SpecError as error:
            check_places(error.problems)
    pipeline = space.with_name("naming.yaml")
    pipeline.write_text("name: naming\ndata: {name: california_housing}\nmodel: {family: mlp}\nspace: bent.yaml\n")
    examine_pipeline(pipeline)


@fuzzed(0.3)
@given(path=st.sampled_from(SEEDS), chance=randoms)
def test_any_override_is_applied_or_refused_by_name(path: Path, chance: random.Random) -> None:
    words = (*KEYS, *NAMES, *HOSTILE, "0", "-1", "99")
    places = ["search.trials", "search.searcher", "space.parameters.learning_rate.min", "export.formats.0", "data", ""]
    dotted = chance.choice([*places, ".".join(chance.choice(words) for _ in range(chance.choice((1, 2, 2, 3, 5))))])
    override = f"{dotted}{chance.choice(('=', '=', '=', '', '=='))}{chance.choice((*HOSTILE, *WORDS))}"
    with bounded(override):
        try:
            plan(load_pipeline(path, [override]))
        except SpecError as error:
            check_places(tuple(each for each in error.problems if not (each.file or "").startswith("--set ")))
        except KerasweepError:
            pass  # the machine or the data is of another opinion


@pytest.mark.parametrize(
    "unit", ["- a\n", "a: 1\n", "[a, b],", "{a: 1},", "a: b, ", "'a', ", "? a\n", "!a ", "%A\n", "#\n", '"\\n', "  a\n"]
)
def test_a_large_file_of_any_kind_is_answered_in_time(tmp_path: Path, unit: str) -> None:
    """At an eighth of the length that is allowed: nothing makes the time grow faster than the length."""
    path = tmp_path / "large.yaml"
    for opening in ("", "[", "{x: ["):
        path.write_text(opening + unit * (MAX_BYTES // 8 // len(unit)))
        with bounded(repr(opening + unit)), pytest.raises(SpecError):
            load_pipeline(path)


@pytest.mark.parametrize("scheduler", ["auto", "asha", "hyperband", "median", "none"])
@pytest.mark.parametrize("cohort", ["auto", "off", "2"])
def test_the_longest_study_that_may_be_is_planned_in_time(scheduler: str, cohort: str) -> None:
    asked = [f"search.scheduler={scheduler}", f"resources.cohort={cohort}", "search.searcher=random"]
    with bounded(str(asked)):
        plan(load_pipeline(GOOD / "shortest.yaml", [*asked, "search.trials=100000", f"search.max_epochs={2**63 - 1}"]))


@pytest.mark.parametrize("number", range(40))
def test_the_command_line_ends_a_bent_file_with_the_exit_code_for_wrong_input(files: Path, number: int) -> None:
    chance = random.Random(number)
    original = chance.choice((*SEEDS, *WRONG))
    path = put(files, original, bent(original, chance))
    try:
        load_pipeline(path)
        right = True
    except SpecError:
        right = False
    checked = CliRunner().invoke(app, ["validate", str(path)])
    planned = CliRunner().invoke(app, ["plan", str(path)])
    assert (checked.exit_code, checked.output.endswith(": ok\n")) == ((0, True) if right else (2, False))
    assert "Traceback" not in checked.output + planned.output
    if right:
        assert planned.exit_code in (0, 1, 2), planned.output  # the machine or the data may be of another opinion
    else:
        assert planned.exit_code == 2
        assert checked.output == planned.output
        assert checked.output.splitlines()[-1].endswith((" problem", " problems"))
