"""What the commands print, for people and for programs. What comes from data cannot steer the terminal it is shown on."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import RenderableType

    from counteract.store import StoredEvent

AsJson = Annotated[
    bool | None,
    typer.Option("--json/--table", help="A JSON document a line, or a table; by default a table on a terminal only."),
]


_UNSAFE = re.compile(
    r"[\x00-\x1f\x7f-\x9f"  # control characters: escape sequences, line ends, what erases
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # marks that turn the direction of what is around them
    r"\u2028\u2029\ud800-\udfff]"  # further line ends, and what no encoding can write
)
_ENDLESS = 100_000
"""Columns: more than any table has."""


def safe(text: str) -> str:
    """The text in one line that reads as it is written. In JSON, what is replaced means the same as before."""
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def safe_lines(text: str) -> str:
    """The same for text whose lines are meant, such as an error's."""
    return "\n".join(map(safe, text.split("\n")))


def say(text: str) -> None:
    """One line."""
    print(safe(text), flush=True)


def say_document(fields: object) -> None:
    """One JSON document, in one line."""
    say(json.dumps(fields, ensure_ascii=False))


def say_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Nothing is cut: an id of which a part is missing cannot be copied, and a pipe has no width."""
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns)
    for row in rows:
        table.add_row(*(Text(safe(cell)) for cell in row))
    say_whole(table)


def say_whole(drawing: RenderableType) -> None:
    """A table or a tree as wide as it is."""
    from rich.console import Console
    from rich.measure import Measurement

    endless = Console(width=_ENDLESS)
    width = Measurement.get(endless, endless.options, drawing).maximum
    Console(width=width, soft_wrap=True, highlight=False).print(drawing)


def is_for_programs(as_json: bool | None) -> bool:
    from rich.console import Console

    return not Console().is_terminal if as_json is None else as_json


def show_events(events: Sequence[StoredEvent], as_json: bool | None) -> None:
    """One a line."""
    if not events:
        return
    if is_for_programs(as_json):
        print("\n".join(safe(json.dumps(document(each), ensure_ascii=False)) for each in events), flush=True)
        return
    rows = [(str(each.position), str(each.stream), str(each.version), each.event_type, each.data) for each in events]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)][:-1]
    for *cells, data in rows:
        padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        say("  ".join([*padded, data]))


def one_event(event: StoredEvent) -> str:
    """All of it, over several lines."""
    return safe_lines(json.dumps(document(event), indent=2, ensure_ascii=False))


def document(event: StoredEvent) -> dict[str, Any]:
    """As an export has it, data and metadata as they are stored."""
    return {
        "position": event.position,
        "event_id": str(event.event_id),
        "aggregate_type": event.stream.aggregate_type,
        "aggregate_id": event.stream.aggregate_id,
        "version": event.version,
        "event_type": event.event_type,
        "schema_version": event.schema_version,
        "event_data": json.loads(event.data),
        "metadata": dict(event.metadata),
        "created_at": event.recorded_at.isoformat(),
    }
