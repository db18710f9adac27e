"""The list of mutants: single-line changes to the engine, kept as data beside their reasons."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

ROOT = Path(__file__).parents[2]
LIST = Path(__file__).with_name("mutants.toml")


class Stale(Exception):
    """The line that a mutant changes is not there any more: change or remove the mutant's entry."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One line of the engine, and what it is changed into."""

    id: str
    file: str
    """The file that is changed, relative to the package `counteract`."""
    before: str
    """The whole line, without its indentation."""
    after: str
    """The line in its place; empty where the line is dropped."""
    at: int = 1
    """The number of the line among several like it."""
    tried: str = ""
    """The faults to begin with; several patterns with ` | ` between them."""
    of: str = ""
    """The sagas to begin with, likewise; all of them where it names none."""
    missed: str | None = None
    """Why exploration does not notice it, though it makes a difference."""
    equivalent: str | None = None
    """Why no exploration can notice it, where that is so."""

    @property
    def where(self) -> str:
        return f"{self.file}:{self.at}" if self.at > 1 else self.file

    def applied(self, package: Path) -> str:
        """The file's text with the change. Raises Stale."""
        lines = (package / self.file).read_text(encoding="utf-8").splitlines()
        places = [number for number, line in enumerate(lines) if line.strip() == self.before]
        if len(places) < self.at:
            raise Stale(f"{self.file} has {len(places)} lines {self.before!r}, and not {self.at}")
        number = places[self.at - 1]
        indentation = lines[number][: len(lines[number]) - len(lines[number].lstrip())]
        lines[number] = indentation + self.after if self.after else ""
        return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class Listing:
    """A list of mutants."""

    mutants: Sequence[Mutant]

    @classmethod
    def read(cls, path: Path) -> Listing:
        """All mutants of the list. Raises ValueError where two have one id, or one changes nothing."""
        mutants = [Mutant(**each) for each in tomllib.loads(path.read_text(encoding="utf-8"))["mutant"]]
        twice = [name for name, count in Counter(each.id for each in mutants).items() if count > 1]
        idle = [each.id for each in mutants if each.before == each.after]
        if twice or idle:
            raise ValueError(f"ids that are used twice: {twice}; entries that change nothing: {idle}")
        return cls(mutants)

    def chosen(self, ids: Sequence[str], sample: int | None) -> Listing:
        """The mutants with one of these ids (default: all), and of them as many as asked for, evenly spread."""
        found = [each for each in self.mutants if not ids or any(fnmatchcase(each.id, one) for one in ids)]
        if sample and sample < len(found):
            found = [found[number * len(found) // sample] for number in range(sample)]
        return Listing(found)
