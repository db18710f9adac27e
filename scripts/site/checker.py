"""Looks at built pages: every link and anchor leads somewhere, and nothing is loaded from another host."""

from __future__ import annotations

from functools import cache
from html.parser import HTMLParser
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_LOADED = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "link": "href",
    "source": "src",
    "video": "src",
    "use": "href",
}
_NOT_LOADED = {"canonical", "prev", "next", "alternate"}
"""Kinds of <link> that only say where something is."""


class _Page(HTMLParser):
    """What one page links to, loads and can be linked at."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: set[str] = set()
        self.loads: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.anchors |= {each for name in ("id", "name") if (each := given.get(name))}
        if tag == "a" and (link := given.get("href")):
            self.links.add(link)
        if (loaded := given.get(_LOADED.get(tag, ""))) and given.get("rel") not in _NOT_LOADED:
            self.loads.add(loaded)


class Site:
    """The pages of one version, in their folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._page = cache(lambda file: _Page(file.read_text(encoding="utf-8")))

    def problems(self) -> list[str]:
        """What is wrong with the pages, in sentences."""
        pages = sorted(self._folder.rglob("*.html"))
        if not pages:
            return [f"nothing was built in {self._folder}"]
        return [problem for file in pages for problem in self._problems_of(file)]

    def _problems_of(self, file: Path) -> Iterator[str]:
        name, page = file.relative_to(self._folder), self._page(file)
        yield from (
            f"{name} links to {link}, which is not there"
            for link in sorted(page.links)
            if not self._is_there(file, link)
        )
        for loaded in sorted(page.loads):
            if _is_foreign(loaded):
                yield f"{name} loads {loaded} from another host"
            elif not self._is_there(file, loaded):
                yield f"{name} loads {loaded}, which is not there"

    def _is_there(self, file: Path, link: str) -> bool:
        parts = urlsplit(link)
        if parts.scheme or parts.netloc:
            return True
        target = self._target(file, unquote(parts.path))
        if not target.is_file():
            return False
        return not parts.fragment or target.suffix != ".html" or unquote(parts.fragment) in self._page(target).anchors

    def _target(self, file: Path, path: str) -> Path:
        if not path:
            return file
        # The page of errors, which is shown at any address, names the folder of the version from the root on.
        below = path.partition(f"/{self._folder.name}/")[2] if path.startswith("/") else None
        target = (self._folder / below if below else file.parent / path).resolve()
        return target / "index.html" if path.endswith(("/", ".")) else target


def _is_foreign(link: str) -> bool:
    parts = urlsplit(link)
    return bool(parts.netloc) or parts.scheme in {"http", "https"}
