"""What `counteract new` takes for a name, and what it leaves alone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from counteract import CounteractError
from counteract.cli.new import TEMPLATES, check_name, write

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("name", ["shop", "ticket-shop", "ticket_shop", "shop2", "a"])
def test_such_names_will_do(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "write at most 40 lower-case letters"),
        ("Shop", "write at most 40 lower-case letters"),
        ("2shops", "a letter first"),
        ("ticket--shop", "single hyphens"),
        ("../shop", "write at most 40 lower-case letters"),
        ("shop\n", "write at most 40 lower-case letters"),
        ("s" * 41, "write at most 40 lower-case letters"),
        ("class", "a word of Python's own"),
        ("match", "a word of Python's own"),
        ("json", "would hide another one that is called json"),
        ("counteract", "would hide another one that is called counteract"),
        ("tests", "would hide another one that is called tests"),
    ],
)
def test_other_names_are_refused_with_the_reason(name: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(CounteractError, match=re.escape(problem)):
        write(name, tmp_path / "project")

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("alembic", "the engine needs it"),
        ("sqlalchemy", "the engine needs it"),
        ("uuid-utils", "its module has an underscore"),
        ("psycopg-pool", "an extra of a requirement"),
        ("mako", "needed by what the engine needs"),
        ("protobuf", "a distribution whose module is called otherwise"),
        ("google", "a package without a file of its own"),
        ("opensearch-py", "needed by an extra"),
        ("pytest_asyncio", "needed by an extra"),
        ("pathspec", "needed by the project's tools"),
    ],
)
def test_a_name_that_would_hide_what_the_project_needs_is_refused(name: str, why: str) -> None:
    with pytest.raises(CounteractError, match="would hide another one"):
        check_name(name)


def test_a_folder_beside_the_new_project_takes_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shop").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)

    check_name("shop")


def test_what_is_there_already_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()

    with pytest.raises(CounteractError, match="shop is there already: choose another name, or remove it"):
        write("shop", tmp_path / "shop")

    assert list((tmp_path / "shop").iterdir()) == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    with pytest.raises(CounteractError, match="nowhere/shop cannot be written: No such file or directory"):
        write("shop", tmp_path / "nowhere" / "shop")


def test_every_template_becomes_one_file_with_nothing_left_to_fill_in(tmp_path: Path) -> None:
    written = write("ticket-shop", tmp_path / "ticket-shop")

    assert len(set(written)) == len([file for file in TEMPLATES.rglob("*") if file.is_file()])
    assert [file for file in written if re.search(r"\{\{\w+\}\}", file.read_text(encoding="utf-8"))] == []
    assert (tmp_path / "ticket-shop" / "ticket_shop" / "workflows.py").exists()
    assert (tmp_path / "ticket-shop" / ".gitignore").exists()
