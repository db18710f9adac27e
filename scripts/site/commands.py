"""docs/commands.md, from the command line itself: `python -m scripts.site.commands` writes it anew; a test holds it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from counteract.cli import app

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).resolve().parents[2] / "docs" / "commands.md"

_BEGINNING = """\
# The command `counteract`

Written by `python -m scripts.site.commands` from the command line itself. `counteract COMMAND --help` says the same.

Run the commands where the application's pyproject.toml is: [what they read of it](settings.md). An option that has a
variable beside it goes by that one where it is not given; what has no default and is not required is left out. A
command ends with 0 where all is well, 1 where something is wrong, said in a sentence with the next move, and 2 for
options that do not fit. Every command has `--help`, and `counteract --version` prints the version.
"""


def page() -> str:
    """The whole page."""
    return _BEGINNING + "".join(_group(typer.main.get_command(app), "counteract"))


def _group(group: Any, name: str) -> Iterator[str]:
    commands = sorted(group.commands.items(), key=lambda each: (hasattr(each[1], "commands"), each[0]))
    for word, command in commands:
        if command.hidden:
            continue
        path = f"{name} {word}"
        if hasattr(command, "commands"):
            yield f"\n## {path}\n\n{_told(command.help)}\n"
            yield from _group(command, path)
        else:
            yield "".join(_command(command, path))


def _command(command: Any, path: str) -> Iterator[str]:
    given = [each for each in command.params if each.name != "help"]
    arguments = " ".join(_argument(each) for each in given if each.param_type_name == "argument")
    depth = "#" * (path.count(" ") + 1)
    yield f"\n{depth} {path}\n\n    {path}{' [OPTIONS]' if given else ''} {arguments}".rstrip()
    yield f"\n\n{_told(command.help)}\n"
    if given:
        yield "\n| option | default | |\n|---|---|---|\n"
        yield from map(_row, given)


def _argument(parameter: Any) -> str:
    name = (parameter.metavar or parameter.name.upper()).strip("[].")
    name += "..." if parameter.nargs == -1 else ""
    return name if parameter.required else f"[{name}]"


def _row(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        names = f"`{_argument(parameter)}`"
    else:
        value = "" if parameter.is_flag else f" {parameter.metavar or _kind(parameter)}"
        names = ", ".join(f"`{each}{value}`" for each in [*parameter.opts, *parameter.secondary_opts])
    return f"| {names} | {_default(parameter)} | {_told(parameter.help).replace('|', chr(92) + '|')} |\n"


def _kind(parameter: Any) -> str:
    return {"int": "NUMBER", "float": "NUMBER", "datetime": "TIME"}.get(_type(parameter), "TEXT")


def _type(parameter: Any) -> str:
    return str(getattr(parameter.type_descriptor.annotation, "__name__", ""))


def _default(parameter: Any) -> str:
    """Tells where its value comes from, and what else holds of it."""
    said = [f"`{parameter.envvar}`"] if parameter.envvar else []
    if not said and parameter.default not in (None, False, ""):
        said.append(f"`{parameter.default}`")
    if parameter.required:
        said.append("required")
    if parameter.min is not None:
        said.append(f"at least {parameter.min}")
    return ", ".join(said)


def _told(text: str | None) -> str:
    """The text without the line ends within a paragraph, and with the pages that it names as links."""
    told = re.sub(r"(?<!\n)\n(?!\n)", " ", (text or "").strip())
    return re.sub(r"docs/([\w/-]+\.md)", r"[\1](\1)", told)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
