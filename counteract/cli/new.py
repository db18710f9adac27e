"""`counteract new`: a project to begin with, from the templates beside this file.

A template's name is that of its file and `.tmpl`; `package` stands for the project's package, and a dot that begins a
name is left out. In its text `{{package}}` and the like are replaced.
"""

from __future__ import annotations

import keyword
import re
import sys
from importlib.machinery import PathFinder
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from counteract.cli.output import say, say_lines
from counteract.errors import CounteractError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

TEMPLATES = Path(__file__).parent / "templates"
_SUFFIX = ".tmpl"
_HIDDEN = ("gitignore", "gitkeep")
_TAKEN = frozenset(
    {
        *("counteract", "tests", "hatchling", "mypy", "pytest", "ruff"),
        *("iniconfig", "mypy_extensions", "opensearchpy", "packaging", "pathspec", "pluggy"),
    }
)
"""Packages that the project's own would hide, and that need not be installed yet."""
_LONGEST = 40
_NEXT = """
Begin with:
  cd {folder}
  make test     # the first time it builds .venv
  make dev      # the servers and the worker, until Ctrl-C
README.md says more."""

_NAME = re.compile(r"[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*")
_DISTRIBUTION = re.compile(r"[^\w.-]")
_SEPARATORS = re.compile(r"[-_.]+")
_MARK = re.compile(r"\{\{(\w+)\}\}")


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the project and its folder, such as ticket-shop.")],
    into: Annotated[Path, typer.Option(metavar="DIR", help="The folder to make the project's folder in.")] = Path(),
) -> None:
    """Begin a project: a saga of three steps, its services, its worker and its tests, all of which run."""
    folder = into / name
    for file in write(name, folder):
        say(str(file))
    say_lines(_NEXT.format(folder=folder))


def write(name: str, folder: Path) -> list[Path]:
    """Write the project's files, and return them.

    Raises CounteractError, and writes nothing, for a name that will not do or is taken.
    """
    check_name(name)
    values = {"project": name, "package": name.replace("-", "_"), "version": version("counteract")}
    files = dict(_rendered(values))
    try:
        folder.mkdir()
        for file, text in files.items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text(text, encoding="utf-8")
    except FileExistsError:
        raise CounteractError(f"{folder} is there already: choose another name, or remove it") from None
    except OSError as error:
        raise CounteractError(f"{folder} cannot be written: {error.strerror}") from error
    return [folder / file for file in files]


def check_name(name: str) -> None:
    """Raise CounteractError for what cannot be the name of a project and its package."""
    package = name.replace("-", "_")
    if not _NAME.fullmatch(name) or len(name) > _LONGEST:
        problem = (
            f"write at most {_LONGEST} lower-case letters, digits and single hyphens, a letter first, as in ticket-shop"
        )
    elif keyword.iskeyword(package) or keyword.issoftkeyword(package):
        problem = "it is a word of Python's own"
    elif package in sys.stdlib_module_names or package in _TAKEN or _is_installed(package) or package in _needed():
        problem = f"its package would hide another one that is called {package}"
    else:
        return
    raise CounteractError(f"{name!r} cannot be the name of a project: {problem}")


def _is_installed(package: str) -> bool:
    """Whether a package is installed anywhere but in the working folder, which is on the path of `python -m`.

    That is where projects are begun.
    """
    places = [place for place in sys.path if Path(place).resolve() != Path.cwd()]
    return PathFinder.find_spec(package, places) is not None


def _needed() -> set[str]:
    """The names of what Counteract needs, with each of its extras, and of what those need in turn.

    An installer would take a project of such a name for it, whatever the packages in it are called.
    """
    names: set[str] = set()
    open_ones = list(_requirements("counteract"))
    while open_ones:
        name = _DISTRIBUTION.split(open_ones.pop(), maxsplit=1)[0]
        if name not in names:
            names.add(name)
            open_ones += [each for each in _requirements(name) if "extra ==" not in each]
    return {_SEPARATORS.sub("_", name).lower() for name in names}


def _requirements(distribution: str) -> list[str]:
    """The requirements of a distribution; none where it is not installed."""
    try:
        return requires(distribution) or []
    except PackageNotFoundError:
        return []


def _rendered(values: Mapping[str, str]) -> Iterator[tuple[Path, str]]:
    """The files of a project and their texts, in the order of their names."""
    for template in sorted(TEMPLATES.rglob(f"*{_SUFFIX}")):
        text = template.read_text(encoding="utf-8")
        yield _place_of(template, values["package"]), _MARK.sub(lambda mark: values[mark[1]], text)


def _place_of(template: Path, package: str) -> Path:
    """The file in the project's folder that a template becomes."""
    folder = template.parent.relative_to(TEMPLATES)
    name = template.name.removesuffix(_SUFFIX)
    parts = [package if part == "package" else part for part in folder.parts]
    return Path(*parts, f".{name}" if name in _HIDDEN else name)
