"""The pages of the reference: one for each public module, made from its docstrings."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from scripts.site.public import MODULES, Name, Package

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FOLDER = "reference"


def write(package: Package, folder: Path) -> None:
    """Write the pages into the folder of all pages."""
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    for module in MODULES:
        (folder / place_of(module)).write_text("\n".join(_lines(package, module)), encoding="utf-8")


def place_of(module: str) -> str:
    """The page of a module, below the folder of all pages."""
    return f"{FOLDER}/{module}.md"


def _lines(package: Package, module: str) -> Iterator[str]:
    names = package.of(module)
    yield from (f"# {module}", "", _linked(package.docstring_of(module)), "", "| name | |", "|---|---|")
    for name in names:
        home = package.home_of(name)
        page = "" if home == module else f"{home}.md"
        yield f"| [`{name.name}`]({page}#{home}.{name.name}) | {_in_cell(name)} |"
    yield ""
    for name in names:
        if package.home_of(name) == module:
            yield from (f"::: {name.path}", "")


def _linked(text: str) -> str:
    """Pages of the documentation that the text names, as links."""
    return re.sub(r"docs/([\w/-]+\.md)", r"[\1](../\1)", text)


def _in_cell(name: Name) -> str:
    return name.summary.replace("|", "\\|")
