"""The documentation site: its pages' blocks run as they are printed there, and it builds."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from printed_examples import Block, blocks, shell

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = {page.stem: page.read_text() for page in sorted((REPOSITORY / "docs" / "pages").glob("*.md"))}


def program(parts: list[Block]) -> str:
    """A page as one Python program, which writes its files, runs its commands, and is its Python blocks otherwise."""
    lines = ["import pathlib, subprocess"]
    for block in parts:
        if not block.runs:
            lines.append(f"pathlib.Path({block.name!r}).write_text({block.text!r})")
        elif block.language == "sh":
            lines.append(f"subprocess.run(['bash', '-euo', 'pipefail', '-c', {block.text!r}], check=True)")
        else:
            lines.append(block.text)
    return "\n".join(lines)


# What each page's blocks print, among other things.
SAYS = {
    "cohorts": [r"members of a cohort +\d+: random search of 64 trials", r"'members of a cohort', '\d+: random"],
    "index": [r"wine\.yaml", r"this model +\S+", r"models:/wine@champion +version 1", r"exports"],
    "surviving": [r"wines@\w{8} +finished", r"20 (trials|finished)", r"5 trials of True"],
    "study": [r"irises@\w{8}", r"n_neurons", r"\[\[ *\S+ +\S+ +\S+ *\]\]"],
    "tour": [
        r"irises told apart: (0\.9|1)",
        r"models:/digits@champion +version 1",
        r"sequential: mean squared error 0\.\d+",
        r"functional: mean squared error 0\.\d+",
        r"subclassed: mean squared error 0\.\d+",
        r"digits read: 0\.9",
        r"one_cycle",
        r"small and large told apart: 0\.[7-9]",
    ],
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("page", SAYS)
def test_a_page_does_what_it_says(page: str, project: Path) -> None:
    parts = blocks(PAGES[page])
    assert {block.folder for block in parts} == {page}
    assert {block.language for block in parts} <= {"python", "sh", "yaml"}
    (project / "the_page.py").write_text(program(parts))

    out = shell("python the_page.py", project, seconds=1400)

    for pattern in SAYS[page]:
        assert re.search(pattern, out), f"{pattern} is not in\n{out}"


def test_every_block_is_run() -> None:
    """A fence without the comment that names it would stand on a page and never be run."""
    for name, text in PAGES.items():
        parts = blocks(text)
        assert len(re.findall(r"^ *(```|~~~)", text, re.MULTILINE)) == 2 * len(parts), name
        assert bool(parts) == (name in SAYS), name


def _rows() -> list[list[str]]:
    """The rows of the tables of the page on the book: the book's thing, ours, the figure here, the book's figure."""
    tables, _, _ = PAGES["book"].partition("## The book's search, timed")
    rows = [line.strip("|").split(" | ") for line in tables.splitlines() if line.startswith("|")]
    return [row for row in rows if row[0].strip() not in ("the book", "---")]


def test_the_books_figures_here_are_those_of_the_runs() -> None:
    readme = (REPOSITORY / "README.md").read_text()
    rows = _rows()
    assert len(rows) > 30
    for row in rows:
        assert len(row) == 4, row
        files = re.findall(r"pipelines/\w+\.yaml", " ".join(row[:3]))
        sources = [(REPOSITORY / file).read_text().partition("\nname:")[0] for file in files] or [readme]
        for figure in re.findall(r"\d+\.\d+", row[2]):
            assert any(figure in source for source in sources), f"{figure} of {row[0]}"


def test_what_the_book_page_names_is_there() -> None:
    text = PAGES["book"]
    for file in re.findall(r"\b(?:pipelines|search_spaces|benchmarks)/\w+\.\w+", text):
        assert (REPOSITORY / file).is_file(), file
    readme = (REPOSITORY / "README.md").read_text()
    for kind, names in re.findall(r"`(searcher|scheduler): (\w+)`", text):
        assert f"| `{names}` |" in readme, kind
    for command in re.findall(r"`kerasweep ([a-z-]+)", text):
        assert re.search(rf"^\| `kerasweep {command}[ `]", readme, re.MULTILINE), command


def test_the_site_builds_and_needs_no_other_host(tmp_path: Path) -> None:
    if find_spec("mkdocs") is None or find_spec("material") is None:
        pytest.skip("mkdocs-material is not installed: pip install 'kerasweep[docs]'")
    site = tmp_path / "site"
    command = ["mkdocs", "build", "--strict", "--config-file", "docs/mkdocs.yml", "--site-dir", str(site)]
    built = subprocess.run(
        [sys.executable, "-m", *command], cwd=REPOSITORY, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert built.returncode == 0, built.stdout + built.stderr

    pages = {page.name: page.read_text() for page in site.glob("*.html")}
    assert {f"{name}.html" for name in PAGES} | {"reference.html", "changes.html"} <= set(pages)
    loaded = re.compile(r"<(?:script|img|iframe)\b[^>]*\bsrc=[\"']?([^\"'\s>]+)|<link\b[^>]*\bhref=[\"']?([^\"'\s>]+)")
    for name, text in pages.items():
        targets = [script or style for script, style in loaded.findall(text)]
        assert targets, name
        assert not [target for target in targets if "//" in target], name
        for target in targets:
            local = target.partition("?")[0]
            assert (site / local.lstrip("/")).exists() or name == "404.html", f"{name}: {target}"
    for image in (REPOSITORY / "docs" / "images").iterdir():
        assert (site / "images" / image.name).is_file()
