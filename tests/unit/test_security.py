"""What must stay true for the package to be safe: its loaders, no secrets in its files, and where its parts come from.

All of it works without a network. It is no audit: which versions are known to be vulnerable, or were withdrawn, only a
service knows that keeps such lists (``make audit`` asks one).
"""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCES = sorted((REPOSITORY / "platform" / "kerasweep").rglob("*.py"))
LOCK = (REPOSITORY / "requirements.lock").read_text()

# --- loaders --------------------------------------------------------------------------------------------------------

# Both ends are one study's own processes: the pipe between driver and writer, and Ray's from driver to workers. And a
# study's own file, if nobody else could have written it.
UNPICKLING = {"dispatch/trainable.py", "study/memory.py", "tracking/mlflow_tracker.py", "tracking/writing.py"}
PICKLES = {"cloudpickle", "dill", "joblib", "marshal", "pickle", "ray.cloudpickle", "shelve"}
# Function -> the argument that makes it safe. Keras and NumPy have it by default; that it is written down says why
# nobody should change it.
SAFE = {
    "keras.saving.load_model": ("safe_mode", True),
    "keras.models.load_model": ("safe_mode", True),
    "keras.saving.deserialize_keras_object": ("safe_mode", True),
    "np.load": ("allow_pickle", False),
    "numpy.load": ("allow_pickle", False),
    "YAML": ("typ", "safe"),
}
NEVER = {
    "eval",
    "exec",
    "os.system",
    "os.popen",
    "pd.read_pickle",
    "pandas.read_pickle",
    "tempfile.mktemp",
    "yaml.load",
}


def calls(source: str) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def unsafe(source: str, name: str) -> list[str]:
    """What a module does that it must not, as ``line: what``."""
    found = []
    for function, call in calls(source):
        given = {each.arg: getattr(each.value, "value", None) for each in call.keywords}
        if function in SAFE and given.get(SAFE[function][0]) != SAFE[function][1]:
            found.append(f"{call.lineno}: {function} without {SAFE[function][0]}={SAFE[function][1]}")
        if function in NEVER or given.get("shell") is True or given.get("allow_pickle") is True:
            found.append(f"{call.lineno}: {function}")
        if function.endswith("enable_unsafe_deserialization"):
            found.append(f"{call.lineno}: {function}")
    for node in ast.walk(ast.parse(source)):
        modules = [node.module] if isinstance(node, ast.ImportFrom) else []
        modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        found += [f"{node.lineno}: imports {each}" for each in modules if each in PICKLES and name not in UNPICKLING]
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_nothing_is_loaded_that_could_be_a_program(path: Path) -> None:
    assert unsafe(path.read_text(), str(path.relative_to(REPOSITORY / "platform" / "kerasweep"))) == []


@pytest.mark.parametrize(
    "source",
    [
        "keras.saving.load_model(path, compile=False)",
        "keras.models.load_model(path, safe_mode=False)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "YAML().load(text)",
        "import pickle",
        "from joblib import load",
        "subprocess.run(command, shell=True)",
        "os.system(command)",
        "eval(text)",
        "keras.config.enable_unsafe_deserialization()",
    ],
)
def test_an_unsafe_loader_would_be_found(source: str) -> None:
    assert unsafe(source, "spec/document.py")


# --- secrets --------------------------------------------------------------------------------------------------------

# Each has a form that its issuer gave it so that it can be found, or that nothing else has. An address may hold a
# variable ($, {, <), stars, or one of the words that tests have for passwords.
SECRETS = {
    "a private key": r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY(?: BLOCK)?-----",
    "a key of AWS": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "a token of GitHub": r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{40,})",
    "a token of GitLab": r"\bglpat-[A-Za-z0-9_-]{20,}",
    "a token of Slack": r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}",
    "a key of Google": r"\bAIza[0-9A-Za-z_-]{35}\b",
    "a token of Hugging Face": r"\bhf_[A-Za-z0-9]{30,}\b",
    "a key of OpenAI or Anthropic": r"\bsk-(?:ant-|proj-)?[A-Za-z0-9_-]{32,}",
    "a token of a package registry": r"\b(?:pypi-AgE[A-Za-z0-9_-]{50,}|npm_[A-Za-z0-9]{36})",
    "a token of Databricks": r"\bdapi[0-9a-f]{32}\b",
    "a signed token (JWT)": r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}",
    "a password in an address": r"[a-z]://[^\s/:@\"'`]+:(?![*$<{]|(?:s3cret|s3cr%40t|s3c:ret|secret|word|pw)@)[^\s/@\"'`]+@",
}
_SECRETS = {what: re.compile(pattern) for what, pattern in SECRETS.items()}


def secrets_in(text: str) -> list[str]:
    """The secrets of a text, as ``line: what`` and not as themselves: a test's output is kept, too."""
    return [
        f"{text.count(chr(10), 0, match.start()) + 1}: {what}"
        for what, pattern in _SECRETS.items()
        for match in pattern.finditer(text)
    ]


