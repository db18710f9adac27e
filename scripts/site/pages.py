"""The pages of the repository, put together in one folder: docs/, what lies beside it, and each file that they link to.

A link that leaves docs/ leads, on the site, to a copy of that file, so that the site needs no code host beside it.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

BESIDE = {
    "README.md": "project/readme.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "CHANGELOG.md": "project/changelog.md",
    "SECURITY.md": "project/security.md",
}
"""Pages of the repository that stand outside docs/, and where the site has them."""

_FENCE = re.compile(r"^( *)(`{3,}|~{3,}).*?^\1\2 *$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<=\]\()(?P<inline>[^)\s]+)|^\[[^\]]+\]: (?P<named>\S+)$", re.MULTILINE)
_LANGUAGES = {".py": "python", ".toml": "toml", ".yml": "yaml", ".sql": "sql", ".json": "json", ".sh": "bash"}


class BrokenLink(Exception):
    """A page links to a file that is not there."""


class Pages:
    """Writes the pages of `root` into `folder`, which it makes anew."""

    def __init__(self, root: Path, folder: Path) -> None:
        self._root = root
        self._folder = folder
        self._files: set[Path] = set()
        self._problems: list[str] = []

    def write(self) -> list[str]:
        """Returns the links that lead nowhere."""
        shutil.rmtree(self._folder, ignore_errors=True)
        for source in sorted((self._root / "docs").rglob("*")):
            if source.suffix == ".md":
                self._write_page(source)
            elif source.suffix in {".png", ".svg", ".json"}:
                self._copy(source)
        for name in BESIDE:
            self._write_page(self._root / name)
        for source in sorted(self._files):
            self._write_file(source)
        return self._problems

    def _place(self, source: Path) -> Path:
        """The place of a file or folder of the repository on the site, below its own folder."""
        path = source.relative_to(self._root)
        if beside := BESIDE.get(str(path)):
            return Path(beside)
        if path.parts[0] == "docs" and (source.suffix in {".md", ".png", ".svg", ".json"}):
            return path.relative_to("docs")
        self._files.add(source)
        return Path("files", f"{path}.md")

    def _write_page(self, source: Path) -> None:
        place = self._place(source)
        text = source.read_text(encoding="utf-8")
        self._put(place, "".join(self._linked(source, place, part, is_code) for part, is_code in _parts(text)))

    def _linked(self, source: Path, place: Path, text: str, is_code: bool) -> str:
        def replaced(found: re.Match[str]) -> str:
            target = found["inline"] or found["named"]
            return found[0].replace(target, self._target(source, place, target))

        return text if is_code else _LINK.sub(replaced, text)

    def _target(self, source: Path, place: Path, link: str) -> str:
        """The link as the site needs it."""
        path, mark, anchor = link.partition("#")
        if not path or re.match(r"[a-z]+:", path):
            return link
        target = (source.parent / path).resolve()
        if not target.is_relative_to(self._root) or not target.exists():
            self._problems.append(f"{source.relative_to(self._root)}: {link} leads to no file of the repository")
            return link
        return os.path.relpath(self._place(target), place.parent) + mark + anchor

    def _copy(self, source: Path) -> None:
        target = self._folder / self._place(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)

    def _write_file(self, source: Path) -> None:
        path = source.relative_to(self._root)
        if source.is_dir():
            text = "\n".join(sorted(each.name for each in source.iterdir() if not each.name.startswith(("_", "."))))
            language = "text"
        else:
            text = source.read_text(encoding="utf-8")
            language = _LANGUAGES.get(source.suffix, "text")
        self._put(Path("files", f"{path}.md"), f"# {path}\n\n````{language}\n{text.rstrip()}\n````\n")

    def _put(self, place: Path, text: str) -> None:
        target = self._folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")


def _parts(text: str) -> Iterator[tuple[str, bool]]:
    """The text in turn without and with fenced code."""
    end = 0
    for fence in _FENCE.finditer(text):
        yield text[end : fence.start()], False
        yield fence[0], True
        end = fence.end()
    yield text[end:], False
