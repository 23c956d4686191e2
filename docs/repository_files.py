"""A hook of MkDocs: the site shows files that lie elsewhere in the repository, so that none is there twice."""

from __future__ import annotations

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

DOCS = Path(__file__).resolve().parent
REPOSITORY = DOCS.parent

# Page of the site -> file of the repository.
PAGES = {
    "reference.md": "README.md",
    "docker.md": "docker/README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changes.md": "CHANGELOG.md",
}
PLAIN = {"LICENSE.txt": "LICENSE"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the repository's own texts, with their links turned to the site, and the images."""
    for name, source in PAGES.items():
        files.append(File.generated(config, name, content=_linked((REPOSITORY / source).read_text())))
    for name, source in PLAIN.items():
        files.append(File.generated(config, name, abs_src_path=str(REPOSITORY / source)))
    for image in sorted((DOCS / "images").iterdir()):
        files.append(File.generated(config, f"images/{image.name}", abs_src_path=str(image)))
    return files


def _linked(text: str) -> str:
    """A text of the repository's root, whose links to what the site has lead there."""
    names = {source: name for name, source in (PAGES | PLAIN).items()}
    names |= {f"docs/pages/{page.name}": page.name for page in (DOCS / "pages").iterdir()}
    names |= {f"docs/images/{image.name}": f"images/{image.name}" for image in (DOCS / "images").iterdir()}
    for path, name in names.items():
        text = text.replace(f"]({path})", f"]({name})")
    return text
