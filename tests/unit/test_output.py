"""What the commands print of data that anybody may have written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from counteract import StreamId, cli
from counteract.cli.output import name_of, named_stream, safe_lines, say_document, say_parts, say_script, say_table
from counteract.errors import StreamArchived, UnknownEventType, WrongExpectedVersion
from counteract.printable import printable

pytestmark = pytest.mark.unit

ESCAPE, BELL, CSI, TURN, ISOLATE, LINE, LONE = "\x1b", "\x07", "\x9b", "\u202e", "\u2066", "\u2028", "\ud800"


@pytest.mark.parametrize("evil", ["\n", "\r", "\t", "\b", "\x00", "\x7f", ESCAPE, BELL, CSI, TURN, ISOLATE, LINE, LONE])
def test_what_would_steer_a_terminal_is_shown_as_its_code(evil: str) -> None:
    assert printable(f"a{evil}b") == f"a\\u{ord(evil):04x}b"


def test_letters_of_any_script_and_signs_stay() -> None:
    text = "Ænglisc עברית 日本語 🙂 → [/] [red]"
    assert printable(text) == text


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


def test_a_line_with_styles_takes_no_markup_either(capsys: pytest.CaptureFixture[str]) -> None:
    say_parts(("problem", "bold red"), (f"  [/] {ESCAPE}{TURN}\n", ""))
    assert capsys.readouterr().out == "problem  [/] \\u001b\\u202e\\u000a\n"


def test_a_script_that_is_piped_comes_out_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    say_script("select\t1;\n")
    assert capsys.readouterr().out == "select\t1;\n"


@pytest.mark.parametrize(
    ("stream", "name"),
    [
        (StreamId("order", "a/b"), "order/a/b"),
        (StreamId("a/b", "c"), "a%2Fb/c"),
        (StreamId("a%2Fb", "%2F"), "a%252Fb/%2F"),
        (StreamId("100%", ""), "100%25/"),
        (StreamId("", ""), "/"),
    ],
)
def test_a_stream_has_one_name_whatever_is_in_its_type(stream: StreamId, name: str) -> None:
    assert name_of(stream) == name
    assert named_stream(name) == stream


@pytest.mark.parametrize(
    "error",
    [
        WrongExpectedVersion(StreamId("a", "b\n\x1b[2J"), expected="version 1", actual=2),
        UnknownEventType("Counted", 1).at(StreamId("a", "b\n\x1b[2J"), 1),
        StreamArchived(StreamId("a", "b\n\x1b[2J"), version=1, file="f"),
    ],
)
def test_a_streams_id_ends_no_line_of_an_error(error: Exception) -> None:
    assert "b\\u000a\\u001b[2J" in str(error)
    assert "\n" not in str(error)


def test_the_commands_print_in_one_place() -> None:
    modules = sorted(Path(next(iter(cli.__path__))).glob("*.py"))
    others = [each for each in modules if each.name != "output.py"]
    assert len(others) > 20
    for word in ("print(", "echo(", "sys.stdout.write", ".print("):
        assert [each.name for each in others if word in each.read_text(encoding="utf-8")] == []
