"""The output of commands, for people and programs: what comes from data cannot steer the terminal it is shown on."""

from __future__ import annotations

import json
import re
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from counteract.errors import CounteractError
from counteract.messages import StreamId
from counteract.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rich.console import RenderableType

    from counteract.store import StoredEvent

AsJson = Annotated[
    bool | None,
    typer.Option("--json/--table", help="A JSON document a line, or a table; by default a table on a terminal only."),
]
_MARKED = "\0{}".format
_NUMBER = re.compile(r'"\\u0000([^"]*)"')
_ENDLESS = 100_000
"""Columns: more than any table has."""


def safe_lines(text: str) -> str:
    """Text that is safe to show and keeps its lines, such as an error's."""
    return "\n".join(map(printable, text.split("\n")))


def say(text: str, *, aside: bool = False) -> None:
    """Print one line; `aside` from what a program would read."""
    print(printable(text), file=sys.stderr if aside else sys.stdout, flush=True)


def say_lines(text: str, *, aside: bool = False) -> None:
    """Print text that keeps its lines."""
    print(safe_lines(text), file=sys.stderr if aside else sys.stdout, flush=True)


def say_progress(text: str) -> None:
    """Print a line in the place of the one before, where standard error is a terminal."""
    if sys.stderr.isatty():
        print(f"\r{printable(text)}", end="", file=sys.stderr, flush=True)


def say_script(text: str) -> None:
    """Print SQL for psql as it stands, and on a terminal as it reads."""
    if sys.stdout.isatty():
        say_lines(text.expandtabs())
    else:
        print(text, end="", flush=True)


def name_of(stream: StreamId) -> str:
    """The name of a stream as commands take it, `TYPE/ID`: a / of the type is written %2F, and so its % is %25."""
    aggregate_type = stream.aggregate_type.replace("%", "%25").replace("/", "%2F")
    return f"{aggregate_type}/{stream.aggregate_id}"


def named_stream(name: str) -> StreamId:
    """The stream that a name stands for. Raises CounteractError for what is no name."""
    aggregate_type, slash, aggregate_id = name.partition("/")
    if not slash:
        raise CounteractError(f"{name!r} is no stream: write its type and its id, as in saga/order-1")
    return StreamId(re.sub("%2f", "/", aggregate_type, flags=re.IGNORECASE).replace("%25", "%"), aggregate_id)


@dataclass(frozen=True, slots=True)
class Stored:
    """JSON as PostgreSQL writes it, for a field of a document.

    PostgreSQL takes numbers and depths that Python cannot read, so nothing is parsed.
    """

    text: str


def say_document(fields: Mapping[str, object]) -> None:
    """Print one JSON document, in one line."""
    say(_json(fields))


def _json(fields: Mapping[str, object]) -> str:
    written = (f"{_plain_json(name)}: {_plain_json(value)}" for name, value in fields.items())
    return f"{{{', '.join(written)}}}"


def _plain_json(value: object) -> str:
    return value.text if isinstance(value, Stored) else json.dumps(value, ensure_ascii=False)


def say_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table, and cut nothing: an id of which a part is missing cannot be copied, and a pipe has no width."""
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns)
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    say_whole(table)


def say_whole(drawing: RenderableType) -> None:
    """Print a table or a tree as wide as it is."""
    from rich.console import Console
    from rich.measure import Measurement

    endless = Console(width=_ENDLESS)
    width = Measurement.get(endless, endless.options, drawing).maximum
    Console(width=width, soft_wrap=True, highlight=False).print(drawing)


def say_parts(*parts: tuple[str, str]) -> None:
    """Print one line of parts, each a text and a style of rich's, which may be empty."""
    from rich.console import Console
    from rich.text import Text

    line = Text.assemble(*((printable(text), style) for text, style in parts))
    Console(highlight=False, soft_wrap=True).print(line)


def is_for_programs(as_json: bool | None) -> bool:
    """Whether to print JSON: as it is asked for, or where standard output is no terminal."""
    from rich.console import Console

    return not Console().is_terminal if as_json is None else as_json


def show_events(events: Sequence[StoredEvent], as_json: bool | None) -> None:
    """Print events, one a line."""
    if not events:
        return
    if is_for_programs(as_json):
        say_lines("\n".join(_json(document(each)) for each in events))
        return
    rows = [
        (str(each.position), name_of(each.stream), str(each.version), each.event_type, each.data) for each in events
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)][:-1]
    for *cells, data in rows:
        padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        say("  ".join([*padded, data]))


def show_event(event: StoredEvent) -> None:
    """Print all of an event over several lines, or in one where Python cannot read it."""
    text = _json(document(event))
    with suppress(ValueError, RecursionError):
        # Numbers as they are stored, with every digit: as strings with a mark that no stored text has.
        read = json.loads(text, parse_int=_MARKED, parse_float=_MARKED)
        text = _NUMBER.sub(r"\1", json.dumps(read, indent=2, ensure_ascii=False))
    say_lines(text)


def document(event: StoredEvent) -> dict[str, Any]:
    """The fields of an event as an export has them, data and metadata as they are stored."""
    return {
        "position": event.position,
        "event_id": str(event.event_id),
        "aggregate_type": event.stream.aggregate_type,
        "aggregate_id": event.stream.aggregate_id,
        "version": event.version,
        "event_type": event.event_type,
        "schema_version": event.schema_version,
        "event_data": Stored(event.data),
        "metadata": Stored(event.metadata_json),
        "created_at": event.recorded_at.isoformat(),
    }
