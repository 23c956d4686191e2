"""What must stay true of the repository and of the package as a whole."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import kerasweep

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE = REPOSITORY / "platform" / "kerasweep"
SOURCES = sorted(PACKAGE.rglob("*.py"))

HEAVY = ("keras", "matplotlib", "mlflow", "pandas", "ray", "sklearn", "tensorflow")
LIGHT = ("kerasweep", "kerasweep.spec", "kerasweep.search", "kerasweep.cli")


def relative(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


def tracked_files() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("not a git working tree, so nothing is tracked")
    paths = (REPOSITORY / name for name in listed.stdout.decode().split("\0") if name)
    return [path for path in paths if path.is_file()]


# --- platform/ ------------------------------------------------------------------------------------------------------


def test_platform_holds_the_package_and_nothing_else() -> None:
    built = {"kerasweep.egg-info", "__pycache__"}
    held = {path.name for path in (REPOSITORY / "platform").iterdir()} - built
    assert held == {"kerasweep"}


def test_the_standard_librarys_platform_is_not_hidden() -> None:
    """From the repository's root, where the folder of the same name is first on the path."""
    code = "import platform, sysconfig; print(platform.__file__); print(sysconfig.get_path('stdlib'))"
    shown = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    found, library = shown.stdout.split()
    assert Path(found).resolve() == Path(library).resolve() / "platform.py"


# --- what importing costs -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", LIGHT)
def test_importing_brings_in_no_heavy_library(module: str) -> None:
    code = f"import json, sys, {module}; print(json.dumps(sorted(m for m in sys.modules if '.' not in m)))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(json.loads(shown.stdout)).isdisjoint(HEAVY)


# What a light command does, in calls and returns of functions: the same at each start, which the time that it takes is
# not. A million of them are half a second of a processor like the README's at its slowest.
COUNTING = """
import sys
events = 0
def count(frame, event, argument):
    global events
    events += 1
sys.setprofile(count)
try:
    from kerasweep.cli import main
    main()
finally:
    sys.setprofile(None)
    print(events)
"""


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--help"], 0),
        (["validate", str(REPOSITORY / "pipelines" / "california_housing.yaml")], 0),
        (["validate", "no_such_file.yaml"], 2),
    ],
    ids=["help", "validate", "validate a missing file"],
)
def test_a_light_command_answers_at_once(arguments: list[str], code: int) -> None:
    done = subprocess.run([sys.executable, "-c", COUNTING, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    assert int(done.stdout.splitlines()[-1]) < 1_000_000


# --- the package's face ---------------------------------------------------------------------------------------------


def test_public_names_are_these() -> None:
    assert sorted(kerasweep.__all__) == [
        "Choice",
        "Find",
        "Fixed",
        "Float",
        "Int",
        "KerasSearchCV",
        "Space",
        "Study",
        "__version__",
        "load_model",
        "load_pipeline",
        "narrow",
        "plan",
        "run",
    ]
    assert all(hasattr(kerasweep, name) for name in kerasweep.__all__)
    assert set(kerasweep.__all__) <= set(dir(kerasweep))


def test_one_version() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert kerasweep.__version__ == project["version"]
    first = re.search(r"^## (\S+)", (REPOSITORY / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert first is not None
    assert first.group(1) == project["version"]


# --- the code -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_no_loose_ends(path: Path) -> None:
    """Nothing is left for later, and a silenced check says which one and why, on its line or on the one above."""
    loose = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    bare = re.compile(r"#\s*(type:\s*ignore(?!\[)|noqa(?!:))")
    silenced = re.compile(r"#\s*(type:\s*ignore\[[^]]*\]|noqa:\s*[A-Z0-9, ]+)(?P<why>.*)")
    lines = path.read_text().splitlines()
    for number, line in enumerate(lines, start=1):
        assert not loose.search(line), f"{relative(path)}:{number}: {line.strip()}"
        assert not bare.search(line), f"{relative(path)}:{number} silences every check: {line.strip()}"
        match = silenced.search(line)
        explained = match is None or match["why"].strip() or lines[number - 2].lstrip().startswith("#")
        assert explained, f"{relative(path)}:{number} silences a check without a reason: {line.strip()}"


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_modules_are_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400


def test_import_layers() -> None:
    """As pyproject.toml draws them, and without exceptions."""
    contracts = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    assert not [contract["id"] for contract in contracts if contract.get("ignore_imports")]
    program = Path(sys.executable).parent / "lint-imports"
    linted = subprocess.run([program, "--no-cache"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert linted.returncode == 0, linted.stdout + linted.stderr


# --- the other files ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("folder", "words"), [("pipelines", ("purpose", "command", "time", "result")), ("search_spaces", ("purpose",))]
)
def test_every_declaration_opens_with_what_it_is_for(folder: str, words: tuple[str, ...]) -> None:
    files = sorted((REPOSITORY / folder).glob("*.y*ml"))
    assert files
    for file in files:
        opening = []
        for line in file.read_text().splitlines():
            if not line.startswith("#"):
                break
            opening.append(line.lower())
        missing = [word for word in words if word not in " ".join(opening)]
        assert not missing, f"{relative(file)} must open with a comment that gives {', '.join(words)}: no {missing}"


def test_no_registry_address_is_written_down() -> None:
    """Packages come from wherever the machine's own configuration says."""
    # Put together here, so that this file does not match itself.
    hosts = [".".join(parts) for parts in (("pypi", "org"), ("pythonhosted", "org"), ("registry", "npmjs"))]
    options = ["--" + name for name in ("index-url", "extra-index-url", "find-links", "trusted-host")]
    forbidden = re.compile("|".join(re.escape(word) + r"(?![-\w])" for word in (*hosts, *options)))
    found = []
    for path in tracked_files():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        found += [f"{relative(path)}: {match.group()}" for match in forbidden.finditer(text)]
    assert not found


def test_every_dependency_is_locked() -> None:
    pyproject = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    project = pyproject["project"]
    lock = (REPOSITORY / "requirements.lock").read_text()
    pinned = dict(re.findall(r"^([A-Za-z0-9._-]+)==([^\s;]+)", lock, re.MULTILINE))
    wanted = [*pyproject["build-system"]["requires"], *project["dependencies"]]
    for extra in ("cmaes", "evolution", "hyperopt", "keras-tuner", "onnx", "jax", "server", "docs", "dev"):
        wanted += project["optional-dependencies"][extra]
    for text in wanted:
        requirement = Requirement(text)
        version = pinned.get(canonicalize_name(requirement.name))
        assert version is not None, f"{text} is not in requirements.lock: make lock"
        assert requirement.specifier.contains(version), f"{text}, but {version} is locked: make lock"


def test_every_locked_package_has_a_hash() -> None:
    lock = (REPOSITORY / "requirements.lock").read_text()
    blocks = re.split(r"^(?=[A-Za-z0-9])", lock, flags=re.MULTILINE)
    assert not [block.splitlines()[0] for block in blocks if block.strip() and "--hash=sha256:" not in block]


def test_ci_closes_with_the_tests() -> None:
    script = REPOSITORY / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert script.read_text().splitlines()[-1] == "make --no-print-directory test"
