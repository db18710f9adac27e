"""Events for people, and for programs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from counteract.store import StoredEvent

AsJson = Annotated[
    bool | None,
    typer.Option("--json/--table", help="A JSON document a line, or a table; by default a table on a terminal only."),
]


def is_for_programs(as_json: bool | None) -> bool:
    from rich.console import Console

    return not Console().is_terminal if as_json is None else as_json


def show_events(events: Sequence[StoredEvent], as_json: bool | None) -> None:
    """One a line."""
    if not events:
        return
    if is_for_programs(as_json):
        print("\n".join(json.dumps(document(each), ensure_ascii=False) for each in events), flush=True)
        return
    rows = [(str(each.position), str(each.stream), str(each.version), each.event_type, each.data) for each in events]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)][:-1]
    for *cells, data in rows:
        padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        print(*padded, data, sep="  ", flush=True)


def one_event(event: StoredEvent) -> str:
    """All of it, over several lines."""
    return json.dumps(document(event), indent=2, ensure_ascii=False)


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