def test_no_tracked_file_holds_a_secret() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("not a git working tree, so nothing is tracked")
    paths = [REPOSITORY / name for name in listed.stdout.decode().split("\0") if name]
    assert len(paths) > 400
    found = {
        str(path.relative_to(REPOSITORY)): secrets
        for path in paths
        if path.is_file() and (secrets := secrets_in(path.read_bytes().decode("utf-8", "replace")))
    }
    assert found == {}


@pytest.mark.parametrize(
    ("what", "parts"),
    [
        ("a private key", ("-----BEGIN RSA ", "PRIVATE KEY-----")),
        ("a private key", ("-----BEGIN ", "PRIVATE KEY-----")),
        ("a private key", ("-----BEGIN PGP ", "PRIVATE KEY BLOCK-----")),
        ("a key of AWS", ("AKIA", "ABCDEFGHIJKLMNOP")),
        ("a token of GitHub", ("ghp_", "a1" * 18)),
        ("a token of GitLab", ("glpat-", "a1" * 10)),
        ("a token of Slack", ("xoxb-", "1234567890-abc")),
        ("a key of Google", ("AIza", "a" * 35)),
        ("a token of Hugging Face", ("hf_", "a" * 34)),
        ("a key of OpenAI or Anthropic", ("sk-", "proj-", "a" * 40)),
        ("a token of a package registry", ("pypi-AgE", "a" * 60)),
        ("a token of Databricks", ("dapi", "0a" * 16)),
        ("a signed token (JWT)", ("eyJ" + "a" * 20, ".eyJ" + "b" * 20, "." + "c" * 20)),
        ("a password in an address", ("postgresql://me:", "Tr0ub4dor", "@db/mlflow")),
    ],
)
def test_a_secret_would_be_found(what: str, parts: tuple[str, ...]) -> None:
    """The samples are put together here, so that this file holds none."""
    assert secrets_in(f"one line\n{''.join(parts)}\n") == [f"2: {what}"]


# --- dependencies ---------------------------------------------------------------------------------------------------

# Licences under which a dependency may be used, changed and passed on, or that ask for no more than their own text's
# company: as SPDX writes them, as classifiers do, and as older packages do.
_PERMISSIVE = re.compile(
    r"Apache|\bMIT\b|\bBSD\b|\bISC\b|\bPSF\b|Python Software Foundation|CNRI-Python|Zlib|CC0|Public Domain"
)
_COPYLEFT = re.compile(r"GPL|General Public|MPL|Mozilla|EUPL|CDDL|SSPL|BUSL|Commons Clause|NonCommercial|Proprietary")
# Used unchanged, as libraries that a user can replace, which is what these licences ask of us.
WEAK_COPYLEFT = {
    "certifi": "MPL-2.0", "deap": "LGPL-3.0", "hypothesis": "MPL-2.0", "moocore": "LGPL-2.1", "pathspec": "MPL-2.0",
    "psycopg2-binary": "LGPL-3.0", "tqdm": "MPL-2.0",
}  # fmt: skip
# Their metadata do not say; their repositories do.
UNSAID = {"huey": "MIT", "namex": "Apache-2.0", "skops": "MIT"}


def licence(package: str) -> str:
    data = distribution(package).metadata
    classifiers = [each.rpartition("::")[2].strip() for each in data.get_all("Classifier", []) if "License ::" in each]
    text = (data.get("License") or "").strip()
    return data.get("License-Expression") or " / ".join(classifiers) or text.partition("\n")[0]


def locked() -> list[str]:
    """Each requirement of the lock file, without its hashes and comments."""
    lines = [line.split(" \\")[0].strip() for line in LOCK.splitlines() if line and line[0] not in " #"]
    assert len(lines) > 150
    return lines


def test_every_locked_package_is_one_version_from_a_registry() -> None:
    """No address, no repository, no folder, no option; that each has hashes is a guard of its own."""
    for line in locked():
        requirement = Requirement(line)
        assert requirement.url is None, line
        assert [each.operator for each in requirement.specifier] == ["=="], line
        assert "*" not in str(requirement.specifier), line


def test_every_locked_package_may_be_used() -> None:
    unknown: dict[str, str] = {}
    seen = set()
    for name in (Requirement(line).name for line in locked()):
        try:
            text = licence(name)
        except PackageNotFoundError:  # for another platform, or this environment is older than the lock file
            continue
        seen.add(name)
        allowed = name in UNSAID or (bool(_PERMISSIVE.search(text)) and not _COPYLEFT.search(text))
        if not allowed and name not in WEAK_COPYLEFT:
            unknown[name] = text
    assert unknown == {}
    assert {*WEAK_COPYLEFT, *UNSAID} <= seen, "a package that is no longer locked needs no exception"
    assert all(_COPYLEFT.search(licence(name)) for name in WEAK_COPYLEFT)
