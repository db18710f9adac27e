"""A page of documentation as a test follows it: the files it names, the commands it gives, and what it shows of their output.

- A block in `python` or `toml` names its file in its first line: `# worker.py`.
- A block in `diff` names its file in its first line too, `--- worker.py`, and replaces each run of `-` lines by the `+` lines
  below it, if any.
- A block in `console` has commands after `$ `, each above the output that it is to have. `^C` alone is an interruption.
- In output, `…` stands for anything within a line, and alone on a line for any lines. How much white space there is does not matter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

ANYTHING = "…"
THE_END = "the end of the output"

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class File:
    """The whole text of a file."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Change:
    """What to replace in a file."""

    name: str
    replacements: Sequence[tuple[str, str]]

    def applied_to(self, text: str) -> str:
        for old, new in self.replacements:
            assert text.count(old) == 1, f"{self.name} does not have this exactly once:\n{old}"
            text = text.replace(old, new)
        return text


@dataclass(frozen=True, slots=True)
class Command:
    """A line for a shell, and the output that the page shows below it."""

    line: str
    output: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Session:
    """One block of commands."""

    commands: Sequence[Command]


@dataclass(frozen=True, slots=True)
class Interruption:
    """Ctrl-C in the terminal of what still runs."""


Part = File | Change | Session | Interruption


def parts(page: Path) -> Iterator[Part]:
    """Everything on the page that is to be done, in order. Raises ValueError for a block that nobody would do anything with."""
    for language, body in _BLOCK.findall(page.read_text(encoding="utf-8")):
        yield _part(language, body)


def _part(language: str, body: str) -> Part:
    first, _, rest = body.partition("\n")
    if language in ("python", "toml") and (named := re.fullmatch(r"# (\S+\.\w+)", first)):
        return File(named[1], body)
    if language == "diff" and first.startswith("--- "):
        return Change(first.removeprefix("--- "), list(_replacements(rest)))
    if language == "console":
        return Interruption() if body.strip() == "^C" else Session(list(_commands(body)))
    raise ValueError(f"this block is neither a file, a change nor a command:\n{body}")


def _replacements(diff: str) -> Iterator[tuple[str, str]]:
    runs = [
        (sign, "".join(f"{line[1:]}\n" for line in lines))
        for sign, lines in groupby(diff.splitlines(), key=lambda line: line[:1])
    ]
    for (before, _), (sign, text), (after, new) in zip([("", ""), *runs], runs, [*runs[1:], ("", "")], strict=False):
        if sign == "-":
            yield text, new if after == "+" else ""
        elif sign == "+" and before != "-":
            raise ValueError(f"a change does not say where this goes:\n{text}")


def _commands(body: str) -> Iterator[Command]:
    command = None
    for line in body.splitlines():
        if line.startswith("$ "):
            if command:
                yield command
            command = Command(line.removeprefix("$ "))
        elif command:
            command.output.append(line)
        else:
            raise ValueError(f"output above the first command: {line}")
    if command:
        yield command


def missing(shown: Sequence[str], output: str) -> str | None:
    """The first line that the page shows and the output does not have in its place; None if all is as shown."""
    text = "".join(f"{line}\n" for line in _lines(output.splitlines()))
    expected = _lines(shown)
    patterns = [_pattern(line) for line in expected]
    if re.fullmatch("".join(patterns), text):
        return None
    for count, line in enumerate(expected, start=1):
        if not re.match("".join(patterns[:count]), text):
            return line
    return THE_END


def _pattern(line: str) -> str:
    if line == ANYTHING:
        return r"(?:.*\n)*?"
    return ".*".join(map(re.escape, line.split(ANYTHING))) + r"\n"


def _lines(lines: Sequence[str]) -> list[str]:
    return [" ".join(line.split()) for line in lines if line.strip()]
