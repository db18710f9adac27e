"""The navigation of the site, as docs/README.md has it: its headings are the sections, its links the pages."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from scripts.site.public import MODULES
from scripts.site.reference import place_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from scripts.site.public import Package


class Entry(NamedTuple):
    """A page, as the navigation and llms.txt have it."""

    title: str
    page: str
    about: str
    """What somebody wants who should read it."""


class Section(NamedTuple):
    """A heading of the index, and the pages below it."""

    title: str
    entries: Sequence[Entry]


_ROW = re.compile(r"^\| (?P<about>[^|]+) \|(?P<links>[^|]+)\|$", re.MULTILINE)
_LINK = re.compile(r"\[([^\]]+)\]\(([^)#]+)\)")


def sections(pages: Path, package: Package) -> list[Section]:
    """The sections of the index, and that of the reference from docstrings."""
    index = (pages / "README.md").read_text(encoding="utf-8")
    found = [_section(part) for part in index.split("\n## ")[1:]]
    modules = [Entry(module, place_of(module), package.docstring_of(module).partition("\n")[0]) for module in MODULES]
    return [*found, Section("Reference of the API", modules)]


def missing(pages: Path, found: Sequence[Section]) -> list[str]:
    """The pages that the index does not lead to. Decisions have an index of their own."""
    named = {entry.page for section in found for entry in section.entries}
    here = {str(page.relative_to(pages)) for page in pages.rglob("*.md")}
    below = {page for page in here if page.startswith(("decisions/0", "files/"))}
    return sorted(f"docs/README.md does not lead to {page}" for page in here - named - below - {"README.md"})


def _section(part: str) -> Section:
    title, _, text = part.partition("\n")
    rows = _ROW.finditer(text)
    entries = [Entry(_title(name), page, row["about"]) for row in rows for name, page in _LINK.findall(row["links"])]
    return Section(title.strip(), entries)


def _title(name: str) -> str:
    """A link that goes on in the middle of a sentence begins as a title does."""
    name = name.replace("*", "")
    return name[:1].upper() + name[1:]
