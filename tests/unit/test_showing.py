"""What the commands print of data that anybody may have written."""

from __future__ import annotations

import json

import pytest

from counteract.cli.showing import safe, safe_lines, say_document, say_table

pytestmark = pytest.mark.unit

ESCAPE, BELL, CSI, TURN, ISOLATE, LINE, LONE = "\x1b", "\x07", "\x9b", "\u202e", "\u2066", "\u2028", "\ud800"


@pytest.mark.parametrize("evil", ["\n", "\r", "\t", "\b", "\x00", "\x7f", ESCAPE, BELL, CSI, TURN, ISOLATE, LINE, LONE])
def test_what_would_steer_a_terminal_is_shown_as_its_code(evil: str) -> None:
    assert safe(f"a{evil}b") == f"a\\u{ord(evil):04x}b"


def test_letters_of_any_script_and_signs_stay() -> None:
    text = "Ænglisc עברית 日本語 🙂 → [/] [red]"
    assert safe(text) == text


def test_lines_that_are_meant_stay_lines() -> None:
    assert safe_lines(f"a:\n  - b{ESCAPE}") == "a:\n  - b\\u001b"


def test_a_document_for_programs_keeps_its_value(capsys: pytest.CaptureFixture[str]) -> None:
    fields = {"why": f"{ESCAPE}[2J{CSI}{TURN}\n ü"}
    say_document(fields)

    printed = capsys.readouterr().out
    assert not {ESCAPE, CSI, TURN} & set(printed)
    assert printed.count("\n") == 1
    assert json.loads(printed) == fields


def test_a_table_cuts_nothing_and_takes_no_markup(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    name = "order-" + "0123456789" * 12
    say_table(("id", "why"), [(name, "[/] [bold]refused[/bold]"), ("order-2", f"a{ESCAPE}\nb")])

    printed = capsys.readouterr().out
    assert name in printed
    assert "[/] [bold]refused[/bold]" in printed
    assert "a\\u001b\\u000ab" in printed
    assert len({len(line) for line in printed.splitlines()}) == 1, "each row is one line"
