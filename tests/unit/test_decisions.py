"""The index of the decisions names each of them, by its title, and says which are superseded."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

FOLDER = Path(__file__).parents[2] / "docs" / "decisions"
DECISIONS = {path.name: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("[0-9]*.md"))}
INDEX = (FOLDER / "README.md").read_text(encoding="utf-8")

ENTRIES = re.findall(r"^- \*\*(\d{4})\*\* \[(.+)\]\[(\d{4})\]\n  \((.+), \d{4}-\d{2}-\d{2}\)$", INDEX, re.MULTILINE)
TITLES = {number: title for number, title, _, _ in ENTRIES}
STATUS = {number: status for number, _, _, status in ENTRIES}
FILES = dict(re.findall(r"^\[(\d{4})\]: (\S+)$", INDEX, re.MULTILINE))


def title_of(decision: str) -> str:
    """Some titles begin with the number."""
    return re.sub(r"^# (\d{4}: )?", "", decision.partition("\n")[0])


def test_every_entry_of_the_index_is_read() -> None:
    assert ENTRIES
    assert len(ENTRIES) == len(re.findall(r"^- ", INDEX, re.MULTILINE))


def test_the_index_lists_every_decision_and_nothing_else() -> None:
    numbers = [name[:4] for name in DECISIONS]

    assert [number for number, *_ in ENTRIES] == numbers
    assert list(FILES.values()) == list(DECISIONS)


@pytest.mark.parametrize("name", DECISIONS)
def test_a_title_in_the_index_is_that_of_the_decision(name: str) -> None:
    assert TITLES.get(name[:4]) == title_of(DECISIONS[name])


@pytest.mark.parametrize(("number", "_", "label"), [entry[:3] for entry in ENTRIES], ids=list(TITLES))
def test_an_entry_leads_to_the_decision_of_its_number(number: str, _: str, label: str) -> None:
    assert label == number
    assert FILES[number].startswith(f"{number}-")


@pytest.mark.parametrize("name", [name for name, text in DECISIONS.items() if "**Superseded" in text])
def test_what_a_decision_says_of_its_end_stands_in_the_index(name: str) -> None:
    (how, later) = re.findall(r"\*\*(Superseded(?: in part)?) by \[(\d{4})\]", DECISIONS[name])[0]

    assert STATUS[name[:4]] == f"{how.lower()} by [{later}]"
