"""The pages of docs/ as they are read on a code host: their links, and what they say of commands and settings."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from counteract.cli import app
from counteract.cli.keys import SETTING
from counteract.dev.cluster import PROGRAMS_VARIABLE
from counteract.dev.config import DevSettings, PartSettings
from counteract.store.master_key import MASTER_KEY_FILE_VARIABLE, MASTER_KEY_VARIABLE
from scripts.site import commands

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), *sorted(ROOT.glob("*.md"))]
TEXTS = {str(page.relative_to(ROOT)): page.read_text(encoding="utf-8") for page in PAGES}
SETTINGS = TEXTS["docs/settings.md"]

FENCE = re.compile(r"^( *)(```|````).*?^\1\2 *$", re.MULTILINE | re.DOTALL)


def links(text: str) -> set[str]:
    prose = FENCE.sub("", text)
    found = {*re.findall(r"\]\(([^)\s]+)\)", prose), *re.findall(r"^\[[^\]]+\]: (\S+)$", prose, re.MULTILINE)}
    return {each for each in found if not re.match(r"[a-z]+:", each)}


def anchors(page: Path) -> set[str]:
    """As a code host makes them of headings."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", re.sub(r"\]\([^)]*\)", "", each)).strip().lower().replace(" ", "-") for each in headings
    }


@pytest.mark.parametrize("name", TEXTS)
def test_every_link_leads_to_a_file_and_a_heading_of_it(name: str) -> None:
    for link in sorted(links(TEXTS[name])):
        path, _, anchor = link.partition("#")
        target = Path(os.path.normpath((ROOT / name).parent / path)) if path else ROOT / name
        assert target.exists(), f"{link}: there is no such file"
        assert not anchor or anchor in anchors(target), f"{link}: there is no such heading"


def test_the_page_of_commands_is_that_of_the_command_line() -> None:
    assert TEXTS["docs/commands.md"] == commands.page(), "write it anew: python -m scripts.site.commands"


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if not hasattr(command, "commands"):
        yield path, command
        return
    for name, each in command.commands.items():
        yield from leaves(each, (*path, name))


COMMANDS = dict(leaves(typer.main.get_command(app)))


def typed(text: str) -> Iterator[str]:
    """The commands that a page has readers type: a line of a block, or code in a sentence."""
    yield from re.findall(r"^ *(?:\$ )?(?:[A-Z_]+=\S+ )*(?:\.venv/bin/)?counteract ([a-z][^\n]*)$", text, re.MULTILINE)
    yield from re.findall(r"`counteract ([a-z][^`\n]*)`", text)


def test_pages_name_commands_and_options_that_there_are() -> None:
    count = 0
    for name, text in TEXTS.items():
        for line in typed(text):
            words = re.split(r"\s+#|\s[;|&>]", line)[0].split()
            path = next((tuple(words[:n]) for n in (2, 1) if tuple(words[:n]) in COMMANDS), None)
            if path is None:
                groups = {each[0] for each in COMMANDS}
                assert words[0] in groups, f"{name}: counteract {line}"
                continue
            options = {option for each in COMMANDS[path].params for option in (*each.opts, *each.secondary_opts)}
            given = {re.split(r"[=,]", word)[0] for word in words if word.startswith("--")} - {"--help", "--"}
            assert given <= options, f"{name}: counteract {line}"
            count += 1
    assert count > 50


@pytest.mark.parametrize("variable", [MASTER_KEY_VARIABLE, MASTER_KEY_FILE_VARIABLE, PROGRAMS_VARIABLE, "DATABASE_URL"])
def test_every_variable_that_is_read_is_told(variable: str) -> None:
    assert f"`{variable}`" in SETTINGS


def test_no_other_variable_is_read() -> None:
    sources = "".join(each.read_text(encoding="utf-8") for each in (ROOT / "counteract").rglob("*.py"))
    names = set(re.findall(r"\b(?:COUNTERACT|TEMPORAL)_[A-Z_]+\b", sources))

    assert {name for name in names if f"`{name}`" not in SETTINGS} == set()


def test_every_key_of_pyproject_is_told() -> None:
    sources = "".join(each.read_text(encoding="utf-8") for each in (ROOT / "counteract" / "cli").glob("*.py"))
    keys = {SETTING, *re.findall(r'(?:setting|declared|named_modules|named_object)\(\s*"([\w-]+)"', sources)}
    keys |= set(re.findall(r'objects\(\w+, "([\w-]+)"', sources))
    dev = {*DevSettings.model_fields, *(f"parts.{each}" for each in PartSettings.model_fields)}

    assert {"modules", "sagas", "projections", "client", "master-key"} <= keys
    assert {each for each in keys | dev if f"| `{each}` |" not in SETTINGS} == set()


def test_the_settings_shown_are_ones_that_are_read() -> None:
    shown = tomllib.loads("\n".join(re.findall(r"^```toml\n(.*?)^```$", SETTINGS, re.MULTILINE | re.DOTALL)))
    dev = shown["tool"]["counteract"].pop("dev")

    DevSettings.model_validate(dev)
    assert all(f"| `{each}` |" in SETTINGS for each in shown["tool"]["counteract"])
